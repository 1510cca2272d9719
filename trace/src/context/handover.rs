//! A recorded context that is taken apart, and one that is put together.

use std::fmt;

use evtchn_core::{Backend, Context, DomId, Error, Parts, Registrar};

use super::{RecordedChannel, RecordedContext};
use crate::line::{Answer, Call};
use crate::step;
use crate::tape::{Round as InRound, Tape};

impl<R: Registrar> RecordedContext<R> {
    /// [`Context::hand_over`], which is the end of this context.
    ///
    /// # Errors
    /// Those of [`Context::hand_over`]; nothing changed, and everything comes back.
    pub fn hand_over(self, channels: Vec<RecordedChannel<R>>) -> Result<Parts, Box<Kept<R>>> {
        let (context, tape) = self.into_context();
        let numbers = channels.iter().map(|it| tape.channel(it.id())).collect();
        tape.begins(|| Call::HandOver { channels: numbers });
        let (mut bound, was_bound): (Vec<_>, Vec<_>) = channels
            .into_iter()
            .map(RecordedChannel::into_channel)
            .unzip();
        let taken = context.hand_over(&mut bound);
        tape.ends(InRound::Same, |_| step::done(&taken));
        taken.map_err(|error| {
            let channels = bound.into_iter().zip(was_bound);
            Box::new(Kept {
                channels: channels
                    .map(|(channel, is_bound)| RecordedChannel::with(channel, &tape, is_bound))
                    .collect(),
                context: RecordedContext::of(context, tape),
                error,
            })
        })
    }

    /// [`Context::from_parts`]
    pub fn from_parts(
        parts: Parts,
        backend: impl Into<Backend>,
        registrar: R,
        tape: Tape,
    ) -> (RecordedContext<R>, Vec<RecordedChannel<R>>) {
        tape.begins(|| Call::FromParts {
            ports: parts.table.ports().to_vec(),
            restriction: parts.table.restriction().map(DomId::as_raw),
        });
        let (context, channels) = Context::from_parts(parts, backend, registrar);
        let adopted: Vec<_> = channels.iter().map(|it| tape.bound(it.id())).collect();
        tape.ends(InRound::Same, |_| Answer::Adopted { channels: adopted });
        let channels = channels.into_iter();
        let channels = channels.map(|it| RecordedChannel::of(it, &tape)).collect();
        (RecordedContext::of(context, tape), channels)
    }
}

/// What was not handed over, as it was.
///
/// ```
/// use evtchn_core::{DomId, Error};
/// use evtchn_sim::{Sim, SimLoop};
/// use evtchn_trace::{RecordedContext, Tape};
///
/// let opener = Sim::new(1).open(DomId::DOM0);
/// let context = RecordedContext::new(opener, SimLoop::level(), Tape::off());
/// let channel = context.bind_unbound_port(DomId::SELF)?;
/// let Err(kept) = context.hand_over(Vec::new()) else {
///     panic!("a channel was not given along");
/// };
/// assert!(matches!(kept.error, Error::StillInUse(_)));
/// let parts = kept.context.hand_over(vec![channel]).map_err(|kept| kept.error)?;
/// assert_eq!(parts.table.ports().len(), 1);
/// # Ok::<_, Error>(())
/// ```
pub struct Kept<R: Registrar> {
    /// The context.
    pub context: RecordedContext<R>,
    /// The channels.
    pub channels: Vec<RecordedChannel<R>>,
    /// Why.
    pub error: Error,
}

impl<R: Registrar> fmt::Debug for Kept<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.error).finish()
    }
}
