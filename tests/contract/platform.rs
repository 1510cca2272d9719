//! What a case needs from the side that it runs on, and the few moves that all cases share.

use std::os::fd::AsFd;

use evtchn_core::{DeviceError, DomId, ErrorKind, EventChannel, Open, Port, PortBuf, PortStatuses};
use evtchn_core::{RemotePort, Sleep, Virq};
use evtchn_sim::{KernelData, Policy};
use rustix::event::PollFlags;
use rustix::io::Errno;

/// One of the two sides: the simulator, or the real device.
///
/// Nothing else uses it while it lives.
pub(crate) trait Platform {
    type Device: EventChannel + AsFd;
    type Open: Open<Device = Self::Device>;
    type Loop: Sleep;
    type Privcmd: PortStatuses;

    fn opener(&self) -> Self::Open;

    /// An opener whose devices notify many ports in one hypercall.
    fn batching(&self) -> Self::Open;

    /// A new event loop that watches nothing yet.
    fn event_loop(&self) -> Self::Loop;

    /// The source of the statuses of ports.
    fn privcmd(&self) -> Self::Privcmd;

    /// Whether a device notifies many ports in one hypercall.
    fn has_multicall(&self, device: &Self::Device) -> bool;

    /// A source of statuses that asks about many ports in one hypercall.
    fn batching_privcmd(&self) -> Self::Privcmd;

    /// The domain that the devices live in.
    fn domid(&self) -> DomId;

    /// The pair of Xen and Linux that it is.
    fn pair(&self) -> evtchn_sim::Platform;

    /// What the kernel of the domain takes for itself.
    fn kernel(&self) -> KernelData {
        match self.domid() {
            DomId::DOM0 => self.pair().dom0,
            _ => self.pair().guest,
        }
    }

    /// Returns when the device has ports or an overflow to report, and fails if it never has.
    fn expect_ready(&self, device: &Self::Device);

    /// [`expect_ready`](Self::expect_ready) through the event loop.
    fn expect_loop_ready(&self, event_loop: &Self::Loop);

    /// Whether the event loop reports the device right now.
    fn is_loop_ready(&self, event_loop: &Self::Loop) -> bool;

    /// The bits that `poll` reports for the device right now.
    fn poll(&self, device: &Self::Device) -> PollFlags;

    /// The errno that the backend's own error has, which is the source of this one.
    fn errno(error: &DeviceError) -> Errno;

    /// `read` of any number of bytes.
    fn raw_read(&self, device: &Self::Device, bytes: &mut [u8]) -> Result<usize, Errno>;

    /// `write` of any number of bytes.
    fn raw_write(&self, device: &Self::Device, bytes: &[u8]) -> Result<usize, Errno>;

    /// A second descriptor of the same open file.
    fn dup(&self, device: &Self::Device) -> Self::Device;

    fn set_nonblocking(&self, device: &Self::Device, is_on: bool) -> Result<(), Errno>;

    /// `lseek` to the start.
    fn seek(&self, device: &Self::Device) -> Result<(), Errno>;

    /// `pread` at the start.
    fn read_at(&self, device: &Self::Device, bytes: &mut [u8]) -> Result<(), Errno>;

    /// `pwrite` at the start.
    fn write_at(&self, device: &Self::Device, bytes: &[u8]) -> Result<(), Errno>;

    /// `FIONREAD`.
    fn readable_bytes(&self, device: &Self::Device) -> Result<(), Errno>;

    /// Watches a device edge-triggered, with a loop that behaves as on the device. Each call of the
    /// returned function looks once.
    fn edge_watch(&self, device: &Self::Device) -> Box<dyn Fn() -> bool>;

    fn open(&self) -> Self::Device {
        self.opener().open().unwrap()
    }
}

pub(crate) type DeadlineOf<P> = <<P as Platform>::Loop as Sleep>::Deadline;

/// The bits of `poll` without anything to read.
pub(crate) const OUT: PollFlags = PollFlags::OUT.union(PollFlags::WRNORM);
/// The bits of `poll` with events to read.
pub(crate) const IN_OUT: PollFlags = OUT.union(PollFlags::IN).union(PollFlags::RDNORM);
/// The bits of `poll` after an overflow.
pub(crate) const ERR: PollFlags = PollFlags::ERR;

/// Virtual interrupts that the kernel of the domain leaves to programs.
pub(crate) fn free_virqs<P: Platform>(p: &P) -> impl Iterator<Item = Virq> {
    const MOSTLY: [Virq; 5] = [
        Virq::DEBUG,
        Virq::TBUF,
        Virq::CON_RING,
        Virq::XENPMU,
        Virq::new(17),
    ];
    let held = p.kernel().virqs.value;
    MOSTLY.into_iter().filter(|virq| !held.contains(virq))
}

/// A port for a domain that does not exist. Xen's policy SILO refuses it, and then there is none.
#[track_caller]
pub(crate) fn for_absent<P: Platform>(p: &P, device: &P::Device, domid: DomId) -> Option<Port> {
    let bound = device.bind_unbound_port(domid);
    match p.pair().policy.value {
        Policy::Dummy => Some(bound.unwrap()),
        Policy::Silo => {
            expect_refused::<P, _>(bound, Errno::SRCH, ErrorKind::NoSuchDomain);
            None
        }
    }
}

/// A port of this domain, as a peer in the same domain names it.
pub(crate) fn local(port: Port) -> RemotePort {
    RemotePort {
        domid: DomId::SELF,
        port,
    }
}

pub(crate) fn port(raw: u32) -> Port {
    Port::new(raw).unwrap()
}

/// Connects a new port of `near` to a new port of `far`. Only `far` has an event of it.
#[track_caller]
pub(crate) fn connect<D: EventChannel>(near: &D, far: &D) -> (Port, Port) {
    let near = near.bind_unbound_port(DomId::SELF).unwrap();
    (near, far.bind_interdomain(local(near)).unwrap())
}

/// [`connect`] so often that `near` gets this many ports.
pub(crate) fn connect_many<D: EventChannel>(near: &D, far: &D, count: usize) -> Vec<(Port, Port)> {
    (0..count).map(|_| connect(near, far)).collect()
}

/// Reads once, at most `count` ports, without waiting.
#[track_caller]
pub(crate) fn read_at_most<D: EventChannel>(device: &D, count: usize) -> Vec<u32> {
    let mut buf = PortBuf::with_capacity(count);
    device.pending(&mut buf).unwrap();
    buf.words().to_vec()
}

/// Reads once without waiting.
#[track_caller]
pub(crate) fn read<D: EventChannel>(device: &D) -> Vec<u32> {
    read_at_most(device, PortBuf::MAX)
}

/// Waits until the device is ready and demands that it reports these ports and no more.
#[track_caller]
pub(crate) fn expect_events<P: Platform>(p: &P, device: &P::Device, ports: &[Port]) {
    p.expect_ready(device);
    assert_eq!(read(device), words(ports));
}

/// Demands that the device has nothing to report.
#[track_caller]
pub(crate) fn expect_quiet<P: Platform>(p: &P, device: &P::Device) {
    assert_eq!(p.poll(device), OUT);
    assert!(read(device).is_empty());
}

pub(crate) fn words(ports: &[Port]) -> Vec<u32> {
    ports.iter().map(|port| port.as_raw()).collect()
}

/// The bytes that `read` and `write` carry for these words.
pub(crate) fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Demands that a call was refused with this errno, and that generic code sees this kind.
#[track_caller]
pub(crate) fn expect_refused<P: Platform, T: std::fmt::Debug>(
    answer: Result<T, DeviceError>,
    errno: Errno,
    kind: ErrorKind,
) {
    let error = answer.unwrap_err();
    assert_eq!((P::errno(&error), error.kind()), (errno, kind), "{error}");
    assert_eq!(error.code(), Some(errno.raw_os_error()), "{error}");
}

/// Fills a ring of 64 with entries of one port, by unmasking it without a read.
pub(crate) fn fill<D: EventChannel>(device: &D, port: Port, fire: impl Fn()) {
    for _ in 0..64 {
        fire();
        device.unmask(&[port]).unwrap();
    }
}

/// Overflows a ring of 64. The port is left masked.
pub(crate) fn overflow<D: EventChannel>(device: &D, port: Port, fire: impl Fn()) {
    fill(device, port, &fire);
    fire();
}
