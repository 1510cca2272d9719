//! Calls for layers on a context, such as [`Handlers`](crate::Handlers). Programs seldom need them.

use super::observed::done;
use super::{Context, Round};
use crate::channel_map::ChannelMap;
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::{ChannelId, Wake};
use crate::observe::{Called, Came};
use crate::trace;

impl<R: Registrar> Context<R> {
    /// Makes the event loop return and dispatch, for a layer that has something to do in the next
    /// round. Inside a round of this thread it does nothing. It may be called from any thread, from
    /// inside [`Registrar::wake`], and while a panic unwinds.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Context, DomId};
    ///
    /// let event_loop = SimLoop::level();
    /// let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), event_loop.clone());
    /// ctx.wake();
    /// assert!(event_loop.ready());
    /// ```
    pub fn wake(&self) {
        let wake = || {
            if !self.shared.is_inherited() && !self.shared.in_round.is_current() {
                self.shared.wake_loop();
            }
        };
        self.shared
            .observed(|| Called::Other("wake the loop"), wake, |()| Came::Done);
    }

    /// Ends the waits of rounds for these channels. It is meant for drops, which cannot return an
    /// error: an error of the event loop is counted in
    /// [`Stats::unreported`](crate::Stats::unreported). The wait of a task or a blocked thread goes
    /// on, and so does a running callback. It may be called from inside a hook of the event loop,
    /// and does nothing in a forked child.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Context, DomId, Link};
    ///
    /// let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
    /// let channel = ctx.bind_unbound_port(DomId::SELF)?;
    /// channel.wait_each()?;
    /// ctx.end_waits(&[channel.id()]);
    /// assert_eq!(ctx.link(), Link::Idle);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn end_waits(&self, channels: &[ChannelId]) {
        let end = || self.end_waits_now(channels);
        self.shared
            .observed(|| Called::Other("end_waits"), end, |()| Came::Done);
    }

    fn end_waits_now(&self, channels: &[ChannelId]) {
        let shared = &self.shared;
        if shared.is_inherited() {
            return;
        }
        let mut state = shared.lock();
        for id in channels {
            state.machine.cancel_in_rounds(*id);
        }
        drop(state);
        shared.settle_or_count();
    }

    /// Counts an error that no call returns in [`Stats::unreported`](crate::Stats::unreported): if
    /// one call has several errors, all but the first.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Context, DomId};
    ///
    /// let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
    /// ctx.count_unreported();
    /// assert_eq!(ctx.stats().unreported, 1);
    /// ```
    pub fn count_unreported(&self) {
        self.shared.count_unreported();
    }
}

impl<R: Registrar> Round<'_, R> {
    /// The next wake of a channel that is in `channels`, and the channel's value there. The wake of
    /// any other channel is kept for the next wait on it, except a wake with
    /// [`Gone`](crate::Cause::Gone): the next wait fails by itself.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{ChannelMap, Context, DomId};
    ///
    /// let sim = Sim::new(1);
    /// let guest = sim.guest(sim.create_domain()?);
    /// let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    /// let [disk, network] = [(); 2].map(|()| ctx.bind_unbound_port(guest.domid()));
    /// let (disk, network) = (disk?, network?);
    /// for channel in [&disk, &network] {
    ///     channel.wait()?;
    ///     guest.send(guest.bind_interdomain(DomId::DOM0, channel.port())?)?;
    /// }
    /// let mut mine = ChannelMap::new();
    /// mine.insert(network.id(), "network");
    /// let mut round = ctx.dispatch()?;
    /// let (wake, name) = round.next_of(&mut mine).expect("both were sent to");
    /// assert_eq!((wake.channel, *name), (network.id(), "network"));
    /// assert!(round.next_of(&mut mine).is_none());
    /// round.finish()?;
    ///
    /// disk.wait()?; // its wake was kept
    /// assert_eq!(ctx.dispatch()?.next().map(|wake| wake.channel), Some(disk.id()));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_of<'m, T>(&mut self, channels: &'m mut ChannelMap<T>) -> Option<(Wake, &'m mut T)> {
        let wake = if self.is_plain() {
            let wake = match self.next_ahead_of(|id| channels.contains(id)) {
                Some(wake) => wake,
                None => self.next_now(|id| channels.contains(id))?,
            };
            trace::wake(wake.channel, wake.cause);
            wake
        } else {
            self.next_after_a_look(Called::Other("next_of"), |id| channels.contains(id))?
        };
        Some((wake, channels.get_mut(wake.channel)?))
    }

    /// Unmasks the ports of the waits made in this round so far, before the end of the round. This
    /// round may hand out the events that they bring from now on.
    ///
    /// ```
    /// # use evtchn::sim::{Sim, SimLoop};
    /// # use evtchn::{Context, DomId};
    /// # let sim = Sim::new(1);
    /// # let guest = sim.guest(sim.create_domain()?);
    /// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    /// # let channel = ctx.bind_unbound_port(guest.domid())?;
    /// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
    /// channel.wait()?;
    /// guest.send(theirs)?;
    /// let mut round = ctx.dispatch()?;
    /// let wake = round.next().expect("it was sent to");
    /// ctx.wait(wake.channel)?;
    /// round.unmask()?; // without this the event would come with the next round
    /// guest.send(theirs)?;
    /// round.finish()?;
    /// assert!(ctx.registrar().ready());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Device`] if the device refuses, [`Error::NotUnmasked`] if it unmasked too few
    /// ports: the end of the round tries the rest again. [`Error::Inherited`] in a forked child.
    pub fn unmask(&mut self) -> Result<(), Error> {
        let unmask = || {
            if self.shared.is_inherited() {
                return Err(Error::Inherited);
            }
            self.shared.lock().unmask_queued()
        };
        self.shared
            .observed(|| Called::Other("unmask in a round"), unmask, done)
    }
}
