//! The server of a process: one thread that runs the rounds of a context, with a channel for every
//! client of this process, whichever process that is in.
//!
//! Every wake is compared with the board: no channel wakes that does not wait, and none has more
//! events than its client has sent notifies. The server looks at the message of a client only after
//! a wake, so where a wake is lost the client gets no answer.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evtchn_core::{
    Cause, Channel, Context, DomId, EventChannel, Link as State, Open, Outcome, Port, Wake,
};
use evtchn_xen::PollLoop;

use crate::board::{Link, Phase, SLICE, count};
use crate::place::{Doing, Place};
use crate::random::Random;
use crate::side::{ChannelOf, ContextOf, Second, SharedOpen, Side, is_in_overflow, local};

/// A context that lives as long as its process, and a second holder of its device.
pub(crate) struct Hub<S: Side> {
    side: S,
    event_loop: PollLoop,
    second: Second<S>,
    pub(crate) ctx: ContextOf,
}

impl<S: Side> Hub<S> {
    pub(crate) fn new(side: &S) -> Result<Hub<S>> {
        let event_loop = PollLoop::new()?;
        let second = Second::new();
        let opener = SharedOpen::shared_with(side, &second);
        Ok(Hub {
            side: side.clone(),
            ctx: Context::with_registrar(opener, event_loop.clone()),
            event_loop,
            second,
        })
    }
}

/// The server's end of a link.
struct Served {
    link: &'static Link,
    /// The word that was offered last.
    offer: u64,
    channel: ChannelOf,
    life: u32,
    is_waiting: bool,
    /// What the client had said when the channel was bound.
    said_before: u64,
    events: u64,
    /// How many overflows the context had had when it was bound, and for how many it woke since.
    overflows_before: u64,
    overflows: u64,
}

/// How many channels fire to overflow the ring. There are many because another thread may read
/// meanwhile, so the ring has to fill quickly.
const FUEL: usize = 16;

/// What fires whenever the ring is to overflow.
struct Fuel<S: Side> {
    channels: Vec<ChannelOf>,
    peer: S::Device,
    /// Those of the peer.
    ports: Vec<Port>,
    /// Before that no channel has a wake.
    has_burned: Cell<bool>,
}

impl<S: Side> Fuel<S> {
    fn new(hub: &Hub<S>, place: Place) -> Result<Fuel<S>> {
        let mut fuel = Fuel::<S> {
            channels: Vec::new(),
            peer: hub.side.opener().open()?,
            ports: Vec::new(),
            has_burned: Cell::new(false),
        };
        for _ in 0..FUEL {
            let channel = hub.ctx.bind_unbound_port(DomId::SELF)?;
            let port = fuel.peer.bind_interdomain(local(channel.port()))?;
            channel.wait()?;
            fuel.channels.push(channel);
            fuel.ports.push(port);
        }
        place.tally_many(|it| &it.binds, 2 * FUEL as u64);
        Ok(fuel)
    }

    /// Puts an entry of each into the ring, however many are there already.
    fn burn(&self, device: &S::Device) -> Result<()> {
        self.has_burned.set(true);
        for port in &self.ports {
            self.peer.notify(*port)?;
        }
        let ports: Vec<Port> = self.channels.iter().map(Channel::port).collect();
        device.unmask(&ports)?;
        Ok(())
    }
}

pub(crate) struct Server<'h, S: Side> {
    hub: &'h Hub<S>,
    place: Place,
    random: Random,
    served: Vec<Served>,
    fuel: Fuel<S>,
    /// Channels that do not wait until the next round is over.
    resting: Vec<usize>,
}

impl<'h, S: Side> Server<'h, S> {
    /// Binds a channel for every client and offers it.
    pub(crate) fn open(hub: &'h Hub<S>, place: Place, random: Random) -> Result<Server<'h, S>> {
        place.doing(Doing::Opening);
        let mut server = Server {
            hub,
            place,
            random,
            served: Vec::new(),
            fuel: Fuel::new(hub, place)?,
            resting: Vec::new(),
        };
        for link in place.board.served(place.process) {
            let served = server.bind(link, link.last_offer())?;
            server.served.push(served);
            let index = server.served.len() - 1;
            server.publish(index);
            server.wait_on(index)?;
        }
        place.up();
        Ok(server)
    }

    /// Serves until all clients of all processes are done.
    pub(crate) fn run(mut self) -> Result<()> {
        while self.place.phase() < Phase::Close {
            if self.place.is_over() {
                return Ok(());
            }
            self.turn()?;
            if self.random.one_in(100) {
                self.overflow()?;
            }
        }
        self.place.doing(Doing::Closing);
        self.close()
    }

    fn bind(&mut self, link: &'static Link, offer: u64) -> Result<Served> {
        let ctx = &self.hub.ctx;
        // Before the bind, so that nothing said to the new port is missed.
        let said_before = link.said.load(Ordering::SeqCst);
        let overflows_before = ctx.stats().overflows;
        let channel = ctx.bind_unbound_port(self.random.domid())?;
        self.place.tally(|it| &it.binds);
        Ok(Served {
            link,
            offer,
            channel,
            life: 0,
            is_waiting: false,
            said_before,
            events: 0,
            overflows_before,
            overflows: 0,
        })
    }

    fn publish(&mut self, index: usize) {
        let served = &mut self.served[index];
        let port = served.channel.port();
        served.life = served.link.publish(port, &mut served.offer);
    }

    /// Sleeps until there is something to dispatch, and dispatches it.
    fn turn(&mut self) -> Result<()> {
        let may_sleep = self.resting.is_empty();
        let timeout = if may_sleep { SLICE } else { Duration::ZERO };
        let timeout = self.hub.ctx.next_timeout().unwrap_or(timeout);
        self.place.doing(Doing::Sleeping);
        self.hub.event_loop.wait(Some(timeout))?;
        self.round()?;
        // The fuel is waited on all the time.
        ensure!(
            self.hub.ctx.link() == State::Watching,
            "the device is not registered though a channel waits"
        );
        Ok(())
    }

    fn round(&mut self) -> Result<Outcome> {
        self.place.doing(Doing::Dispatching);
        let rested = std::mem::take(&mut self.resting);
        let hub = self.hub;
        let mut round = hub.ctx.dispatch()?;
        for wake in &mut round {
            self.woken(wake)?;
        }
        let outcome = round.finish()?;
        for index in rested {
            self.wait_on(index)?;
        }
        Ok(outcome)
    }

    fn woken(&mut self, wake: Wake) -> Result<()> {
        self.place.progress(0);
        let mut fuel = self.fuel.channels.iter();
        if let Some(channel) = fuel.find(|it| it.id() == wake.channel) {
            self.place.tally(|it| &it.wakes);
            ensure!(self.fuel.has_burned.get(), "a new channel is ready");
            channel.wait()?;
            return Ok(());
        }
        let mut all = self.served.iter();
        let index = all.position(|it| it.channel.id() == wake.channel);
        let index = index.with_context(|| format!("a wake of {}, which is gone", wake.channel))?;
        self.note(index, wake.cause)?;
        if self.answer(index)? {
            self.replace(index)?;
        }
        match self.random.below(8) {
            0 | 1 => {
                self.resting.push(index);
                return Ok(());
            }
            2 => {
                self.wait_on(index)?;
                let ended = self.served[index].channel.cancel()?;
                ensure!(ended, "a cancel found no wait");
                self.served[index].is_waiting = false;
            }
            _ => {}
        }
        self.wait_on(index)
    }

    /// Compares a wake of a link with what was said there.
    fn note(&mut self, index: usize, cause: Cause) -> Result<()> {
        self.place.tally(|it| &it.wakes);
        let overflows = self.hub.ctx.stats().overflows;
        let served = &mut self.served[index];
        let channel = served.channel.id();
        ensure!(served.is_waiting, "{channel} woke without a wait");
        served.is_waiting = false;
        let said = served.link.said.load(Ordering::SeqCst) - served.said_before;
        match cause {
            Cause::Event => served.events += 1,
            Cause::Overflow => served.overflows += 1,
            Cause::PeerGone | Cause::PeerConnected | Cause::Adopted | Cause::Gone | _ => {
                bail!("{channel} woke for {cause:?}")
            }
        }
        ensure!(
            served.events <= said,
            "{channel} has had {} events for {said} notifies",
            served.events
        );
        let overflows = overflows - served.overflows_before;
        ensure!(
            served.overflows <= overflows,
            "{channel} woke {} times for {overflows} overflows",
            served.overflows
        );
        Ok(())
    }

    /// Sees all that was said so far, and answers. Returns whether the client has gone.
    fn answer(&self, index: usize) -> Result<bool> {
        let served = &self.served[index];
        let said = served.link.said.load(Ordering::SeqCst);
        served.link.seen.store(said, Ordering::SeqCst);
        count(&served.link.answers);
        served.channel.notify()?;
        self.place.tally(|it| &it.notifies);
        Ok(served.link.bye.load(Ordering::SeqCst) == served.life)
    }

    /// The next life of a link, on the same port or on another one.
    fn replace(&mut self, index: usize) -> Result<()> {
        if !self.random.one_in(3) {
            let Served { link, offer, .. } = self.served[index];
            let fresh = self.bind(link, offer)?;
            let mut old = std::mem::replace(&mut self.served[index], fresh);
            old.channel.unbind()?;
            self.place.tally(|it| &it.unbinds);
        }
        self.publish(index);
        Ok(())
    }

    /// Waits. An event that has come already is delivered in a round.
    fn wait_on(&mut self, index: usize) -> Result<()> {
        self.served[index].is_waiting = true;
        self.served[index].channel.wait()?;
        Ok(())
    }

    /// Overflows the ring, and fails unless every channel that waits wakes for it.
    fn overflow(&mut self) -> Result<()> {
        let before = self.hub.ctx.stats().overflows;
        let asleep = self.served.iter().filter(|it| it.is_waiting);
        let asleep: Vec<_> = asleep.map(|it| (it.channel.id(), it.wakes())).collect();
        self.place.doing(Doing::Provoking);
        if !self.provoke(before)? {
            return Ok(());
        }
        let waiting = self.place.board.waiting();
        self.place.doing(Doing::Noticing);
        while self.hub.ctx.stats().overflows == before {
            ensure!(
                !self.place.is_too_long(waiting),
                "an overflow is not noticed"
            );
            self.turn()?;
        }
        self.place.doing(Doing::Collecting);
        while self.round()? == Outcome::More || self.hub.ctx.next_timeout().is_some() {
            ensure!(
                !self.place.is_too_long(waiting),
                "wakes of an overflow without end"
            );
        }
        for (id, wakes) in asleep {
            let still = self.served.iter().find(|it| it.channel.id() == id);
            let has_slept = still.is_some_and(|it| it.wakes() == wakes);
            ensure!(!has_slept, "an overflow has not woken {id}");
        }
        self.place.tally(|it| &it.overflows);
        Ok(())
    }

    /// Another holder of the device writes before it reads, until the ring has no room. False where
    /// another thread kept reading it.
    fn provoke(&self, before: u64) -> Result<bool> {
        const TRIES: usize = 20;
        let provoked = self.hub.second.act(|device| {
            for _ in 0..TRIES {
                self.fuel.burn(device)?;
                if is_in_overflow(device)? || self.hub.ctx.stats().overflows > before {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        provoked.context("there is no second descriptor")
    }

    /// Unbinds everything, and fails unless nothing of it is left.
    fn close(self) -> Result<()> {
        let Server {
            hub,
            served,
            fuel,
            place,
            ..
        } = self;
        for mut served in served {
            served.link.withdraw(served.offer);
            served.channel.unbind()?;
            place.tally(|it| &it.unbinds);
        }
        for (mut channel, port) in fuel.channels.into_iter().zip(fuel.ports) {
            channel.unbind()?;
            fuel.peer.unbind(port)?;
        }
        place.tally_many(|it| &it.unbinds, 2 * FUEL as u64);
        let link = hub.ctx.link();
        ensure!(link == State::Idle, "{link:?} though nothing waits");
        hub.second.close();
        hub.ctx.teardown()?;
        let counters = hub.event_loop.counters();
        ensure!(counters.registers == counters.deregisters, "{counters:?}");
        let stats = hub.ctx.stats();
        ensure!((stats.faults, stats.unreported) == (0, 0), "{stats:?}");
        Ok(())
    }
}

impl Served {
    fn wakes(&self) -> u64 {
        self.events + self.overflows
    }
}
