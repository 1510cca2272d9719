//! A run: episodes, each from closed files to closed files and with a seed of its own, until there
//! were operations enough.

use std::io::Write;

use evtchn_sim::Platform;

use crate::generate::Generator;
use crate::op::Op;
use crate::play::{Difference, Order, Player};
use crate::raw::Raw;
use crate::shrink::shrink;
use crate::tally::Tally;

/// After how many operations the progress is reported.
const NEWS: u64 = 100_000;

/// How many steps are played at most to make a script smaller.
const PATIENCE: usize = 300_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) operations: u64,
    pub(crate) seed: u64,
    pub(crate) order: Order,
    /// What the device runs on.
    pub(crate) pair: Platform,
    /// Whether the first difference ends it.
    pub(crate) ends_at_once: bool,
}

/// What a run found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) tally: Tally,
    /// How many episodes ended in a difference.
    pub(crate) differences: u64,
    pub(crate) first: Option<First>,
}

/// The first difference, made small.
#[derive(Debug)]
pub(crate) struct First {
    /// After how many operations it came.
    pub(crate) after: u64,
    pub(crate) script: Vec<Op>,
    pub(crate) difference: Difference,
}

impl Run {
    /// Plays until there were enough operations, and writes the progress to `news`.
    pub(crate) fn play(
        &self,
        device: &mut dyn Raw,
        simulator: &mut dyn Raw,
        news: &mut dyn Write,
    ) -> Found {
        let mut found = Found::default();
        let mut reported = 0;
        for episode in 0.. {
            let is_over = self.ends_at_once && found.differences > 0;
            if is_over || found.tally.operations >= self.operations {
                break;
            }
            if let Err(script) = self.episode(episode, device, simulator, &mut found.tally) {
                found.differences += 1;
                if found.first.is_none() {
                    let after = found.tally.operations;
                    found.first = Some(self.smallest(after, script, device, simulator));
                }
            }
            if found.tally.operations / NEWS > reported {
                reported = found.tally.operations / NEWS;
                let (operations, differences) = (found.tally.operations, found.differences);
                // A progress report that cannot be written is no reason to stop.
                let _unwritten = writeln!(
                    news,
                    "{operations} operations, {differences} differences so far"
                );
            }
        }
        found
    }

    /// Plays an episode; answers the script of one that ends in a difference.
    fn episode(
        &self,
        episode: u64,
        device: &mut dyn Raw,
        simulator: &mut dyn Raw,
        tally: &mut Tally,
    ) -> Result<(), Vec<Op>> {
        let mut generator = Generator::new(self.seed, episode, self.order);
        let mut player = Player::new(device, simulator, self.order);
        let mut script = Vec::new();
        let mut same = true;
        while same && script.len() < generator.steps && tally.operations < self.operations {
            let op = generator.draw(&player.scene);
            match player.step(&op) {
                Ok(Some(seen)) => tally.count(&op, &seen),
                Ok(None) => {}
                Err(_) => {
                    tally.operations += 1;
                    same = false;
                }
            }
            script.push(op);
        }
        let closed = player.close_all();
        match same && closed.is_ok() {
            true => Ok(()),
            false => Err(script),
        }
    }

    fn smallest(
        &self,
        after: u64,
        script: Vec<Op>,
        device: &mut dyn Raw,
        simulator: &mut dyn Raw,
    ) -> First {
        let mut last = None;
        let mut left = PATIENCE;
        let script = shrink(script, |script| {
            left = left.checked_sub(script.len())?;
            let played = Player::new(device, simulator, self.order).script(script);
            let (index, difference) = played.err()?;
            last = Some(difference);
            Some(index)
        });
        let played = Player::new(device, simulator, self.order).script(&script);
        // One that comes only now and then keeps what was seen last.
        let difference = played.err().map(|(_, difference)| difference).or(last);
        First {
            after,
            script,
            difference: difference.unwrap_or(Difference::GONE),
        }
    }
}
