//! A recorded context that is taken apart, and one that is put together.

use std::fmt;

use evtchn_core::{Context, DeviceError, DomId, HandOverError, LoopError, Open, Parts, Registrar};

use super::{RecordedChannel, RecordedContext};
use crate::failed::Failure;
use crate::line::{Answer, Call};
use crate::step;
use crate::tape::{Round as InRound, Tape};

/// A [`RecordedContext`] that was not taken apart comes back, as it was.
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
/// // A channel was not given along, so all comes back.
/// let error = ctx.into_parts(vec![]).err().unwrap();
/// assert!(error.channels.is_empty());
/// drop(channel);
/// error.context.teardown()?;
/// # Ok(())
/// # }
/// ```
pub struct RecordedIntoPartsError<O: Open, R: Registrar<O::Device>> {
    /// The context.
    pub context: RecordedContext<O, R>,
    /// The channels that were given along.
    pub channels: Vec<RecordedChannel<O, R>>,
    /// Why.
    pub reason: HandOverError<LoopError<O, R>>,
}

impl<O: Open, R: Registrar<O::Device>> RecordedContext<O, R>
where
    DeviceError<O>: Failure,
    LoopError<O, R>: Failure,
{
    /// [`Context::into_parts`]
    ///
    /// # Errors
    /// As there.
    pub fn into_parts(
        self,
        channels: Vec<RecordedChannel<O, R>>,
    ) -> Result<Parts<O::Device>, Box<RecordedIntoPartsError<O, R>>> {
        let (context, tape) = self.into_context();
        let numbers = channels.iter().map(|it| tape.channel(it.id())).collect();
        tape.begins(|| Call::IntoParts { channels: numbers });
        let bound = channels.into_iter();
        let taken = context.into_parts(bound.filter_map(RecordedChannel::into_channel).collect());
        tape.ends(InRound::Same, |_| match &taken {
            Ok(_) => Answer::Done,
            Err(error) => step::hand_over(&error.reason),
        });
        taken.map_err(|error| {
            let channels = error.channels.into_iter();
            Box::new(RecordedIntoPartsError {
                channels: channels.map(|it| RecordedChannel::of(it, &tape)).collect(),
                context: RecordedContext::of(error.context, tape),
                reason: error.reason,
            })
        })
    }

    /// [`Context::from_parts`], of parts that a recorded context left, on the same tape or in another
    /// process.
    pub fn from_parts(
        parts: Parts<O::Device>,
        opener: O,
        registrar: R,
        tape: Tape,
    ) -> (RecordedContext<O, R>, Vec<RecordedChannel<O, R>>) {
        tape.begins(|| Call::FromParts {
            ports: parts.table.ports().to_vec(),
            restriction: parts.table.restriction().map(DomId::as_raw),
        });
        let (context, channels) = Context::from_parts(parts, opener, registrar);
        let adopted: Vec<_> = channels.iter().map(|it| tape.bound(it.id())).collect();
        tape.ends(InRound::Same, |_| Answer::Adopted { channels: adopted });
        let channels = channels.into_iter();
        let channels = channels.map(|it| RecordedChannel::of(it, &tape)).collect();
        (RecordedContext::of(context, tape), channels)
    }
}

impl<O: Open, R: Registrar<O::Device>> fmt::Debug for RecordedIntoPartsError<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecordedIntoPartsError")
            .field(&self.reason)
            .finish()
    }
}
