//! What a forked child does: it is refused whatever it inherited, drops it, and opens a device of
//! its own.

use std::panic::{self, AssertUnwindSafe};

use anyhow::{Context as _, Result, bail, ensure};
use evtchn_core::{Context, DomId, Error};
use evtchn_xen::PollLoop;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::side::{ChannelOf, ContextOf, SharedOpen, Side, local};

/// What a child inherits.
pub(crate) struct Inherited {
    pub(crate) ctx: Option<ContextOf>,
    pub(crate) channels: Vec<ChannelOf>,
}

/// The whole life of a child. Other threads of the parent may have held any lock at the fork, so it
/// formats nothing.
pub(crate) fn child<S: Side>(side: &S, inherited: Inherited) -> Result<(), &'static str> {
    let Inherited { ctx, channels } = inherited;
    if let Some(ctx) = ctx {
        let bound = ctx.bind_unbound_port(DomId::SELF);
        expect(matches!(bound, Err(Error::Inherited)), "a child bound")?;
        let round = ctx.dispatch().map(drop);
        let refused = matches!(round, Err(Error::Inherited));
        expect(refused, "a child dispatched")?;
        let torn = ctx.teardown();
        let refused = matches!(torn, Err(Error::Inherited));
        expect(refused, "a child tore down")?;
        drop(ctx);
    }
    for mut channel in channels {
        let waited = channel.wait();
        let refused = matches!(waited, Err(Error::Inherited));
        expect(refused, "a child waited")?;
        let cancelled = channel.cancel();
        let refused = matches!(cancelled, Err(Error::Inherited));
        expect(refused, "a child cancelled")?;
        let notified = channel.notify();
        let refused = matches!(notified, Err(Error::Inherited));
        expect(refused, "a child notified")?;
        let unbound = channel.unbind();
        let refused = matches!(unbound, Err(Error::Inherited));
        expect(refused, "a child unbound")?;
        drop(channel);
    }
    own_life(side).ok_or("a child has no device of its own")
}

/// A context of its own, with a wake on it.
fn own_life<S: Side>(side: &S) -> Option<()> {
    let own = Context::with_registrar(SharedOpen::new(side), PollLoop::new().ok()?);
    let mut first = own.bind_unbound_port(DomId::SELF).ok()?;
    let mut second = own.bind_interdomain(local(first.port())).ok()?;
    second.notify().ok()?;
    first.block().ok()?;
    first.unbind().ok()?;
    second.unbind().ok()?;
    own.teardown().ok()
}

fn expect(holds: bool, complaint: &'static str) -> Result<(), &'static str> {
    holds.then_some(()).ok_or(complaint)
}

/// Runs `act` in a forked child, which ends with it. The parent keeps its own copy of `kept`.
pub(crate) fn in_child<T>(kept: T, act: impl FnOnce(T) -> Result<(), &'static str>) -> Result<T> {
    // SAFETY: the child has one thread. It allocates, which glibc allows for after a fork, and it
    // takes no other lock that one of its parent's threads may hold; it leaves by `_exit` alone.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| act(kept)));
        let complaint = ended.unwrap_or(Err("a child panicked")).err();
        if let Some(complaint) = complaint {
            let _unwritten = rustix::io::write(std::io::stderr(), complaint.as_bytes());
        }
        // SAFETY: it does not return, and runs none of the exit handlers of the parent.
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
