//! What a program may rely on, channel by channel.

use evtchn_core::Cause;

/// One bound channel as its owner may think of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Channel {
    /// It is waited on and no wake came yet.
    pub waiting: bool,
    /// Something happened since the last wake: a wait must fire.
    pub must: bool,
    /// How many wakes can be under way, two at most: one that the program can already see, and
    /// one that was held back meanwhile.
    pub may: u8,
    /// It was in an overflow. Told of that, the program lets the port be written back, which can
    /// be enabled with an event unread: then one more can be under way.
    pub overflowed: bool,
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
    /// A wait was ready at once although somebody waited already.
    #[error("a wait was ready although somebody waited already")]
    ReadyTwice,
}

impl Channel {
    /// A new channel; `signalled` where the bind itself sets it pending.
    #[must_use]
    pub const fn bound(signalled: bool) -> Channel {
        Channel {
            waiting: false,
            must: signalled,
            may: signalled as u8,
            overflowed: false,
        }
    }

    /// The peer notified. Notifies coalesce.
    pub const fn signal(&mut self) {
        self.must = true;
        if self.may < 2 + self.overflowed as u8 {
            self.may += 1;
        }
    }

    /// Another process has it from now on, as if it had just been in an overflow: what was read of
    /// it is not known.
    pub const fn adopt(&mut self) {
        self.waiting = false;
        self.overflow();
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
        self.must = true;
        self.overflowed |= overflowed;
        Ok(())
    }

    /// Events were lost, whose they were is not known: a wait must fire.
    pub const fn overflow(&mut self) {
        self.must = true;
        self.overflowed = true;
    }

    /// A wait was answered: ready at once for this cause, or not.
    ///
    /// # Errors
    /// [`Wrong`] where that must not be.
    pub fn waited(&mut self, ready: Option<Cause>) -> Result<(), Wrong> {
        let waited_before = self.waiting;
        self.waiting = true;
        match ready {
            None => Ok(()),
            Some(_) if waited_before => Err(Wrong::ReadyTwice),
            Some(cause) => self.woken(cause),
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
        *self = Channel {
            waiting: false,
            must: false,
            may,
            // A channel that was bound after the overflow is told of it too.
            overflowed: self.overflowed || matches!(cause, Cause::Overflow),
        };
        Ok(())
    }
}
