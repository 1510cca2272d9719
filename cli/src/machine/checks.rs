//! Looking after a peer: Xen sends no event when it closes its end or dies, so it is asked every
//! so often.

use std::time::Duration;

use anyhow::Result;
use evtchn::{Channel, PortStatuses};

use super::{Blocked, Machine};
use crate::exit::unasked;

/// See the [module](self).
pub(crate) struct Checks {
    rounds: Option<Rounds>,
}

struct Rounds {
    statuses: Box<dyn PortStatuses>,
    every: Duration,
    next: Duration,
}

impl Checks {
    /// So often from now on; never without a time.
    ///
    /// # Errors
    /// Nobody says what ports are.
    pub(crate) fn new(machine: &impl Machine, every: Option<Duration>) -> Result<Checks> {
        let rounds = every.map(|every| {
            Ok::<_, anyhow::Error>(Rounds {
                statuses: machine.backend().statuses().map_err(unasked)?,
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
    pub(crate) fn block<M: Machine>(
        &mut self,
        machine: &M,
        channel: &Channel<M::Loop>,
        until: Option<Duration>,
    ) -> Result<Blocked> {
        loop {
            let check = self.rounds.as_ref().map(|rounds| rounds.next);
            let next = check.into_iter().chain(until).min();
            let blocked = machine.block(channel, next)?;
            if !matches!(blocked, Blocked::TimedOut) || next == until {
                return Ok(blocked);
            }
            self.check(machine, channel)?;
        }
    }

    /// Checks once. Where there is news of the peer, the next block ends at once.
    fn check<M: Machine>(&mut self, machine: &M, channel: &Channel<M::Loop>) -> Result<()> {
        let Some(rounds) = &mut self.rounds else {
            return Ok(());
        };
        // Only the peer of a channel that is waited for is asked about.
        channel.wait()?;
        let told = machine.context().check_peers_with(&*rounds.statuses)?;
        channel.cancel()?;
        rounds.next = machine.now() + rounds.every;
        if told == 0 && machine.is_still() {
            self.rounds = None;
        }
        Ok(())
    }
}
