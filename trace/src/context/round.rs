//! A round of a recorded context.

use std::fmt;

use evtchn_core::{Error, Outcome, Registrar, Round, Wake, WakeBuf};

use super::numbered;
use crate::line::{Answer, Call};
use crate::step;
use crate::tape::{Round as InRound, Tape};

/// A round of a [`RecordedContext`](super::RecordedContext).
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
/// channel.wait()?;
/// guest.send(theirs)?;
/// let mut round = ctx.dispatch()?;
/// assert_eq!(round.next().map(|wake| wake.port()), Some(channel.port()));
/// round.finish()?;
/// # Ok(())
/// # }
/// ```
pub struct RecordedRound<'a, R: Registrar> {
    round: Option<Round<'a, R>>,
    tape: Tape,
}

impl<'a, R: Registrar> RecordedRound<'a, R> {
    pub(super) fn of(round: Round<'a, R>, tape: &Tape) -> RecordedRound<'a, R> {
        RecordedRound {
            round: Some(round),
            tape: tape.clone(),
        }
    }
}

impl<R: Registrar> RecordedRound<'_, R> {
    /// [`Round::fill`]
    pub fn fill<'b>(&mut self, buf: &'b mut WakeBuf, room: usize) -> &'b [Wake] {
        self.tape.begins(|| Call::Fill { room });
        let wakes: &[Wake] = match &mut self.round {
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
    /// Those of [`Round::finish`].
    pub fn finish(mut self) -> Result<Outcome, Error> {
        let Some(round) = self.round.take() else {
            return Ok(Outcome::Done);
        };
        self.tape.begins(|| Call::Finish);
        let finished = round.finish();
        self.tape.ends(InRound::Over, |_| step::outcome(&finished));
        finished
    }
}

impl<R: Registrar> Iterator for RecordedRound<'_, R> {
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

impl<R: Registrar> Drop for RecordedRound<'_, R> {
    fn drop(&mut self) {
        if let Some(round) = self.round.take() {
            self.tape.begins(|| Call::Leave);
            drop(round);
            self.tape.ends(InRound::Over, |_| Answer::Done);
        }
    }
}

impl<R: Registrar> fmt::Debug for RecordedRound<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.round.fmt(f)
    }
}
