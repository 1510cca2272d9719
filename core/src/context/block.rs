//! A thread that blocks for the next wake of one channel, beside the rounds of other threads or
//! alone.
//!
//! It reads the device like a round and leaves the wakes of other channels in the ready queue.
//! Whichever thread reads the event of its own channel latches the wake, and the blocked thread
//! takes it from there.

use std::mem::take;
use std::time::Duration;

use super::observed::ok;
use super::{Channel, Shared};
use crate::error::Error;
use crate::hal::{Sleep, Slept};
use crate::machine::block::Look;
use crate::machine::port::Cause;
use crate::machine::{ChannelId, Owner, Waited, Waiter};
use crate::observe::{Called, Came, Hook};
use crate::trace;

/// How a blocking wait ended.
enum Blocked {
    /// The wake.
    Woken(Cause),
    /// The deadline passed, or the caller's condition ended it. An event that comes later is kept
    /// for the next wait.
    Ended,
    /// Another thread cancelled the wait, or dropped the context.
    Cancelled,
}

impl<R: Sleep> Channel<R> {
    /// Blocks this thread until the channel wakes. A signal does not end it.
    ///
    /// It works beside rounds on other threads, inside a round, and in a program without rounds. If
    /// it reads wakes of other channels, it leaves them to the next round and wakes the event loop.
    /// The wake of this channel goes to this thread only, even if the channel has a callback.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Cause, Context, DomId};
    ///
    /// let sim = Sim::new(1);
    /// let guest = sim.guest(sim.create_domain()?);
    /// let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    /// let channel = ctx.bind_unbound_port(guest.domid())?;
    /// guest.send(guest.bind_interdomain(DomId::DOM0, channel.port())?)?;
    /// assert_eq!(channel.block()?, Cause::Event);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// This wait has ended; an earlier one goes on. [`Error::AlreadyWaited`] if the channel has
    /// another waiter; [`Error::Device`] if the device failed; [`Error::Cancelled`] if another
    /// thread cancelled the wait or dropped the context; [`Error::Sleep`] if the event loop cannot
    /// sleep; those of a [wait](Self::wait).
    pub fn block(&self) -> Result<Cause, Error> {
        let channel = self.id();
        let call = || {
            let until = false;
            Called::Block { channel, until }
        };
        match self.block_if(call, |_| None, None)? {
            Blocked::Woken(cause) => Ok(cause),
            Blocked::Cancelled => Err(Error::Cancelled),
            Blocked::Ended => unreachable!("it has neither a deadline nor a condition"),
        }
    }

    /// [`block`](Self::block) for at most this long. Returns `None` if it timed out.
    ///
    /// # Errors
    /// Those of [`block`](Self::block).
    pub fn block_for(&self, timeout: Duration) -> Result<Option<Cause>, Error> {
        let deadline = |registrar: &R| Some(registrar.deadline(timeout));
        self.block_if(|| self.blocks(), deadline, None)?.woken()
    }

    /// [`block`](Self::block) until this point in the time of the event loop. Returns `None` if it
    /// timed out.
    ///
    /// # Errors
    /// Those of [`block`](Self::block).
    pub fn block_until(&self, deadline: R::Deadline) -> Result<Option<Cause>, Error> {
        self.block_if(|| self.blocks(), |_| Some(deadline), None)?
            .woken()
    }

    /// [`block`](Self::block) for as long as `goes_on` returns true, and until the deadline if
    /// there is one. Returns `None` if one of the two ended it.
    ///
    /// `goes_on` is called before each sleep, after each signal and after each
    /// [`wake`](crate::Registrar::wake) of the event loop. To end the block, another thread sets a
    /// flag and then wakes the loop; so may a signal handler, if the loop's `wake` may be called in
    /// one. While `goes_on` runs, this thread holds no lock, and another thread that waits polls the
    /// device.
    ///
    /// # Errors
    /// Those of [`block`](Self::block).
    pub fn block_while(
        &self,
        deadline: Option<R::Deadline>,
        goes_on: impl Fn() -> bool,
    ) -> Result<Option<Cause>, Error> {
        let call = || Called::Other("block_while");
        self.block_if(call, |_| deadline, Some(&goes_on))?.woken()
    }

    const fn blocks(&self) -> Called<'static> {
        Called::Block {
            channel: self.id(),
            until: true,
        }
    }

    fn block_if(
        &self,
        call: impl FnOnce() -> Called<'static>,
        deadline: impl FnOnce(&R) -> Option<R::Deadline>,
        goes_on: Option<&dyn Fn() -> bool>,
    ) -> Result<Blocked, Error> {
        let block = || self.block_now(deadline, goes_on);
        self.shared.observed(call, block, |blocked| {
            ok(blocked, |blocked| match blocked {
                Blocked::Woken(cause) => Came::Woken(Some(*cause)),
                Blocked::Ended => Came::Woken(None),
                Blocked::Cancelled => Came::Failed(&Error::Cancelled),
            })
        })
    }

    fn block_now(
        &self,
        deadline: impl FnOnce(&R) -> Option<R::Deadline>,
        goes_on: Option<&dyn Fn() -> bool>,
    ) -> Result<Blocked, Error> {
        let shared = &*self.shared;
        shared.check_caller()?;
        let id = self.id();
        let mut state = shared.lock();
        let waiter = state.machine.waiter();
        let waited = state.wait(id, Owner::of(waiter))?;
        drop(state);
        if let Waited::Ready(cause) = waited {
            return shared.woken(id, cause);
        }
        let blocking = Blocking { shared, id, waiter };
        let blocked = match shared.arm(id, waited, || ()) {
            // After registering, because a device may have its own time, which the loop takes from
            // it.
            Ok(()) => blocking.run(deadline(&shared.registrar), goes_on),
            Err(error) => Err(error),
        };
        // Before the result is returned, which would leak if a hook panics.
        drop(blocking);
        blocked
    }
}

impl Blocked {
    fn woken(self) -> Result<Option<Cause>, Error> {
        match self {
            Blocked::Woken(cause) => Ok(Some(cause)),
            Blocked::Ended => Ok(None),
            Blocked::Cancelled => Err(Error::Cancelled),
        }
    }
}

impl<R: Sleep> Shared<R> {
    /// A thread has its wake. If the device failed, the result is its error.
    fn woken(&self, id: ChannelId, cause: Cause) -> Result<Blocked, Error> {
        trace::wake(id, cause);
        if cause == Cause::Gone {
            if let Some(failure) = self.lock().failure.clone() {
                return Err(failure.into());
            }
        }
        Ok(Blocked::Woken(cause))
    }
}

/// While it lives, rounds leave the wake of this channel to this thread.
struct Blocking<'a, R: Sleep> {
    shared: &'a Shared<R>,
    id: ChannelId,
    waiter: Waiter,
}

impl<R: Sleep> Blocking<'_, R> {
    fn run(
        &self,
        deadline: Option<R::Deadline>,
        goes_on: Option<&dyn Fn() -> bool>,
    ) -> Result<Blocked, Error> {
        let registrar = &self.shared.registrar;
        let sleeper = self.waiter.sleeper();
        let mut slept = Slept::Notified;
        // Read before the first sleep, where that finds an event often enough.
        let mut early = self.shared.early.is_due();
        if early {
            self.read()?;
        }
        loop {
            let ticket = registrar.ticket();
            let look = self.shared.lock().machine.look(self.id, self.waiter);
            if take(&mut early) {
                self.shared.early.note(look != Look::Nothing);
            }
            match look {
                Look::Woken(cause) => {
                    return self.shared.woken(self.id, cause);
                }
                Look::Cancelled => return Ok(Blocked::Cancelled),
                Look::Nothing => {}
            }
            if slept == Slept::TimedOut {
                return Ok(Blocked::Ended);
            }
            if let Some(goes_on) = goes_on {
                // It may run long, or wait in the loop itself.
                registrar.leave(sleeper);
                let goes_on = goes_on();
                self.still_ours()?;
                if !goes_on {
                    return Ok(Blocked::Ended);
                }
            }
            let until = deadline.is_some();
            let ended = registrar.sleep_as(sleeper, ticket, deadline);
            self.shared.observe_hook(|| Hook::Sleep {
                until,
                slept: &ended,
            });
            slept = ended.map_err(Error::Sleep)?;
            self.still_ours()?;
            // At the deadline too, for events that came in time.
            if slept != Slept::Notified {
                self.read()?;
            }
        }
    }

    /// Fails in a forked child: the caller's condition may have forked, or a signal handler that
    /// ended the sleep.
    fn still_ours(&self) -> Result<(), Error> {
        match self.shared.is_inherited() {
            true => Err(Error::Inherited),
            false => Ok(()),
        }
    }

    /// Reads the device. Leaves the wakes of other waiters to them, and wakes the loop for those of
    /// rounds.
    fn read(&self) -> Result<(), Error> {
        let shared = self.shared;
        let mut state = shared.lock();
        let had_ready = state.machine.has_ready();
        let read = state.drain(shared.trigger);
        let has_news = state.machine.has_ready() && !had_ready;
        shared.unlock(state, has_news, Some(self.waiter))?;
        shared.settle_or_count();
        read.map_err(Error::from)
    }
}

impl<R: Sleep> Drop for Blocking<'_, R> {
    fn drop(&mut self) {
        // The caller's condition may have forked, and the lock be held for ever in the child.
        if self.shared.is_inherited() {
            return;
        }
        self.shared.registrar.leave(self.waiter.sleeper());
        self.shared.lock().machine.end_block(self.id, self.waiter);
        self.shared.settle_or_count();
    }
}
