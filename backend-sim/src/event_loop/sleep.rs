//! Blocking in a loop that one thread runs. What others do meanwhile is a script, or what is due on
//! the machine. Nothing here waits for a real clock.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use evtchn_core::{LoopError, Sleep, Slept};

use super::SimLoop;
use crate::errno::Errno;
use crate::error::{Call, loop_error};
use crate::fault::Verdict;

/// What happens while a thread sleeps.
#[derive(Default)]
pub(super) struct Asleep {
    /// The time of a loop that is on no machine.
    now: Duration,
    /// What happens in sleeps that nothing else ends, one for each sleep.
    events: VecDeque<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for Asleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asleep")
            .field("now", &self.now)
            .field("events", &self.events.len())
            .finish()
    }
}

impl SimLoop {
    /// The virtual time: that of the machine it is [`on`](Self::on), or else the time since the
    /// loop was made. That passes in sleeps that end at a deadline, and by [`pass`](Self::pass).
    #[must_use]
    pub fn now(&self) -> Duration {
        let state = self.lock();
        let Some(sim) = state.machine.clone() else {
            return state.asleep.now;
        };
        drop(state);
        sim.now()
    }

    /// Lets time pass. What is due on the machine in that time happens.
    pub fn pass(&self, time: Duration) {
        let mut state = self.lock();
        match state.machine.clone() {
            Some(sim) => {
                drop(state);
                sim.advance(time);
            }
            None => state.asleep.now = state.asleep.now.saturating_add(time),
        }
    }

    /// Adds something that others do while a thread sleeps in this loop. In each sleep that would
    /// go on, one of these happens, in the order in which they were added, before any time passes.
    /// It may use the loop, the simulator and the context.
    pub fn while_asleep(&self, event: impl FnOnce() + Send + 'static) {
        self.lock().asleep.events.push_back(Box::new(event));
    }

    /// Lets the next thing happen. Returns why the sleep is over, if it is.
    fn next_event(&self, deadline: Option<Duration>) -> Result<Option<Slept>, Errno> {
        let mut state = self.lock();
        let event = state.asleep.events.pop_front();
        let machine = state.machine.clone();
        if event.is_none() && machine.is_none() {
            state.asleep.now = deadline.ok_or(Errno::EDEADLK)?;
            return Ok(Some(Slept::TimedOut));
        }
        // Neither of the two runs under the lock, because they may use the loop.
        drop(state);
        if let Some(event) = event {
            event();
            return Ok(Some(Slept::Notified));
        }
        let happened = machine.map(|sim| sim.lock().idle(deadline)).transpose()?;
        Ok((happened == Some(false)).then_some(Slept::TimedOut))
    }
}

impl Sleep for SimLoop {
    /// The time by [`SimLoop::now`].
    type Deadline = Duration;

    fn deadline(&self, timeout: Duration) -> Duration {
        self.now().saturating_add(timeout)
    }

    fn ticket(&self) -> u64 {
        self.lock().counts.wakes
    }

    /// # Errors
    /// `EDEADLK` where nothing would ever end the sleep. A fault for [`Call::Sleep`] with `EINTR`
    /// is a signal and ends the sleep; one with another errno is returned.
    fn sleep(&self, ticket: u64, deadline: Option<Duration>) -> Result<Slept, LoopError> {
        if deadline.is_some_and(|deadline| deadline <= self.now()) {
            return Ok(match self.lock().look(self.trigger) {
                true => Slept::Ready,
                false => Slept::TimedOut,
            });
        }
        if self.ticket() != ticket {
            return Ok(Slept::Notified);
        }
        match self.judge(Call::Sleep) {
            Some(Verdict::Fail(Errno::EINTR)) => return Ok(Slept::Notified),
            Some(Verdict::Fail(errno)) => return Err(loop_error(Call::Sleep, errno)),
            Some(Verdict::Spurious) => return Ok(Slept::Ready),
            Some(Verdict::Short(_)) | None => {}
        }
        loop {
            if self.lock().look(self.trigger) {
                return Ok(Slept::Ready);
            }
            if self.ticket() != ticket {
                return Ok(Slept::Notified);
            }
            match self.next_event(deadline) {
                Ok(None) => {}
                Ok(Some(slept)) => return Ok(slept),
                Err(errno) => return Err(loop_error(Call::Sleep, errno)),
            }
        }
    }
}
