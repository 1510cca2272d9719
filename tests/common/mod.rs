//! A context on the simulator, and a guest at the other end of its channels.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::sync::Arc;

use evtchn::sim::{Guest, Sim, SimLoop, SimOpen};
use evtchn::{Cause, DomId, Port, Sleep};

pub(crate) type Context<R = SimLoop> = evtchn::Context<R>;
pub(crate) type Channel<R = SimLoop> = evtchn::Channel<R>;

pub(crate) struct Rig<R: Sleep = SimLoop> {
    pub(crate) sim: Sim,
    pub(crate) opener: SimOpen,
    pub(crate) context: Arc<Context<R>>,
    pub(crate) guest: Guest,
}

/// A channel, and the port of the guest at its other end.
pub(crate) struct Wire<R: Sleep = SimLoop> {
    pub(crate) channel: Arc<Channel<R>>,
    pub(crate) guest: Guest,
    pub(crate) peer_port: Port,
}

impl<R: Sleep> Rig<R> {
    pub(crate) fn on(event_loop: R) -> Rig<R> {
        let sim = Sim::new(1);
        let opener = sim.open(DomId::DOM0);
        Rig {
            context: Arc::new(Context::with_registrar(opener.clone(), event_loop)),
            guest: sim.guest(sim.create_domain().unwrap()),
            opener,
            sim,
        }
    }

    /// A channel that the guest has bound to.
    pub(crate) fn wire(&self) -> Wire<R> {
        let channel = self.context.bind_unbound_port(self.guest.domid()).unwrap();
        let peer_port = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        Wire {
            channel: Arc::new(channel),
            guest: self.guest.clone(),
            peer_port: peer_port.unwrap(),
        }
    }

    /// One round of values.
    pub(crate) fn turn(&self) -> Vec<(Port, Cause)> {
        let mut round = self.context.dispatch().unwrap();
        let wakes = round.by_ref().map(|wake| (wake.port(), wake.cause));
        let wakes = wakes.collect();
        round.finish().unwrap();
        wakes
    }

    /// Waits on a channel with a kept wake: the next round hands out that wake alone.
    #[track_caller]
    pub(crate) fn expect_kept(&self, channel: &Channel<R>, cause: Cause) {
        channel.wait().unwrap();
        assert_eq!(self.turn(), [(channel.port(), cause)]);
    }
}

impl<R: Sleep> Clone for Wire<R> {
    fn clone(&self) -> Wire<R> {
        Wire {
            channel: Arc::clone(&self.channel),
            guest: self.guest.clone(),
            peer_port: self.peer_port,
        }
    }
}

impl<R: Sleep> Wire<R> {
    pub(crate) fn port(&self) -> Port {
        self.channel.port()
    }

    pub(crate) fn fire(&self) {
        self.guest.send(self.peer_port).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait(&self) {
        wait(&self.channel);
    }
}

/// Waits on a channel without a latched event.
#[track_caller]
pub(crate) fn wait<R: Sleep>(channel: &Channel<R>) {
    channel.wait().unwrap();
}
