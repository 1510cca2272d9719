//! A thread that blocks for the next wake of one channel, beside the rounds of others or alone.
//!
//! It reads the device like a round and leaves in the ready queue what is not its own. Its wake,
//! whoever reads it, is latched, and it takes it by looking.

use super::error::{LinkError, WaitError};
use super::{Channel, DeviceError, LoopError, Shared};
use crate::hal::{Open, Sleep, Slept};
use crate::machine::block::Look;
use crate::machine::port::Cause;
use crate::machine::{Blocker, ChannelId, NotBound, Waited};
use crate::trace;

/// What a blocking wait came to. In each case nobody waits any more.
///
/// ```
/// # use evtchn_core::{Context, DomId};
/// # use evtchn_sim::{Sim, SimLoop};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::new(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use std::time::Duration;
///
/// use evtchn_core::{Blocked, Cause};
///
/// assert_eq!(channel.block(Some(Duration::ZERO))?, Blocked::TimedOut);
/// guest.send(theirs)?;
/// assert_eq!(channel.block(None)?, Blocked::Woken(Cause::Event));
/// assert_eq!(channel.block_while(None, || false)?, Blocked::Stopped);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "only one of these is a wake"]
pub enum Blocked {
    /// The wake. After [`Cause::Gone`] nothing more comes from this channel.
    Woken(Cause),
    /// The deadline passed. An event that comes later is kept for the next wait.
    TimedOut,
    /// The caller's condition said so. An event that comes later is kept for the next wait.
    Stopped,
    /// Another thread cancelled the wait, or dropped the context.
    Cancelled,
}

/// The error of a sleep in the loop `R`.
pub type SleepError<O, R> = <R as Sleep<<O as Open>::Device>>::SleepError;
/// What a blocking wait gives.
pub type BlockResult<O, R> = Result<Blocked, Failed<O, R>>;
type Failed<O, R> = BlockError<DeviceError<O>, LoopError<O, R>, SleepError<O, R>>;

/// A blocking wait failed. Nobody waits that did not wait before.
///
/// ```
/// # use evtchn_core::{Context, DomId};
/// # use evtchn_sim::{Sim, SimLoop};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::new(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use evtchn_core::{BlockError, WaitError};
///
/// let _pending = channel.wait()?; // for a round
/// let error = channel.block(None).unwrap_err();
/// assert!(matches!(error, BlockError::Wait(WaitError::AlreadyWaited(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError<D, R, S>
where
    D: std::error::Error + 'static,
    R: std::error::Error + 'static,
    S: std::error::Error + 'static,
{
    /// The wait could not begin; or the process is a forked child that came out of it.
    #[error(transparent)]
    Wait(#[from] WaitError<D, R>),
    /// The device failed under this thread's read, and was closed. Every channel is dead, and
    /// every other waiter gets a wake with [`Cause::Gone`].
    #[error("the event-channel device failed: {0}")]
    Device(D),
    /// The event loop could not sleep.
    #[error("cannot sleep for the event-channel device: {0}")]
    Sleep(S),
}

impl<O: Open, R: Sleep<O::Device>> Channel<O, R> {
    /// Blocks this thread until the channel wakes, or until the deadline; `None` is as long as it
    /// takes. A signal does not end it.
    ///
    /// It may run beside rounds on other threads, inside a round, or where nobody dispatches:
    /// wakes of other channels that it reads are left to the next round, which the loop is told.
    /// A wake of this channel goes to this thread alone, also where the channel has a callback.
    ///
    /// # Errors
    /// [`BlockError`]; a second waiter is [`WaitError::AlreadyWaited`].
    pub fn block(&self, deadline: Option<R::Deadline>) -> BlockResult<O, R> {
        self.block_if(deadline, None)
    }

    /// [`block`](Self::block) for as long as `goes_on` says so.
    ///
    /// It is asked before each sleep, after each signal and after each
    /// [`wake`](crate::Registrar::wake) of the event loop. So another thread, or the handler of a
    /// signal where the loop's `wake` may be called in one, sets a flag and then wakes the loop.
    /// While it is asked, this thread holds no lock and does not watch the device for others.
    ///
    /// # Errors
    /// As there.
    pub fn block_while(
        &self,
        deadline: Option<R::Deadline>,
        goes_on: impl Fn() -> bool,
    ) -> BlockResult<O, R> {
        self.block_if(deadline, Some(&goes_on))
    }

    fn block_if(
        &self,
        deadline: Option<R::Deadline>,
        goes_on: Option<&dyn Fn() -> bool>,
    ) -> BlockResult<O, R> {
        let shared = &*self.shared;
        shared.admit().map_err(WaitError::from)?;
        let id = self.id();
        let mut state = shared.lock();
        if !state.takes_waits() {
            return Err(WaitError::from(NotBound(id)).into());
        }
        let (waited, blocker) = state.machine.block(id).map_err(WaitError::from)?;
        drop(state);
        match waited {
            Waited::Ready(cause) => {
                trace::wake(id, cause);
                return Ok(Blocked::Woken(cause));
            }
            Waited::Already | Waited::Blocked | Waited::Queued => {
                return Err(WaitError::AlreadyWaited(id).into());
            }
            Waited::Armed | Waited::Rearm => {}
        }
        let blocking = Blocking {
            shared,
            id,
            blocker,
        };
        shared.arm(id, waited)?;
        blocking.run(deadline, goes_on)
    }
}

/// While it lives, rounds leave the wake of this channel to this thread.
struct Blocking<'a, O: Open, R: Sleep<O::Device>> {
    shared: &'a Shared<O, R>,
    id: ChannelId,
    blocker: Blocker,
}

impl<O: Open, R: Sleep<O::Device>> Blocking<'_, O, R> {
    fn run(
        &self,
        deadline: Option<R::Deadline>,
        goes_on: Option<&dyn Fn() -> bool>,
    ) -> BlockResult<O, R> {
        let registrar = &self.shared.registrar;
        let sleeper = self.blocker.sleeper();
        let mut slept = Slept::Roused;
        loop {
            let ticket = registrar.ticket();
            let look = self.shared.lock().machine.look(self.id, self.blocker);
            match look {
                Look::Woken(cause) => {
                    trace::wake(self.id, cause);
                    return Ok(Blocked::Woken(cause));
                }
                Look::Cancelled => return Ok(Blocked::Cancelled),
                Look::Nothing => {}
            }
            if slept == Slept::TimedOut {
                return Ok(Blocked::TimedOut);
            }
            if let Some(goes_on) = goes_on {
                // It may take its time, or wait in the loop itself.
                registrar.leave(sleeper);
                let goes_on = goes_on();
                self.still_ours()?;
                if !goes_on {
                    return Ok(Blocked::Stopped);
                }
            }
            slept = registrar
                .sleep_as(sleeper, ticket, deadline)
                .map_err(BlockError::Sleep)?;
            self.still_ours()?;
            // At the deadline once more, for what came in time.
            if slept != Slept::Roused {
                self.read()?;
            }
        }
    }

    /// Refuses to go on in a forked child: the caller's condition may have forked, or the handler
    /// of a signal that ended the sleep.
    fn still_ours(&self) -> Result<(), Failed<O, R>> {
        match self.shared.is_inherited() {
            true => Err(WaitError::from(LinkError::Inherited).into()),
            false => Ok(()),
        }
    }

    /// Reads what there is. Other waiters' wakes are left to them, and the loop is told.
    fn read(&self) -> Result<(), Failed<O, R>> {
        let shared = self.shared;
        let mut state = shared.lock();
        let had_ready = state.machine.has_ready();
        let read = state.drain(shared.trigger);
        let has_news = state.machine.has_ready() && !had_ready;
        let rouse = state.machine.take_rouse(Some(self.blocker));
        drop(state);
        shared.wake_in_loop(has_news, rouse, Some(self.blocker));
        if shared.settle().is_err() {
            shared.count_unreported();
        }
        read.map_err(BlockError::Device)
    }
}

impl<O: Open, R: Sleep<O::Device>> Drop for Blocking<'_, O, R> {
    fn drop(&mut self) {
        // The caller's condition may have forked, and the lock be held for ever in the child.
        if self.shared.is_inherited() {
            return;
        }
        self.shared.registrar.leave(self.blocker.sleeper());
        self.shared.lock().machine.end_block(self.id, self.blocker);
        if self.shared.settle().is_err() {
            self.shared.count_unreported();
        }
    }
}
