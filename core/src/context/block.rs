//! A thread that blocks for the next wake of one channel, beside the rounds of others or alone.
//!
//! It reads the device like a round and leaves in the ready queue what is not its own. Its wake,
//! whoever reads it, is latched, and it takes it by looking.

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

/// What a blocking wait came to. In each case nobody waits any more.
enum Blocked {
    /// The wake.
    Woken(Cause),
    /// The deadline passed, or the caller's condition said so. An event that comes later is kept for
    /// the next wait.
    Ended,
    /// Another thread cancelled the wait, or dropped the context.
    Cancelled,
}

impl<R: Sleep> Channel<R> {
    /// Blocks this thread until the channel wakes. A signal does not end it.
    ///
    /// It may run beside rounds on other threads, inside a round, or where nobody dispatches:
    /// wakes of other channels that it reads are left to the next round, for which the loop is
    /// woken. A wake of this channel goes to this thread alone, also where the channel has a
    /// callback.
    ///
    /// ```
    /// use evtchn_core::{Cause, Context, DomId};
    /// use evtchn_sim::{Sim, SimLoop};
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
    /// The wait has ended, and an earlier one goes on. [`Error::AlreadyWaited`] where the channel
    /// has another waiter; [`Error::Device`] where the device failed; [`Error::Cancelled`] where
    /// another thread cancelled the wait or dropped the context; [`Error::Sleep`] where the event
    /// loop cannot sleep; those of a [wait](Self::wait).
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

    /// [`block`](Self::block) for so long at most; `None` says that the time is over.
    ///
    /// # Errors
    /// Those of [`block`](Self::block).
    pub fn block_for(&self, timeout: Duration) -> Result<Option<Cause>, Error> {
        let deadline = |registrar: &R| Some(registrar.deadline(timeout));
        self.block_if(|| self.blocks(), deadline, None)?.woken()
    }

    /// [`block`](Self::block) until this point in the time of the event loop; `None` says that it
    /// has passed.
    ///
    /// # Errors
    /// Those of [`block`](Self::block).
    pub fn block_until(&self, deadline: R::Deadline) -> Result<Option<Cause>, Error> {
        self.block_if(|| self.blocks(), |_| Some(deadline), None)?
            .woken()
    }

    /// [`block`](Self::block) for as long as `goes_on` says so, and until the deadline where there
    /// is one; `None` says that it was one of the two.
    ///
    /// It is asked before each sleep, after each signal and after each
    /// [`wake`](crate::Registrar::wake) of the event loop. So another thread, or the handler of a
    /// signal where the loop's `wake` may be called in one, sets a flag and then wakes the loop.
    /// While it is asked, this thread holds no lock and does not watch the device for others.
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
            // Asked for once the loop watches the device, whose time may be its own.
            Ok(()) => blocking.run(deadline(&shared.registrar), goes_on),
            Err(error) => Err(error),
        };
        // Before the result is returned, which would leak where a hook panics.
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
    /// A thread has its wake. Where the device failed, the failure is the answer.
    fn woken(&self, id: ChannelId, cause: Cause) -> Result<Blocked, Error> {
        trace::wake(id, cause);
        if cause == Cause::Gone
            && let Some(failure) = self.lock().failure.clone()
        {
            return Err(failure.into());
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
        loop {
            let ticket = registrar.ticket();
            let look = self.shared.lock().machine.look(self.id, self.waiter);
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
                // It may take its time, or wait in the loop itself.
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
            // At the deadline once more, for what came in time.
            if slept != Slept::Notified {
                self.read()?;
            }
        }
    }

    /// Refuses to go on in a forked child: the caller's condition may have forked, or the handler
    /// of a signal that ended the sleep.
    fn still_ours(&self) -> Result<(), Error> {
        match self.shared.is_inherited() {
            true => Err(Error::Inherited),
            false => Ok(()),
        }
    }

    /// Reads what there is. Other waiters' wakes are left to them, and the loop is told.
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
