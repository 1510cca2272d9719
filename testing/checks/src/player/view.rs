//! What a player shows between two steps.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use evtchn_core::{Registrar, Trigger};
use evtchn_sim::Call;
use evtchn_sim::abi::PollBits;

use super::Player;
use super::table::{Signal, Slot};
use super::traced::Faults;

impl Player<'_> {
    /// The backend calls that the context made in the last step, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.get().calls.clone()
    }

    /// Which backend calls failed in the last step.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.calls.get().faults
    }

    /// How many steps had something to do.
    #[must_use]
    pub const fn steps(&self) -> usize {
        self.steps
    }

    /// How many channels are bound to a device that works.
    #[must_use]
    pub const fn bound(&self) -> usize {
        self.table.counts().bound
    }

    /// How many of them have a wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.table.counts().waiting
    }

    /// A hash over all that can be observed: each slot with its model and its port, the state of the
    /// link, whether the loop would sleep, what poll reports of the device, and how many wakes `Gone`
    /// are due. The history does not count: no number of steps, calls or events, no generation, no
    /// failure of before.
    #[must_use]
    pub fn state(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for slot in self.table.iter() {
            slot.hash_into(&mut hasher);
        }
        let file = self.opener.last();
        let shown = file.and_then(|file| self.sim.with(|world| world.poll(file)).ok());
        let machine = (
            self.looper.trigger() == Trigger::Edge,
            self.ctx.link(),
            self.ctx.next_timeout() == Some(Duration::ZERO),
            self.looper.is_registered(),
            self.sim.open_files(),
            shown.map(PollBits::raw),
            self.round.as_ref().map(|_| self.budget),
            self.gone_due.len(),
            self.owed,
        );
        machine.hash(&mut hasher);
        hasher.finish()
    }
}

impl Slot {
    fn hash_into(&self, hasher: &mut impl Hasher) {
        let signal = match self.signal {
            None => 0,
            Some(Signal::Send(_)) => 1,
            Some(Signal::Raise(_)) => 2,
        };
        // The port of a channel that was dropped does not matter any more.
        let port = self.channel.as_ref().map(|channel| channel.port().as_raw());
        let model = self.channel.is_some().then_some(self.model);
        (port, model, self.is_bound(), self.id.is_some(), signal).hash(hasher);
    }
}

impl fmt::Debug for Player<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Player")
            .field("link", &self.ctx.link())
            .field("counts", &self.table.counts())
            .finish_non_exhaustive()
    }
}
