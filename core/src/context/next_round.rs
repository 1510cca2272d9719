//! The next round of a thread that runs the loop: it sleeps until there is something to hand out.

use std::time::Duration;

use super::{Context, Round, Shared};
use crate::error::Error;
use crate::hal::{Registrar, Sleep, Slept};
use crate::observe::Hook;
use crate::sync::Ordering;

impl<R: Sleep> Context<R> {
    /// Sleeps until there is something to hand out, and begins a round. This is the loop of a
    /// program that has no other: [`next_timeout`](Self::next_timeout), the sleep of the event loop,
    /// and [`dispatch`](Self::dispatch) in one call.
    ///
    /// Where the next event usually is there already, the device is read without a poll before. The
    /// context learns that from its own reads: a program that sleeps long makes less than one empty
    /// read in a hundred sleeps.
    ///
    /// The round may be empty in three cases: the event loop was [woken](Registrar::wake) (perhaps
    /// before this call), a signal came, or another thread took the wakes.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Context, DomId};
    ///
    /// let sim = Sim::new(1);
    /// let guest = sim.guest(sim.create_domain()?);
    /// let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    /// let channel = ctx.bind_unbound_port(guest.domid())?;
    /// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
    /// channel.wait_each()?;
    ///
    /// let mut answers = 0;
    /// guest.send(theirs)?;
    /// while answers < 3 {
    ///     for _wake in &mut ctx.next_round()? {
    ///         answers += 1;
    ///         guest.send(theirs)?;
    ///     }
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Sleep`] if the event loop cannot sleep; otherwise those of
    /// [`dispatch`](Self::dispatch).
    pub fn next_round(&self) -> Result<Round<'_, R>, Error> {
        match self.sleep_and_begin(|_| None)? {
            Some(round) => Ok(round),
            None => self.dispatch(),
        }
    }

    /// [`next_round`](Self::next_round) after at most this long. Returns `None` if it timed out.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Context, DomId};
    ///
    /// let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
    /// let channel = ctx.bind_unbound_port(DomId::SELF)?;
    /// channel.wait_each()?;
    /// while let Some(round) = ctx.next_round_for(Duration::from_secs(5))? {
    ///     for wake in round {
    ///         println!("port {}: {}", wake.port(), wake.cause);
    ///     }
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`next_round`](Self::next_round).
    pub fn next_round_for(&self, timeout: Duration) -> Result<Option<Round<'_, R>>, Error> {
        self.sleep_and_begin(|registrar| Some(registrar.deadline(timeout)))
    }

    /// [`next_round`](Self::next_round) until this point in the time of the event loop. Returns
    /// `None` if it timed out.
    ///
    /// # Errors
    /// Those of [`next_round`](Self::next_round).
    pub fn next_round_until(&self, deadline: R::Deadline) -> Result<Option<Round<'_, R>>, Error> {
        self.sleep_and_begin(|_| Some(deadline))
    }

    #[inline]
    fn sleep_and_begin(
        &self,
        deadline: impl FnOnce(&R) -> Option<R::Deadline>,
    ) -> Result<Option<Round<'_, R>>, Error> {
        let shared = &*self.shared;
        shared.check_caller()?;
        // An observer sees the calls of which this is made, so that a replay can make them too.
        let is_due = self.next_timeout().is_some();
        if !is_due {
            if shared.observer.is_none() && shared.early.is_due() {
                let round = Round::begin_with_a_read(shared)?;
                shared.early.note(round.is_some());
                if round.is_some() {
                    return Ok(round);
                }
            }
            if shared.sleep_as_runner(deadline(&shared.registrar))? == Slept::TimedOut {
                return Ok(None);
            }
        }
        self.dispatch().map(Some)
    }
}

impl<R: Sleep> Shared<R> {
    fn sleep_as_runner(&self, deadline: Option<R::Deadline>) -> Result<Slept, Error> {
        let ticket = self.ticket.load(Ordering::Relaxed);
        let slept = self.registrar.sleep_as_runner(ticket, deadline);
        self.ticket
            .store(self.registrar.ticket(), Ordering::Relaxed);
        let until = deadline.is_some();
        self.observe_hook(|| Hook::Sleep {
            until,
            slept: &slept,
        });
        slept.map_err(Error::Sleep)
    }
}

impl<'a, R: Registrar> Round<'a, R> {
    /// Begins a round and reads for it. `None` if nothing came of it; then the round has ended.
    fn begin_with_a_read(shared: &'a Shared<R>) -> Result<Option<Round<'a, R>>, Error> {
        let mut round = Round::begin(shared, Round::<R>::BUDGET)?;
        let mut state = shared.lock();
        let has_read = round.read(&mut state);
        let has_wakes = has_read && state.machine.most_wakes() > 0;
        let has_failed = state.failed_in_round.is_some();
        round.unlock(state);
        if has_wakes || has_failed {
            return Ok(Some(round));
        }
        round.finish_now(true)?;
        Ok(None)
    }
}
