//! A context whose calls are written down, with what they came to.

mod channel;
mod handover;
mod round;

use std::fmt;
use std::time::Duration;

use evtchn_core::{
    BindResult, CancelError, Channel, ChannelId, Context, DeviceError, DispatchResult, DomId, Link,
    LoopError, Open, Outcome, Port, Registrar, RemotePort, RestrictError, Round, Stats,
    TeardownError, Virq, Wait, WaitError, Wake,
};

pub use channel::{RecordedChannel, RecordedUnbind};
pub use handover::RecordedIntoPartsError;
pub use round::RecordedRound;

use crate::failed::Failure;
use crate::line::{Answer, Call};
use crate::names::Caused;
use crate::step;
use crate::tape::{Channels, Round as InRound, Tape};
use channel::{cancel, wait};

/// A [`Context`] that writes down each call on it and on its channels and rounds.
///
/// It offers what can be replayed: no tasks, and no policies with their handlers.
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
    // In the order in which they are dropped: the line of the drop, the context, what came of it.
    begins: BeginsDrop,
    context: Context<O, R>,
    ends: EndsDrop,
}

#[derive(Debug)]
struct BeginsDrop(Tape);

impl Drop for BeginsDrop {
    fn drop(&mut self) {
        self.0.begins(|| Call::DropContext);
    }
}

#[derive(Debug)]
struct EndsDrop(Tape);

impl Drop for EndsDrop {
    fn drop(&mut self) {
        self.0.ends(InRound::Same, |_| Answer::Done);
    }
}

impl<O: Open, R: Registrar<O::Device>> RecordedContext<O, R>
where
    DeviceError<O>: Failure,
    LoopError<O, R>: Failure,
{
    /// A context whose calls are written to this tape; the seam under it is recorded by a
    /// [`Recorder`](crate::Recorder) with the same one.
    pub fn new(opener: O, registrar: R, tape: Tape) -> RecordedContext<O, R> {
        RecordedContext::of(Context::new(opener, registrar), tape)
    }

    /// The context itself. What is called on it is not written down, so a trace of a run that
    /// changes something this way is not played again as it was.
    #[must_use]
    pub const fn unrecorded(&self) -> &Context<O, R> {
        &self.context
    }

    const fn tape(&self) -> &Tape {
        &self.begins.0
    }

    fn bind(
        &self,
        call: Call,
        bind: impl FnOnce() -> BindResult<O, Channel<O, R>>,
    ) -> BindResult<O, RecordedChannel<O, R>> {
        let tape = self.tape();
        tape.begins(|| call);
        let bound = bind();
        let answer = match &bound {
            Ok(channel) => Answer::Bound {
                channel: tape.bound(channel.id()),
                port: channel.port(),
            },
            Err(error) => step::bind(error),
        };
        tape.ends(InRound::Same, |_| answer);
        Ok(RecordedChannel::of(bound?, tape))
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
        Ok(RecordedRound::of(begun?, tape))
    }

    /// [`Context::dispatch`]
    ///
    /// # Errors
    /// As there.
    pub fn dispatch(&self) -> DispatchResult<O, R, RecordedRound<'_, O, R>> {
        self.dispatch_at_most(Round::<O, R>::BUDGET)
    }

    /// [`Context::dispatch_callbacks`], or [`Context::dispatch_callbacks_again`] where each channel
    /// is waited for `again`.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there. The trace is then none that can be replayed.
    pub fn dispatch_callbacks(&self, again: bool) -> DispatchResult<O, R, Outcome> {
        self.tape().begins(|| Call::DispatchCallbacks { again });
        let dispatched = match again {
            true => self.context.dispatch_callbacks_again(),
            false => self.context.dispatch_callbacks(),
        };
        self.tape()
            .ends(InRound::Same, |_| step::outcome(&dispatched));
        dispatched
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

impl<O: Open, R: Registrar<O::Device>> RecordedContext<O, R> {
    fn of(context: Context<O, R>, tape: Tape) -> RecordedContext<O, R> {
        RecordedContext {
            begins: BeginsDrop(tape.clone()),
            context,
            ends: EndsDrop(tape),
        }
    }

    /// The context, whose drop is not written down any more.
    fn into_context(self) -> (Context<O, R>, Tape) {
        let RecordedContext {
            mut begins,
            context,
            mut ends,
        } = self;
        ends.0 = Tape::off();
        let tape = std::mem::replace(&mut begins.0, Tape::off());
        (context, tape)
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for RecordedContext<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(f)
    }
}

fn numbered(channels: &Channels<'_>, wake: &Wake) -> (u32, Caused) {
    (channels.of(wake.channel), Caused(wake.cause))
}
