//! A dispatcher on the simulator, and a script that takes the place of its workers.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use evtchn_core::{Cause, Channel, Context, DomId, Link, Port, Wake};
use evtchn_loops::{Delivery, Dispatcher};
use evtchn_sim::{DomainConfig, Guest, Sim, SimLoop, SimOpen};

pub(crate) struct Rig {
    pub(crate) sim: Sim,
    pub(crate) opener: SimOpen,
    pub(crate) event_loop: SimLoop,
    pub(crate) peers: Peers,
    pub(crate) ctx: Arc<Context<SimLoop>>,
    pub(crate) channels: Vec<Arc<Channel<SimLoop>>>,
    pub(crate) dispatcher: Dispatcher<SimLoop>,
}

#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) guest: Guest,
    pub(crate) theirs: Vec<Port>,
}

impl Peers {
    pub(crate) fn send(&self, index: usize) {
        self.guest.send(self.theirs[index]).unwrap();
    }

    pub(crate) fn send_all(&self) {
        (0..self.theirs.len()).for_each(|index| self.send(index));
    }
}

pub(crate) type Wakes = Receiver<Delivery<SimLoop>>;

/// What is received, and why it woke.
pub(crate) fn take(wakes: &Wakes) -> (Delivery<SimLoop>, Port, Cause) {
    let delivery = wakes.try_recv().unwrap();
    let wake = delivery.wake();
    assert_eq!(delivery.channel().id(), wake.channel);
    (delivery, wake.port(), wake.cause)
}

impl Rig {
    /// Channels, of which all are added.
    pub(crate) fn new(channels: usize) -> Rig {
        let sim = Sim::new(1);
        let opener = sim.open(DomId::DOM0);
        let event_loop = SimLoop::level();
        let ctx = Arc::new(Context::with_registrar(opener.clone(), event_loop.clone()));
        let mut roomy = DomainConfig::guest();
        roomy.max_port = u32::MAX;
        let guest = sim.guest(sim.create_domain_with(None, &roomy).unwrap());
        let bind = |_| Arc::new(ctx.bind_unbound_port(guest.domid()).unwrap());
        let channels: Vec<_> = (0..channels).map(bind).collect();
        let peer = |it: &Arc<Channel<_>>| guest.bind_interdomain(DomId::DOM0, it.port());
        let theirs = channels.iter().map(|it| peer(it).unwrap()).collect();
        let capacity = NonZeroUsize::new(channels.len()).unwrap();
        let dispatcher = Dispatcher::new(Arc::clone(&ctx), capacity);
        for channel in &channels {
            dispatcher.add(Arc::clone(channel)).unwrap();
        }
        let peers = Peers { guest, theirs };
        Rig {
            sim,
            opener,
            event_loop,
            peers,
            ctx,
            channels,
            dispatcher,
        }
    }

    pub(crate) fn port(&self, index: usize) -> Port {
        self.channels[index].port()
    }

    /// The next step of the script.
    pub(crate) fn then(&self, step: impl FnOnce(&Peers, &Wakes) + Send + 'static) {
        let (peers, wakes) = (self.peers.clone(), self.dispatcher.wakes());
        self.event_loop.while_asleep(move || step(&peers, &wakes));
    }

    pub(crate) fn then_stop(&self) {
        let dispatcher = self.dispatcher.clone();
        self.event_loop.while_asleep(move || dispatcher.stop());
    }

    pub(crate) fn run_script(&self) {
        self.then_stop();
        self.dispatcher.run().unwrap();
        self.expect_ended();
    }

    #[track_caller]
    pub(crate) fn expect_ended(&self) {
        assert_ne!(self.ctx.link(), Link::Watching);
        assert!(!self.event_loop.is_registered());
        assert_eq!(self.event_loop.violations(), []);
    }

    /// Demands that an event of this channel was kept, which the next round hands out.
    #[track_caller]
    pub(crate) fn expect_kept(&self, channel: &Channel<SimLoop>) {
        channel.wait().unwrap();
        let wakes: Vec<_> = self.ctx.dispatch().unwrap().collect();
        let wake = Wake {
            channel: channel.id(),
            cause: Cause::Event,
        };
        assert_eq!(wakes, [wake]);
    }

    #[track_caller]
    pub(crate) fn expect_clean_end(self) {
        drop(self.dispatcher);
        for channel in self.channels {
            Arc::into_inner(channel).unwrap().unbind().unwrap();
        }
        Arc::into_inner(self.ctx).unwrap().teardown().unwrap();
        assert_eq!(self.sim.open_files(), 0);
    }
}
