//! Failures and other calls while a check asks for statuses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use evtchn::sim::{Call, Errno, Fault};
use evtchn::{
    Cause, DeviceCall, DeviceError, DomId, Error, Port, PortStatus, PortStatuses, RemotePort,
};

use super::rig;

#[test]
fn a_status_that_fails_changes_nothing_and_names_the_port() {
    let rig = rig();
    let (one, other) = (rig.known(), rig.known());
    one.close();
    let second = Fault::fail(Call::Status, Errno::EPERM).nth(2);
    rig.sim.install(second);
    let privcmd = rig.sim.privcmd(DomId::DOM0);
    let error = rig.context.check_peers_with(&privcmd).unwrap_err();
    let port = other.port();
    let asked = RemotePort {
        domid: DomId::SELF,
        port,
    };
    let call = DeviceCall::Status(asked);
    assert_eq!(error.device().map(DeviceError::call), Some(call));
    assert_eq!(Errno::of(&error), Some(Errno::EPERM));
    assert_eq!(rig.turn(), []);
    assert_eq!(rig.check(), 1);
    assert_eq!(rig.turn(), [one.gone()]);

    rig.sim
        .install(Fault::fail(Call::Status, Errno::EPERM).nth(1));
    let error = one.channel.peer_state_with(&privcmd).unwrap_err();
    assert!(matches!(error, Error::Device(_)), "{error:?}");
    assert_eq!(Errno::of(&error), Some(Errno::EPERM));
}

#[test]
fn a_device_that_fails_in_the_check_wakes_its_waiters() {
    let rig = rig();
    let wire = rig.known();
    wire.close();
    rig.opener.fail_next(Call::Pending, Errno::EIO);
    let privcmd = rig.sim.privcmd(DomId::DOM0);
    let error = rig.context.check_peers_with(&privcmd).unwrap_err();
    assert_eq!(
        error.device().map(DeviceError::call),
        Some(DeviceCall::Pending)
    );
    assert_eq!(rig.turn(), [(wire.port(), Cause::Gone)]);
    let error = wire.channel.peer_state_with(&privcmd).unwrap_err();
    assert!(matches!(error, Error::NotBound(_)));
}

/// Returns the status, and does something else each time.
struct Meanwhile<'a, F>(evtchn::sim::SimPrivcmd, &'a F);

impl<F: Fn() + Send + Sync> PortStatuses for Meanwhile<'_, F> {
    fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError> {
        let status = self.0.status(domid, port);
        (self.1)();
        status
    }
}

#[test]
fn a_status_call_may_use_the_context_except_for_another_check() {
    let rig = rig();
    let (one, other) = (rig.known(), rig.known());
    one.close();
    other.close();
    let privcmd = rig.sim.privcmd(DomId::DOM0);
    let acts = || {
        let busy = rig.context.check_peers_with(&privcmd);
        assert!(matches!(busy, Err(Error::Busy)));
        one.channel.cancel().unwrap();
        drop(rig.wire());
    };
    let statuses = Meanwhile(privcmd.clone(), &acts);
    assert_eq!(rig.context.check_peers_with(&statuses).unwrap(), 2);
    assert_eq!(rig.turn(), [other.gone()]);
    rig.expect_kept(&one.channel, Cause::PeerGone);
    assert_eq!(rig.check(), 0, "the check before is over");
}

#[test]
fn a_channel_unbound_during_the_check_is_left_out() {
    let rig = rig();
    let wire = rig.known();
    wire.close();
    let channel = Mutex::new(Arc::into_inner(wire.channel));
    let next = Mutex::new(None);
    let acts = || {
        let Some(mut channel) = channel.lock().unwrap().take() else {
            return;
        };
        let port = channel.port();
        channel.unbind().unwrap();
        let again = rig.wire();
        assert_eq!(again.port(), port);
        again.wait();
        *next.lock().unwrap() = Some(again);
    };
    let statuses = Meanwhile(rig.sim.privcmd(DomId::DOM0), &acts);
    assert_eq!(rig.context.check_peers_with(&statuses).unwrap(), 0);
    assert_eq!(rig.turn(), []);
}

/// The status call may fork, and then it returns in the child as well.
#[test]
fn a_child_forked_during_a_check_reads_nothing_and_wakes_nothing() {
    let rig = rig();
    let wire = rig.known();
    wire.close();
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    rig.sim.install(Fault::meanwhile(Call::Pending, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    let parent = rig.opener.dup().unwrap();
    let fork = || rig.opener.fork();
    let statuses = Meanwhile(rig.sim.privcmd(DomId::DOM0), &fork);
    let refused = rig.context.check_peers_with(&statuses);
    assert!(matches!(refused, Err(Error::Inherited)));
    assert_eq!(reads.load(Ordering::Relaxed), 0);
    assert_eq!(rig.context.stats().peers_gone, 0);
    drop(parent);
}

#[test]
fn an_inherited_context_checks_nothing() {
    let rig = rig();
    let wire = rig.known();
    wire.close();
    let privcmd = rig.sim.privcmd(DomId::DOM0);
    let parent = rig.opener.dup().unwrap();
    rig.opener.fork();
    let refused = rig.context.check_peers_with(&privcmd);
    assert!(matches!(refused, Err(Error::Inherited)));
    let refused = wire.channel.peer_state_with(&privcmd);
    assert!(matches!(refused, Err(Error::Inherited)));
    drop(parent);
}
