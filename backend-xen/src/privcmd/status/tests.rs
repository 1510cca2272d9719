//! Privcmd without Xen: memory files in the place of its page, and a file that answers no hypercall.

use std::fs::File;

use super::*;
use crate::privcmd::PRIVCMD_PATH;

fn answered(status: u32, dom: u16, second: u32) -> Result<Status, Errno> {
    let [low, high] = dom.to_ne_bytes();
    let raw = EvtchnStatus {
        status,
        vcpu: 3,
        bound_to: [u32::from_ne_bytes([low, high, 0, 0]), second],
        ..EvtchnStatus::of(DomId::SELF, Port::MAX)
    };
    raw.answer().map(|status| {
        assert_eq!(status.vcpu, 3);
        status.state
    })
}

#[test]
fn every_answer_of_xen_has_its_state() {
    let domid = DomId::new(7);
    let port = Port::new(9).unwrap();
    let remote = RemotePort { domid, port };
    assert_eq!(answered(0, 0, 0), Ok(Status::Closed));
    assert_eq!(answered(1, 7, 9), Ok(Status::Unbound { remote: domid }));
    assert_eq!(answered(2, 7, 9), Ok(Status::Interdomain { remote }));
    assert_eq!(answered(3, 0, 0), Ok(Status::Pirq { pirq: 0 }));
    let virq = Virq::new(u32::from_ne_bytes([3, 0, 0, 0]));
    assert_eq!(answered(4, 3, 0), Ok(Status::Virq { virq }));
    assert_eq!(answered(5, 0, 0), Ok(Status::Ipi));
}

#[test]
fn an_answer_that_no_xen_gives_is_eproto() {
    assert_eq!(answered(6, 0, 0), Err(Errno::PROTO));
    assert_eq!(answered(u32::MAX, 0, 0), Err(Errno::PROTO));
    assert_eq!(answered(2, 7, 0), Err(Errno::PROTO));
    assert_eq!(answered(2, 7, 1 << 31), Err(Errno::PROTO));
}

#[test]
fn the_arguments_are_those_of_a_c_program() {
    let asked = EvtchnStatus::of(DomId::new(0x0102), Port::new(0x0304).unwrap());
    assert_eq!((asked.dom, asked.port), (0x0102, 0x0304));
}

#[test]
fn memory_that_cannot_be_mapped_is_an_error() {
    let mut options = File::options();
    let null = options.read(true).write(true).open("/dev/null").unwrap();
    assert_eq!(Argument::map(&null.into()).unwrap_err(), Errno::NODEV);
}

/// A process that opens it again and again would otherwise run out of mappings.
#[test]
fn an_argument_that_is_dropped_leaves_no_mapping() {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let memory = rustix::fs::memfd_create("dropped-argument", flags).unwrap();
    rustix::fs::ftruncate(&memory, 4096).unwrap();
    let is_mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains("dropped-argument")
    };
    let argument = Argument::map(&memory).unwrap();
    assert!(is_mapped());
    drop(argument);
    assert!(!is_mapped());
}

/// A private mapping would be a copy, which Xen does not write to.
#[test]
fn an_argument_is_shared_with_the_file_it_is_mapped_from() {
    use std::os::unix::fs::FileExt;
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let memory = rustix::fs::memfd_create("shared-argument", flags).unwrap();
    rustix::fs::ftruncate(&memory, 4096).unwrap();
    let argument = Argument::map(&memory).unwrap();
    argument.put(EvtchnStatus::of(DomId::new(5), Port::MAX));
    let file = File::from(memory);
    let mut word = [0; 2];
    file.read_exact_at(&mut word, 0).unwrap();
    assert_eq!(u16::from_ne_bytes(word), 5);
    file.write_all_at(&2_u32.to_ne_bytes(), 8).unwrap();
    assert_eq!(argument.get().status, 2);
}

#[test]
fn a_missing_device_is_named_in_the_error() {
    if std::path::Path::new(PRIVCMD_PATH).exists() {
        use std::io::Write;
        let _unwritten = writeln!(std::io::stderr(), "skipped: there is {PRIVCMD_PATH}");
        return;
    }
    let error = Privcmd::open().unwrap_err();
    assert_eq!(own(&error).call(), &Call::OpenPrivcmd);
    assert_eq!(own(&error).errno(), Errno::NOENT);
}

/// The backend's own error.
fn own(error: &DeviceError) -> &Error {
    std::error::Error::source(error)
        .unwrap()
        .downcast_ref()
        .unwrap()
}

/// A file that answers no hypercall (`ENOTTY`), and memory for the argument.
fn without_xen() -> Privcmd {
    let null = File::open("/dev/null").unwrap();
    Privcmd::with(null.into(), &page()).unwrap()
}

fn page() -> OwnedFd {
    let memory = rustix::fs::memfd_create("argument", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, 4096).unwrap();
    memory
}

#[test]
fn a_status_call_of_a_forked_child_is_ebadf_and_leaves_the_page_alone() {
    let privcmd = without_xen();
    let port = Port::new(3).unwrap();
    assert_eq!(privcmd.ask(DomId::SELF, port), Err(Errno::NOTTY));
    // SAFETY: the child calls nothing that allocates or takes a lock before it ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let asked = privcmd.ask(DomId::new(9), Port::MAX);
        let is_refused = asked == Err(Errno::BADF);
        // SAFETY: it does not return, and runs no exit handlers.
        unsafe { libc::_exit(i32::from(!is_refused)) }
    }
    let child = rustix::process::Pid::from_raw(child);
    let ended = rustix::process::waitpid(child, rustix::process::WaitOptions::empty());
    assert_eq!(ended.unwrap().unwrap().1.exit_status(), Some(0));
    // The page is shared.
    let kept = privcmd.argument.lock().unwrap().get();
    assert_eq!((kept.dom, kept.port), (DomId::SELF.as_raw(), 3));
    assert_eq!(privcmd.ask(DomId::SELF, port), Err(Errno::NOTTY));
}

#[test]
fn the_hypercall_is_that_of_a_c_program() {
    let argument = Argument::map(&page()).unwrap();
    let Hypercall { op, arg } = Hypercall::on_port(EVTCHNOP_STATUS, argument.address());
    // __HYPERVISOR_event_channel_op, EVTCHNOP_status.
    assert_eq!((op, arg[0]), (32, 5));
    assert_eq!(arg[1], argument.0.as_ptr().addr() as u64);
    assert_eq!(arg[2..], [0; 3]);
}

#[test]
fn the_argument_is_written_into_the_memory_that_xen_reads() {
    let memory = page();
    let privcmd = Privcmd::with(File::open("/dev/null").unwrap().into(), &memory).unwrap();
    let (domid, port) = (DomId::new(0x0102), Port::new(0x0304).unwrap());
    assert_eq!(privcmd.ask(domid, port), Err(Errno::NOTTY));
    let mut bytes = [0; 8];
    assert_eq!(rustix::io::pread(&memory, &mut bytes, 0), Ok(8));
    let words = [0x0102_u32, 0x0304].map(u32::to_le_bytes);
    assert_eq!(bytes, words.as_flattened());
}

#[test]
fn a_dropped_privcmd_unmaps_its_page() {
    let name = "evtchn-page-of-a-test";
    let memory = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, 4096).unwrap();
    let is_mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(name)
    };
    let privcmd = Privcmd::with(File::open("/dev/null").unwrap().into(), &memory).unwrap();
    assert!(is_mapped());
    drop(privcmd);
    assert!(!is_mapped());
}

#[test]
fn an_argument_page_that_cannot_be_mapped_is_named_in_the_error() {
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    let error = Privcmd::with(null(), &null()).unwrap_err();
    assert_eq!(error.call(), &Call::MapArgument);
}

#[test]
fn a_failed_status_call_names_its_port() {
    let port = Port::new(3).unwrap();
    let error = without_xen().status(DomId::new(9), port).unwrap_err();
    let asked = RemotePort {
        domid: DomId::new(9),
        port,
    };
    assert_eq!(error.call(), evtchn_core::DeviceCall::Status(asked));
    assert_eq!(own(&error).call(), &Call::Status(asked));
    assert_eq!(own(&error).errno(), Errno::NOTTY);
}

#[test]
fn the_argument_reads_back_what_was_written_to_it() {
    let argument = Argument::map(&page()).unwrap();
    argument.put(EvtchnStatus::of(DomId::new(5), Port::MAX));
    let got = argument.get();
    assert_eq!((got.dom, got.port), (5, Port::MAX.as_raw()));
    assert_eq!(argument.address() % 4096, 0);
}

/// Batches of questions, with a memory file in the place of the pages.
#[cfg(feature = "multicall")]
mod many {
    use std::ops::ControlFlow;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::privcmd::batch::{Batch, MakeHypercall};
    use crate::privcmd::hypercall::Hypercall;

    /// Bytes of the entries, which are before the arguments.
    const ENTRIES: u64 = 1024 * 64;

    /// Answers that a port is bound to a port of domain 7 with a number one higher, and `EINVAL` for
    /// the ports from 100 on.
    struct Xen(File);

    impl MakeHypercall for Xen {
        unsafe fn make(&self, hypercall: Hypercall) -> Result<(), Errno> {
            for index in 0..hypercall.arg[1] {
                let argument = ENTRIES + index * 24;
                let mut asked = [0; 8];
                self.0.read_exact_at(&mut asked, argument).unwrap();
                let [domid, port] = [0, 1].map(|at| u32::from_ne_bytes(asked.as_chunks().0[at]));
                assert_eq!(domid, u32::from(DomId::SELF.as_raw()));
                let (result, answer) = match port {
                    0..100 => (0_i64, [2, 1, 7, port + 1]),
                    _ => (-22, [0; 4]),
                };
                let answer = answer.map(u32::to_ne_bytes);
                let result = result.to_ne_bytes();
                self.0.write_all_at(&result, index * 64 + 8).unwrap();
                self.0
                    .write_all_at(answer.as_flattened(), argument + 8)
                    .unwrap();
            }
            Ok(())
        }
    }

    fn ports(raw: impl IntoIterator<Item = u32>) -> Vec<Port> {
        raw.into_iter().map(|raw| Port::new(raw).unwrap()).collect()
    }

    /// A privcmd whose own descriptor answers no hypercall (`ENOTTY`), with room for batches.
    fn with_batch() -> (Privcmd, Xen) {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let memory = rustix::fs::memfd_create("questions", flags).unwrap();
        rustix::fs::ftruncate(&memory, ENTRIES + 1024 * 24).unwrap();
        let privcmd = Privcmd {
            batch: Mutex::new(Some(Batch::map(&memory).unwrap())),
            ..without_xen()
        };
        (privcmd, Xen(memory.into()))
    }

    #[test]
    fn many_questions_are_answered_in_one_hypercall_each_for_itself() {
        let (privcmd, xen) = with_batch();
        let asked = ports([5, 100, 9]);
        let mut answers = Vec::new();
        let over = privcmd.ask_many(&xen, DomId::SELF, &asked, &mut |place, answer| {
            answers.push((place, answer));
            ControlFlow::Continue(())
        });
        assert_eq!(over, ControlFlow::Continue(3));
        let bound = |port| {
            let (domid, port) = (DomId::new(7), Port::new(port).unwrap());
            let remote = RemotePort { domid, port };
            let state = Status::Interdomain { remote };
            PortStatus { state, vcpu: 1 }
        };
        assert_eq!(answers[0], (0, Ok(bound(6))));
        assert_eq!(answers[2], (2, Ok(bound(10))));
        let refused = answers[1].1.as_ref().unwrap_err();
        assert_eq!(own(refused).errno(), Errno::INVAL);
        let named = RemotePort {
            domid: DomId::SELF,
            port: asked[1],
        };
        assert_eq!(own(refused).call(), &Call::Status(named));
    }

    #[test]
    fn questions_end_where_the_caller_breaks() {
        let (privcmd, xen) = with_batch();
        let mut count = 0;
        let over = privcmd.ask_many(&xen, DomId::SELF, &ports(1..50), &mut |_, _| {
            count += 1;
            match count {
                3 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        assert_eq!((over, count), (ControlFlow::Break(()), 3));
    }

    #[test]
    fn a_refused_hypercall_leaves_a_single_one_for_each_port_from_then_on() {
        let (privcmd, _xen) = with_batch();
        let mut places = Vec::new();
        privcmd.status_many(DomId::SELF, &ports([5, 6]), &mut |place, answer| {
            assert_eq!(own(&answer.unwrap_err()).errno(), Errno::NOTTY);
            places.push(place);
            ControlFlow::Continue(())
        });
        assert_eq!(places, [0, 1]);
        assert!(privcmd.batch.lock().unwrap().is_none());
    }

    #[test]
    fn a_single_question_is_no_batch() {
        let (privcmd, xen) = with_batch();
        let over = privcmd.ask_many(&xen, DomId::SELF, &ports([5]), &mut |_, _| unreachable!());
        assert_eq!(over, ControlFlow::Continue(0));
    }
}
