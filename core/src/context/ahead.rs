//! Wakes that a round takes ahead under one lock, and yields without it.
//!
//! Whoever takes the lock meanwhile takes back what is not yet yielded. So nothing under the lock
//! ever sees a wake that is handed out and not yielded, and a round never yields one that is not
//! handed out.

use super::{Round, Shared, State};
use crate::hal::Registrar;
use crate::machine::{self, Room, Wake};
use crate::sync::{AtomicBool, AtomicUsize, MutexGuard, Ordering::SeqCst};

/// How far the round is with what it took ahead, and whether that was taken back.
///
/// The round writes `yielded` before it reads `is_taken_back`, and whoever takes it back writes
/// `is_taken_back` before it reads `yielded`: so at least one of two that meet sees the other.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// With the one that the round is about to yield.
    yielded: AtomicUsize,
    is_taken_back: AtomicBool,
}

/// The channels that a round took ahead.
#[derive(Debug, Default)]
pub(super) struct Channels {
    pub(super) room: Option<Box<Room>>,
    /// How many there are, and how many of them were yielded.
    count: u8,
    yielded: u8,
    /// Taking ahead gained nothing in this round: there was no wait for each, or it was taken back.
    is_off: bool,
}

impl<R: Registrar> Shared<R> {
    /// The state, with nothing taken ahead.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        self.stop_if_ahead(&mut state);
        state
    }

    /// What follows each time that the lock is taken.
    #[inline]
    pub(super) fn stop_if_ahead(&self, state: &mut State) {
        if !state.machine.ahead.is_empty() {
            self.stop_ahead(state);
        }
    }

    #[cold]
    fn stop_ahead(&self, state: &mut State) {
        self.ahead.is_taken_back.store(true, SeqCst);
        state.yielded = self.ahead.yielded.load(SeqCst);
        state.machine.take_back(state.yielded);
    }
}

impl<R: Registrar> Round<'_, R> {
    /// Takes ahead what follows a wake that was picked under this lock.
    #[inline]
    pub(super) fn take_ahead(&mut self, state: &mut State) {
        if !self.ahead.is_off && state.machine.has_next_word() {
            self.take_words_ahead(state);
        }
    }

    #[inline(never)]
    fn take_words_ahead(&mut self, state: &mut State) {
        let ahead = &mut self.ahead;
        let room = ahead.room.take();
        let mut room = room.unwrap_or_else(|| state.machine.ahead.take_room());
        // One is about to be yielded.
        let most = machine::Ahead::MOST.min(self.wakes_left - 1);
        ahead.count = state.machine.take_ahead(&mut room, most);
        ahead.room = Some(room);
        ahead.is_off = ahead.count == 0;
        ahead.yielded = 0;
        self.shared.ahead.yielded.store(0, SeqCst);
        self.shared.ahead.is_taken_back.store(false, SeqCst);
    }

    /// The next wake of those that were taken ahead.
    #[inline(always)]
    pub(super) fn next_ahead(&mut self) -> Option<Wake> {
        if self.ahead.yielded == self.ahead.count || self.shared.is_inherited() {
            return None;
        }
        let yielded = usize::from(self.ahead.yielded);
        let channel = *self.ahead.room.as_deref()?.get(yielded)?;
        self.ahead.yielded += 1;
        let shared = &self.shared.ahead;
        shared.yielded.store(yielded + 1, SeqCst);
        if shared.is_taken_back.load(SeqCst) && !self.was_yielded() {
            return None;
        }
        self.wakes_left -= 1;
        let cause = crate::Cause::Event;
        Some(Wake { channel, cause })
    }

    /// What was taken ahead was taken back. Says whether the wake that is about to be yielded counted
    /// as yielded then.
    #[cold]
    fn was_yielded(&mut self) -> bool {
        let was_yielded = usize::from(self.ahead.yielded) <= self.shared.lock().yielded;
        self.forget_ahead();
        was_yielded
    }

    /// Goes on without what was taken ahead, which was taken back.
    #[cold]
    pub(super) fn forget_ahead(&mut self) {
        (self.ahead.count, self.ahead.yielded) = (0, 0);
        self.ahead.is_off = true;
    }
}
