//! The channels of a recorded context.

use std::fmt;
use std::mem::replace;

use evtchn_core::{Cause, Channel, ChannelId, Error, Port, Registrar, Sleep, Wake};

use super::numbered;
use crate::line::{Answer, Call};
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
/// let mut channel = ctx.bind_unbound_port(DomId::SELF)?;
/// channel.wait()?;
/// channel.cancel()?;
/// channel.unbind()?; // each of these is in the trace, under the number of the channel
/// # Ok(())
/// # }
/// ```
pub struct RecordedChannel<R: Registrar> {
    // In the order in which they are dropped: the line of the drop, the channel, what came of it.
    begins: BeginsDrop,
    channel: Channel<R>,
    ends: EndsDrop,
}

/// Whether the drop unbinds, which is a call then.
struct BeginsDrop {
    tape: Tape,
    id: ChannelId,
    is_bound: bool,
}

impl Drop for BeginsDrop {
    fn drop(&mut self) {
        if self.is_bound {
            let channel = self.tape.channel(self.id);
            self.tape.begins(|| Call::DropChannel { channel });
        }
    }
}

struct EndsDrop {
    tape: Tape,
    is_bound: bool,
}

impl Drop for EndsDrop {
    fn drop(&mut self) {
        if self.is_bound {
            self.tape.ends(InRound::Same, |_| Answer::Done);
        }
    }
}

pub(super) fn wait(
    tape: &Tape,
    call: Call,
    wait: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    tape.begins(|| call);
    let waited = wait();
    tape.ends(InRound::Same, |_| step::done(&waited));
    waited
}

pub(super) fn cancel(
    tape: &Tape,
    id: ChannelId,
    cancel: impl FnOnce() -> Result<bool, Error>,
) -> Result<bool, Error> {
    let channel = tape.channel(id);
    tape.begins(|| Call::Cancel { channel });
    let cancelled = cancel();
    tape.ends(InRound::Same, |_| step::cancelled(&cancelled));
    cancelled
}

impl<R: Registrar> RecordedChannel<R> {
    /// [`Channel::id`]
    #[must_use]
    pub const fn id(&self) -> ChannelId {
        self.channel.id()
    }

    /// [`Channel::port`]
    #[must_use]
    pub const fn port(&self) -> Port {
        self.channel.port()
    }

    const fn tape(&self) -> &Tape {
        &self.begins.tape
    }

    /// [`Channel::wait`]
    ///
    /// # Errors
    /// Those of [`Channel::wait`].
    pub fn wait(&self) -> Result<(), Error> {
        let channel = self.tape().channel(self.id());
        wait(self.tape(), Call::Wait { channel }, || self.channel.wait())
    }

    /// [`Channel::wait_each`]
    ///
    /// # Errors
    /// Those of [`Channel::wait_each`].
    pub fn wait_each(&self) -> Result<(), Error> {
        let channel = self.tape().channel(self.id());
        wait(self.tape(), Call::WaitEach { channel }, || {
            self.channel.wait_each()
        })
    }

    /// [`Channel::cancel`]
    ///
    /// # Errors
    /// Those of [`Channel::cancel`].
    pub fn cancel(&self) -> Result<bool, Error> {
        cancel(self.tape(), self.id(), || self.channel.cancel())
    }

    /// [`Channel::notify`]
    ///
    /// # Errors
    /// Those of [`Channel::notify`].
    pub fn notify(&self) -> Result<(), Error> {
        let channel = self.tape().channel(self.id());
        self.tape().begins(|| Call::Notify { channel });
        let notified = self.channel.notify();
        self.tape().ends(InRound::Same, |_| step::done(&notified));
        notified
    }

    /// [`Channel::unbind`]
    ///
    /// # Errors
    /// Those of [`Channel::unbind`].
    pub fn unbind(&mut self) -> Result<(), Error> {
        let channel = self.tape().channel(self.id());
        self.tape().begins(|| Call::Unbind { channel });
        let unbound = self.channel.unbind();
        self.tape().ends(InRound::Same, |_| step::done(&unbound));
        let is_bound = !matches!(unbound, Ok(()) | Err(Error::Deregister(_)));
        self.begins.is_bound &= is_bound;
        self.ends.is_bound &= is_bound;
        unbound
    }

    /// [`Channel::set_callback`]
    ///
    /// # Errors
    /// Those of [`Channel::set_callback`].
    pub fn set_callback(
        &self,
        mut callback: impl FnMut(Wake) + Send + 'static,
    ) -> Result<(), Error> {
        let channel = self.tape().channel(self.id());
        self.tape().begins(|| Call::SetCallback { channel });
        let tape = self.tape().clone();
        let set = self.channel.set_callback(move |wake| {
            tape.ends(InRound::Same, |channels| {
                let (channel, cause) = numbered(channels, &wake);
                Answer::Calls { channel, cause }
            });
            let _returns = Returns(&tape);
            callback(wake);
        });
        self.tape().ends(InRound::Same, |_| step::done(&set));
        set
    }

    /// [`Channel::remove_callback`]
    ///
    /// # Errors
    /// Those of [`Channel::remove_callback`].
    pub fn remove_callback(&self) -> Result<bool, Error> {
        let channel = self.tape().channel(self.id());
        self.tape().begins(|| Call::RemoveCallback { channel });
        let removed = self.channel.remove_callback();
        self.tape().ends(InRound::Same, |_| match &removed {
            Ok(was_set) => Answer::Removed { was_set: *was_set },
            Err(error) => step::failed(error),
        });
        removed
    }
}

/// A callback that runs. It returns where this is dropped, or panics.
struct Returns<'a>(&'a Tape);

impl Drop for Returns<'_> {
    fn drop(&mut self) {
        let panics = std::thread::panicking();
        self.0.begins(|| Call::Return { panics });
    }
}

impl<R: Sleep> RecordedChannel<R> {
    /// [`Channel::block_until`], or [`Channel::block`] without a deadline.
    ///
    /// # Errors
    /// Those of [`Channel::block`].
    pub fn block(&self, deadline: Option<R::Deadline>) -> Result<Option<Cause>, Error> {
        let channel = self.tape().channel(self.id());
        self.tape().begins(|| Call::Block {
            channel,
            until: deadline.is_some(),
        });
        let blocked = match deadline {
            Some(deadline) => self.channel.block_until(deadline),
            None => self.channel.block().map(Some),
        };
        self.tape().ends(InRound::Same, |_| step::blocked(&blocked));
        blocked
    }
}

impl<R: Registrar> RecordedChannel<R> {
    pub(super) fn of(channel: Channel<R>, tape: &Tape) -> RecordedChannel<R> {
        RecordedChannel::with(channel, tape, true)
    }

    pub(super) fn with(channel: Channel<R>, tape: &Tape, is_bound: bool) -> RecordedChannel<R> {
        let id = channel.id();
        RecordedChannel {
            begins: BeginsDrop {
                tape: tape.clone(),
                id,
                is_bound,
            },
            channel,
            ends: EndsDrop {
                tape: tape.clone(),
                is_bound,
            },
        }
    }

    /// The channel, and whether it was bound. Nothing is dropped.
    pub(super) fn into_channel(self) -> (Channel<R>, bool) {
        let RecordedChannel {
            mut begins,
            channel,
            mut ends,
        } = self;
        ends.is_bound = false;
        (channel, replace(&mut begins.is_bound, false))
    }
}

impl<R: Registrar> fmt::Debug for RecordedChannel<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.channel.fmt(f)
    }
}
