//! A player that takes its steps one by one.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use evtchn_core::Trigger;

use super::{Broken, Moment, Played, Player, play_seen};
use crate::op::Op;

/// Plays a script while it is being written. It owns the context and the machine.
///
/// A round borrows its context and belongs to its thread, so both live on a thread of their own.
#[derive(Debug)]
pub struct Stepped {
    steps: SyncSender<Op>,
    seen: Receiver<Seen>,
    player: JoinHandle<Result<Played, Broken>>,
}

/// What the player shows after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// [`Player::bound`]
    pub bound: usize,
    /// [`Player::waiting`]
    pub waiting: usize,
}

impl Stepped {
    /// Starts a player on a fresh machine.
    #[must_use]
    pub fn new(slots: u16, trigger: Trigger) -> Stepped {
        let (steps, script) = sync_channel(1);
        let (sees, seen) = sync_channel(1);
        let see = move |moment, player: &Player<'_>| {
            if moment != Moment::Steps(0) && moment != Moment::Rest {
                // The receiver may be dropped.
                let _dropped = sees.send(Seen {
                    bound: player.bound(),
                    waiting: player.waiting(),
                });
            }
        };
        Stepped {
            steps,
            seen,
            player: thread::spawn(move || play_seen(slots, trigger, script, see)),
        }
    }

    /// Plays a step. Returns `None` if the script broke.
    #[must_use]
    pub fn step(&self, op: Op) -> Option<Seen> {
        self.steps.send(op).ok()?;
        self.seen.recv().ok()
    }

    /// Comes to rest and tears down.
    ///
    /// # Errors
    /// [`Broken`], also if it was an earlier step that broke.
    ///
    /// # Panics
    /// If the player panicked.
    pub fn rest(self) -> Result<Played, Broken> {
        drop(self.steps);
        match self.player.join() {
            Ok(played) => played,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
