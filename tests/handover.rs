//! A context is handed over, and another one goes on with its ports.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use evtchn::sim::{Call, Errno, Guest, Sim, SimLoop, SimOpen};
use evtchn::{BadHandOver, Cause, Channel, Context, DomId, Error, HandOver, Link, Parts, Port};

type SimContext = Context<SimLoop>;
type SimChannel = Channel<SimLoop>;

/// The old process with some connected channels.
struct Old {
    sim: Sim,
    opener: SimOpen,
    event_loop: SimLoop,
    guest: Guest,
    ctx: SimContext,
    channels: Vec<SimChannel>,
    peer_ports: Vec<Port>,
}

impl Old {
    fn with_channels(count: usize) -> Old {
        let sim = Sim::new(1);
        let domid = sim.create_domain().unwrap();
        let guest = sim.guest(domid);
        let opener = sim.open(DomId::DOM0);
        let event_loop = SimLoop::level();
        let ctx = Context::with_registrar(opener.clone(), event_loop.clone());
        let bind = |_| ctx.bind_unbound_port(domid).unwrap();
        let channels: Vec<_> = (0..count).map(bind).collect();
        let peer_ports = channels
            .iter()
            .map(|it| guest.bind_interdomain(DomId::DOM0, it.port()).unwrap())
            .collect();
        Old {
            sim,
            opener,
            event_loop,
            guest,
            ctx,
            channels,
            peer_ports,
        }
    }
}

/// The parts as the new process gets them: the table was written as text and read again.
fn adopt(parts: Parts) -> Parts {
    let text = parts.table.to_string();
    Parts {
        device: parts.device,
        table: text.parse().unwrap(),
    }
}

/// The wakes of one turn of the loop.
fn turn(ctx: &SimContext) -> Vec<(Port, Cause)> {
    let round = ctx.dispatch().unwrap();
    round.map(|wake| (wake.port(), wake.cause)).collect()
}

#[test]
fn a_hand_over_loses_no_event() {
    let mut old = Old::with_channels(4);
    let ports: Vec<_> = old.channels.iter().map(Channel::port).collect();
    // Latched, in the ready queue, unread in the ring, and one that comes after the hand-over.
    old.channels[1].wait().unwrap();
    old.guest.send(old.peer_ports[0]).unwrap();
    old.guest.send(old.peer_ports[1]).unwrap();
    assert_eq!(turn(&old.ctx), [(ports[1], Cause::Event)]);
    old.channels[1].wait().unwrap();
    old.guest.send(old.peer_ports[1]).unwrap();
    drop(old.ctx.dispatch_at_most(0).unwrap());
    old.guest.send(old.peer_ports[2]).unwrap();
    let before = old.event_loop.counts();

    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    assert!(!old.event_loop.is_registered());
    assert_eq!(old.event_loop.counts().registers, before.registers);
    old.guest.send(old.peer_ports[3]).unwrap();

    let event_loop = SimLoop::level();
    let (ctx, channels) = Context::from_parts(adopt(parts), old.opener, event_loop.clone());
    assert_eq!(ctx.link(), Link::Idle);
    for (channel, port) in channels.iter().zip(&ports) {
        assert_eq!(channel.port(), *port);
    }
    // Each port is live from now on: one more event each, and one wake each.
    wait_on(&ctx, &channels);
    drop(ctx.dispatch().unwrap());
    let _wakes = turn(&ctx);
    for (channel, peer_port) in channels.iter().zip(&old.peer_ports) {
        channel.wait().unwrap();
        old.guest.send(*peer_port).unwrap();
        assert!(event_loop.ready() || ctx.next_timeout().is_some());
        assert!(
            turn(&ctx).contains(&(channel.port(), Cause::Event)),
            "the event of {channel:?} was lost"
        );
    }
    assert_eq!(event_loop.violations(), []);
}

#[test]
fn adopted_port_wakes_once_and_then_only_for_events() {
    let mut old = Old::with_channels(1);
    let _turned = turn(&old.ctx);
    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    let event_loop = SimLoop::level();
    let (ctx, channels) = Context::from_parts(parts, old.opener, event_loop.clone());
    wait_on(&ctx, &channels);
    // The first wait woke the loop, for the wake that it queued.
    assert!(event_loop.ready());
    assert!(!event_loop.ready());
    assert_eq!(turn(&ctx), []);
    old.guest.send(old.peer_ports[0]).unwrap();
    assert_eq!(turn(&ctx), [(channels[0].port(), Cause::Event)]);
}

#[test]
fn restriction_is_handed_over_and_not_set_again() {
    let mut old = Old::with_channels(1);
    let domid = old.guest.domid();
    old.ctx.restrict(domid).unwrap();
    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    assert_eq!(parts.table.restriction(), Some(domid));
    let (ctx, channels) = Context::from_parts(adopt(parts), old.opener, SimLoop::level());
    ctx.restrict(domid).unwrap_err();
    // A device that is opened later gets it too.
    for mut channel in channels {
        channel.unbind().unwrap();
    }
    ctx.teardown().unwrap();
    ctx.bind_virq(evtchn::Virq::new(17)).unwrap_err();
}

#[test]
fn stale_entry_of_the_old_process_wakes_no_channel_of_the_new_one() {
    let mut old = Old::with_channels(2);
    let mut stale = old.channels.pop().unwrap();
    old.guest.send(old.peer_ports[1]).unwrap();
    stale.unbind().unwrap();
    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    let event_loop = SimLoop::level();
    let (ctx, _channels) = Context::from_parts(parts, old.opener, event_loop.clone());
    let again = ctx.bind_unbound_port(DomId::DOM0).unwrap();
    again.wait().unwrap();
    assert!(!event_loop.ready());
}

#[test]
fn refused_hand_over_of_a_context_in_use_changes_nothing() {
    let mut old = Old::with_channels(2);
    old.channels[0].wait().unwrap();
    let kept = old.channels.pop().unwrap();
    let error = old.ctx.hand_over(&mut old.channels).unwrap_err();
    let Error::StillInUse(leftover) = error else {
        panic!("{error:?}");
    };
    assert_eq!(leftover.channels, [kept.port()]);
    assert_eq!(leftover.waiting, []);
    assert!(old.event_loop.is_registered());

    let notifier = kept.notifier();
    old.channels.push(kept);
    let error = old.ctx.hand_over(&mut old.channels).unwrap_err();
    let Error::StillInUse(leftover) = error else {
        panic!("{error:?}");
    };
    assert_eq!((leftover.channels, leftover.held), (vec![], 1));
    drop(notifier);

    old.event_loop.fail_next(Call::Deregister, Errno::ENOMEM);
    let error = old.ctx.hand_over(&mut old.channels).unwrap_err();
    assert!(matches!(error, Error::Deregister(_)), "{error:?}");
    assert_eq!(Errno::of(&error), Some(Errno::ENOMEM));
    old.guest.send(old.peer_ports[0]).unwrap();
    assert_eq!(turn(&old.ctx), [(old.channels[0].port(), Cause::Event)]);
    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    assert_eq!(parts.table.ports().len(), 2);
    assert_eq!(old.sim.open_files(), 1);
}

/// One channel waits, one has an event latched, and one a wake queued.
#[test]
fn a_failed_hand_over_leaves_channels_waits_and_wakes() {
    let mut old = Old::with_channels(3);
    let [waiting, latched, queued] = [0, 1, 2].map(|place: usize| old.channels[place].port());
    old.channels[0].wait().unwrap();
    old.channels[2].wait().unwrap();
    old.guest.send(old.peer_ports[1]).unwrap();
    old.guest.send(old.peer_ports[2]).unwrap();
    let mut round = old.ctx.dispatch_at_most(1).unwrap();
    assert_eq!(round.next().map(|wake| wake.port()), Some(queued));
    round.finish().unwrap();
    old.channels[2].wait().unwrap();
    old.guest.send(old.peer_ports[2]).unwrap();
    drop(old.ctx.dispatch_at_most(0).unwrap());

    let ids: Vec<_> = old.channels.iter().map(Channel::id).collect();
    let (counts, link) = (old.event_loop.counts(), old.ctx.link());
    old.event_loop.fail_next(Call::Deregister, Errno::EIO);
    let error = old.ctx.hand_over(&mut old.channels).unwrap_err();
    assert!(matches!(error, Error::Deregister(_)), "{error:?}");
    assert_eq!((old.event_loop.counts(), old.ctx.link()), (counts, link));
    assert_eq!(
        old.channels.iter().map(Channel::id).collect::<Vec<_>>(),
        ids
    );
    for (channel, peer_port) in old.channels.iter().zip(&old.peer_ports) {
        let before = old.guest.events(*peer_port).unwrap();
        channel.notify().unwrap();
        assert_eq!(old.guest.events(*peer_port).unwrap(), before + 1);
    }
    assert_eq!(turn(&old.ctx), [(queued, Cause::Event)]);
    old.channels[1].wait().unwrap();
    assert_eq!(turn(&old.ctx), [(latched, Cause::Event)]);
    old.guest.send(old.peer_ports[0]).unwrap();
    assert_eq!(turn(&old.ctx), [(waiting, Cause::Event)]);

    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    assert_eq!(parts.table.ports(), [waiting, latched, queued]);
    for channel in &old.channels {
        let refused = channel.notify().unwrap_err();
        assert!(matches!(refused, Error::NotBound(id) if id == channel.id()));
    }
    assert_eq!(old.event_loop.violations(), []);
}

#[test]
fn foreign_channels_and_a_context_without_a_device_are_not_handed_over() {
    let (one, mut other) = (Old::with_channels(1), Old::with_channels(1));
    let error = one.ctx.hand_over(&mut other.channels).unwrap_err();
    assert!(matches!(error, Error::NotBound(id) if id == other.channels[0].id()));
    other.channels[0].notify().unwrap();
    drop(one.channels);
    one.ctx.teardown().unwrap();
    let error = one.ctx.hand_over(&mut []).unwrap_err();
    assert!(matches!(error, Error::NotOpen));
}

#[test]
fn context_adopted_in_a_forked_child_is_refused_every_call() {
    let mut old = Old::with_channels(1);
    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    old.opener.fork();
    let (ctx, channels) = Context::from_parts(parts, old.opener, SimLoop::level());
    channels[0].notify().unwrap_err();
    channels[0].wait().unwrap_err();
    ctx.bind_unbound_port(DomId::DOM0).unwrap_err();
}

#[test]
fn table_of_no_ports_is_a_table() {
    let mut old = Old::with_channels(1);
    old.channels.pop().unwrap().unbind().unwrap();
    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    assert_eq!(parts.table, "v1:-:.".parse::<HandOver>().unwrap());
}

/// Waits twice on each of these adopted channels: the next round hands out one wake of each.
#[track_caller]
fn wait_on(ctx: &SimContext, channels: &[SimChannel]) {
    let wait_on_all = || channels.iter().try_for_each(Channel::wait).unwrap();
    wait_on_all();
    let adopted = |channel: &SimChannel| (channel.port(), Cause::Adopted);
    assert_eq!(turn(ctx), channels.iter().map(adopted).collect::<Vec<_>>());
    wait_on_all();
}

fn check(sim: &Sim, ctx: &SimContext) -> usize {
    ctx.check_peers_with(&sim.privcmd(DomId::DOM0)).unwrap()
}

#[test]
fn a_peer_that_dies_during_the_hand_over_is_reported_gone_by_the_successor() {
    let mut old = Old::with_channels(3);
    let ports: Vec<_> = old.channels.iter().map(Channel::port).collect();
    // One peer was seen by a check, one has sent an event, and one is unknown.
    old.channels[0].wait().unwrap();
    assert_eq!(check(&old.sim, &old.ctx), 1);
    assert_eq!(turn(&old.ctx), [(ports[0], Cause::PeerConnected)]);
    old.channels[1].wait().unwrap();
    old.guest.send(old.peer_ports[1]).unwrap();
    assert_eq!(turn(&old.ctx), [(ports[1], Cause::Event)]);
    // And one channel was bound to its peer.
    let peer_port = old.guest.alloc_unbound(DomId::DOM0).unwrap();
    let bound = old
        .ctx
        .bind_interdomain(old.guest.remote(peer_port))
        .unwrap();
    let bound_port = bound.port();
    old.channels.push(bound);

    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    old.sim.destroy_domain(old.guest.domid()).unwrap();
    let (ctx, channels) = Context::from_parts(adopt(parts), old.opener, SimLoop::level());
    wait_on(&ctx, &channels);
    // The event of the bind.
    assert_eq!(turn(&ctx), [(bound_port, Cause::Event)]);
    channels[3].wait().unwrap();
    assert_eq!(check(&old.sim, &ctx), 3);
    let gone = [ports[0], ports[1], bound_port].map(|port| (port, Cause::PeerGone));
    assert_eq!(turn(&ctx), gone);
    for place in [0, 1, 3] {
        channels[place].wait().unwrap();
    }
    assert_eq!(check(&old.sim, &ctx), 0);
}

#[test]
fn a_peer_known_before_the_hand_over_is_not_reported_again() {
    let mut old = Old::with_channels(1);
    old.channels[0].wait().unwrap();
    assert_eq!(check(&old.sim, &old.ctx), 1);
    let _connected = turn(&old.ctx);
    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    let remote = old.guest.domid();
    let known = format!("v2:-:10;peers={remote}:{}.", old.peer_ports[0]);
    assert_eq!(parts.table.to_string(), known);
    let (ctx, channels) = Context::from_parts(adopt(parts), old.opener, SimLoop::level());
    wait_on(&ctx, &channels);
    assert_eq!((check(&old.sim, &ctx), turn(&ctx)), (0, vec![]));
    // Another port of the same domain takes its place.
    old.guest.close(old.peer_ports[0]).unwrap();
    old.guest.alloc_unbound(DomId::DOM0).unwrap();
    let port = channels[0].port();
    old.guest.bind_interdomain(DomId::DOM0, port).unwrap();
    for cause in [Cause::PeerGone, Cause::PeerConnected] {
        assert_eq!(check(&old.sim, &ctx), 1);
        assert_eq!(turn(&ctx), [(port, cause)]);
        channels[0].wait().unwrap();
    }
}

#[test]
fn peer_news_that_the_old_process_did_not_take_is_reported_by_the_successor() {
    for is_gone in [false, true] {
        let mut old = Old::with_channels(1);
        old.channels[0].wait().unwrap();
        assert_eq!(check(&old.sim, &old.ctx), 1);
        if is_gone {
            let _connected = turn(&old.ctx);
            old.channels[0].wait().unwrap();
            old.guest.close(old.peer_ports[0]).unwrap();
            assert_eq!(check(&old.sim, &old.ctx), 1);
        }
        let parts = old.ctx.hand_over(&mut old.channels).unwrap();
        let (ctx, channels) = Context::from_parts(adopt(parts), old.opener, SimLoop::level());
        wait_on(&ctx, &channels);
        assert_eq!(check(&old.sim, &ctx), 1);
        let cause = [Cause::PeerConnected, Cause::PeerGone][usize::from(is_gone)];
        assert_eq!(turn(&ctx), [(channels[0].port(), cause)]);
    }
}

/// The text is as a program that knows only version 1 wrote it.
#[test]
fn a_table_in_the_first_format_is_adopted() {
    let mut old = Old::with_channels(2);
    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    assert_eq!(parts.table.to_v1(), "v1:-:10,11.");
    let table: HandOver = "v1:-:10,11.".parse().unwrap();
    let device = parts.device;
    let parts = Parts { device, table };
    let (ctx, channels) = Context::from_parts(parts, old.opener, SimLoop::level());
    wait_on(&ctx, &channels);
    old.guest.send(old.peer_ports[1]).unwrap();
    assert_eq!(turn(&ctx), [(channels[1].port(), Cause::Event)]);
    // A check reports a peer that no check of this process has seen.
    assert_eq!(check(&old.sim, &ctx), 1);
    assert_eq!(turn(&ctx), [(channels[0].port(), Cause::PeerConnected)]);
}

/// A program that reads only version 1 adopts the table that this one hands over.
#[test]
fn a_table_with_known_peers_can_be_written_in_the_first_format() {
    let mut old = Old::with_channels(2);
    old.channels[0].wait().unwrap();
    assert_eq!(check(&old.sim, &old.ctx), 1);
    let _connected = turn(&old.ctx);
    old.ctx.restrict(old.guest.domid()).unwrap();
    let parts = old.ctx.hand_over(&mut old.channels).unwrap();
    assert!(parts.table.to_string().starts_with("v2:"));
    let domid = old.guest.domid();
    assert_eq!(parts.table.to_v1(), format!("v1:{domid}:10,11."));
}

#[test]
fn a_table_with_a_port_beyond_those_of_xen_is_refused() {
    let ports = |raw| vec![Port::new(raw).unwrap()];
    HandOver::new(ports(131_071), None).unwrap();
    for raw in [131_072, 0x7fff_ffff] {
        let error = HandOver::new(ports(raw), None).unwrap_err();
        assert_eq!(error, BadHandOver::TooLarge(Port::new(raw).unwrap()));
        assert_eq!(format!("v1:-:{raw}.").parse::<HandOver>(), Err(error));
        assert_eq!(format!("v2:-:{raw}.").parse::<HandOver>(), Err(error));
    }
}
