//! Handlers on the simulator, which record their calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use evtchn::sim::{Guest, Sim, SimLoop, SimOpen};
use evtchn::{Call, Cause, ChannelId, Context, DomId, Handlers, Link, Port, UnmaskPolicy};

pub(crate) type Channel = evtchn::Channel<SimLoop>;

pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) struct Rig {
    pub(crate) sim: Sim,
    pub(crate) opener: SimOpen,
    pub(crate) event_loop: SimLoop,
    pub(crate) guest: Guest,
    pub(crate) ctx: Context<SimLoop>,
    pub(crate) handlers: Handlers<SimLoop>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) peer_ports: Vec<Port>,
    /// The ports whose handlers were called, and the causes.
    pub(crate) calls: Arc<Mutex<Vec<(Port, Cause)>>>,
}

impl Rig {
    pub(crate) fn new(channels: usize) -> Rig {
        let sim = Sim::new(1);
        let opener = sim.open(DomId::DOM0);
        let event_loop = SimLoop::level();
        let ctx = Context::with_registrar(opener.clone(), event_loop.clone());
        let guest = sim.guest(sim.create_domain().unwrap());
        let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
        let channels: Vec<Channel> = (0..channels).map(bind).collect();
        let peer = |channel: &Channel| guest.bind_interdomain(DomId::DOM0, channel.port());
        Rig {
            peer_ports: channels.iter().map(|it| peer(it).unwrap()).collect(),
            handlers: ctx.handlers(),
            calls: Arc::default(),
            sim,
            opener,
            event_loop,
            guest,
            ctx,
            channels,
        }
    }

    pub(crate) fn id(&self, index: usize) -> ChannelId {
        self.channels[index].id()
    }

    pub(crate) fn port(&self, index: usize) -> Port {
        self.channels[index].port()
    }

    /// Adds a handler that records its calls and then does `more`.
    pub(crate) fn add(
        &mut self,
        index: usize,
        policy: impl UnmaskPolicy + 'static,
        mut more: impl FnMut(&mut Call) + Send + 'static,
    ) {
        let calls = Arc::clone(&self.calls);
        let handler = move |call: &mut Call| {
            let wake = call.wake();
            calls.lock().unwrap().push((wake.port(), wake.cause));
            more(call);
        };
        let id = self.id(index);
        self.handlers.add(id, policy, handler).unwrap();
    }

    pub(crate) fn send(&self, index: usize) {
        self.guest.send(self.peer_ports[index]).unwrap();
    }

    pub(crate) fn round(&mut self, now: Duration) -> Vec<(Port, Cause)> {
        self.handlers.round(now).unwrap();
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// The wake of a channel.
    pub(crate) fn event(&self, index: usize) -> (Port, Cause) {
        (self.port(index), Cause::Event)
    }

    #[track_caller]
    pub(crate) fn expect_clean_end(self) {
        drop(self.handlers);
        assert_eq!(self.ctx.link(), Link::Idle);
        self.channels
            .into_iter()
            .for_each(|mut it| it.unbind().unwrap());
        self.ctx.teardown().unwrap();
        assert_eq!(self.event_loop.violations(), []);
        assert_eq!(self.sim.open_files(), 0);
    }
}
