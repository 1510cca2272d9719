//! A stream of wakes, for tasks that wait for channels again and again.

use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::mem::take;
use std::task::{Context as Cx, Poll};

use super::observed::{done, observed};
use super::{Channel, Context, Shared, State};
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::block::Look;
use crate::machine::port::Cause;
use crate::machine::task::TaskId;
use crate::machine::{ChannelId, Owner, Wake};
use crate::observe::{Called, Came};
use crate::sync::Arc;
use crate::trace;

impl<R: Registrar> Channel<R> {
    /// A stream of the wakes of this channel: [`Context::wakes`] with it alone.
    ///
    /// ```
    #[doc = include_str!("mocked.txt")]
    /// let ctx = Context::with_registrar(opener, event_loop);
    /// let channel = ctx.bind_unbound_port(guest)?;
    /// let mut wakes = channel.wakes()?;
    /// ctx.drive()?;
    /// let mut next = pin!(wakes.next());
    /// let Poll::Ready(Some(wake)) = next.as_mut().poll(&mut cx) else {
    ///     return Err("no wake".into());
    /// };
    /// assert_eq!(wake?.channel, channel.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Wakes::add`].
    pub fn wakes(&self) -> Result<Wakes<R>, Error> {
        let mut wakes = Wakes::new(&self.shared);
        wakes.add(self.id())?;
        Ok(wakes)
    }
}

impl<R: Registrar> Context<R> {
    /// A stream of wakes without channels. [`Wakes::add`] adds them.
    pub fn wakes(&self) -> Wakes<R> {
        Wakes::new(&self.shared)
    }
}

/// The wakes of one channel or many, as a stream. Made by [`Channel::wakes`] and
/// [`Context::wakes`].
///
/// When the stream yields the wake of a channel, it waits for the next one at once, so in steady
/// state the device stays registered. The ports are unmasked together, when the stream is polled
/// and has no wake left. If other tasks were woken and not polled yet, the stream asks to be polled
/// once more, so that one write unmasks the ports of all. If a task does not poll the stream, the
/// ports stay masked, which slows the peers down.
///
/// The stream ends when it has no channel left. A channel leaves it when it is unbound or its
/// device fails (its last wake is [`Cause::Gone`]), when its wait is cancelled, when it is
/// [removed](Self::remove), and when the context is dropped. Afterwards channels may be added
/// again. Dropping the stream cancels all its waits and loses no wake.
///
/// With the feature `futures` it is a `Stream`. [`next`](Self::next) does not need the feature.
///
/// ```
#[doc = include_str!("mocked.txt")]
/// let ctx = Context::with_registrar(opener, event_loop);
/// let channel = ctx.bind_unbound_port(guest)?;
/// let task = async {
///     let mut wakes = ctx.wakes();
///     wakes.add(channel.id())?;
///     let mut count = 0;
///     while let Some(wake) = wakes.next().await {
///         match wake?.cause {
///             Cause::Gone => break,
///             _ => count += 1,
///         }
///     }
///     Ok::<_, Box<dyn std::error::Error>>(count)
/// };
///
/// let mut task = pin!(task);
/// for _ in 0..3 {
///     assert!(task.as_mut().poll(&mut cx).is_pending());
///     ctx.drive()?;
/// }
/// assert!(task.as_mut().poll(&mut cx).is_pending());
/// channel.cancel()?;
/// // It ends with its last channel.
/// assert!(matches!(task.as_mut().poll(&mut cx), Poll::Ready(Ok(3))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct Wakes<R: Registrar> {
    shared: Arc<Shared<R>>,
    channels: BTreeSet<ChannelId>,
    /// `None` until the first channel is added.
    task_id: Option<TaskId>,
    /// Its ports are queued to be unmasked in one write with those of other tasks that were woken. The
    /// last of these tasks that is polled makes the write, if it waits again. If none did, this stream
    /// makes it at its next poll, for which it has woken itself.
    is_queued: bool,
}

impl<R: Registrar> Wakes<R> {
    fn new(shared: &Arc<Shared<R>>) -> Wakes<R> {
        Wakes {
            shared: Arc::clone(shared),
            channels: BTreeSet::new(),
            task_id: None,
            is_queued: false,
        }
    }

    /// Adds a channel and begins to wait for it.
    ///
    /// # Errors
    /// The stream goes on without the channel. [`Error::AlreadyWaited`] if the channel has another
    /// waiter; otherwise those of [`Context::wait`].
    pub fn add(&mut self, id: ChannelId) -> Result<(), Error> {
        let observer = self.shared.observer.clone();
        let call = || Called::Other("add to wakes");
        observed(observer.as_deref(), call, || self.add_now(id), done)
    }

    fn add_now(&mut self, id: ChannelId) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        shared.check_caller()?;
        let mut state = shared.lock();
        let task_id = *self.task_id.get_or_insert_with(|| state.machine.add_task());
        let waited = state.wait(id, Owner::task(task_id))?;
        drop(state);
        self.channels.insert(id);
        let take_back = || {
            self.remove_now(id);
        };
        shared.arm(id, waited, take_back)
    }

    /// Removes a channel and ends the wait for it. Returns whether the stream had it. A wake that
    /// was not taken is kept for the next wait.
    pub fn remove(&mut self, id: ChannelId) -> bool {
        let observer = self.shared.observer.clone();
        let call = || Called::Other("remove from wakes");
        observed(
            observer.as_deref(),
            call,
            || self.remove_now(id),
            |removed| Came::Cancelled(*removed),
        )
    }

    fn remove_now(&mut self, id: ChannelId) -> bool {
        let removed = self.channels.remove(&id);
        if !removed || self.shared.is_inherited() {
            return removed;
        }
        if let Some(task_id) = self.task_id {
            let mut state = self.shared.lock();
            if state.machine.leave(id, task_id) {
                state.machine.sweep();
            }
            state.machine.forget(id, task_id);
            drop(state);
            self.shared.settle_or_count();
        }
        removed
    }

    /// The channels that it waits for.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.channels.iter().copied()
    }

    /// The next wake, or `None` at the end of the stream. Dropping the future loses no wake.
    ///
    /// # Errors
    /// The next poll tries again: [`Error::Device`] or [`Error::NotUnmasked`] if ports cannot be
    /// unmasked; [`Error::Register`] if the event loop lost the device and refuses it;
    /// [`Error::Reentrant`] from inside a hook. The stream has ended: [`Error::Inherited`] in a
    /// forked child.
    pub async fn next(&mut self) -> Option<Result<Wake, Error>> {
        poll_fn(|cx| self.poll_wake(cx)).await
    }

    /// [`next`](Self::next) as a poll function.
    ///
    /// # Errors
    /// Those of [`next`](Self::next).
    pub fn poll_wake(&mut self, cx: &mut Cx<'_>) -> Poll<Option<Result<Wake, Error>>> {
        let observer = self.shared.observer.clone();
        let call = || Called::Other("wakes");
        observed(observer.as_deref(), call, || self.poll_now(cx), polled)
    }

    fn poll_now(&mut self, cx: &mut Cx<'_>) -> Poll<Option<Result<Wake, Error>>> {
        let Some(task_id) = self.task_id.filter(|_| !self.channels.is_empty()) else {
            return Poll::Ready(None);
        };
        if let Err(error) = self.shared.check_caller() {
            if matches!(error, Error::Inherited) {
                self.channels.clear();
            }
            return Poll::Ready(Some(Err(error)));
        }
        let mut state = self.shared.lock();
        let polled = state.machine.polled(task_id, cx.waker());
        let (mut is_set, mut has_fired) = (polled.is_set, polled.has_fired);
        let mut before = None;
        loop {
            if has_fired {
                if let Some(wake) = next_fired(&mut self.channels, &mut state, task_id) {
                    self.is_queued = false;
                    drop(state);
                    drop(before);
                    trace::wake(wake.channel, wake.cause);
                    return Poll::Ready(Some(Ok(wake)));
                }
            }
            if self.channels.is_empty() {
                // Before the waker is dropped, which is code of the program.
                drop(state);
                return Poll::Ready(None);
            }
            if is_set {
                break;
            }
            drop(state);
            // A waker is code of the program: it is cloned and dropped under no lock.
            let waker = cx.waker().clone();
            state = self.shared.lock();
            before = state.machine.set_waker(task_id, waker);
            is_set = true;
            has_fired = state.machine.has_fired(task_id);
        }
        let was_queued = take(&mut self.is_queued);
        let mut unmasked = Ok(());
        if state.machine.has_unmasks() {
            self.is_queued = !was_queued && state.machine.will_poll_tasks();
            if !self.is_queued {
                unmasked = state.unmask_queued();
            }
        }
        let is_settled = self.shared.is_settled(&state);
        drop(state);
        drop(before);
        if self.is_queued && !self.shared.wake_task(|| cx.waker().wake_by_ref()) {
            self.is_queued = false;
            unmasked = self.shared.lock().unmask_queued();
        }
        if is_settled {
            return pending(unmasked);
        }
        match self.shared.settle() {
            Ok(()) => {}
            // Otherwise nothing would wake the task.
            Err(refused @ Error::Register(_)) if unmasked.is_ok() => {
                return Poll::Ready(Some(Err(refused)));
            }
            Err(_) => self.shared.count_unreported(),
        }
        pending(unmasked)
    }
}

/// Takes the next wake of a stream. If the channel goes on, its port is queued to be unmasked.
#[inline]
fn next_fired(
    channels: &mut BTreeSet<ChannelId>,
    state: &mut State,
    task_id: TaskId,
) -> Option<Wake> {
    match state.machine.next_event_of(task_id) {
        Some(channel) => {
            let cause = Cause::Event;
            Some(Wake { channel, cause })
        }
        None => next_fired_of_any(channels, state, task_id),
    }
}

/// [`next_fired`] for a wake with any cause.
#[cold]
#[inline(never)]
fn next_fired_of_any(
    channels: &mut BTreeSet<ChannelId>,
    state: &mut State,
    task_id: TaskId,
) -> Option<Wake> {
    while let Some((channel, look)) = state.machine.next_fired(task_id) {
        if !channels.contains(&channel) {
            continue;
        }
        match look {
            Look::Nothing => continue,
            Look::Woken(Cause::Gone | Cause::Resumed) | Look::Cancelled => {
                channels.remove(&channel);
            }
            Look::Woken(_) => state.machine.go_on(channel),
        }
        if let Look::Woken(cause) = look {
            return Some(Wake { channel, cause });
        }
    }
    None
}

/// A stream without a wake. An error of the unmask is its next item.
fn pending(unmasked: Result<(), Error>) -> Poll<Option<Result<Wake, Error>>> {
    match unmasked {
        Ok(()) => Poll::Pending,
        Err(error) => Poll::Ready(Some(Err(error))),
    }
}

#[cfg(feature = "futures")]
impl<R: Registrar> futures_core::Stream for Wakes<R> {
    type Item = Result<Wake, Error>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<Self::Item>> {
        self.poll_wake(cx)
    }
}

#[cfg(feature = "futures")]
impl<R: Registrar> futures_core::FusedStream for Wakes<R> {
    fn is_terminated(&self) -> bool {
        self.channels.is_empty()
    }
}

impl<R: Registrar> Drop for Wakes<R> {
    fn drop(&mut self) {
        if let Some(task_id) = self.task_id {
            let call = || Called::Other("drop of wakes");
            let leave = || self.shared.leave(task_id, self.channels.iter().copied());
            self.shared.observed(call, leave, |()| Came::Done);
        }
    }
}

/// The result of a poll, for the observer.
fn polled(poll: &Poll<Option<Result<Wake, Error>>>) -> Came<'_> {
    match poll {
        Poll::Pending => Came::Pending,
        Poll::Ready(None) => Came::Wake(None),
        Poll::Ready(Some(Ok(wake))) => Came::Wake(Some(*wake)),
        Poll::Ready(Some(Err(error))) => Came::Failed(error),
    }
}

impl<R: Registrar> fmt::Debug for Wakes<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wakes").field(&self.channels).finish()
    }
}
