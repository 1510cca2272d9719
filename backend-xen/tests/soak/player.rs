//! A player: one thread with a context and a peer device of its own, which does anything in any
//! order. No other thread acts on them, so every answer is compared with the model of
//! `evtchn-checks`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evtchn_checks::model;
use evtchn_core::{Context, EventChannel, Link, Open, Port, PortBuf};
use evtchn_xen::PollLoop;

use crate::board::{CLIENTS, Phase, SLICE};
use crate::place::Place;
use crate::random::Random;
use crate::side::{ChannelOf, ContextOf, Second, SharedOpen, Side, is_in_overflow, local};

/// The most channels at a time.
const MOST: usize = 40;

/// A channel, the port of the peer at its other end, and what is to be expected of it.
struct Wire {
    channel: ChannelOf,
    peer: Port,
    model: model::Channel,
}

pub(crate) struct Player<S: Side> {
    place: Place,
    random: Random,
    event_loop: PollLoop,
    second: Second<S>,
    ctx: ContextOf,
    peer: S::Device,
    wires: Vec<Wire>,
}

impl<S: Side> Player<S> {
    pub(crate) fn new(side: &S, place: Place, random: Random) -> Result<Player<S>> {
        let event_loop = PollLoop::new()?;
        let second = Second::new();
        let opener = SharedOpen::shared_with(side, &second);
        Ok(Player {
            place,
            random,
            ctx: Context::with_registrar(opener, event_loop.clone()),
            event_loop,
            second,
            peer: side.opener().open()?,
            wires: Vec::new(),
        })
    }

    /// Plays until the lap is over, and unbinds everything.
    pub(crate) fn run(mut self) -> Result<()> {
        while self.place.phase() == Phase::Run {
            if self.place.is_over() {
                return Ok(());
            }
            self.step()?;
            self.expect_registration()?;
            self.place.operation(1 + CLIENTS);
        }
        self.settle()?;
        while !self.wires.is_empty() {
            self.unbind(0)?;
        }
        self.second.close();
        self.ctx.teardown()?;
        let counters = self.event_loop.counters();
        ensure!(counters.registers == counters.deregisters, "{counters:?}");
        let stats = self.ctx.stats();
        ensure!((stats.faults, stats.unreported) == (0, 0), "{stats:?}");
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        if self.wires.is_empty() {
            return self.bind();
        }
        let index = self.random.below(self.wires.len());
        match self.random.below(32) {
            0..3 if self.wires.len() < MOST => self.bind(),
            3 | 4 => self.unbind(index),
            5..11 => self.wait(index),
            11 => self.cancel(index),
            12..20 => self.notify(index),
            20..30 => self.round(Duration::ZERO),
            30 if self.random.one_in(16) => self.overflow(index),
            _ if self.random.one_in(4) => self.settle(),
            _ => Ok(()),
        }
    }

    /// Registered if and only if something waits or is ready.
    fn expect_registration(&self) -> Result<()> {
        let is_awaited = self.wires.iter().any(|wire| wire.model.waiting);
        let link = self.ctx.link();
        ensure!(
            (link == Link::Watching) == is_awaited,
            "{link:?} where something waits: {is_awaited}"
        );
        Ok(())
    }

    fn bind(&mut self) -> Result<()> {
        let remote = self.random.domid();
        let is_signalled = self.random.one_in(2);
        let (channel, peer) = if is_signalled {
            let peer = self.peer.bind_unbound_port(remote)?;
            (self.ctx.bind_interdomain(local(peer))?, peer)
        } else {
            let channel = self.ctx.bind_unbound_port(remote)?;
            let peer = self.peer.bind_interdomain(local(channel.port()))?;
            (channel, peer)
        };
        self.place.tally_many(|it| &it.binds, 2);
        // Otherwise its ring would overflow, and nothing would read it.
        self.peer.pending(&mut PortBuf::with_capacity(MOST))?;
        let model = model::Channel::bound(is_signalled);
        self.wires.push(Wire {
            channel,
            peer,
            model,
        });
        Ok(())
    }

    fn unbind(&mut self, index: usize) -> Result<()> {
        let mut wire = self.wires.swap_remove(index);
        let peer_first = self.random.one_in(2);
        if peer_first {
            self.peer.unbind(wire.peer)?;
        }
        wire.channel.unbind()?;
        if !peer_first {
            self.peer.unbind(wire.peer)?;
        }
        self.place.tally_many(|it| &it.unbinds, 2);
        Ok(())
    }

    fn wait(&mut self, index: usize) -> Result<()> {
        let Wire { channel, model, .. } = &mut self.wires[index];
        channel.wait()?;
        model.waited();
        Ok(())
    }

    fn cancel(&mut self, index: usize) -> Result<()> {
        let Wire { channel, model, .. } = &mut self.wires[index];
        let ended = channel.cancel()?;
        model
            .cancelled(ended)
            .with_context(|| format!("a cancel of {}", channel.id()))
    }

    fn notify(&mut self, index: usize) -> Result<()> {
        let times = 1 + self.random.below(3);
        let Wire { peer, model, .. } = &mut self.wires[index];
        for _ in 0..times {
            self.peer.notify(*peer)?;
            model.signal();
            self.place.tally(|it| &it.notifies);
        }
        Ok(())
    }

    fn round(&mut self, timeout: Duration) -> Result<()> {
        let timeout = self.ctx.next_timeout().unwrap_or(timeout);
        self.event_loop.wait(Some(timeout))?;
        let mut woken = Vec::new();
        let mut round = self.ctx.dispatch()?;
        for wake in &mut round {
            self.place.tally(|it| &it.wakes);
            let mut wires = self.wires.iter_mut();
            let wire = wires.find(|wire| wire.channel.id() == wake.channel);
            let wire = wire.with_context(|| format!("{} woke and is gone", wake.channel))?;
            wire.model
                .woken(wake.cause)
                .with_context(|| format!("{wake:?}"))?;
            woken.push(wake.channel);
            if woken.len().is_multiple_of(3) {
                wire.channel.wait()?;
                wire.model.waited();
            }
        }
        round.finish()?;
        Ok(())
    }

    /// Every channel for which something happened wakes.
    fn settle(&mut self) -> Result<()> {
        for index in 0..self.wires.len() {
            self.wait(index)?;
        }
        let waiting = self.place.board.waiting();
        while let Some(wire) = self.wires.iter().find(|wire| wire.model.must) {
            let id = wire.channel.id();
            ensure!(!self.place.is_too_long(waiting), "no wake of {id}");
            self.round(SLICE)?;
            for index in 0..self.wires.len() {
                if self.wires[index].model.must {
                    self.wait(index)?;
                }
            }
        }
        Ok(())
    }

    /// Another holder of the device writes before it reads, until the ring has no room.
    fn overflow(&mut self, fuel: usize) -> Result<()> {
        const TRIES: usize = 5_000;
        self.wait(fuel)?;
        // Its port is unmasked once no wake of it is queued.
        while self.ctx.next_timeout().is_some() {
            self.round(Duration::ZERO)?;
            self.wait(fuel)?;
        }
        for wire in &mut self.wires {
            wire.model.overflow();
        }
        let Wire {
            channel,
            peer,
            model,
        } = &mut self.wires[fuel];
        let ports = [channel.port()];
        let is_over = self.second.act(|device| {
            for _ in 0..TRIES {
                self.peer.notify(*peer)?;
                model.signal();
                if is_in_overflow(device)? {
                    return Ok(true);
                }
                device.unmask(&ports)?;
            }
            Ok(false)
        })?;
        ensure!(is_over == Some(true), "the ring does not overflow");
        self.place.tally(|it| &it.overflows);
        Ok(())
    }
}
