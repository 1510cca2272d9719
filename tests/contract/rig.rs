//! A context under observation, and a peer device at the other end of its channels.

use std::time::Duration;

use evtchn_core::{Cause, Channel, Context, DomId, EventChannel, Link, Outcome, Port, Wake};

use super::platform::*;
use super::spy::{Spy, SpyLoop, SpyOpen};

pub(crate) type LoopOf<P> = SpyLoop<<P as Platform>::Device, <P as Platform>::Loop>;
pub(crate) type ChannelOf<P> = Channel<LoopOf<P>>;
pub(crate) type ContextOf<P> = Context<LoopOf<P>>;

pub(crate) struct Rig<'p, P: Platform> {
    pub(crate) p: &'p P,
    pub(crate) spy: Spy<P::Device>,
    pub(crate) context: ContextOf<P>,
    /// The device of the peer, outside the context.
    pub(crate) peer: P::Device,
}

/// A channel of the context that a port of the peer is connected to. It has no event yet.
pub(crate) struct Wire<P: Platform> {
    pub(crate) channel: ChannelOf<P>,
    pub(crate) peer: Port,
}

impl<P: Platform> Wire<P> {
    pub(crate) fn port(&self) -> Port {
        self.channel.port()
    }

    /// Waits on a channel without a latched event.
    #[track_caller]
    pub(crate) fn wait(&self) {
        self.channel.wait().unwrap();
    }
}

impl<'p, P: Platform> Rig<'p, P> {
    pub(crate) fn new(p: &'p P) -> Self {
        Rig::of(p, p.opener())
    }

    /// With a context whose device is opened by this.
    pub(crate) fn of(p: &'p P, opener: P::Open) -> Self {
        let spy = Spy::new();
        let opener = SpyOpen {
            opener,
            spy: spy.clone(),
        };
        let event_loop = SpyLoop {
            event_loop: p.event_loop(),
            spy: spy.clone(),
        };
        Rig {
            p,
            spy,
            context: Context::with_registrar(opener, event_loop),
            peer: p.open(),
        }
    }

    #[track_caller]
    pub(crate) fn wire(&self) -> Wire<P> {
        let channel = self.context.bind_unbound_port(DomId::SELF).unwrap();
        let peer = self.peer.bind_interdomain(local(channel.port())).unwrap();
        Wire { channel, peer }
    }

    pub(crate) fn wires<const N: usize>(&self) -> [Wire<P>; N] {
        std::array::from_fn(|_| self.wire())
    }

    /// The peer notifies; its event is in the ring of the context when this returns.
    #[track_caller]
    pub(crate) fn fire(&self, wire: &Wire<P>) {
        self.peer.notify(wire.peer).unwrap();
        self.p.expect_ready(&self.spy.device());
    }

    /// The peer notifies a masked port: its event stays in Xen.
    pub(crate) fn fire_masked(&self, wire: &Wire<P>) {
        self.peer.notify(wire.peer).unwrap();
    }

    /// Sleeps in the event loop for as long as the context allows it, until there is something
    /// to dispatch.
    #[track_caller]
    pub(crate) fn sleep(&self) {
        match self.context.next_timeout() {
            Some(timeout) => assert_eq!(timeout, Duration::ZERO),
            None => self
                .p
                .expect_loop_ready(&self.context.registrar().event_loop),
        }
    }

    /// Sleeps and dispatches one round, doing `each` with every wake of it.
    #[track_caller]
    pub(crate) fn turn_with(&self, mut each: impl FnMut(Wake)) -> Vec<(Port, Cause)> {
        self.sleep();
        let mut round = self.context.dispatch().unwrap();
        let mut wakes = Vec::new();
        for wake in round.by_ref() {
            wakes.push((wake.port(), wake.cause));
            each(wake);
        }
        assert_eq!(round.finish().unwrap(), Outcome::Done);
        self.expect_settled();
        wakes
    }

    /// Sleeps and dispatches one round, waiting again for every wake of it.
    #[track_caller]
    pub(crate) fn turn_and_rewait(&self) -> Vec<(Port, Cause)> {
        self.turn_with(|wake| {
            self.context.wait(wake.channel).unwrap();
        })
    }

    /// Sleeps and dispatches one round.
    #[track_caller]
    pub(crate) fn turn(&self) -> Vec<(Port, Cause)> {
        self.turn_with(drop)
    }

    /// Sleeps, dispatches one round and demands an event of each of these, in this order.
    #[track_caller]
    pub(crate) fn expect_wakes(&self, wires: &[&Wire<P>]) {
        let events: Vec<_> = wires.iter().map(|w| (w.port(), Cause::Event)).collect();
        assert_eq!(self.turn(), events);
    }

    /// Waits on a channel with a latched event, and demands that the next round hands out its wake
    /// alone.
    #[track_caller]
    pub(crate) fn expect_latched(&self, wire: &Wire<P>, cause: Cause) {
        wire.wait();
        assert_eq!(self.context.next_timeout(), Some(Duration::ZERO));
        assert_eq!(self.turn(), [(wire.port(), cause)]);
    }

    /// Demands that there is nothing to dispatch, and that a dispatch finds nothing.
    #[track_caller]
    pub(crate) fn expect_idle(&self) {
        assert_eq!(self.context.next_timeout(), None);
        assert!(!self.is_loop_ready());
        assert_eq!(self.context.dispatch().unwrap().next(), None);
        self.expect_settled();
    }

    pub(crate) fn is_loop_ready(&self) -> bool {
        self.p.is_loop_ready(&self.context.registrar().event_loop)
    }

    /// Demands that the event loop and the context agree on whether the device is registered.
    #[track_caller]
    pub(crate) fn expect_settled(&self) {
        let link = self.context.link();
        assert_eq!(self.spy.is_open(), link.is_open(), "{link:?}");
        let is_watching = link == Link::Watching;
        assert_eq!(self.spy.is_registered(), is_watching, "{link:?}");
    }

    /// Demands this many registrations and deregistrations since the context was made.
    #[track_caller]
    pub(crate) fn expect_hooks(&self, registers: u32, deregisters: u32) {
        let log = self.spy.log();
        assert_eq!((log.registers, log.deregisters), (registers, deregisters));
    }

    /// Demands that the context wrote these ports since the last call of this, each write a list.
    #[track_caller]
    pub(crate) fn expect_writes(&self, writes: &[&[Port]]) {
        assert_eq!(std::mem::take(&mut self.spy.log().writes), writes);
    }
}
