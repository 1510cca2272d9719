//! Regular checks of a peer: Xen sends no event when it closes its end or dies, so the command asks.

use std::time::Duration;

use anyhow::Result;
use evtchn::{Channel, PortStatuses};

use super::{Blocked, Machine};
use crate::exit::{call_failed, query_failed};

/// See the [module](self).
pub(crate) struct PeerChecks {
    schedule: Option<Schedule>,
}

struct Schedule {
    statuses: Box<dyn PortStatuses>,
    every: Duration,
    next: Duration,
}

impl PeerChecks {
    /// Checks once every `every` from now on; never if that is `None`.
    ///
    /// # Errors
    /// If Xen cannot be asked.
    pub(crate) fn new(machine: &impl Machine, every: Option<Duration>) -> Result<PeerChecks> {
        let schedule = every.map(|every| {
            Ok::<_, anyhow::Error>(Schedule {
                statuses: machine.backend().statuses().map_err(query_failed)?,
                every,
                next: machine.now() + every,
            })
        });
        let schedule = schedule.transpose()?;
        Ok(PeerChecks { schedule })
    }

    /// [`Machine::block`] until this time on the machine's clock, with the checks that are due
    /// meanwhile. It returns a wake if a check finds that a peer connected or is gone.
    ///
    /// # Errors
    /// Those of the device and the event loop, and of the queries.
    pub(crate) fn block<M: Machine>(
        &mut self,
        machine: &M,
        channel: &Channel<M::Loop>,
        until: Option<Duration>,
    ) -> Result<Blocked> {
        loop {
            let check = self.schedule.as_ref().map(|schedule| schedule.next);
            let next = check.into_iter().chain(until).min();
            let blocked = machine.block(channel, next)?;
            if !matches!(blocked, Blocked::TimedOut) || next == until {
                return Ok(blocked);
            }
            self.check(machine, channel)?;
        }
    }

    /// Checks once. If the peer connected or is gone, the next block returns at once.
    fn check<M: Machine>(&mut self, machine: &M, channel: &Channel<M::Loop>) -> Result<()> {
        let Some(schedule) = &mut self.schedule else {
            return Ok(());
        };
        // A check covers only channels with a wait.
        channel.wait()?;
        let woken = machine.context().check_peers_with(&*schedule.statuses);
        let woken = woken.map_err(call_failed)?;
        channel.cancel()?;
        schedule.next = machine.now() + schedule.every;
        if woken == 0 && machine.is_idle() {
            self.schedule = None;
        }
        Ok(())
    }
}
