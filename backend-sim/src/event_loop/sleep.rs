//! Blocking in a loop of one thread: what the rest of the world does meanwhile is a script, and
//! time passes only here.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use evtchn_core::{Sleep, Slept};

use super::{SimLoop, failed};
use crate::device::SimDevice;
use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::fault::Verdict;

/// What happens while a thread sleeps, and the time by then.
#[derive(Default)]
pub(super) struct Night {
    now: Duration,
    /// One for each sleep that nothing else ends.
    events: VecDeque<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for Night {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Night")
            .field("now", &self.now)
            .field("events", &self.events.len())
            .finish()
    }
}

impl SimLoop {
    /// The virtual time, since the loop was made. It passes in sleeps that end at a deadline, and
    /// by [`pass`](Self::pass).
    #[must_use]
    pub fn now(&self) -> Duration {
        self.lock().night.now
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let mut state = self.lock();
        state.night.now = state.night.now.saturating_add(time);
    }

    /// Says what others do while a thread sleeps in this loop: one of these happens for each
    /// sleep that would go on, in the order in which they were given. It may use the loop, the
    /// simulator and the context.
    pub fn while_asleep(&self, event: impl FnOnce() + Send + 'static) {
        self.lock().night.events.push_back(Box::new(event));
    }
}

impl Sleep<SimDevice> for SimLoop {
    /// The time by [`SimLoop::now`].
    type Deadline = Duration;
    type SleepError = Error;

    fn ticket(&self) -> u64 {
        self.lock().counts.wakes
    }

    /// # Errors
    /// `EDEADLK` where nothing would ever end the sleep. A fault that is set for [`Call::Sleep`]
    /// is a signal where it is `EINTR`, and otherwise an error.
    fn sleep(&self, ticket: u64, deadline: Option<Duration>) -> Result<Slept, Error> {
        let mut state = self.lock();
        if deadline.is_some_and(|deadline| deadline <= state.night.now) {
            return Ok(Slept::TimedOut);
        }
        if state.counts.wakes != ticket {
            return Ok(Slept::Roused);
        }
        match state.faults.verdict(Call::Sleep) {
            Some(Verdict::Fail(Errno::EINTR)) => return Ok(Slept::Roused),
            Some(Verdict::Fail(errno)) => return Err(failed(Call::Sleep, errno)),
            Some(Verdict::Short(_)) | None => {}
        }
        if state.look(self.trigger) {
            return Ok(Slept::Ready);
        }
        match (state.night.events.pop_front(), deadline) {
            (Some(event), _) => {
                drop(state);
                event();
                Ok(Slept::Roused)
            }
            (None, Some(deadline)) => {
                state.night.now = deadline;
                Ok(Slept::TimedOut)
            }
            (None, None) => Err(failed(Call::Sleep, Errno::EDEADLK)),
        }
    }
}
