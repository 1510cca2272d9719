//! A context whose calls are written down, with what they came to.

use std::fmt;
use std::time::Duration;

use evtchn_core::{
    BindResult, CancelError, Channel, ChannelId, Context, DeviceError, DispatchResult, DomId, Link,
    LoopError, NotifyError, Open, Outcome, Port, Registrar, RemotePort, RestrictError, Round,
    Stats, TeardownError, UnbindError, Virq, Wait, WaitError, Wake, WakeBuf,
};

use crate::failed::Failure;
use crate::line::{Answer, Call};
use crate::names::Caused;
use crate::step;
use crate::tape::{Channels, Round as InRound, Tape};

/// A [`Context`] that writes down each call on it and on its channels and rounds.
///
/// It offers what can be replayed: values, no callbacks, tasks and threads that block.
///
/// ```
/// use evtchn_core::{DomId, Trigger, Wait};
/// use evtchn_sim::{Sim, SimLoop};
/// use evtchn_trace::{Header, RecordedContext, Recorder, Source, Tape};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tape = Tape::new(&Header::new(Source::Sim, Trigger::Level), std::io::sink());
/// let ctx = RecordedContext::new(
///     Recorder::new(Sim::new(7).open(DomId::DOM0), tape.clone()),
///     Recorder::new(SimLoop::level(), tape.clone()),
///     tape.clone(),
/// );
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// assert_eq!(channel.wait()?, Wait::Pending);
/// drop(channel);
/// ctx.teardown()?;
/// drop(ctx);
/// tape.finish()?;
/// # Ok(())
/// # }
/// ```
pub struct RecordedContext<O: Open, R: Registrar<O::Device>> {
    context: Context<O, R>,
    drops: DropsContext,
}

#[derive(Debug)]
struct DropsContext(Tape);

impl Drop for DropsContext {
    fn drop(&mut self) {
        self.0.ends(InRound::Same, |_| Answer::Done);
    }
}

/// A channel of a [`RecordedContext`].
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

/// A round of a [`RecordedContext`].
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
/// let guest = sim.guest(sim.create_domain()?);
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// let _pending = channel.wait()?;
/// guest.send(theirs)?;
/// let mut round = ctx.dispatch()?;
/// assert_eq!(round.next().map(|wake| wake.port()), Some(channel.port()));
/// round.finish()?;
/// # Ok(())
/// # }
/// ```
pub struct RecordedRound<'a, O: Open, R: Registrar<O::Device>> {
    round: Option<Round<'a, O, R>>,
    tape: Tape,
}

impl<O: Open, R: Registrar<O::Device>> RecordedContext<O, R>
where
    DeviceError<O>: Failure,
    LoopError<O, R>: Failure,
{
    /// A context whose calls are written to this tape; the seam under it is recorded by a
    /// [`Recorder`](crate::Recorder) with the same one.
    pub fn new(opener: O, registrar: R, tape: Tape) -> RecordedContext<O, R> {
        RecordedContext {
            context: Context::new(opener, registrar),
            drops: DropsContext(tape),
        }
    }

    fn tape(&self) -> &Tape {
        &self.drops.0
    }

    fn bind(
        &self,
        call: Call,
        bind: impl FnOnce() -> BindResult<O, Channel<O, R>>,
    ) -> BindResult<O, RecordedChannel<O, R>> {
        let tape = self.tape();
        tape.begins(|| call);
        let bound = bind();
        let number = bound.as_ref().ok().map(|it| tape.bound(it.id()));
        tape.ends(InRound::Same, |_| match (&bound, number) {
            (Err(error), _) => step::bind(error),
            (Ok(_), number) => number.unwrap_or(Answer::Done),
        });
        let channel = bound?;
        Ok(RecordedChannel {
            id: channel.id(),
            channel: Some(channel),
            tape: tape.clone(),
        })
    }

    /// [`Context::bind_unbound_port`]
    ///
    /// # Errors
    /// As there.
    pub fn bind_unbound_port(&self, remote: DomId) -> BindResult<O, RecordedChannel<O, R>> {
        let bind = || self.context.bind_unbound_port(remote);
        self.bind(Call::BindUnboundPort { remote }, bind)
    }

    /// [`Context::bind_interdomain`]
    ///
    /// # Errors
    /// As there.
    pub fn bind_interdomain(&self, remote: RemotePort) -> BindResult<O, RecordedChannel<O, R>> {
        let RemotePort { domid, port } = remote;
        let bind = || self.context.bind_interdomain(remote);
        self.bind(Call::BindInterdomain { domid, port }, bind)
    }

    /// [`Context::bind_virq`]
    ///
    /// # Errors
    /// As there.
    pub fn bind_virq(&self, virq: Virq) -> BindResult<O, RecordedChannel<O, R>> {
        self.bind(Call::BindVirq { virq }, || self.context.bind_virq(virq))
    }

    /// [`Context::bind_static`]
    ///
    /// # Errors
    /// As there.
    pub fn bind_static(&self, port: Port) -> BindResult<O, RecordedChannel<O, R>> {
        self.bind(Call::BindStatic { port }, || self.context.bind_static(port))
    }

    /// [`Context::wait`]
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self, id: ChannelId) -> Result<Wait, WaitError<DeviceError<O>, LoopError<O, R>>> {
        let tape = self.tape();
        wait(tape, id, || self.context.wait(id))
    }

    /// [`Context::cancel`]
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&self, id: ChannelId) -> Result<(), CancelError<LoopError<O, R>>> {
        cancel(self.tape(), id, || self.context.cancel(id))
    }

    /// [`Context::restrict`]
    ///
    /// # Errors
    /// As there.
    pub fn restrict(&self, domid: DomId) -> Result<(), RestrictError<DeviceError<O>>> {
        self.tape().begins(|| Call::Restrict { domid });
        let restricted = self.context.restrict(domid);
        let answer = |_: &Channels<'_>| step::done(&restricted, step::restrict);
        self.tape().ends(InRound::Same, answer);
        restricted
    }

    /// [`Context::next_timeout`]
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.tape().begins(|| Call::NextTimeout);
        let timeout = self.context.next_timeout();
        let zero = timeout.is_some();
        self.tape()
            .ends(InRound::Same, |_| Answer::Timeout { zero });
        timeout
    }

    /// [`Context::dispatch_at_most`]
    ///
    /// # Errors
    /// As there.
    pub fn dispatch_at_most(&self, wakes: usize) -> DispatchResult<O, R, RecordedRound<'_, O, R>> {
        let tape = self.tape();
        tape.begins(|| Call::Begin { wakes });
        let begun = self.context.dispatch_at_most(wakes);
        let round = match &begun {
            Ok(_) => InRound::Begun,
            Err(_) => InRound::Same,
        };
        tape.ends(round, |_| step::done(&begun, step::dispatch));
        Ok(RecordedRound {
            round: Some(begun?),
            tape: tape.clone(),
        })
    }

    /// [`Context::dispatch`]
    ///
    /// # Errors
    /// As there.
    pub fn dispatch(&self) -> DispatchResult<O, R, RecordedRound<'_, O, R>> {
        self.dispatch_at_most(Round::<O, R>::BUDGET)
    }

    /// [`Context::teardown`]
    ///
    /// # Errors
    /// As there.
    pub fn teardown(&self) -> Result<(), TeardownError<LoopError<O, R>>> {
        self.tape().begins(|| Call::Teardown);
        let torn = self.context.teardown();
        self.tape()
            .ends(InRound::Same, |_| step::done(&torn, step::teardown));
        torn
    }

    /// [`Context::link`], which is not written down.
    #[must_use]
    pub fn link(&self) -> Link {
        self.context.link()
    }

    /// [`Context::stats`], which is not written down.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.context.stats()
    }
}

impl<O: Open, R: Registrar<O::Device>> Drop for RecordedContext<O, R> {
    fn drop(&mut self) {
        // The answer is written once the context is gone.
        self.drops.0.begins(|| Call::DropContext);
    }
}

fn wait<D: Failure, R: Failure>(
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

fn cancel<R: Failure>(
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

impl<O: Open, R: Registrar<O::Device>> RecordedRound<'_, O, R>
where
    DeviceError<O>: Failure,
    LoopError<O, R>: Failure,
{
    /// [`Round::fill`], or [`Round::fill_again`] where each is waited for `again`.
    pub fn fill<'b>(&mut self, buf: &'b mut WakeBuf, room: usize, again: bool) -> &'b [Wake] {
        self.tape.begins(|| match again {
            true => Call::FillAgain { room },
            false => Call::Fill { room },
        });
        let wakes: &[Wake] = match &mut self.round {
            Some(round) if again => round.fill_again(buf),
            Some(round) => round.fill(buf),
            None => &[],
        };
        self.tape.ends(InRound::Same, |channels| Answer::Wakes {
            wakes: wakes.iter().map(|wake| numbered(channels, wake)).collect(),
        });
        wakes
    }

    /// [`Round::finish`]
    ///
    /// # Errors
    /// As there.
    pub fn finish(mut self) -> DispatchResult<O, R, Outcome> {
        let Some(round) = self.round.take() else {
            return Ok(Outcome::Done);
        };
        self.tape.begins(|| Call::Finish);
        let finished = round.finish();
        self.tape.ends(InRound::Over, |_| match &finished {
            Ok(Outcome::Done) => Answer::Done,
            Ok(Outcome::More) => Answer::More,
            Err(error) => step::dispatch(error),
        });
        finished
    }
}

fn numbered(channels: &Channels<'_>, wake: &Wake) -> (u32, Caused) {
    (channels.of(wake.channel), Caused(wake.cause))
}

impl<O: Open, R: Registrar<O::Device>> Iterator for RecordedRound<'_, O, R> {
    type Item = Wake;

    fn next(&mut self) -> Option<Wake> {
        self.tape.begins(|| Call::Next);
        let wake = self.round.as_mut().and_then(Iterator::next);
        self.tape.ends(InRound::Same, |channels| match &wake {
            Some(wake) => {
                let (channel, cause) = numbered(channels, wake);
                Answer::Wake { channel, cause }
            }
            None => Answer::Nothing,
        });
        wake
    }
}

impl<O: Open, R: Registrar<O::Device>> Drop for RecordedRound<'_, O, R> {
    fn drop(&mut self) {
        if let Some(round) = self.round.take() {
            self.tape.begins(|| Call::Leave);
            drop(round);
            self.tape.ends(InRound::Over, |_| Answer::Done);
        }
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for RecordedContext<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(f)
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for RecordedChannel<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.channel.fmt(f)
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for RecordedRound<'_, O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.round.fmt(f)
    }
}
