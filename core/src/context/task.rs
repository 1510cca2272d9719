//! A future of one wake, for tasks. (`stream.rs` has the stream.)
//!
//! It needs neither a runtime nor a thread. The thread that reads the device latches the wake of a
//! channel that a task waits for, and wakes the task, with no lock held. The task takes the wake
//! when it is polled. So a future that is dropped, polled or not, loses no wake; its drop settles
//! the link.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Cx, Poll};

use super::observed::observed;
use super::{Channel, Context, Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::block::Look;
use crate::machine::link::Link;
use crate::machine::port::{Cause, PortState};
use crate::machine::task::TaskId;
use crate::machine::{ChannelId, Owner, Waited};
use crate::observe::{Called, Came};
use crate::sync::{Arc, MutexGuard};
use crate::trace;

impl<R: Registrar> Channel<R> {
    /// A future of the next wake: [`Context::woken`] for this channel.
    ///
    /// ```
    #[doc = include_str!("mocked.txt")]
    /// let ctx = Context::with_registrar(opener, event_loop);
    /// let channel = ctx.bind_unbound_port(guest)?;
    /// let task = async { channel.woken().await };
    ///
    /// let mut task = pin!(task);
    /// assert!(task.as_mut().poll(&mut cx).is_pending());
    /// // The adapter for the reactor of a runtime does this when the device is ready.
    /// assert_eq!(ctx.drive()?, Outcome::Done);
    /// assert!(matches!(task.as_mut().poll(&mut cx), Poll::Ready(Ok(Cause::Event))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn woken(&self) -> Woken<R> {
        Woken::new(&self.shared, self.id())
    }
}

impl<R: Registrar> Context<R> {
    /// A future of the next wake of a channel. It waits from its first poll on. If an event came
    /// while nothing waited, the first poll returns it.
    ///
    /// The channel is not borrowed. If it is unbound meanwhile, or its device fails, the future
    /// returns [`Cause::Gone`].
    pub fn woken(&self, id: ChannelId) -> Woken<R> {
        Woken::new(&self.shared, id)
    }
}

/// The next wake of one channel. Made by [`Channel::woken`] and [`Context::woken`].
///
/// Dropping it before it is ready cancels its wait; when the drop is over, the device is
/// deregistered if nothing else waits. An event that came meanwhile is kept for the next wait.
/// Polling it after it was ready waits again.
///
/// It fails with [`Error::Cancelled`] if another thread cancelled the wait or dropped the context,
/// with [`Error::AlreadyWaited`] if the channel has another waiter, and otherwise with the errors
/// of [`Context::wait`].
///
/// ```
#[doc = include_str!("mocked.txt")]
/// let ctx = Context::with_registrar(opener, event_loop);
/// let channel = ctx.bind_unbound_port(guest)?;
/// let mut woken = Box::pin(channel.woken());
/// assert_eq!(ctx.link(), Link::Idle, "it does not wait yet");
///
/// assert!(woken.as_mut().poll(&mut cx).is_pending());
/// assert_eq!(ctx.link(), Link::Watching);
/// ctx.drive()?;
/// // Too late to take the wake: it is kept.
/// drop(woken);
/// assert_eq!(ctx.link(), Link::Idle);
/// let mut second = Box::pin(channel.woken());
/// assert!(matches!(second.as_mut().poll(&mut cx), Poll::Ready(Ok(Cause::Event))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a future waits from its first poll on"]
pub struct Woken<R: Registrar> {
    shared: Arc<Shared<R>>,
    id: ChannelId,
    /// `Some` while it waits.
    task_id: Option<TaskId>,
    /// Its port is queued to be unmasked in one write with those of other tasks that were woken. The
    /// last of these tasks that is polled makes the write, if it waits again. If none did, this future
    /// makes it at its next poll, for which it has woken itself.
    is_queued: bool,
}

/// What a poll finds.
enum Looked {
    Nothing,
    /// Its port may be one of those that are queued to be unmasked.
    Queued,
    /// The event loop does not watch the device.
    Lost,
    /// Its wake, or that the wait was cancelled.
    Over(Result<Cause, Error>),
}

impl<R: Registrar> Woken<R> {
    fn new(shared: &Arc<Shared<R>>, id: ChannelId) -> Woken<R> {
        Woken {
            shared: Arc::clone(shared),
            id,
            task_id: None,
            is_queued: false,
        }
    }

    fn begin(&mut self, cx: &Cx<'_>) -> Poll<Result<Cause, Error>> {
        let shared = Arc::clone(&self.shared);
        let id = self.id;
        let waker = cx.waker().clone();
        let mut state = shared.lock();
        let task_id = state.machine.add_task();
        self.task_id = Some(task_id);
        let is_watching = state.machine.link() == Link::Watching;
        let waited = if is_watching && state.machine.wait_again_as(id, task_id) {
            Ok(Waited::Unmask)
        } else {
            let waited = state.wait(id, Owner::task(task_id));
            if matches!(waited, Ok(Waited::Unmask)) {
                state.machine.queue_unmask(id.port());
            }
            waited
        };
        let _no_earlier_waker = state.machine.set_waker(task_id, waker);
        if matches!(waited, Ok(Waited::Unmask)) {
            self.is_queued = state.machine.will_poll_tasks();
        }
        let is_settled = shared.is_settled(&state);
        drop(state);
        match waited {
            Ok(Waited::Ready(_)) => {
                let looked = self.look(shared.lock(), task_id);
                return self.looked(looked);
            }
            Ok(Waited::Unmask) => {
                // Its port is unmasked with those of all tasks.
                if !is_settled {
                    shared.arm(id, Waited::Armed, || self.end())?;
                }
                if !self.is_queued || !shared.wake_task(|| cx.waker().wake_by_ref()) {
                    return self.unmask_queued();
                }
            }
            Ok(waited) => shared.arm(id, waited, || self.end())?,
            Err(error) => {
                self.end();
                return Poll::Ready(Err(error));
            }
        }
        Poll::Pending
    }

    /// Unmasks the ports that tasks have queued. An error ends this wait if its own port is one of
    /// those that are left; another task gets the error of its port when it is polled.
    fn unmask_queued(&mut self) -> Poll<Result<Cause, Error>> {
        self.is_queued = false;
        let mut state = self.shared.lock();
        let Err(error) = state.unmask_queued() else {
            return Poll::Pending;
        };
        let is_left = state.machine.state(self.id) == Ok(PortState::Unmasking);
        drop(state);
        if !is_left {
            return Poll::Pending;
        }
        self.end();
        Poll::Ready(Err(error))
    }

    /// Looks for its wake. If the wait is over, the task is removed.
    fn look(&self, mut state: MutexGuard<'_, State>, task_id: TaskId) -> Looked {
        let shared = &*self.shared;
        if state.machine.take_last_event(self.id, task_id) {
            return self.end_with(state, task_id, Ok(Cause::Event));
        }
        let woken = loop {
            match state.machine.next_fired(task_id) {
                None if shared.unsettled(&state).is_none() => {
                    return match self.is_queued && state.machine.has_unmasks() {
                        true => Looked::Queued,
                        false => Looked::Nothing,
                    };
                }
                None => return Looked::Lost,
                Some((_, Look::Nothing)) => {}
                Some((_, Look::Woken(cause))) => break Ok(cause),
                Some((_, Look::Cancelled)) => break Err(Error::Cancelled),
            }
        };
        // Under the same lock: nothing fires for it between the two.
        state.machine.leave(self.id, task_id);
        self.end_with(state, task_id, woken)
    }

    /// Removes the task, which has left the channel.
    fn end_with(
        &self,
        mut state: MutexGuard<'_, State>,
        task_id: TaskId,
        woken: Result<Cause, Error>,
    ) -> Looked {
        let shared = &*self.shared;
        let waker = state.machine.remove_task(task_id);
        let is_settled = shared.is_settled(&state);
        drop(state);
        if let Ok(cause) = woken {
            trace::wake(self.id, cause);
        }
        if !is_settled {
            shared.settle_or_count();
        }
        drop(waker);
        Looked::Over(woken)
    }

    /// Carries out what it found.
    fn looked(&mut self, looked: Looked) -> Poll<Result<Cause, Error>> {
        match looked {
            Looked::Nothing => {
                self.is_queued = false;
                Poll::Pending
            }
            Looked::Queued => self.unmask_queued(),
            Looked::Lost => {
                let registered = self.register_again();
                match registered.is_pending() && self.is_queued {
                    true => self.unmask_queued(),
                    false => registered,
                }
            }
            Looked::Over(woken) => {
                self.task_id = None;
                Poll::Ready(woken)
            }
        }
    }

    /// The task waits, but the event loop does not watch the device any more, for example because its
    /// runtime was shut down. Registers the device again. If the loop refuses it, the wait ends with
    /// that error, because nothing else would end it.
    #[cold]
    fn register_again(&mut self) -> Poll<Result<Cause, Error>> {
        match self.shared.settle() {
            Err(refused @ Error::Register(_)) => {
                self.end();
                Poll::Ready(Err(refused))
            }
            Err(_) => {
                self.shared.count_unreported();
                Poll::Pending
            }
            Ok(()) => Poll::Pending,
        }
    }

    fn end(&mut self) {
        if let Some(task_id) = self.task_id.take() {
            self.shared.leave(task_id, [self.id]);
        }
    }
}

impl<R: Registrar> Future for Woken<R> {
    type Output = Result<Cause, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        let observer = self.shared.observer.clone();
        let call = Called::Woken(self.id);
        observed(observer.as_deref(), || call, || self.poll_now(cx), polled)
    }
}

/// The result of a poll, for the observer.
fn polled(poll: &Poll<Result<Cause, Error>>) -> Came<'_> {
    match poll {
        Poll::Pending => Came::Pending,
        Poll::Ready(Ok(cause)) => Came::Woken(Some(*cause)),
        Poll::Ready(Err(error)) => Came::Failed(error),
    }
}

impl<R: Registrar> Woken<R> {
    fn poll_now(&mut self, cx: &mut Cx<'_>) -> Poll<Result<Cause, Error>> {
        self.shared.check_caller()?;
        let Some(task_id) = self.task_id else {
            return self.begin(cx);
        };
        let mut state = self.shared.lock();
        let polled = state.machine.polled(task_id, cx.waker());
        let (mut is_set, mut has_fired) = (polled.is_set, polled.has_fired);
        let mut before = None;
        let looked = loop {
            if !is_set && !has_fired {
                drop(state);
                // A waker is code of the program: it is cloned and dropped under no lock.
                let waker = cx.waker().clone();
                state = self.shared.lock();
                before = state.machine.set_waker(task_id, waker);
                is_set = true;
            }
            let looked = self.look(state, task_id);
            if is_set || matches!(looked, Looked::Over(_)) {
                break looked;
            }
            // There was nothing for it in what had fired, so its waker is needed.
            has_fired = false;
            state = self.shared.lock();
        };
        drop(before);
        self.looked(looked)
    }
}

impl<R: Registrar> Drop for Woken<R> {
    fn drop(&mut self) {
        if self.task_id.is_none() {
            return;
        }
        let observer = self.shared.observer.clone();
        let call = Called::DropWoken(self.id);
        observed(observer.as_deref(), || call, || self.end(), |()| Came::Done);
    }
}

impl<R: Registrar> Shared<R> {
    /// Removes a task and ends its waits for these channels.
    pub(super) fn leave(&self, task_id: TaskId, channels: impl IntoIterator<Item = ChannelId>) {
        // In a forked child the lock may be held for ever.
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        let mut is_swept = true;
        for id in channels {
            is_swept &= !state.machine.leave(id, task_id);
        }
        if !is_swept {
            state.machine.sweep();
        }
        let waker = state.machine.remove_task(task_id);
        drop(state);
        self.settle_or_count();
        // Last, because it is code of the program.
        drop(waker);
    }
}

impl<R: Registrar> fmt::Debug for Woken<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Woken")
            .field("channel", &self.id)
            .field("waits", &self.task_id.is_some())
            .finish()
    }
}
