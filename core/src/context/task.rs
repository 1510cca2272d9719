//! Tasks that wait for channels: a future for one wake, and a stream of them.
//!
//! Neither runtime nor thread is needed. Whoever reads the device latches the wake of a channel
//! that a task has, and wakes the task, under no lock; the task takes it when it is polled. So a
//! future that is dropped, polled or not, loses nothing, and it settles in its drop.

use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as Cx, Poll, Waker};
use std::thread::panicking;

use super::error::{DispatchError, LinkError, WaitError};
use super::{Channel, Context, DeviceError, DispatchResult, LoopError, Shared};
use crate::hal::{Open, Registrar};
use crate::machine::block::Look;
use crate::machine::port::Cause;
use crate::machine::task::Seat;
use crate::machine::{ChannelId, NotBound, Waited, Wake};
use crate::sync::Arc;
use crate::trace;

/// What a wait comes to.
pub(super) type WaitResult<O, R, T> = Result<T, WaitError<DeviceError<O>, LoopError<O, R>>>;

/// What the future of a wake comes to.
pub type WokenResult<O, R> = Result<Cause, TaskError<DeviceError<O>, LoopError<O, R>>>;

/// The wait of a task failed or ended. Nobody waits that did not wait before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError<D, R>
where
    D: std::error::Error + 'static,
    R: std::error::Error + 'static,
{
    /// The wait could not begin.
    #[error(transparent)]
    Wait(#[from] WaitError<D, R>),
    /// Somebody cancelled the wait, or dropped the context.
    #[error("the wait was cancelled")]
    Cancelled,
}

impl<O: Open, R: Registrar<O::Device>> Channel<O, R> {
    /// A future of the next wake: [`Context::woken`] for this channel.
    pub fn woken(&self) -> Woken<O, R> {
        Woken::new(&self.shared, self.id())
    }

    /// A stream of the wakes of this channel: [`Context::wakes`] with it alone.
    ///
    /// # Errors
    /// As [`Wakes::add`].
    pub fn wakes(&self) -> WaitResult<O, R, Wakes<O, R>> {
        let mut wakes = Wakes::new(&self.shared);
        wakes.add(self.id())?;
        Ok(wakes)
    }
}

impl<O: Open, R: Registrar<O::Device>> Context<O, R> {
    /// A future of the next wake of a channel. It waits from its first poll on; an event that
    /// came while nobody waited makes it ready at once.
    ///
    /// The channel is not borrowed. One that is unbound meanwhile wakes with
    /// [`Cause::Gone`], and so does one whose device fails.
    pub fn woken(&self, id: ChannelId) -> Woken<O, R> {
        Woken::new(&self.shared, id)
    }

    /// A stream of the wakes of channels, which are added to it.
    pub fn wakes(&self) -> Wakes<O, R> {
        Wakes::new(&self.shared)
    }
}

/// The next wake of one channel. Made by [`Channel::woken`] and [`Context::woken`].
///
/// Dropped before it is ready, it cancels its wait, and the event loop knows when the drop is
/// over. An event that came meanwhile is kept for the next wait. Polled after it was ready, it
/// waits again.
#[must_use = "a future waits from its first poll on"]
pub struct Woken<O: Open, R: Registrar<O::Device>> {
    shared: Arc<Shared<O, R>>,
    id: ChannelId,
    /// While it waits.
    seat: Option<Seat>,
}

impl<O: Open, R: Registrar<O::Device>> Woken<O, R> {
    fn new(shared: &Arc<Shared<O, R>>, id: ChannelId) -> Woken<O, R> {
        Woken {
            shared: Arc::clone(shared),
            id,
            seat: None,
        }
    }

    fn begin(&mut self, waker: Waker) -> Poll<WokenResult<O, R>> {
        let shared = Arc::clone(&self.shared);
        let id = self.id;
        let mut state = shared.lock();
        if !state.machine.link().is_open() {
            return Poll::Ready(Err(WaitError::from(NotBound(id)).into()));
        }
        let seat = state.machine.sit();
        self.seat = Some(seat);
        let attended = state.machine.attend(id, seat);
        let _nobody = state.machine.set_waker(seat, waker);
        drop(state);
        let failed = match attended {
            Ok(Waited::Ready(_)) => return self.look(seat),
            Ok(waited @ (Waited::Armed | Waited::Rearm)) => match shared.arm(id, waited) {
                Ok(()) => return Poll::Pending,
                Err(error) => error,
            },
            Ok(Waited::Already | Waited::Blocked | Waited::Queued) => WaitError::AlreadyWaited(id),
            Err(error) => error.into(),
        };
        self.end();
        Poll::Ready(Err(failed.into()))
    }

    fn look(&mut self, seat: Seat) -> Poll<WokenResult<O, R>> {
        let mut state = self.shared.lock();
        let woken = loop {
            match state.machine.next_fired(seat) {
                None => return Poll::Pending,
                Some((_, Look::Nothing)) => {}
                Some((_, Look::Woken(cause))) => break Ok(cause),
                Some((_, Look::Cancelled)) => break Err(TaskError::Cancelled),
            }
        };
        // Under the same lock: nothing fires for it between the two.
        state.machine.leave(self.id, seat);
        drop(state);
        if let Ok(cause) = woken {
            trace::wake(self.id, cause);
        }
        self.end();
        Poll::Ready(woken)
    }

    fn end(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.shared.leave(seat, [self.id]);
        }
    }
}

impl<O: Open, R: Registrar<O::Device>> Future for Woken<O, R> {
    type Output = WokenResult<O, R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        self.shared.admit().map_err(WaitError::from)?;
        // A waker is cloned and dropped under no lock, as callers' code.
        let waker = cx.waker().clone();
        let Some(seat) = self.seat else {
            return self.begin(waker);
        };
        let before = self.shared.lock().machine.set_waker(seat, waker);
        drop(before);
        self.look(seat)
    }
}

impl<O: Open, R: Registrar<O::Device>> Drop for Woken<O, R> {
    fn drop(&mut self) {
        self.end();
    }
}

/// The wakes of one channel or many, as a stream. Made by [`Channel::wakes`] and
/// [`Context::wakes`].
///
/// Each wake is waited for again as it is taken, so in steady state nothing is registered anew.
/// The ports are enabled again together, when the stream is polled and has nothing left: who does
/// not come back to it brakes the peers.
///
/// It ends when it has no channel: with the last one that is unbound or failed, of which it says
/// [`Cause::Gone`], that is cancelled, or [removed](Self::remove), or with the context. Another one
/// may be added then. Dropped, it cancels all its waits, and loses no wake.
///
/// With the feature `futures` it is a `Stream`; [`next`](Self::next) needs none.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Wakes<O: Open, R: Registrar<O::Device>> {
    shared: Arc<Shared<O, R>>,
    channels: BTreeSet<ChannelId>,
    /// From the first channel on.
    seat: Option<Seat>,
}

impl<O: Open, R: Registrar<O::Device>> Wakes<O, R> {
    fn new(shared: &Arc<Shared<O, R>>) -> Wakes<O, R> {
        Wakes {
            shared: Arc::clone(shared),
            channels: BTreeSet::new(),
            seat: None,
        }
    }

    /// Waits for a channel too, from now on.
    ///
    /// # Errors
    /// [`WaitError`]; the stream goes on without it.
    pub fn add(&mut self, id: ChannelId) -> WaitResult<O, R, ()> {
        let shared = Arc::clone(&self.shared);
        shared.admit()?;
        let mut state = shared.lock();
        if !state.machine.link().is_open() {
            return Err(NotBound(id).into());
        }
        let machine = &mut state.machine;
        let seat = *self.seat.get_or_insert_with(|| machine.sit());
        let waited = machine.attend(id, seat)?;
        drop(state);
        if matches!(waited, Waited::Already | Waited::Blocked | Waited::Queued) {
            return Err(WaitError::AlreadyWaited(id));
        }
        self.channels.insert(id);
        let armed = shared.arm(id, waited);
        if armed.is_err() {
            self.remove(id);
        }
        armed
    }

    /// Waits for a channel no longer, and says whether it did. A wake of it that was not taken is
    /// kept for the next wait.
    pub fn remove(&mut self, id: ChannelId) -> bool {
        let removed = self.channels.remove(&id);
        if removed && let Some(seat) = self.seat {
            if self.shared.is_inherited() {
                return true;
            }
            self.shared.lock().machine.leave(id, seat);
            self.shared.settle_or_count();
        }
        removed
    }

    /// The channels that it waits for.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.channels.iter().copied()
    }

    /// The next wake; none at the end. Dropping the future that this is loses nothing.
    ///
    /// # Errors
    /// [`DispatchError`] where ports could not be enabled again, which the next poll tries again.
    pub async fn next(&mut self) -> Option<DispatchResult<O, R, Wake>> {
        poll_fn(|cx| self.poll_wake(cx)).await
    }

    /// [`next`](Self::next), to be polled by hand.
    ///
    /// # Errors
    /// As there.
    pub fn poll_wake(&mut self, cx: &mut Cx<'_>) -> Poll<Option<DispatchResult<O, R, Wake>>> {
        let Some(seat) = self.seat.filter(|_| !self.channels.is_empty()) else {
            return Poll::Ready(None);
        };
        if let Err(error) = self.shared.admit() {
            if matches!(error, LinkError::Inherited) {
                self.channels.clear();
            }
            return Poll::Ready(Some(Err(error.into())));
        }
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        while let Some((channel, look)) = state.machine.next_fired(seat) {
            if !self.channels.contains(&channel) {
                continue;
            }
            match look {
                Look::Nothing => continue,
                Look::Woken(Cause::Gone) | Look::Cancelled => {
                    self.channels.remove(&channel);
                }
                Look::Woken(_) => state.machine.attend_again(channel),
            }
            if let Look::Woken(cause) = look {
                drop(state);
                trace::wake(channel, cause);
                return Poll::Ready(Some(Ok(Wake { channel, cause })));
            }
        }
        if self.channels.is_empty() {
            return Poll::Ready(None);
        }
        let before = state.machine.set_waker(seat, waker);
        let flushed = state.flush();
        drop(state);
        drop(before);
        self.shared.settle_or_count();
        match flushed {
            Ok(()) => Poll::Pending,
            Err(unwritten) => Poll::Ready(Some(Err(DispatchError::from(unwritten)))),
        }
    }
}

#[cfg(feature = "futures")]
impl<O: Open, R: Registrar<O::Device>> futures_core::Stream for Wakes<O, R> {
    type Item = DispatchResult<O, R, Wake>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<Self::Item>> {
        self.poll_wake(cx)
    }
}

#[cfg(feature = "futures")]
impl<O: Open, R: Registrar<O::Device>> futures_core::FusedStream for Wakes<O, R> {
    fn is_terminated(&self) -> bool {
        self.channels.is_empty()
    }
}

impl<O: Open, R: Registrar<O::Device>> Drop for Wakes<O, R> {
    fn drop(&mut self) {
        if let Some(seat) = self.seat {
            self.shared.leave(seat, self.channels.iter().copied());
        }
    }
}

impl<O: Open, R: Registrar<O::Device>> Shared<O, R> {
    /// A task lets go of its seat and of these channels.
    fn leave(&self, seat: Seat, channels: impl IntoIterator<Item = ChannelId>) {
        // In a forked child the lock may be held for ever.
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        for id in channels {
            state.machine.leave(id, seat);
        }
        let waker = state.machine.rise(seat);
        drop(state);
        drop(waker);
        // Inside a hook the settle that called it looks again.
        if !self.is_in_hook() {
            self.settle_or_count();
        }
    }

    fn settle_or_count(&self) {
        if self.settle().is_err() {
            self.count_unreported();
        }
    }

    /// Wakes the tasks that are due, each once. Safe to call while a panic unwinds.
    pub(super) fn wake_tasks(&self) {
        loop {
            // The lock is not held over the wake.
            let due = self.lock().machine.next_due();
            let Some(waker) = due else {
                return;
            };
            if !panicking() {
                waker.wake();
            } else if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                self.count_unreported();
            }
        }
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for Woken<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Woken")
            .field("channel", &self.id)
            .field("waits", &self.seat.is_some())
            .finish()
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for Wakes<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wakes").field(&self.channels).finish()
    }
}
