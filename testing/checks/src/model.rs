//! What a program may rely on, channel by channel.

use evtchn_core::Cause;

/// One bound channel as its owner may think of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Channel {
    /// It is waited on and no wake came yet.
    pub waiting: bool,
    /// The wait is for each wake.
    pub stands: bool,
    /// Something happened since the last wake: a wait must fire.
    pub must: bool,
    /// The wake was read and kept for certain: the round that follows a wait hands it out, and so
    /// does the round in which the wait is made.
    pub kept: bool,
    /// How many wakes can be under way, two at most and [`more`](Channel::more): one that the
    /// program can already see, and one that was held back meanwhile.
    pub may: u8,
    /// How many more can be under way. Told of an overflow, or adopted, the port is unmasked
    /// unseen: it can be enabled with an event unread, and then brings another. An overflow takes
    /// what is unread; each process that adopts finds what the one before left.
    pub more: u8,
}

/// Something that must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// A wake without a wait.
    #[error("a wake came that nobody waited for")]
    NotWaited,
    /// A wake without a reason.
    #[error("a wake came though nothing had happened")]
    Causeless,
    /// A thread or a task took a wake that somebody else waited for.
    #[error("a thread or a task took a wake although somebody waited already")]
    TakenTwice,
    /// A cancel did not say whether it ended a wait.
    #[error("somebody waited: {waited}, but the cancel said: {ended}")]
    Cancelled {
        /// Somebody waited.
        waited: bool,
        /// What the cancel answered.
        ended: bool,
    },
}

impl Channel {
    /// A new channel; `signalled` where the bind itself sets it pending.
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

    /// Another process has it from now on: what was read of it is not known, so a wait must fire.
    pub const fn adopt(&mut self) {
        self.waiting = false;
        self.stands = false;
        self.must = true;
        self.kept = true;
        self.more = self.more.saturating_add(1);
    }

    /// A round had nobody for the wake, be it of an event or, where there was an overflow, of that:
    /// it is there for the next wait.
    ///
    /// # Errors
    /// [`Wrong`] where that must not be.
    pub const fn kept(&mut self, overflowed: bool) -> Result<(), Wrong> {
        if !self.must && self.may == 0 && !overflowed {
            return Err(Wrong::Causeless);
        }
        self.waiting = false;
        self.stands = false;
        self.must = true;
        self.kept = true;
        self.told(overflowed);
        Ok(())
    }

    /// Events were lost, whose they were is not known: a wait must fire.
    pub const fn overflow(&mut self) {
        self.must = true;
        self.more = 1;
    }

    /// A channel that was bound after an overflow is told of it too.
    const fn told(&mut self, overflowed: bool) {
        if overflowed && self.more == 0 {
            self.more = 1;
        }
    }

    /// A wait began. It never gives a wake: what was kept comes in a round.
    pub const fn waited(&mut self) {
        self.waiting = true;
    }

    /// A thread that blocks or a task took the wake, which it may where nobody waits.
    ///
    /// # Errors
    /// [`Wrong`] where that must not be.
    pub fn taken(&mut self, cause: Cause) -> Result<(), Wrong> {
        if self.waiting {
            return Err(Wrong::TakenTwice);
        }
        self.waiting = true;
        self.woken(cause)
    }

    /// A wait was cancelled, and the answer says whether there was one.
    ///
    /// # Errors
    /// [`Wrong`] where that is not so.
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
    /// [`Wrong`] where that must not be.
    pub fn woken(&mut self, cause: Cause) -> Result<(), Wrong> {
        if !self.waiting {
            return Err(Wrong::NotWaited);
        }
        // What an overflow tells of, the ring does not hold; what it holds may come after it.
        let told_of = u8::from(cause == Cause::Event);
        let Some(may) = self.may.checked_sub(told_of) else {
            return Err(Wrong::Causeless);
        };
        self.waiting = self.stands;
        self.must = false;
        self.kept = false;
        self.may = may;
        self.told(cause == Cause::Overflow);
        Ok(())
    }
}
