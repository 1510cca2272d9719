//! What a forked child does: it is refused whatever it inherited, drops it, and opens a device of
//! its own.

use std::panic::{self, AssertUnwindSafe};

use anyhow::{Context as _, Result, bail, ensure};
use evtchn_core::{
    BindError, Blocked, CancelError, Context, DispatchError, DomId, LinkError, NotifyError,
    TeardownError, UnbindError, WaitError,
};
use evtchn_xen::PollLoop;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::side::{ChannelOf, ContextOf, SharedOpen, Side, local};

/// What a child inherits.
pub(crate) struct Inherited<S: Side> {
    pub(crate) ctx: Option<ContextOf<S>>,
    pub(crate) channels: Vec<ChannelOf<S>>,
}

/// The whole life of a child. Other threads of the parent may have held any lock at the fork, so it
/// formats nothing.
pub(crate) fn child<S: Side>(side: &S, inherited: Inherited<S>) -> Result<(), &'static str> {
    let Inherited { ctx, channels } = inherited;
    if let Some(ctx) = ctx {
        let bound = ctx.bind_unbound_port(DomId::SELF);
        expect(matches!(bound, Err(BindError::Inherited)), "a child bound")?;
        let round = ctx.dispatch().map(drop);
        let refused = matches!(round, Err(DispatchError::Link(LinkError::Inherited)));
        expect(refused, "a child dispatched")?;
        let torn = ctx.teardown();
        let refused = matches!(torn, Err(TeardownError::Link(LinkError::Inherited)));
        expect(refused, "a child tore down")?;
        drop(ctx);
    }
    for channel in channels {
        let waited = channel.wait();
        let refused = matches!(waited, Err(WaitError::Link(LinkError::Inherited)));
        expect(refused, "a child waited")?;
        let cancelled = channel.cancel();
        let refused = matches!(cancelled, Err(CancelError::Link(LinkError::Inherited)));
        expect(refused, "a child cancelled")?;
        let notified = channel.notify();
        let refused = matches!(notified, Err(NotifyError::Inherited));
        expect(refused, "a child notified")?;
        let unbound = channel.unbind();
        let refused = matches!(&unbound, Err(UnbindError::Inherited(_)));
        expect(refused, "a child unbound")?;
        drop(unbound);
    }
    own_life(side).ok_or("a child has no device of its own")
}

/// A context of its own, with a wake on it.
fn own_life<S: Side>(side: &S) -> Option<()> {
    let own = Context::new(SharedOpen::new(side), PollLoop::new().ok()?);
    let first = own.bind_unbound_port(DomId::SELF).ok()?;
    let second = own.bind_interdomain(local(first.port())).ok()?;
    second.notify().ok()?;
    let woken = matches!(first.block(None).ok()?, Blocked::Woken(_));
    first.unbind().ok()?;
    second.unbind().ok()?;
    own.teardown().ok()?;
    woken.then_some(())
}

fn expect(holds: bool, complaint: &'static str) -> Result<(), &'static str> {
    holds.then_some(()).ok_or(complaint)
}

/// Runs `act` in a forked child, which ends with it. What it takes the parent keeps, as `kept`.
pub(crate) fn in_child<T>(kept: T, act: impl FnOnce(T) -> Result<(), &'static str>) -> Result<T> {
    // SAFETY: the child has one thread. It allocates, which glibc allows for after a fork, and it
    // takes no other lock that one of its parent's threads may hold; it leaves by `_exit` alone.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| act(kept)));
        let complaint = ended.unwrap_or(Err("a child panicked")).err();
        if let Some(complaint) = complaint {
            let _nobody_hears = rustix::io::write(std::io::stderr(), complaint.as_bytes());
        }
        // SAFETY: it returns to nobody, and leaves alone what would run at an exit of the parent.
        unsafe { libc::_exit(i32::from(complaint.is_some())) }
    }
    let Some(child) = Pid::from_raw(child) else {
        bail!("cannot fork: {}", std::io::Error::last_os_error());
    };
    let ended = waitpid(Some(child), WaitOptions::empty())?;
    let (_, status) = ended.context("the child has not ended")?;
    ensure!(status.exit_status() == Some(0), "a forked child failed");
    Ok(kept)
}
