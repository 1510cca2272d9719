//! Wakes that a round takes ahead under one lock, and yields without it.
//!
//! A thread that takes the lock meanwhile takes back what is not yet yielded. So no code under the
//! lock ever sees a wake that is handed out but not yielded, and a round never yields a wake that
//! is not handed out.

use super::{Round, Shared, State};
use crate::hal::Registrar;
use crate::ids::Port;
use crate::machine::{self, ChannelId, Wake};
use crate::sync::{AtomicBool, AtomicUsize, MutexGuard, Ordering::SeqCst};
use std::slice;
use std::sync::OnceLock;
use std::sync::atomic::{self, Ordering::Relaxed};

/// How much of what it took ahead the round has still to yield, and whether that was taken back.
///
/// The round writes `left` before it reads `is_taken_back`. A thread that takes back writes
/// `is_taken_back` before it reads `left`. So of two that meet, at least one sees the other.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Without the wake that the round is about to yield.
    left: AtomicUsize,
    is_taken_back: AtomicBool,
    /// The channels. Only the thread of the round writes and reads them.
    room: OnceLock<Box<[Place; machine::Ahead::MOST]>>,
}

/// A channel, in plain memory also under the schedule checker.
#[derive(Debug)]
struct Place {
    port: atomic::AtomicU32,
    generation: atomic::AtomicU64,
}

impl Place {
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "each place is a copy of it"
    )]
    const EMPTY: Place = Place {
        port: atomic::AtomicU32::new(0),
        generation: atomic::AtomicU64::new(0),
    };

    #[inline(always)]
    fn put(&self, channel: ChannelId) {
        self.port.store(channel.port().as_raw(), Relaxed);
        self.generation.store(channel.generation(), Relaxed);
    }

    #[inline]
    fn channel(&self) -> Option<ChannelId> {
        let port = Port::new(self.port.load(Relaxed))?;
        Some(ChannelId::of(port, self.generation.load(Relaxed)))
    }
}

/// How far a round is with the channels that it took ahead.
#[derive(Debug, Default)]
pub(super) struct Channels<'a> {
    /// Those that are still to be yielded.
    left: slice::Iter<'a, Place>,
    /// This round takes no more ahead: it found no wait for each wake, or its wakes were taken
    /// back.
    is_off: bool,
}

impl<R: Registrar> Shared<R> {
    /// Locks the state and takes back what was taken ahead.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        self.stop_if_ahead(&mut state);
        state
    }

    /// To be called each time the lock was taken.
    #[inline]
    pub(super) fn stop_if_ahead(&self, state: &mut State) {
        if !state.machine.ahead.is_empty() {
            self.stop_ahead(state);
        }
    }

    #[cold]
    fn stop_ahead(&self, state: &mut State) {
        self.ahead.is_taken_back.store(true, SeqCst);
        state.taken_back = self.ahead.left.load(SeqCst);
        state.machine.take_back(state.taken_back);
    }
}

impl<'a, R: Registrar> Round<'a, R> {
    /// Takes ahead the wakes behind the one that was picked under this lock.
    #[inline]
    pub(super) fn take_ahead(&mut self, state: &mut State) {
        if !self.ahead.is_off && state.machine.has_next_word() {
            self.take_words_ahead(state);
        }
    }

    #[inline(never)]
    fn take_words_ahead(&mut self, state: &mut State) {
        let empty = || Box::new([Place::EMPTY; machine::Ahead::MOST]);
        let shared: &'a Shared<R> = self.shared;
        let room = shared.ahead.room.get_or_init(empty);
        // One wake is about to be yielded.
        let most = machine::Ahead::MOST.min(self.wakes_left - 1);
        let put = |place: usize, channel| room[place].put(channel);
        let count = state.machine.take_ahead(most, put);
        self.ahead.left = room[..count].iter();
        self.ahead.is_off = count == 0;
        shared.ahead.left.store(count, SeqCst);
        shared.ahead.is_taken_back.store(false, SeqCst);
    }

    /// The next wake that was taken ahead.
    #[inline(always)]
    pub(super) fn next_ahead(&mut self) -> Option<Wake> {
        let mut left = self.ahead.left.clone();
        let channel = left.next()?.channel()?;
        if self.shared.is_inherited() {
            return None;
        }
        let shared = &self.shared.ahead;
        shared.left.store(left.len(), SeqCst);
        self.ahead.left = left;
        if shared.is_taken_back.load(SeqCst) && !self.was_yielded() {
            return None;
        }
        self.wakes_left -= 1;
        let cause = crate::Cause::Event;
        Some(Wake { channel, cause })
    }

    /// [`next_ahead`](Self::next_ahead), if that wake has a taker. Otherwise what was taken ahead is
    /// taken back.
    #[inline]
    pub(super) fn next_ahead_of(&mut self, has_taker: impl Fn(ChannelId) -> bool) -> Option<Wake> {
        let first = self.ahead.left.clone().next()?.channel()?;
        if has_taker(first) {
            return self.next_ahead();
        }
        // In a forked child the lock may be held for ever.
        if !self.shared.is_inherited() {
            drop(self.shared.lock());
            self.ahead.left = [].iter();
        }
        None
    }

    /// What was taken ahead was taken back. Returns whether the wake that is about to be yielded
    /// counted as yielded.
    #[cold]
    fn was_yielded(&mut self) -> bool {
        let was_yielded = self.shared.lock().taken_back <= self.ahead.left.len();
        self.forget_ahead();
        was_yielded
    }

    /// Goes on without what was taken ahead, because it was taken back.
    #[cold]
    pub(super) fn forget_ahead(&mut self) {
        self.ahead.left = [].iter();
        self.ahead.is_off = true;
    }
}
