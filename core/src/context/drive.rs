//! Reading the device where nobody runs rounds, and what becomes of the waits when the event loop
//! ends: what the adapter for the reactor of an async runtime calls.

use std::fmt;

use super::error::{DispatchError, LinkError};
use super::{Context, DispatchResult, Outcome, Shared, State};
use crate::hal::{Open, Registrar, Trigger};
use crate::machine::Machine;
use crate::machine::link::Link;
use crate::sync::{Arc, MutexGuard, Weak};

impl<O: Open, R: Registrar<O::Device>> Context<O, R> {
    /// Reads what there is: wakes the tasks that it is for, tells the loop where there is
    /// something for a round, and runs no callback. It is safe to come for nothing, from any
    /// thread, and beside a round.
    ///
    /// From inside a hook of the registrar nothing is read before the hook is over. From inside a
    /// waker that this context calls it is read at once, and the tasks that it is for are woken when
    /// that waker returns.
    ///
    /// [`Outcome::More`] says that an edge-triggered loop has to come again unasked.
    ///
    /// ```
    #[doc = include_str!("mocked.txt")]
    /// let ctx = Context::new(opener, event_loop);
    /// let channel = ctx.bind_unbound_port(guest)?;
    /// assert_eq!(channel.wait()?, Wait::Pending);
    /// // What is for rounds is left to them, and `Registrar::wake` is called.
    /// assert_eq!(ctx.drive()?, Outcome::Done);
    /// let woke: Vec<_> = ctx.dispatch()?.map(|wake| wake.channel).collect();
    /// assert_eq!(woke, [channel.id()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`DispatchError`], the first that came up.
    pub fn drive(&self) -> DispatchResult<O, R, Outcome> {
        self.shared.drive()
    }

    /// A handle that can [`drive`](Self::drive), for the registrar. It does not keep the context.
    #[must_use]
    pub fn driver(&self) -> Driver
    where
        O: Send + Sync + 'static,
        O::Device: 'static,
        R: 'static,
    {
        let shared: Arc<dyn Drive> = Arc::<Shared<O, R>>::clone(&self.shared);
        Driver(Arc::downgrade(&shared))
    }
}

/// Drives a context for as long as there is one: [`Context::driver`].
///
/// ```
#[doc = include_str!("mocked.txt")]
/// let ctx = Context::new(opener, event_loop);
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
    /// [`Context::drive`]. What goes wrong is told to those who wait, and counted in
    /// [`Stats::unreported`](crate::Stats::unreported).
    #[must_use = "an edge-triggered loop may have to come again"]
    pub fn drive(&self) -> Outcome {
        let shared = self.0.upgrade();
        shared.map_or(Outcome::Done, |shared| shared.drive_for_loop())
    }

    /// The event loop stopped to watch the device by itself, for example because it was shut down.
    /// The device is deregistered, and registered anew if somebody waits.
    ///
    /// Where the loop refuses it, every wait under way ends with that error instead of hanging: a
    /// task gets [`WaitError::Link`](crate::WaitError::Link), a stream and the next round get
    /// [`DispatchError::Link`](crate::DispatchError::Link), and
    /// [`Registrar::wake`](crate::Registrar::wake) is called for those who run rounds. It may be
    /// called from any thread, also from inside a hook of the registrar.
    ///
    /// ```
    #[doc = include_str!("mocked.txt")]
    /// # use evtchn_core::ErrorKind;
    /// # use evtchn_core::mock::MockError;
    /// # let mut event_loop = MockRegistrar::with_trigger(Trigger::Level);
    /// # event_loop.expect_deregister().return_const(Ok(()));
    /// # event_loop.expect_wake().return_const(());
    /// event_loop.expect_register().times(1).return_const(Ok(()));
    /// event_loop.expect_register().return_const(Err(MockError::new(ErrorKind::Gone)));
    /// let ctx = Context::new(opener, event_loop);
    /// let channel = ctx.bind_unbound_port(guest)?;
    /// let mut woken = pin!(channel.woken());
    /// assert!(woken.as_mut().poll(&mut cx).is_pending());
    /// ctx.driver().lost();
    /// assert!(matches!(woken.as_mut().poll(&mut cx), Poll::Ready(Err(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lost(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.lost_by_loop();
        }
    }
}

impl<O, R> Drive for Shared<O, R>
where
    O: Open + Send + Sync,
    R: Registrar<O::Device>,
{
    fn drive_for_loop(&self) -> Outcome {
        match self.drive() {
            Ok(outcome) => outcome,
            Err(DispatchError::Link(LinkError::Inherited)) => Outcome::Done,
            Err(_) => {
                self.count_unreported();
                Outcome::Done
            }
        }
    }

    fn lost_by_loop(&self) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        state.is_lost = state.machine.link() == Link::Watching || self.in_hook.is_taken();
        state.machine.rouse_tasks();
        drop(state);
        // The settle that runs the hook looks again.
        if self.is_in_hook() {
            return;
        }
        // What goes wrong, those who wait find out when they look: they are all told.
        let _told = self.settle();
        self.wake_tasks();
        self.tell_loop();
    }
}

impl<O: Open, R: Registrar<O::Device>> Shared<O, R> {
    pub(super) fn drive(&self) -> DispatchResult<O, R, Outcome> {
        if self.is_inherited() {
            return Err(LinkError::Inherited.into());
        }
        let mut state = self.lock();
        if self.is_in_hook() {
            state.drive_after_hook = true;
            return Ok(Outcome::Done);
        }
        self.drive_and(state, |_| ())
    }

    /// Reads what there is, then acts under the same lock, and tells whoever has a wake by that.
    pub(super) fn drive_and(
        &self,
        mut state: MutexGuard<'_, State<O::Device>>,
        act: impl FnOnce(&mut Machine),
    ) -> DispatchResult<O, R, Outcome> {
        // Whoever comes second waits for the lock and reads after it, so no edge is lost.
        let had_ready = state.machine.has_ready();
        let read = state.read_all(self.trigger);
        act(&mut state.machine);
        let has_more = matches!(read, Ok(true)) && self.trigger == Trigger::Edge;
        state.machine.set_may_have_more(has_more);
        let has_news = state.machine.has_ready() && !had_ready;
        drop(state);
        // Before the loop is called, which may panic. A waker may have forked.
        self.wake_tasks();
        if self.is_inherited() {
            return Err(LinkError::Inherited.into());
        }
        if has_news {
            self.tell_loop();
        }
        let settled = self.settle();
        if let Err(error) = read {
            settled.unwrap_or_else(|_| self.count_unreported());
            return Err(DispatchError::Device(error));
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
