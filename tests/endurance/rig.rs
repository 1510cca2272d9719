//! A context on a polled loop, a peer device at the other end of its channels, and another holder
//! of a descriptor of the context's device.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evtchn_core::{
    Cause, DeviceError, DomId, EventChannel, Link, Open, Outcome, Port, RemotePort, Stats, Wake,
};
use evtchn_xen::PollLoop;

use super::due::Due;
use super::side::Side;

pub(crate) type Context = evtchn_core::Context<PollLoop>;
pub(crate) type Channel = evtchn_core::Channel<PollLoop>;

/// A descriptor that others hold.
type Second<S> = Arc<Mutex<Option<<S as Side>::Device>>>;

/// Opens devices whose descriptor another holder has too.
pub(crate) struct SharedOpen<S: Side> {
    opener: S::Open,
    second: Second<S>,
}

impl<S: Side> Open for SharedOpen<S> {
    type Device = S::Device;

    fn open(&self) -> Result<S::Device, DeviceError> {
        let device = self.opener.open()?;
        let second = S::second(&device);
        let old = self.second.lock().unwrap().replace(second);
        drop(old);
        Ok(device)
    }

    fn process(&self) -> u64 {
        self.opener.process()
    }
}

pub(crate) struct Rig<'s, S: Side> {
    pub(crate) side: &'s S,
    pub(crate) event_loop: PollLoop,
    pub(crate) context: Context,
    second: Second<S>,
    /// The device of the peer, outside the context.
    pub(crate) peer: S::Device,
}

/// A channel of the context that a port of the peer is connected to.
pub(crate) struct Wire {
    pub(crate) channel: Channel,
    pub(crate) peer: Port,
}

impl Wire {
    pub(crate) fn port(&self) -> Port {
        self.channel.port()
    }
}

/// A port of this domain, as a peer in the same domain names it.
pub(crate) fn local(port: Port) -> RemotePort {
    RemotePort {
        domid: DomId::SELF,
        port,
    }
}

impl<'s, S: Side> Rig<'s, S> {
    pub(crate) fn new(side: &'s S) -> Self {
        let event_loop = PollLoop::new().unwrap();
        let second = Second::<S>::default();
        let opener = SharedOpen::<S> {
            opener: side.opener(),
            second: Arc::clone(&second),
        };
        Rig {
            side,
            context: Context::with_registrar(opener, event_loop.clone()),
            event_loop,
            second,
            peer: side.opener().open().unwrap(),
        }
    }

    /// A new wire without a wait and without an event.
    pub(crate) fn wire(&self) -> Wire {
        let channel = self.context.bind_unbound_port(DomId::SELF).unwrap();
        let peer = self.peer.bind_interdomain(local(channel.port())).unwrap();
        Wire { channel, peer }
    }

    /// New wires with a wait.
    pub(crate) fn wires(&self, count: usize) -> Vec<Wire> {
        let wires: Vec<_> = (0..count).map(|_| self.wire()).collect();
        for wire in &wires {
            self.rewait(&wire.channel);
        }
        wires
    }

    /// Waits on a channel without a latched event.
    #[track_caller]
    pub(crate) fn rewait(&self, channel: &Channel) {
        channel.wait().unwrap();
    }

    pub(crate) fn notify(&self, wire: &Wire) {
        self.peer.notify(wire.peer).unwrap();
    }

    /// Acts as the other holder of the device.
    pub(crate) fn behind_its_back<T>(&self, act: impl FnOnce(&S::Device) -> T) -> T {
        let second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        act(second.as_ref().unwrap())
    }

    /// Sleeps until there is something to dispatch, and does `each` with every wake of the round.
    #[track_caller]
    pub(crate) fn turn(&self, mut each: impl FnMut(Wake)) {
        if self.context.next_timeout().is_none() {
            let readiness = self.event_loop.wait(Some(S::PATIENCE)).unwrap();
            assert!(!readiness.timed_out(), "no event in {:?}", S::PATIENCE);
        }
        let mut round = self.context.dispatch().unwrap();
        for wake in &mut round {
            each(wake);
        }
        assert_eq!(round.finish().unwrap(), Outcome::Done);
    }

    /// Turns until all wakes that are due have come, each for an event, and waits again for each.
    /// No other may come. Returns in how many turns.
    #[track_caller]
    pub(crate) fn collect(&self, due: &mut Due) -> usize {
        let mut turns = 0;
        while due.total() > 0 {
            self.turn(|wake| {
                assert_eq!(wake.cause, Cause::Event);
                assert!(due.take(wake.port()), "no notify for {}", wake.port());
                self.context.wait(wake.channel).unwrap();
            });
            turns += 1;
        }
        turns
    }

    /// Demands that there is nothing to dispatch, and that a dispatch finds nothing.
    #[track_caller]
    pub(crate) fn expect_quiet(&self) {
        assert_eq!(self.context.next_timeout(), None);
        assert!(!self.event_loop.wait(Some(Duration::ZERO)).unwrap().ready);
        self.turn_for_nothing();
    }

    #[track_caller]
    fn turn_for_nothing(&self) {
        let mut round = self.context.dispatch().unwrap();
        assert_eq!(round.next(), None);
        assert_eq!(round.finish().unwrap(), Outcome::Done);
    }

    /// Demands one registration since the context was made, which still stands.
    #[track_caller]
    pub(crate) fn expect_registered_once(&self) {
        let counters = self.event_loop.counters();
        assert_eq!((counters.registers, counters.deregisters), (1, 0));
        assert_eq!(self.context.link(), Link::Watching);
    }

    /// Demands that exactly this many wakes came, each for a wait.
    #[track_caller]
    pub(crate) fn expect_nothing_but(&self, wakes: usize) {
        let mut expected = Stats::default();
        let stats = self.context.stats();
        expected.opens = 1;
        expected.registers = 1;
        expected.wakes = u64::try_from(wakes).unwrap();
        // These depend on how the events arrived.
        expected.reads = stats.reads;
        expected.empty_reads = stats.empty_reads;
        expected.writes = stats.writes;
        assert_eq!(stats, expected);
    }

    /// Drops the channels and the device, and demands that nothing is left.
    #[track_caller]
    pub(crate) fn close(&self, wires: Vec<Wire>) {
        for mut wire in wires {
            wire.channel.unbind().unwrap();
        }
        assert_eq!(self.context.link(), Link::Idle);
        drop(self.second.lock().unwrap().take());
        self.context.teardown().unwrap();
        assert_eq!(self.context.link(), Link::Closed);
        let counters = self.event_loop.counters();
        assert_eq!(counters.registers, counters.deregisters);
        self.turn_for_nothing();
    }
}
