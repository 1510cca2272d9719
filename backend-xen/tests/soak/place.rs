//! Where a thread of a soak runs: its process, and the shared board.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::board::{Board, Phase, Process, Tally, Waiting, count};

/// What a server is doing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Doing {
    Opening,
    Sleeping,
    Dispatching,
    Provoking,
    Noticing,
    Collecting,
    Closing,
}

impl Doing {
    const ALL: [Doing; 7] = [
        Doing::Opening,
        Doing::Sleeping,
        Doing::Dispatching,
        Doing::Provoking,
        Doing::Noticing,
        Doing::Collecting,
        Doing::Closing,
    ];

    /// What the server of a process is doing.
    pub(crate) fn of(process: &Process) -> Option<Doing> {
        let number = process.doing.load(Ordering::SeqCst);
        let mut all = Doing::ALL.into_iter();
        all.find(|it| *it as u32 == number)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) board: &'static Board,
    pub(crate) process: usize,
    /// How long a thread may make no progress. Only a failure ever waits so long.
    pub(crate) patience: Duration,
    /// Where to report an error.
    pub(crate) complain: fn(&str),
}

impl Place {
    pub(crate) fn mine(self) -> &'static Process {
        &self.board.processes[self.process]
    }

    pub(crate) fn phase(self) -> Phase {
        self.board.moment().phase()
    }

    /// Whether to drop everything: the run has failed, or this process dies.
    pub(crate) fn is_over(self) -> bool {
        let is_dying = self.mine().crashes.load(Ordering::SeqCst) != 0;
        self.board.has_failed() || is_dying
    }

    /// Whether this wait takes longer than anything may.
    pub(crate) fn is_too_long(self, waiting: Waiting) -> bool {
        waiting.is_over(self.board, self.patience)
    }

    /// All links are offered.
    pub(crate) fn up(self) {
        let epoch = self.mine().epoch.load(Ordering::SeqCst);
        self.mine().up.store(epoch, Ordering::SeqCst);
    }

    /// A thread has made progress.
    pub(crate) fn progress(self, thread: usize) {
        count(&self.mine().progress[thread]);
        count(&self.board.steps);
    }

    /// An operation of the load is done.
    pub(crate) fn operation(self, thread: usize) {
        self.progress(thread);
        let operations = self.mine().tally.operations.fetch_add(1, Ordering::SeqCst);
        if operations.is_multiple_of(256) {
            self.board.beat();
        }
    }

    /// Stores what the server is doing, for the report of a failure.
    pub(crate) fn doing(self, what: Doing) {
        self.mine().doing.store(what as u32, Ordering::SeqCst);
    }

    pub(crate) fn tally(self, counter: impl Fn(&Tally) -> &AtomicU64) {
        self.tally_many(counter, 1);
    }

    pub(crate) fn tally_many(self, counter: impl Fn(&Tally) -> &AtomicU64, many: u64) {
        counter(&self.mine().tally).fetch_add(many, Ordering::SeqCst);
    }
}
