//! Steps in dom0 that all cases share.

use std::os::fd::AsFd;
use std::time::Duration;

use evtchn_core::{
    DeviceError, DomId, ErrorKind, EventChannel, Open, Outcome, Port, PortBuf, RemotePort, Wake,
};
use evtchn_xen::{Errno, PollLoop};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::backend::{Backend, PATIENCE};
use super::side::{Guest, Side, There};

pub(crate) type DeviceOf<S> = <<S as Side>::Open as Open>::Device;
pub(crate) type Context = evtchn_core::Context<PollLoop>;
pub(crate) type Channel = evtchn_core::Channel<PollLoop>;

pub(crate) fn open<S: Side>(side: &S) -> DeviceOf<S> {
    side.opener().open().unwrap()
}

pub(crate) fn of(domid: DomId, port: Port) -> RemotePort {
    RemotePort { domid, port }
}

pub(crate) fn port(raw: u32) -> Port {
    Port::new(raw).unwrap()
}

/// Reads once without waiting.
#[track_caller]
pub(crate) fn read<D: EventChannel>(device: &D) -> Vec<u32> {
    let mut buf = PortBuf::with_capacity(PortBuf::MAX);
    device.pending(&mut buf).unwrap();
    buf.words().to_vec()
}

fn is_ready<D: AsFd>(device: &D, patience: Duration) -> bool {
    let mut fds = [PollFd::new(device, PollFlags::IN)];
    let timeout = Timespec::try_from(patience).unwrap();
    poll(&mut fds, Some(&timeout)).unwrap() > 0
}

/// Waits until the device is ready, and demands that it reports this port alone.
#[track_caller]
pub(crate) fn expect_event<D: EventChannel + AsFd>(device: &D, port: Port) {
    assert!(is_ready(device, PATIENCE), "no event in {PATIENCE:?}");
    assert_eq!(read(device), [port.as_raw()]);
}

/// Demands that there is nothing to read.
#[track_caller]
pub(crate) fn expect_quiet<D: EventChannel + AsFd>(device: &D) {
    assert!(!is_ready(device, Duration::ZERO));
    assert!(read(device).is_empty());
}

/// Demands that a call was refused with this errno, and that generic code sees this kind.
#[track_caller]
pub(crate) fn expect_refused<S: Side, T: std::fmt::Debug>(
    answer: Result<T, DeviceError>,
    errno: Errno,
    kind: ErrorKind,
) {
    let error = answer.unwrap_err();
    assert_eq!(
        (S::Open::errno(&error), error.kind()),
        (errno, kind),
        "{error}"
    );
    assert_eq!(error.code(), Some(errno.raw_os_error()), "{error}");
}

/// Connects a port of dom0 to one of the guest, which binds. Both are unmasked and have no event.
#[track_caller]
pub(crate) fn connect<D: EventChannel, G: Guest>(
    here: &D,
    guest: &G,
    there: &There<'_, G>,
) -> (Port, Port) {
    let near = here.bind_unbound_port(guest.domid()).unwrap();
    let far = there.bind_interdomain(DomId::DOM0, near).unwrap();
    assert_eq!(there.read(), [far.as_raw()]);
    there.unmask(far);
    (near, far)
}

/// A context in dom0, on a loop.
pub(crate) struct Rig {
    pub(crate) poll_loop: PollLoop,
    pub(crate) context: Context,
}

impl Rig {
    pub(crate) fn new<S: Side>(side: &S) -> Rig {
        let poll_loop = PollLoop::new().unwrap();
        Rig {
            context: Context::with_registrar(side.opener(), poll_loop.clone()),
            poll_loop,
        }
    }

    /// A channel that a guest may bind to, waited for.
    #[track_caller]
    pub(crate) fn offer<G: Guest>(&self, guest: &G) -> Channel {
        let channel = self.context.bind_unbound_port(guest.domid()).unwrap();
        channel.wait().unwrap();
        channel
    }

    /// Sleeps until there is something to dispatch, and does `each` with every wake of the round.
    #[track_caller]
    pub(crate) fn turn(&self, each: impl FnMut(Wake)) {
        if self.context.next_timeout().is_none() {
            let readiness = self.poll_loop.wait(Some(PATIENCE)).unwrap();
            assert!(!readiness.timed_out(), "no event in {PATIENCE:?}");
        }
        let mut round = self.context.dispatch().unwrap();
        round.by_ref().for_each(each);
        let _more_or_not: Outcome = round.finish().unwrap();
    }

    /// Demands that there is nothing to dispatch.
    #[track_caller]
    pub(crate) fn expect_quiet(&self) {
        assert_eq!(self.context.next_timeout(), None);
        assert!(!self.poll_loop.wait(Some(Duration::ZERO)).unwrap().ready);
    }
}
