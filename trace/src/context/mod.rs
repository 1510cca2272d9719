//! A context whose calls are written down, with what they came to.

mod channel;
mod handover;
mod round;

use std::fmt;
use std::time::Duration;

use evtchn_core::{
    Backend, Channel, ChannelId, Context, DomId, Error, Link, Outcome, Port, Registrar, RemotePort,
    Round, Stats, Virq, Wake,
};

pub use channel::RecordedChannel;
pub use handover::Kept;
pub use round::RecordedRound;

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
/// use evtchn_core::{DomId, Trigger};
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
/// channel.wait()?;
/// drop(channel);
/// ctx.teardown()?;
/// drop(ctx);
/// tape.finish()?;
/// # Ok(())
/// # }
/// ```
pub struct RecordedContext<R: Registrar> {
    // In the order in which they are dropped: the line of the drop, the context, what came of it.
    begins: BeginsDrop,
    context: Context<R>,
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

impl<R: Registrar> RecordedContext<R> {
    /// A context whose calls are written to this tape; the seam under it is recorded by a
    /// [`Recorder`](crate::Recorder) with the same one.
    pub fn new(backend: impl Into<Backend>, registrar: R, tape: Tape) -> RecordedContext<R> {
        RecordedContext::of(Context::with_registrar(backend, registrar), tape)
    }

    /// The context itself. What is called on it is not written down, so a trace of a run that
    /// changes something this way is not played again as it was.
    #[must_use]
    pub const fn unrecorded(&self) -> &Context<R> {
        &self.context
    }

    const fn tape(&self) -> &Tape {
        &self.begins.0
    }

    fn bind(
        &self,
        call: Call,
        bind: impl FnOnce() -> Result<Channel<R>, Error>,
    ) -> Result<RecordedChannel<R>, Error> {
        let tape = self.tape();
        tape.begins(|| call);
        let bound = bind();
        let answer = match &bound {
            Ok(channel) => Answer::Bound {
                channel: tape.bound(channel.id()),
                port: channel.port(),
            },
            Err(error) => step::failed(error),
        };
        tape.ends(InRound::Same, |_| answer);
        Ok(RecordedChannel::of(bound?, tape))
    }

    /// [`Context::bind_unbound_port`]
    ///
    /// # Errors
    /// Those of [`Context::bind_unbound_port`].
    pub fn bind_unbound_port(&self, remote: DomId) -> Result<RecordedChannel<R>, Error> {
        let bind = || self.context.bind_unbound_port(remote);
        self.bind(Call::BindUnboundPort { remote }, bind)
    }

    /// [`Context::bind_interdomain`]
    ///
    /// # Errors
    /// Those of [`Context::bind_interdomain`].
    pub fn bind_interdomain(&self, remote: RemotePort) -> Result<RecordedChannel<R>, Error> {
        let RemotePort { domid, port } = remote;
        let bind = || self.context.bind_interdomain(remote);
        self.bind(Call::BindInterdomain { domid, port }, bind)
    }

    /// [`Context::bind_virq`]
    ///
    /// # Errors
    /// Those of [`Context::bind_virq`].
    pub fn bind_virq(&self, virq: Virq) -> Result<RecordedChannel<R>, Error> {
        self.bind(Call::BindVirq { virq }, || self.context.bind_virq(virq))
    }

    /// [`Context::bind_static`]
    ///
    /// # Errors
    /// Those of [`Context::bind_static`].
    pub fn bind_static(&self, port: Port) -> Result<RecordedChannel<R>, Error> {
        self.bind(Call::BindStatic { port }, || self.context.bind_static(port))
    }

    /// [`Context::wait`]
    ///
    /// # Errors
    /// Those of [`Context::wait`].
    pub fn wait(&self, id: ChannelId) -> Result<(), Error> {
        let tape = self.tape();
        let channel = tape.channel(id);
        wait(tape, Call::Wait { channel }, || self.context.wait(id))
    }

    /// [`Context::wait_each`]
    ///
    /// # Errors
    /// Those of [`Context::wait_each`].
    pub fn wait_each(&self, id: ChannelId) -> Result<(), Error> {
        let tape = self.tape();
        let channel = tape.channel(id);
        wait(tape, Call::WaitEach { channel }, || {
            self.context.wait_each(id)
        })
    }

    /// [`Context::cancel`]
    ///
    /// # Errors
    /// Those of [`Context::cancel`].
    pub fn cancel(&self, id: ChannelId) -> Result<bool, Error> {
        cancel(self.tape(), id, || self.context.cancel(id))
    }

    /// [`Context::restrict`]
    ///
    /// # Errors
    /// Those of [`Context::restrict`].
    pub fn restrict(&self, domid: DomId) -> Result<(), Error> {
        self.tape().begins(|| Call::Restrict { domid });
        let restricted = self.context.restrict(domid);
        let answer = |_: &Channels<'_>| step::done(&restricted);
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
    /// Those of [`Context::dispatch_at_most`].
    pub fn dispatch_at_most(&self, wakes: usize) -> Result<RecordedRound<'_, R>, Error> {
        let tape = self.tape();
        tape.begins(|| Call::Begin { wakes });
        let begun = self.context.dispatch_at_most(wakes);
        let round = match &begun {
            Ok(_) => InRound::Begun,
            Err(_) => InRound::Same,
        };
        tape.ends(round, |_| step::done(&begun));
        Ok(RecordedRound::of(begun?, tape))
    }

    /// [`Context::dispatch`]
    ///
    /// # Errors
    /// Those of [`Context::dispatch`].
    pub fn dispatch(&self) -> Result<RecordedRound<'_, R>, Error> {
        self.dispatch_at_most(Round::<R>::BUDGET)
    }

    /// [`Context::dispatch_callbacks`]
    ///
    /// # Errors
    /// Those of [`Context::dispatch_callbacks`].
    pub fn dispatch_callbacks(&self) -> Result<Outcome, Error> {
        self.tape().begins(|| Call::DispatchCallbacks);
        let dispatched = self.context.dispatch_callbacks();
        self.tape()
            .ends(InRound::Same, |_| step::outcome(&dispatched));
        dispatched
    }

    /// [`Context::teardown`]
    ///
    /// # Errors
    /// Those of [`Context::teardown`].
    pub fn teardown(&self) -> Result<(), Error> {
        self.tape().begins(|| Call::Teardown);
        let torn = self.context.teardown();
        self.tape().ends(InRound::Same, |_| step::done(&torn));
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

impl<R: Registrar> RecordedContext<R> {
    fn of(context: Context<R>, tape: Tape) -> RecordedContext<R> {
        RecordedContext {
            begins: BeginsDrop(tape.clone()),
            context,
            ends: EndsDrop(tape),
        }
    }
}

impl<R: Registrar> RecordedContext<R> {
    /// The context without the recording. Nothing is dropped.
    fn into_context(self) -> (Context<R>, Tape) {
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

impl<R: Registrar> fmt::Debug for RecordedContext<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(f)
    }
}

fn numbered(channels: &Channels<'_>, wake: &Wake) -> (u32, Caused) {
    (channels.of(wake.channel), Caused(wake.cause))
}
