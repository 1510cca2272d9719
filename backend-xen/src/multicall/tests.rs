//! Batches without Xen: a memory file in the place of its pages, and a privcmd that plays Xen on it.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evtchn_core::{DomId, ErrorKind, EventChannel, Open as _};

use super::*;
use crate::XenOpen;
use crate::privcmd::hypercall::Hypercall;

/// Bytes of an entry of the list (`struct multicall_entry`).
const ENTRY: u64 = 64;
/// Where the arguments begin.
const ARGUMENTS: u64 = 1024 * ENTRY;

/// What the privcmd of a test saw.
#[derive(Default)]
struct Seen {
    /// The ports of each hypercall.
    sent: Mutex<Vec<Vec<u32>>>,
    /// How often it is closed.
    closed: AtomicUsize,
}

/// A privcmd that takes hypercalls out of the memory file, and answers in it. It refuses those after
/// the first `most`, and sends through ports with an odd number are `EINVAL`.
struct Xen {
    memory: fs::File,
    most: usize,
    seen: Arc<Seen>,
}

impl MakeHypercall for Xen {
    #[expect(unsafe_code, reason = "the real one has to be trusted with addresses")]
    unsafe fn make(&self, hypercall: Hypercall) -> Result<(), Errno> {
        let mut sent = self.seen.sent.lock().unwrap();
        if sent.len() == self.most {
            return Err(Errno::PERM);
        }
        let [list, count, ..] = hypercall.arg;
        assert_eq!((hypercall.op, &hypercall.arg[2..]), (13, &[0; 3][..]));
        let ports = (0..count).map(|index| {
            let mut words = [[0; 8]; 8];
            let entry = index * ENTRY;
            self.memory
                .read_exact_at(words.as_flattened_mut(), entry)
                .unwrap();
            let [op, _, operation, argument, rest @ ..] = words.map(u64::from_ne_bytes);
            // __HYPERVISOR_event_channel_op, EVTCHNOP_send.
            assert_eq!((op, operation, rest), (32, 4, [0; 4]));
            let mut port = [0; 4];
            self.memory
                .read_exact_at(&mut port, argument - list)
                .unwrap();
            let port = u32::from_ne_bytes(port);
            let result = if port % 2 == 1 { -22_i64 } else { 0 };
            self.memory
                .write_all_at(&result.to_ne_bytes(), entry + 8)
                .unwrap();
            port
        });
        sent.push(ports.collect());
        Ok(())
    }
}

impl Drop for Xen {
    fn drop(&mut self) {
        self.seen.closed.fetch_add(1, Ordering::Relaxed);
    }
}

fn memory() -> OwnedFd {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let memory = rustix::fs::memfd_create("hypercalls-of-a-test", flags).unwrap();
    rustix::fs::ftruncate(&memory, ARGUMENTS + 1024 * 4).unwrap();
    memory
}

/// A sender whose privcmd refuses all hypercalls after the first `most`.
fn sender(most: usize) -> (Sender, Arc<Seen>) {
    let (memory, seen) = (memory(), Arc::<Seen>::default());
    let batch = Batch::map(&memory).unwrap();
    let xen = Xen {
        memory: memory.into(),
        most,
        seen: Arc::clone(&seen),
    };
    (Sender::with(Box::new(xen), batch).unwrap(), seen)
}

fn ports(raw: impl IntoIterator<Item = u32>) -> Vec<Port> {
    raw.into_iter().map(|raw| Port::new(raw).unwrap()).collect()
}

/// How many ports it sent, and the places that Xen refused.
fn send(sender: &Sender, ports: &[Port]) -> (usize, Vec<usize>) {
    let mut refused = Vec::new();
    let sent = sender.send(ports, &mut |place, error| {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(error.port(), Some(ports[place]));
        refused.push(place);
    });
    (sent, refused)
}

#[test]
fn many_ports_are_one_hypercall_each_with_a_result_of_its_own() {
    let (sender, seen) = sender(usize::MAX);
    assert_eq!(send(&sender, &ports([2, 4, 6])), (3, vec![]));
    assert_eq!(send(&sender, &ports([3, 8, 5])), (3, vec![0, 2]));
    assert_eq!(send(&sender, &ports([2, 2])), (2, vec![]));
    assert_eq!(
        *seen.sent.lock().unwrap(),
        [vec![2, 4, 6], vec![3, 8, 5], vec![2, 2]]
    );
}

#[test]
fn a_single_port_and_none_at_all_are_left_to_the_ioctl() {
    let (sender, seen) = sender(usize::MAX);
    assert_eq!(send(&sender, &ports([2])), (0, vec![]));
    assert_eq!(send(&sender, &[]), (0, vec![]));
    assert!(seen.sent.lock().unwrap().is_empty());
}

#[test]
fn more_than_1024_ports_are_several_hypercalls_and_a_single_one_left_is_an_ioctl() {
    let (sender, seen) = sender(usize::MAX);
    let even = |count: u32| ports((1..=count).map(|port| port * 2));
    assert_eq!(send(&sender, &even(1_030)).0, 1_030);
    assert_eq!(send(&sender, &even(1_025)).0, 1_024);
    let lengths = seen
        .sent
        .lock()
        .unwrap()
        .iter()
        .map(Vec::len)
        .collect::<Vec<_>>();
    assert_eq!(lengths, [1_024, 6, 1_024]);
    let mut many = even(1_030);
    many[1_029] = Port::new(7).unwrap();
    assert_eq!(send(&sender, &many), (1_030, vec![1_029]));
}

#[test]
fn a_refused_hypercall_is_the_last_one_and_closes_privcmd() {
    let (sender, seen) = sender(1);
    let many = ports((1..=1_030).map(|port| port * 2));
    assert_eq!(send(&sender, &many), (1_024, vec![]));
    assert!(!sender.is_open());
    assert_eq!(seen.closed.load(Ordering::Relaxed), 1);
    assert_eq!(send(&sender, &many), (0, vec![]));
    assert_eq!(seen.sent.lock().unwrap().len(), 1);
}

#[test]
fn a_closed_sender_sends_nothing_and_has_closed_privcmd() {
    let (sender, seen) = sender(usize::MAX);
    assert!(sender.is_open());
    sender.close();
    assert_eq!(seen.closed.load(Ordering::Relaxed), 1);
    assert_eq!(send(&sender, &ports([2, 4])), (0, vec![]));
}

#[test]
fn a_forked_child_sends_nothing_and_leaves_the_memory_alone() {
    let (sender, seen) = sender(usize::MAX);
    assert_eq!(send(&sender, &ports([2, 4])), (2, vec![]));
    #[expect(unsafe_code, reason = "fork(2)")]
    // SAFETY: the child calls nothing that allocates or takes a lock before it ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let sent = sender.send(&[Port::MAX; 2], &mut |_, _| {});
        let is_refused = sent == 0 && !sender.is_open();
        #[expect(unsafe_code, reason = "_exit(2)")]
        // SAFETY: it does not return, and runs no exit handlers.
        unsafe {
            libc::_exit(i32::from(!is_refused))
        }
    }
    let child = rustix::process::Pid::from_raw(child);
    let ended = rustix::process::waitpid(child, rustix::process::WaitOptions::empty());
    assert_eq!(ended.unwrap().unwrap().1.exit_status(), Some(0));
    assert!(sender.is_open());
    assert_eq!(seen.sent.lock().unwrap().len(), 1);
}

#[test]
fn a_dropped_batch_leaves_no_mapping() {
    let name = "dropped-hypercalls";
    let memory = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, ARGUMENTS + 1024 * 4).unwrap();
    let is_mapped = || {
        fs::read_to_string("/proc/self/maps")
            .unwrap()
            .contains(name)
    };
    let batch = Batch::<EvtchnSend>::map(&memory).unwrap();
    assert!(is_mapped());
    drop(batch);
    assert!(!is_mapped());
}

#[test]
fn memory_that_cannot_be_mapped_is_an_error() {
    let null = fs::File::options().read(true).write(true).open("/dev/null");
    let mapped = Batch::<EvtchnSend>::map(&null.unwrap().into());
    assert_eq!(mapped.unwrap_err(), Errno::NODEV);
}

#[test]
fn multicall_is_wanted_where_the_program_says_and_linux_says_pv() {
    assert!(is_pv("PV\n") && is_pv("PV"));
    for other in ["PVH\n", "HVM\n", "", "Xen\n"] {
        assert!(!is_pv(other), "{other:?}");
    }
    assert!(!Multicall::Never.is_wanted_in(|| true));
    assert!(Multicall::Always.is_wanted_in(|| false));
    for pv in [false, true] {
        assert_eq!(Multicall::WherePv.is_wanted_in(|| pv), pv);
    }
}

/// A device on `/dev/null`, which refuses every ioctl, with this sender.
fn device(sender: Sender) -> crate::Device {
    let device = XenOpen::at("/dev/null").open().unwrap();
    device.with_sender(Some(sender))
}

#[test]
fn what_no_hypercall_sends_goes_out_by_ioctl_under_its_place() {
    let (sender, seen) = sender(1);
    let device = device(sender);
    assert!(device.has_multicall());
    let many = ports((1..=1_030).map(|port| port * 2));
    let mut failed = Vec::new();
    let mut note = |place, error: DeviceError| failed.push((place, error.code()));
    device.notify_many(&many, &mut note);
    // ENOTTY: it is not an event-channel device.
    assert_eq!(
        failed,
        (1_024..1_030).map(|at| (at, Some(25))).collect::<Vec<_>>()
    );
    assert!(!device.has_multicall());
    assert_eq!(seen.sent.lock().unwrap().len(), 1);
}

#[test]
fn a_restriction_that_fails_leaves_multicall() {
    let device = device(sender(1).0);
    device.restrict(DomId::new(7)).unwrap_err();
    assert!(device.has_multicall());
}

#[test]
fn a_device_that_did_not_ask_has_no_multicall() {
    for when in [Multicall::Never, Multicall::WherePv, Multicall::Always] {
        let opened = XenOpen::at("/dev/null").multicall(when).open().unwrap();
        let there = std::path::Path::new(privcmd::PRIVCMD_PATH).exists();
        assert!(there || !opened.has_multicall(), "{when:?}");
    }
    assert!(!XenOpen::at("/dev/null").open().unwrap().has_multicall());
}
