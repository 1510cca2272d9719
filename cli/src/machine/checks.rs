//! Looking after a peer: Xen sends no event when it closes its end or dies, so it is asked every
//! so often.

use std::time::Duration;

use anyhow::Result;
use evtchn::{Blocked, Wait};

use super::{ChannelOf, Machine};
use crate::exit::unasked;

/// See the [module](self).
pub(crate) struct Checks<M: Machine> {
    rounds: Option<Rounds<M>>,
}

struct Rounds<M: Machine> {
    statuses: M::Statuses,
    every: Duration,
    next: Duration,
}

impl<M: Machine> Checks<M> {
    /// So often from now on; never without a time.
    ///
    /// # Errors
    /// Nobody says what ports are.
    pub(crate) fn new(machine: &M, every: Option<Duration>) -> Result<Checks<M>> {
        let rounds = every.map(|every| {
            Ok::<_, anyhow::Error>(Rounds {
                statuses: machine.statuses().map_err(unasked)?,
                every,
                next: machine.now() + every,
            })
        });
        let rounds = rounds.transpose()?;
        Ok(Checks { rounds })
    }

    /// [`Machine::block`] until this time on the machine's clock, with the checks that are due
    /// meanwhile: a peer that one of them finds connected or gone is a wake.
    ///
    /// # Errors
    /// Those of the device and the event loop, and nobody says what the port is.
    pub(crate) fn block(
        &mut self,
        machine: &M,
        channel: &ChannelOf<M>,
        until: Option<Duration>,
    ) -> Result<Blocked> {
        loop {
            let check = self.rounds.as_ref().map(|rounds| rounds.next);
            let next = check.into_iter().chain(until).min();
            let deadline = next.map(|next| machine.ahead(next.saturating_sub(machine.now())));
            let blocked = machine.block(channel, deadline)?;
            if !matches!(blocked, Blocked::TimedOut) || next == until {
                return Ok(blocked);
            }
            if let Wait::Ready(cause) = self.check(machine, channel)? {
                return Ok(Blocked::Woken(cause));
            }
        }
    }

    /// Checks once. Where there is news of the peer, the next block ends at once.
    fn check(&mut self, machine: &M, channel: &ChannelOf<M>) -> Result<Wait> {
        let Some(rounds) = &mut self.rounds else {
            return Ok(Wait::Pending);
        };
        // Only the peer of a channel that is waited for is asked about.
        if let Wait::Ready(cause) = channel.wait()? {
            return Ok(Wait::Ready(cause));
        }
        let told = machine.context().check_peers(&rounds.statuses)?;
        channel.cancel()?;
        rounds.next = machine.now() + rounds.every;
        if told == 0 && machine.is_still() {
            self.rounds = None;
        }
        Ok(Wait::Pending)
    }
}
