//! What ports are, as Xen tells it: the hypercall `EVTCHNOP_status` by way of `/dev/xen/privcmd`.
//!
//! Xen itself reads and writes the argument, at its address in the calling program. Nobody brings
//! in a page for it, so the page has to be there, writable, for as long as the call takes. A page
//! that is locked (mlock(2)) is not enough: the kernel may still move it, and for that moment
//! nothing is mapped, and the call fails with `EFAULT`. So the argument lies in a page of the
//! kernel's own that `/dev/xen/hypercall` maps, which is neither moved nor paged out (Linux 4.18,
//! drivers/xen/privcmd-buf.c), as Xen's libxencall has it.
#![expect(
    unsafe_code,
    reason = "a hypercall names memory by its address, and the page for it has to be mapped"
)]

use core::ffi::c_void;
use core::mem::{offset_of, size_of};
use core::ptr::{self, NonNull};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use evtchn_core::{DomId, Port, PortStatus, PortStatuses, RemotePort, Status, Virq};
use evtchn_fork::Process;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::error::{Call, Error};

/// Where Linux puts the device for hypercalls.
pub const PRIVCMD_PATH: &str = "/dev/xen/privcmd";
/// Where Linux puts the device whose memory hypercalls can name.
pub(crate) const HYPERCALL_PATH: &str = "/dev/xen/hypercall";

/// Asks Xen what ports are.
///
/// It needs `/dev/xen/privcmd` and `/dev/xen/hypercall` of the module xen-privcmd, which belong to
/// root. Asking takes a lock of ours and one system call. It is of the process that opened it: in
/// a forked child every question is `EBADF`, for parent and child share the memory for it.
///
/// ```no_run
/// use evtchn_core::{DomId, PortStatuses};
/// use evtchn_xen::Privcmd;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let privcmd = Privcmd::open()?;
/// for (port, status) in privcmd.ports(DomId::SELF) {
///     println!("{port}: {}", status?.state);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Privcmd {
    fd: OwnedFd,
    argument: Mutex<Argument>,
    /// The process that opened it.
    process: Process,
}

impl Privcmd {
    /// Opens the devices.
    ///
    /// # Errors
    /// No such device, or no permission. The error says which. On a kernel where a fork of this
    /// process cannot be noticed, [`Call::NoticeForks`].
    pub fn open() -> Result<Privcmd, Error> {
        let open = |path, call| {
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::new(call, errno))
        };
        let fd = open(PRIVCMD_PATH, Call::OpenPrivcmd)?;
        let memory = open(HYPERCALL_PATH, Call::OpenHypercall)?;
        Privcmd::with(fd, &memory)
    }

    /// Asks through `fd`, and puts the question into a page of `memory`.
    fn with(fd: OwnedFd, memory: &OwnedFd) -> Result<Privcmd, Error> {
        let process = Process::current()?;
        let argument = Argument::map(memory);
        let argument = argument.map_err(|errno| Error::new(Call::MapArgument, errno))?;
        Ok(Privcmd {
            fd,
            argument: Mutex::new(argument),
            process,
        })
    }

    fn ask(&self, domid: DomId, port: Port) -> Result<PortStatus, Errno> {
        if !self.process.is_current() {
            return Err(Errno::BADF);
        }
        // A panic leaves the argument as it is, and the next question writes it anew.
        let argument = self.argument.lock().unwrap_or_else(PoisonError::into_inner);
        argument.put(EvtchnStatus::of(domid, port));
        let hypercall = Hypercall::status(&argument);
        // SAFETY: the code belongs to a `Hypercall`, of which the driver reads one and writes
        // nothing; Xen reads and writes one `EvtchnStatus`, for which the argument has room, and
        // which nobody else uses while it is locked.
        unsafe { rustix::ioctl::ioctl(&self.fd, hypercall) }?;
        argument.get().answer()
    }
}

impl PortStatuses for Privcmd {
    type Error = Error;

    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, Error> {
        let asked = RemotePort { domid, port };
        self.ask(domid, port)
            .map_err(|errno| Error::new(Call::Status(asked), errno))
    }
}

/// `__HYPERVISOR_event_channel_op` (xen/include/public/xen.h)
const EVENT_CHANNEL_OP: u64 = 32;
/// xen/include/public/event_channel.h
const EVTCHNOP_STATUS: u64 = 5;

/// `struct privcmd_hypercall` (Linux include/uapi/xen/privcmd.h).
#[repr(C)]
#[derive(Debug)]
struct Hypercall {
    op: u64,
    arg: [u64; 5],
}

impl Hypercall {
    fn status(argument: &Argument) -> Hypercall {
        Hypercall {
            op: EVENT_CHANNEL_OP,
            arg: [EVTCHNOP_STATUS, argument.address(), 0, 0, 0],
        }
    }
}

/// `IOCTL_PRIVCMD_HYPERCALL`
const HYPERCALL: Opcode = opcode::from_components(Direction::None, b'P', 0, size_of::<Hypercall>());

const _: () = assert!(HYPERCALL == 0x0030_5000);

// SAFETY: drivers/xen/privcmd.c reads one `privcmd_hypercall` from the pointer under this code and
// writes nothing there. What the call itself does is the caller's to answer for.
unsafe impl Ioctl for Hypercall {
    type Output = ();

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        HYPERCALL
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// `struct evtchn_status` (xen/include/public/event_channel.h), the same on x86 and Arm, for 32
/// bits and 64.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct EvtchnStatus {
    // Asked:
    dom: u16,
    unused: u16,
    port: u32,
    // Answered:
    status: u32,
    vcpu: u32,
    /// The union: a domain id, a domain id and a port, or one number.
    bound_to: [u32; 2],
}

const _: () = {
    assert!(size_of::<EvtchnStatus>() == 24);
    assert!(align_of::<EvtchnStatus>() == 4);
    assert!(offset_of!(EvtchnStatus, dom) == 0);
    assert!(offset_of!(EvtchnStatus, port) == 4);
    assert!(offset_of!(EvtchnStatus, status) == 8);
    assert!(offset_of!(EvtchnStatus, vcpu) == 12);
    assert!(offset_of!(EvtchnStatus, bound_to) == 16);
};

impl EvtchnStatus {
    const fn of(domid: DomId, port: Port) -> EvtchnStatus {
        EvtchnStatus {
            dom: domid.as_raw(),
            unused: 0,
            port: port.as_raw(),
            status: 0,
            vcpu: 0,
            bound_to: [0; 2],
        }
    }

    /// What Xen answered. An answer that no version gives is `EPROTO`.
    fn answer(&self) -> Result<PortStatus, Errno> {
        let [first, second] = self.bound_to;
        let [low, high, ..] = first.to_ne_bytes();
        let domid = DomId::new(u16::from_ne_bytes([low, high]));
        let state = match self.status {
            0 => Status::Closed,
            1 => Status::Unbound { remote: domid },
            2 => {
                let port = Port::new(second).ok_or(Errno::PROTO)?;
                let remote = RemotePort { domid, port };
                Status::Interdomain { remote }
            }
            3 => Status::Pirq { pirq: first },
            4 => {
                let virq = Virq::new(first);
                Status::Virq { virq }
            }
            5 => Status::Ipi,
            _ => return Err(Errno::PROTO),
        };
        let vcpu = self.vcpu;
        Ok(PortStatus { state, vcpu })
    }
}

/// The memory that a hypercall names: a page of the kernel's own.
#[derive(Debug)]
struct Argument(NonNull<EvtchnStatus>);

// SAFETY: the mapping belongs to no thread, and only this points to it.
unsafe impl Send for Argument {}

impl Argument {
    /// The kernel maps whole pages.
    const SIZE: usize = size_of::<EvtchnStatus>();

    fn map(memory: &OwnedFd) -> Result<Argument, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let anywhere = ptr::null_mut();
        // SAFETY: a null address lets the kernel choose one that nothing uses.
        let page = unsafe {
            mmap(
                anywhere,
                Argument::SIZE,
                access,
                MapFlags::SHARED,
                memory,
                0,
            )
        }?;
        NonNull::new(page.cast()).map(Argument).ok_or(Errno::FAULT)
    }

    fn address(&self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    // Volatile, for Xen reads and writes it too.

    fn put(&self, asked: EvtchnStatus) {
        // SAFETY: the page is mapped, writable, large enough and aligned as long as this lives.
        unsafe { self.0.write_volatile(asked) }
    }

    fn get(&self) -> EvtchnStatus {
        // SAFETY: as in `put`; every pattern of bits is a valid value.
        unsafe { self.0.read_volatile() }
    }
}

impl Drop for Argument {
    fn drop(&mut self) {
        // SAFETY: it is the mapping of `map`, which nothing else points to; a forked child has
        // one of its own at the same address.
        let unmapped = unsafe { munmap(self.0.as_ptr().cast(), Argument::SIZE) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

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
    fn an_answer_that_xen_does_not_give_is_eproto() {
        assert_eq!(answered(6, 0, 0), Err(Errno::PROTO));
        assert_eq!(answered(u32::MAX, 0, 0), Err(Errno::PROTO));
        assert_eq!(answered(2, 7, 0), Err(Errno::PROTO));
        assert_eq!(answered(2, 7, 1 << 31), Err(Errno::PROTO));
    }

    #[test]
    fn the_questions_are_those_of_a_c_program() {
        let asked = EvtchnStatus::of(DomId::new(0x0102), Port::new(0x0304).unwrap());
        assert_eq!((asked.dom, asked.port), (0x0102, 0x0304));
    }

    #[test]
    fn memory_that_cannot_be_mapped_is_an_error() {
        let mut options = File::options();
        let null = options.read(true).write(true).open("/dev/null").unwrap();
        assert_eq!(Argument::map(&null.into()).unwrap_err(), Errno::NODEV);
    }

    /// A process that opens one again and again would run out of mappings.
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

    /// What Xen writes has to be seen, and a copy of our own it would not write to.
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
    fn a_machine_without_the_device_says_which_one_is_missing() {
        if std::path::Path::new(PRIVCMD_PATH).exists() {
            use std::io::Write;
            let _unheard = writeln!(std::io::stderr(), "skipped: there is {PRIVCMD_PATH}");
            return;
        }
        let error = Privcmd::open().unwrap_err();
        assert_eq!(error.call(), &Call::OpenPrivcmd);
        assert_eq!(error.errno(), Errno::NOENT);
    }

    /// A file that answers no hypercall (`ENOTTY`), and memory for the questions.
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
    fn a_question_of_a_forked_child_is_ebadf_and_leaves_the_page_alone() {
        let privcmd = without_xen();
        let port = Port::new(3).unwrap();
        assert_eq!(privcmd.ask(DomId::SELF, port), Err(Errno::NOTTY));
        // SAFETY: the child calls nothing that allocates or takes a lock before it ends.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let asked = privcmd.ask(DomId::new(9), Port::MAX);
            let is_refused = asked == Err(Errno::BADF);
            // SAFETY: it returns to nobody, and leaves alone what would run at an exit.
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
        let Hypercall { op, arg } = Hypercall::status(&argument);
        // __HYPERVISOR_event_channel_op, EVTCHNOP_status.
        assert_eq!((op, arg[0]), (32, 5));
        assert_eq!(arg[1], argument.0.as_ptr().addr() as u64);
        assert_eq!(arg[2..], [0; 3]);
    }

    #[test]
    fn a_question_is_written_into_the_memory_that_xen_reads() {
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
    fn the_page_goes_with_the_one_who_asks() {
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
    fn memory_for_questions_that_cannot_be_mapped_is_named() {
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let error = Privcmd::with(null(), &null()).unwrap_err();
        assert_eq!(error.call(), &Call::MapArgument);
    }

    #[test]
    fn a_failed_question_says_which_port_it_was_about() {
        let port = Port::new(3).unwrap();
        let error = without_xen().status(DomId::new(9), port).unwrap_err();
        let asked = RemotePort {
            domid: DomId::new(9),
            port,
        };
        assert_eq!(error.call(), &Call::Status(asked));
        assert_eq!(error.errno(), Errno::NOTTY);
    }

    #[test]
    fn what_is_put_into_the_argument_is_got_out_of_it() {
        let argument = Argument::map(&page()).unwrap();
        argument.put(EvtchnStatus::of(DomId::new(5), Port::MAX));
        let got = argument.get();
        assert_eq!((got.dom, got.port), (5, Port::MAX.as_raw()));
        assert_eq!(argument.address() % 4096, 0);
    }
}
