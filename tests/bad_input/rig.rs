//! Contexts in every situation that the calls of the table need.

use evtchn_core::{ChannelId, Context, DomId, Link, Notifier, Port, Stats, Virq};
use evtchn_sim::{DomainConfig, Guest, Sim, SimLoop};

use super::{SimChannel, SimContext, UNKNOWN_DOMAIN};

/// Contexts in every situation a row needs.
pub(super) struct Rig {
    sim: Sim,
    event_loop: SimLoop,
    /// Two channels; one has a wait and an unread event.
    pub(super) ctx: SimContext,
    pub(super) channel: SimChannel,
    pub(super) virq: SimChannel,
    pub(super) stale: ChannelId,
    pub(super) stale_notifier: Notifier,
    pub(super) guest: Guest,
    pub(super) peer_port: Port,
    /// An end of a static channel, on a kernel that knows none.
    pub(super) static_port: Port,
    pub(super) for_unknown_domain: Port,
    /// Has opened nothing.
    pub(super) fresh: SimContext,
    /// Restricted to the guest.
    pub(super) restricted: SimContext,
    _restricted_channel: SimChannel,
    /// On a kernel that knows static ports.
    pub(super) modern: SimContext,
    pub(super) modern_channel: SimChannel,
    pub(super) modern_other: SimContext,
    /// In a domain that does not exist.
    pub(super) nowhere: SimContext,
}

impl Rig {
    pub(super) fn new() -> Rig {
        let sim = Sim::new(0);
        let guest = sim.guest(sim.create_domain().unwrap());
        let event_loop = SimLoop::level();
        let ctx = Context::with_registrar(sim.open(DomId::DOM0), event_loop.clone());
        let mut gone = ctx.bind_unbound_port(UNKNOWN_DOMAIN).unwrap();
        let (stale, stale_notifier) = (gone.id(), gone.notifier());
        gone.unbind().unwrap();
        let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
        assert_eq!(channel.port(), stale.port(), "the number was given again");
        let virq = ctx.bind_virq(Virq::TBUF).unwrap();
        let peer_port = guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
        channel.wait().unwrap();
        guest.send(peer_port).unwrap();

        let restricted = context(&sim, DomId::DOM0);
        let remote = guest.remote(guest.alloc_unbound(DomId::DOM0).unwrap());
        let restricted_channel = restricted.bind_interdomain(remote).unwrap();
        restricted.restrict(guest.domid()).unwrap();

        let static_port = Port::new(950).unwrap();
        let ends = [DomId::DOM0, guest.domid()].map(|domid| (domid, static_port.as_raw()));
        let [near, far] = ends;
        sim.with(|world| world.connect_static(near, far)).unwrap();

        let mut knows_static = DomainConfig::guest();
        knows_static.bind_static = true;
        let domid = sim.create_domain_with(None, &knows_static).unwrap();
        let modern = context(&sim, domid);
        Rig {
            virq,
            static_port,
            peer_port,
            for_unknown_domain: guest.alloc_unbound(UNKNOWN_DOMAIN).unwrap(),
            fresh: context(&sim, DomId::DOM0),
            _restricted_channel: restricted_channel,
            restricted,
            modern_channel: modern.bind_unbound_port(UNKNOWN_DOMAIN).unwrap(),
            modern,
            modern_other: context(&sim, domid),
            nowhere: context(&sim, UNKNOWN_DOMAIN),
            sim,
            event_loop,
            ctx,
            channel,
            stale,
            stale_notifier,
            guest,
        }
    }

    /// The id of a channel of another context.
    pub(super) fn foreign(&self) -> ChannelId {
        self.modern_channel.id()
    }

    /// The state that a failed call must not change.
    pub(super) fn look(&self) -> (String, bool, Vec<(Link, Stats)>) {
        let contexts = [
            &self.ctx,
            &self.fresh,
            &self.restricted,
            &self.modern,
            &self.modern_other,
            &self.nowhere,
        ];
        let look = |ctx: &SimContext| {
            let mut stats = ctx.stats();
            // A device may be opened for a bind that fails; it is closed again.
            stats.opens = 0;
            assert_eq!(ctx.next_timeout(), None);
            (ctx.link(), stats)
        };
        let looks = contexts.map(look).to_vec();
        (self.sim.dump(), self.event_loop.is_registered(), looks)
    }
}

fn context(sim: &Sim, domid: DomId) -> SimContext {
    Context::with_registrar(sim.open(domid), SimLoop::level())
}
