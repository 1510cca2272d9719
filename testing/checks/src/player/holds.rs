//! What must hold after every step, and when everything is at rest.

use std::time::Duration;

use evtchn_core::{Link, Port};

use super::table::Slot;
use super::{Player, Step, TURNS, ensure};

impl Player<'_> {
    /// Checks what must hold after every step.
    pub(super) fn check(&mut self) -> Step {
        self.note_fault()?;
        if let Some(violation) = self.looper.violations().first() {
            return Err(violation.to_string());
        }
        let awake = self.ctx.next_timeout() == Some(Duration::ZERO);
        ensure(awake || self.owed.is_none(), || {
            format!(
                "an error of {:?} was kept, and the loop may sleep",
                self.owed
            )
        })?;
        let counts = self.table.counts();
        self.played.most_bound = self.played.most_bound.max(counts.bound);
        if self.round.is_some() {
            return Ok(());
        }
        let stats = self.ctx.stats();
        self.loose |= stats.unreported > self.stats.unreported;
        self.stats = stats;
        let (registered, link) = (self.looper.is_registered(), self.ctx.link());
        let waiting = counts.waiting > 0;
        self.loose &= registered && !waiting;
        ensure(registered == (link == Link::Watching), || {
            format!("registered: {registered}, but the link is {link:?}")
        })?;
        ensure(registered == waiting || self.loose, || {
            format!("a channel has a wait: {waiting}, registered: {registered}")
        })?;
        let open = self.sim.open_files();
        let dead = counts.dead > 0;
        ensure(open == usize::from(link.is_open()) || dead, || {
            format!("{open} files are open in {link:?}")
        })
    }

    /// Compares the bound channels and those with a wait with the lists of the context.
    pub(super) fn check_leftover(&mut self) -> Step {
        if self.round.is_some() || self.table.counts().bound == 0 {
            return Ok(());
        }
        let leftover = self.still_in_use()?;
        self.compare(Slot::is_bound, &leftover.channels, "bound")?;
        self.compare(Slot::is_waiting, &leftover.waiting, "waiting")?;
        ensure(leftover.held == 0, || {
            format!("the device has {} more holders", leftover.held)
        })
    }

    /// Compares the ports of the slots for which `holds` is true with a list of the context.
    fn compare(&self, holds: fn(&Slot) -> bool, listed: &[Port], what: &str) -> Step {
        let slots = self.table.iter().filter(|slot| holds(slot));
        let mut ports: Vec<Port> = slots.filter_map(|slot| Some(slot.id?.port())).collect();
        ports.sort_unstable();
        let differ = |at: &usize| ports.get(*at) != listed.get(*at);
        match (0..ports.len().max(listed.len())).find(differ) {
            None => Ok(()),
            Some(at) => Err(format!(
                "{what} is {:?}, but the context says {:?}",
                ports.get(at),
                listed.get(at)
            )),
        }
    }

    /// Runs the loop until nothing more happens, then tears everything down.
    pub(super) fn rest(&mut self) -> Step {
        self.leave();
        self.check()?;
        self.check_leftover()?;
        // A call that is set to fail may do so here, and each failure takes a turn.
        let most = TURNS + self.set_to_fail.len();
        let mut turns = 0;
        while self.turn(false)? {
            self.check()?;
            turns += 1;
            ensure(turns < most, || "the loop does not come to rest".into())?;
        }
        ensure(self.gone_due.is_empty(), || {
            format!("no wake `Gone` came for {:?}", self.gone_due)
        })?;
        self.table.edit_all(|slot| slot.channel = None);
        // A call that is set to fail and did not yet may do so here, each one once.
        for _ in 0..=self.set_to_fail.len() {
            if self.ctx.teardown().is_ok() {
                self.played.digest = self.sim.digest();
                return ensure(self.sim.open_files() == 0, || "a file is left open".into());
            }
        }
        Err("cannot be torn down".into())
    }
}
