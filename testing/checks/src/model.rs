//! The model: what a program may rely on, channel by channel.

use evtchn_core::Cause;

/// One bound channel, as far as its owner can know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Channel {
    /// It has a wait, and no wake came yet.
    pub waiting: bool,
    /// The wait is for each wake.
    pub stands: bool,
    /// Something happened since the last wake: a wait must fire.
    pub must: bool,
    /// The wake was certainly read and kept: the round after the next wait hands it out, or the round in
    /// which that wait is made.
    pub kept: bool,
    /// How many wakes can be under way, two at most and [`more`](Channel::more): one that the
    /// program can already see, and one that was held back meanwhile.
    pub may: u8,
    /// How many more wakes can be under way. After a wake with the cause overflow or adopted the port
    /// is unmasked although an event of it may be unread, so it can fire once more. An overflow
    /// discards what is unread; a process that adopts the port finds what the process before it left.
    pub more: u8,
}

/// What the model does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// A wake without a wait.
    #[error("a wake came without a wait")]
    NotWaited,
    /// A wake without a cause.
    #[error("a wake came though nothing had happened")]
    Causeless,
    /// A thread or a task took a wake although the channel already had a wait.
    #[error("a thread or a task took a wake although the channel already had a wait")]
    TakenTwice,
    /// A cancel gave the wrong answer to whether it ended a wait.
    #[error("the channel had a wait: {waited}, but the cancel said: {ended}")]
    Cancelled {
        /// The channel had a wait.
        waited: bool,
        /// What the cancel answered.
        ended: bool,
    },
}

impl Channel {
    /// A new channel; `signalled` if the bind itself sets it pending.
    #[must_use]
    pub const fn bound(signalled: bool) -> Channel {
        Channel {
            waiting: false,
            stands: false,
            must: signalled,
            kept: false,
            may: signalled as u8,
            more: 0,
        }
    }

    /// The peer notified. Notifies coalesce.
    pub const fn signal(&mut self) {
        self.must = true;
        if self.may < self.more.saturating_add(2) {
            self.may += 1;
        }
    }

    /// Another process adopted the port. What was read of it is not known, so a wait must fire.
    pub const fn adopt(&mut self) {
        self.waiting = false;
        self.stands = false;
        self.must = true;
        self.kept = true;
        self.more = self.more.saturating_add(1);
    }

    /// A round had no waiter for the wake of an event or, after an overflow, for that of the overflow.
    /// The wake is kept for the next wait.
    ///
    /// # Errors
    /// [`Wrong`] if the model does not allow it.
    pub const fn kept(&mut self, overflowed: bool) -> Result<(), Wrong> {
        if !self.must && self.may == 0 && !overflowed {
            return Err(Wrong::Causeless);
        }
        self.waiting = false;
        self.stands = false;
        self.must = true;
        self.kept = true;
        self.note_overflow(overflowed);
        Ok(())
    }

    /// Events were lost, perhaps one of this channel: a wait must fire.
    pub const fn overflow(&mut self) {
        self.must = true;
        self.more = 1;
    }

    /// A wake with the cause overflow came, perhaps on a channel that was bound after the overflow.
    const fn note_overflow(&mut self, overflowed: bool) {
        if overflowed && self.more == 0 {
            self.more = 1;
        }
    }

    /// A wait began. It never returns a wake; a kept one comes in a round.
    pub const fn waited(&mut self) {
        self.waiting = true;
    }

    /// A thread that blocks or a task took the wake. It may do so if the channel has no wait.
    ///
    /// # Errors
    /// [`Wrong`] if the model does not allow it.
    pub fn taken(&mut self, cause: Cause) -> Result<(), Wrong> {
        if self.waiting {
            return Err(Wrong::TakenTwice);
        }
        self.waiting = true;
        self.woken(cause)
    }

    /// A cancel returned; `ended` is its answer.
    ///
    /// # Errors
    /// [`Wrong`] if the answer is wrong.
    pub const fn cancelled(&mut self, ended: bool) -> Result<(), Wrong> {
        let waited = self.waiting;
        self.waiting = false;
        self.stands = false;
        if waited == ended {
            Ok(())
        } else {
            Err(Wrong::Cancelled { waited, ended })
        }
    }

    /// A wake came.
    ///
    /// # Errors
    /// [`Wrong`] if the model does not allow it.
    pub fn woken(&mut self, cause: Cause) -> Result<(), Wrong> {
        if !self.waiting {
            return Err(Wrong::NotWaited);
        }
        // Only an event uses up one of the wakes under way. After an overflow the ring may hold more.
        let used = u8::from(cause == Cause::Event);
        let Some(may) = self.may.checked_sub(used) else {
            return Err(Wrong::Causeless);
        };
        self.waiting = self.stands;
        self.must = false;
        self.kept = false;
        self.may = may;
        self.note_overflow(cause == Cause::Overflow);
        Ok(())
    }
}
