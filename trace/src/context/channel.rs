//! The channels of a recorded context.

use std::fmt;

use evtchn_core::{
    BlockResult, CancelError, Channel, ChannelId, DeviceError, LinkError, LoopError, NotifyError,
    Open, Port, Registrar, Sleep, SleepError, UnbindError, Wait, WaitError, Wake,
};

use super::numbered;
use crate::failed::Failure;
use crate::line::{Answer, Call};
use crate::names::Caused;
use crate::step;
use crate::tape::{Round as InRound, Tape};

/// A channel of a [`RecordedContext`](super::RecordedContext).
///
/// ```
/// # use evtchn_core::{DomId, Trigger};
/// # use evtchn_sim::{Sim, SimLoop};
/// # use evtchn_trace::{Header, RecordedContext, Recorder, Source, Tape};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(7);
/// # let tape = Tape::new(&Header::new(Source::Sim, Trigger::Level), std::io::sink());
/// # let ctx = RecordedContext::new(
/// #     Recorder::new(sim.open(DomId::DOM0), tape.clone()),
/// #     Recorder::new(SimLoop::level(), tape.clone()),
/// #     tape.clone(),
/// # );
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// let _pending = channel.wait()?;
/// channel.cancel()?;
/// channel.unbind()?; // each of these is in the trace, under the number of the channel
/// # Ok(())
/// # }
/// ```
pub struct RecordedChannel<O: Open, R: Registrar<O::Device>> {
    /// `None` once it is unbound or dropped.
    channel: Option<Channel<O, R>>,
    id: ChannelId,
    tape: Tape,
}

/// What an unbind of a [`RecordedChannel`] gives.
pub type RecordedUnbind<O, R> =
    Result<(), UnbindError<RecordedChannel<O, R>, DeviceError<O>, LoopError<O, R>>>;

pub(super) fn wait<D: Failure, R: Failure>(
    tape: &Tape,
    id: ChannelId,
    wait: impl FnOnce() -> Result<Wait, WaitError<D, R>>,
) -> Result<Wait, WaitError<D, R>> {
    let channel = tape.channel(id);
    tape.begins(|| Call::Wait { channel });
    let waited = wait();
    tape.ends(InRound::Same, |_| match &waited {
        Ok(Wait::Pending) => Answer::Pending,
        Ok(Wait::Ready(cause)) => Answer::Ready {
            cause: Caused(*cause),
        },
        Err(error) => step::wait(error),
    });
    waited
}

pub(super) fn cancel<R: Failure>(
    tape: &Tape,
    id: ChannelId,
    cancel: impl FnOnce() -> Result<(), CancelError<R>>,
) -> Result<(), CancelError<R>> {
    let channel = tape.channel(id);
    tape.begins(|| Call::Cancel { channel });
    let cancelled = cancel();
    tape.ends(InRound::Same, |_| step::done(&cancelled, step::cancel));
    cancelled
}

impl<O: Open, R: Registrar<O::Device>> RecordedChannel<O, R>
where
    DeviceError<O>: Failure,
    LoopError<O, R>: Failure,
{
    /// [`Channel::id`]
    #[must_use]
    pub const fn id(&self) -> ChannelId {
        self.id
    }

    /// [`Channel::port`]
    #[must_use]
    pub const fn port(&self) -> Port {
        self.id.port()
    }

    /// [`Channel::wait`]
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self) -> Result<Wait, WaitError<DeviceError<O>, LoopError<O, R>>> {
        let Some(channel) = &self.channel else {
            return Err(evtchn_core::NotBound(self.id).into());
        };
        wait(&self.tape, self.id, || channel.wait())
    }

    /// [`Channel::cancel`]
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&self) -> Result<(), CancelError<LoopError<O, R>>> {
        let Some(channel) = &self.channel else {
            return Err(evtchn_core::NotBound(self.id).into());
        };
        cancel(&self.tape, self.id, || channel.cancel())
    }

    /// [`Channel::notify`]
    ///
    /// # Errors
    /// As there.
    pub fn notify(&self) -> Result<(), NotifyError<DeviceError<O>>> {
        let Some(channel) = &self.channel else {
            return Err(evtchn_core::NotBound(self.id).into());
        };
        let number = self.tape.channel(self.id);
        self.tape.begins(|| Call::Notify { channel: number });
        let notified = channel.notify();
        self.tape
            .ends(InRound::Same, |_| step::done(&notified, step::notify));
        notified
    }

    /// [`Channel::unbind`]
    ///
    /// # Errors
    /// As there.
    pub fn unbind(mut self) -> RecordedUnbind<O, R> {
        let Some(channel) = self.channel.take() else {
            return Ok(());
        };
        let number = self.tape.channel(self.id);
        self.tape.begins(|| Call::Unbind { channel: number });
        let unbound = channel.unbind();
        self.tape
            .ends(InRound::Same, |_| step::done(&unbound, step::unbind));
        let (channel, error) = match unbound {
            Ok(()) => return Ok(()),
            Err(UnbindError::Unbind { channel, source }) => (channel, Some(Ok(source))),
            Err(UnbindError::Inherited(channel)) => (channel, None),
            Err(UnbindError::Reentrant(channel)) => (channel, Some(Err(()))),
            Err(UnbindError::Link(error)) => return Err(UnbindError::Link(error)),
            // There is no other.
            Err(_) => return Ok(()),
        };
        self.channel = Some(channel);
        Err(match error {
            Some(Ok(source)) => UnbindError::Unbind {
                channel: self,
                source,
            },
            Some(Err(())) => UnbindError::Reentrant(self),
            None => UnbindError::Inherited(self),
        })
    }

    /// [`Channel::set_callback`]. Each call of it is written down, and so is its return.
    ///
    /// # Errors
    /// As there.
    pub fn set_callback(
        &self,
        mut callback: impl FnMut(Wake) + Send + 'static,
    ) -> Result<(), LinkError<LoopError<O, R>>> {
        let Some(channel) = &self.channel else {
            return Ok(());
        };
        let number = self.tape.channel(self.id);
        self.tape.begins(|| Call::SetCallback { channel: number });
        let tape = self.tape.clone();
        let set = channel.set_callback(move |wake| {
            tape.ends(InRound::Same, |channels| {
                let (channel, cause) = numbered(channels, &wake);
                Answer::Calls { channel, cause }
            });
            let _returns = Returns(&tape);
            callback(wake);
        });
        self.tape
            .ends(InRound::Same, |_| step::done(&set, step::link));
        set
    }

    /// [`Channel::remove_callback`]
    ///
    /// # Errors
    /// As there.
    pub fn remove_callback(&self) -> Result<bool, LinkError<LoopError<O, R>>> {
        let Some(channel) = &self.channel else {
            return Ok(false);
        };
        let number = self.tape.channel(self.id);
        self.tape
            .begins(|| Call::RemoveCallback { channel: number });
        let removed = channel.remove_callback();
        self.tape.ends(InRound::Same, |_| match &removed {
            Ok(was_set) => Answer::Removed { was_set: *was_set },
            Err(error) => step::link(error),
        });
        removed
    }
}

/// Writes that a callback came back, also where it panicked.
struct Returns<'a>(&'a Tape);

impl Drop for Returns<'_> {
    fn drop(&mut self) {
        let panics = std::thread::panicking();
        self.0.begins(|| Call::Return { panics });
    }
}

impl<O: Open, R: Sleep<O::Device>> RecordedChannel<O, R>
where
    DeviceError<O>: Failure,
    LoopError<O, R>: Failure,
    SleepError<O, R>: Failure,
{
    /// [`Channel::block`]
    ///
    /// # Errors
    /// As there.
    pub fn block(&self, deadline: Option<R::Deadline>) -> BlockResult<O, R> {
        let Some(channel) = &self.channel else {
            return Err(WaitError::from(evtchn_core::NotBound(self.id)).into());
        };
        let number = self.tape.channel(self.id);
        self.tape.begins(|| Call::Block {
            channel: number,
            until: deadline.is_some(),
        });
        let blocked = channel.block(deadline);
        self.tape.ends(InRound::Same, |_| step::blocked(&blocked));
        blocked
    }
}

impl<O: Open, R: Registrar<O::Device>> RecordedChannel<O, R> {
    pub(super) fn of(channel: Channel<O, R>, tape: &Tape) -> RecordedChannel<O, R> {
        RecordedChannel {
            id: channel.id(),
            channel: Some(channel),
            tape: tape.clone(),
        }
    }

    /// The channel, whose drop is not written down any more.
    pub(super) fn into_channel(mut self) -> Option<Channel<O, R>> {
        self.channel.take()
    }
}

impl<O: Open, R: Registrar<O::Device>> Drop for RecordedChannel<O, R> {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.take() {
            let number = self.tape.channel(self.id);
            self.tape.begins(|| Call::DropChannel { channel: number });
            drop(channel);
            self.tape.ends(InRound::Same, |_| Answer::Done);
        }
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for RecordedChannel<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.channel.fmt(f)
    }
}
