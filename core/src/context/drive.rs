//! Reading the device without a round, and ending waits when the event loop ends. The adapters for
//! the reactors of async runtimes call this.

use std::fmt;

use super::observed::ok;
use super::{Context, Outcome, Shared, State};
use crate::error::Error;
use crate::hal::{Registrar, Trigger};
use crate::machine::Machine;
use crate::machine::link::Link;
use crate::observe::{Called, Came};
use crate::sync::{Arc, MutexGuard, Weak};

impl<R: Registrar> Context<R> {
    /// Reads the device. Wakes the tasks whose channels fired, wakes the event loop if there is
    /// something for a round, and runs no callback. Calling it without need is harmless; it may be
    /// called from any thread, and beside a round.
    ///
    /// From inside a hook of the registrar, the read is done when the hook is over. From inside a
    /// waker that this context calls, it is done at once, and the tasks are woken when that waker
    /// returns.
    ///
    /// Returns [`Outcome::More`] if an edge-triggered loop has to call it again without a further
    /// event.
    ///
    /// ```
    #[doc = include_str!("mocked.txt")]
    /// let ctx = Context::with_registrar(opener, event_loop);
    /// let channel = ctx.bind_unbound_port(guest)?;
    /// channel.wait()?;
    /// // The wake of a `wait` is left to the next round, and `Registrar::wake` is called.
    /// assert_eq!(ctx.drive()?, Outcome::Done);
    /// let woke: Vec<_> = ctx.dispatch()?.map(|wake| wake.channel).collect();
    /// assert_eq!(woke, [channel.id()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Device`] if the device failed; otherwise [`Error::Register`] if the event loop
    /// refuses the device, or [`Error::Deregister`] if it cannot deregister it;
    /// [`Error::Inherited`] in a forked child.
    pub fn drive(&self) -> Result<Outcome, Error> {
        self.shared.observed_drive()
    }

    /// A handle that can [`drive`](Self::drive), for the registrar. It does not keep the context
    /// alive.
    #[must_use]
    pub fn driver(&self) -> Driver {
        let shared: Arc<dyn Drive> = Arc::<Shared<R>>::clone(&self.shared);
        Driver(Arc::downgrade(&shared))
    }
}

/// Drives a context for as long as that exists. Made by [`Context::driver`].
///
/// ```
#[doc = include_str!("mocked.txt")]
/// let ctx = Context::with_registrar(opener, event_loop);
/// let channel = ctx.bind_unbound_port(guest)?;
/// let driver = ctx.driver();
/// let mut woken = pin!(channel.woken());
/// assert!(woken.as_mut().poll(&mut cx).is_pending());
/// std::thread::spawn(move || assert_eq!(driver.drive(), Outcome::Done))
///     .join()
///     .map_err(|_| "it panicked")?;
/// assert!(woken.as_mut().poll(&mut cx).is_ready());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Driver(Weak<dyn Drive>);

trait Drive: Send + Sync {
    fn drive_for_loop(&self) -> Outcome;
    fn lost_by_loop(&self);
}

impl Driver {
    /// Calls [`Context::drive`]. An error is counted in
    /// [`Stats::unreported`](crate::Stats::unreported); if the device failed, the waiters are woken
    /// and learn it.
    #[must_use = "an edge-triggered loop may have to come again"]
    pub fn drive(&self) -> Outcome {
        let shared = self.0.upgrade();
        shared.map_or(Outcome::Done, |shared| shared.drive_for_loop())
    }

    /// To be called when the event loop stopped watching the device by itself, for example because
    /// it was shut down. The device is deregistered, and registered again if something waits.
    ///
    /// If the loop refuses the device, every wait ends with that error instead of hanging: tasks,
    /// streams and the next round get [`Error::Register`], and [`Registrar::wake`] is called for
    /// the threads that run rounds. It may be called from any thread, also from inside a hook of
    /// the registrar.
    ///
    /// ```
    #[doc = include_str!("mocked.txt")]
    /// # use evtchn::mock::loop_error;
    /// # use evtchn::{Error, ErrorKind};
    /// # let mut event_loop = MockRegistrar::with_trigger(Trigger::Level);
    /// # event_loop.expect_deregister().return_const(Ok(()));
    /// # event_loop.expect_wake().return_const(());
    /// event_loop.expect_register().times(1).return_const(Ok(()));
    /// event_loop.expect_register().return_const(Err(loop_error(ErrorKind::Gone)));
    /// let ctx = Context::with_registrar(opener, event_loop);
    /// let channel = ctx.bind_unbound_port(guest)?;
    /// let mut woken = pin!(channel.woken());
    /// assert!(woken.as_mut().poll(&mut cx).is_pending());
    /// ctx.driver().lost();
    /// let refused = woken.as_mut().poll(&mut cx);
    /// assert!(matches!(refused, Poll::Ready(Err(Error::Register(_)))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lost(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.lost_by_loop();
        }
    }
}

impl<R: Registrar> Drive for Shared<R> {
    fn drive_for_loop(&self) -> Outcome {
        match self.observed_drive() {
            Ok(outcome) => outcome,
            Err(Error::Inherited) => Outcome::Done,
            Err(_) => {
                self.count_unreported();
                Outcome::Done
            }
        }
    }

    fn lost_by_loop(&self) {
        let call = || Called::Other("lost");
        self.observed(call, || self.lost(), |()| Came::Done);
    }
}

impl<R: Registrar> Shared<R> {
    /// The event loop stopped watching the device by itself.
    fn lost(&self) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        state.is_lost = state.machine.link() == Link::Watching || self.in_hook.is_taken();
        state.machine.queue_all_tasks();
        drop(state);
        // The settle that runs the hook looks again.
        if self.is_in_hook() {
            return;
        }
        // All waiters are woken below, and get the error when they look.
        if matches!(self.settle(), Err(Error::Inherited)) {
            return;
        }
        let _forked = self.unlock(self.lock(), true, None);
    }
}

impl<R: Registrar> Shared<R> {
    fn observed_drive(&self) -> Result<Outcome, Error> {
        let drive = || self.drive();
        self.observed(
            || Called::Other("drive"),
            drive,
            |driven| ok(driven, |outcome| Came::Dispatched(*outcome)),
        )
    }

    pub(super) fn drive(&self) -> Result<Outcome, Error> {
        if self.is_inherited() {
            return Err(Error::Inherited);
        }
        let mut state = self.lock();
        if self.is_in_hook() {
            state.drive_after_hook = true;
            return Ok(Outcome::Done);
        }
        self.drive_and(state, |_| ())
    }

    /// Reads the device, calls `act` under the same lock, and wakes the waiters that have a wake
    /// then.
    pub(super) fn drive_and(
        &self,
        mut state: MutexGuard<'_, State>,
        act: impl FnOnce(&mut Machine),
    ) -> Result<Outcome, Error> {
        // A second caller waits for the lock and reads again, so no edge is lost.
        let had_ready = state.machine.has_ready();
        let read = state.read_all(self.trigger);
        act(&mut state.machine);
        let has_more = matches!(read, Ok(true)) && self.trigger == Trigger::Edge;
        state.machine.set_may_have_more(has_more);
        let has_news = state.machine.has_ready() && !had_ready;
        self.unlock(state, has_news, None)?;
        let settled = self.settle();
        if let Err(error) = read {
            settled.unwrap_or_else(|_| self.count_unreported());
            return Err(Error::Device(error));
        }
        settled?;
        Ok(if has_more {
            Outcome::More
        } else {
            Outcome::Done
        })
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
