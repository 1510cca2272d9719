//! A context is taken apart, and another goes on with its ports.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use evtchn::sim::{Guest, Sim, SimLoop, SimOpen};
use evtchn::{
    BadHandOver, Cause, Channel, Context, DomId, HandOver, HandOverError, Link, Parts, Port, Wait,
};

type SimContext = Context<SimOpen, SimLoop>;
type SimChannel = Channel<SimOpen, SimLoop>;

/// The old process with some connected channels.
struct Old {
    sim: Sim,
    opener: SimOpen,
    event_loop: SimLoop,
    guest: Guest,
    ctx: SimContext,
    channels: Vec<SimChannel>,
    theirs: Vec<Port>,
}

impl Old {
    fn with_channels(count: usize) -> Old {
        let sim = Sim::new(1);
        let domid = sim.create_domain().unwrap();
        let guest = sim.guest(domid);
        let opener = sim.open(DomId::DOM0);
        let event_loop = SimLoop::level();
        let ctx = Context::new(opener.clone(), event_loop.clone());
        let bind = |_| ctx.bind_unbound_port(domid).unwrap();
        let channels: Vec<_> = (0..count).map(bind).collect();
        let theirs = channels
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
            theirs,
        }
    }
}

/// What the new process makes of the parts, whose table went through its text.
fn adopt<D>(parts: Parts<D>) -> Parts<D> {
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
fn no_event_is_lost_wherever_it_was() {
    let old = Old::with_channels(4);
    let ports: Vec<_> = old.channels.iter().map(Channel::port).collect();
    // Latched, in the ready queue, unread in the ring, and one that comes after the hand-over.
    let _pending = old.channels[1].wait().unwrap();
    old.guest.send(old.theirs[0]).unwrap();
    old.guest.send(old.theirs[1]).unwrap();
    assert_eq!(turn(&old.ctx), [(ports[1], Cause::Event)]);
    let _pending = old.channels[1].wait().unwrap();
    old.guest.send(old.theirs[1]).unwrap();
    drop(old.ctx.dispatch_at_most(0).unwrap());
    old.guest.send(old.theirs[2]).unwrap();
    let before = old.event_loop.counts();

    let parts = old.ctx.into_parts(old.channels).unwrap();
    assert!(!old.event_loop.is_registered());
    assert_eq!(old.event_loop.counts().registers, before.registers);
    old.guest.send(old.theirs[3]).unwrap();

    let event_loop = SimLoop::level();
    let (ctx, channels) = Context::from_parts(adopt(parts), old.opener, event_loop.clone());
    assert_eq!(ctx.link(), Link::Idle);
    for (channel, port) in channels.iter().zip(&ports) {
        assert_eq!(channel.port(), *port);
        assert_eq!(channel.wait().unwrap(), Wait::Ready(Cause::Adopted));
    }
    // Each port is live from now on: one more event each, and one wake each.
    for channel in &channels {
        assert_eq!(channel.wait().unwrap(), Wait::Pending);
    }
    drop(ctx.dispatch().unwrap());
    let _wakes = turn(&ctx);
    for (channel, theirs) in channels.iter().zip(&old.theirs) {
        let _whatever = channel.wait().unwrap();
        old.guest.send(*theirs).unwrap();
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
    let old = Old::with_channels(1);
    let _turned = turn(&old.ctx);
    let parts = old.ctx.into_parts(old.channels).unwrap();
    let event_loop = SimLoop::level();
    let (ctx, channels) = Context::from_parts(parts, old.opener, event_loop.clone());
    assert_eq!(channels[0].wait().unwrap(), Wait::Ready(Cause::Adopted));
    assert_eq!(channels[0].wait().unwrap(), Wait::Pending);
    assert!(!event_loop.ready());
    assert_eq!(turn(&ctx), []);
    old.guest.send(old.theirs[0]).unwrap();
    assert_eq!(turn(&ctx), [(channels[0].port(), Cause::Event)]);
}

#[test]
fn restriction_goes_along_and_is_not_set_again() {
    let old = Old::with_channels(1);
    let domid = old.guest.domid();
    old.ctx.restrict(domid).unwrap();
    let parts = old.ctx.into_parts(old.channels).unwrap();
    assert_eq!(parts.table.restriction(), Some(domid));
    let (ctx, channels) = Context::from_parts(adopt(parts), old.opener, SimLoop::level());
    ctx.restrict(domid).unwrap_err();
    // A device that is opened later gets it too.
    for channel in channels {
        channel.unbind().unwrap();
    }
    ctx.teardown().unwrap();
    ctx.bind_virq(evtchn::Virq::new(17)).unwrap_err();
}

#[test]
fn stale_entry_of_the_old_process_wakes_nobody_in_the_new_one() {
    let mut old = Old::with_channels(2);
    let stale = old.channels.pop().unwrap();
    old.guest.send(old.theirs[1]).unwrap();
    stale.unbind().unwrap();
    let parts = old.ctx.into_parts(old.channels).unwrap();
    let event_loop = SimLoop::level();
    let (ctx, _channels) = Context::from_parts(parts, old.opener, event_loop.clone());
    let again = ctx.bind_unbound_port(DomId::DOM0).unwrap();
    assert_eq!(again.wait().unwrap(), Wait::Pending);
    assert!(!event_loop.ready());
}

#[test]
fn context_that_is_still_used_comes_back_as_it_was() {
    let mut old = Old::with_channels(2);
    let _pending = old.channels[0].wait().unwrap();
    let kept = old.channels.pop().unwrap();
    let error = old.ctx.into_parts(old.channels).unwrap_err();
    let HandOverError::Leftover(leftover) = &error.reason else {
        panic!("{error:?}");
    };
    assert_eq!(leftover.channels, [kept.port()]);
    assert_eq!(leftover.waiting, []);
    assert!(old.event_loop.is_registered());

    let notifier = kept.notifier();
    let mut channels = error.channels;
    channels.push(kept);
    let error = error.context.into_parts(channels).unwrap_err();
    assert!(matches!(error.reason, HandOverError::Notifier(_)));
    drop(notifier);

    old.event_loop
        .fail_next(evtchn::sim::Call::Deregister, evtchn::sim::Errno::ENOMEM);
    let error = error.context.into_parts(error.channels).unwrap_err();
    assert!(matches!(error.reason, HandOverError::Link(_)));
    old.guest.send(old.theirs[0]).unwrap();
    assert_eq!(
        turn(&error.context),
        [(error.channels[0].port(), Cause::Event)]
    );
    let parts = error.context.into_parts(error.channels).unwrap();
    assert_eq!(parts.table.ports().len(), 2);
    assert_eq!(old.sim.open_files(), 1);
}

#[test]
fn what_cannot_be_handed_over_is_refused() {
    let (one, other) = (Old::with_channels(1), Old::with_channels(1));
    let error = one.ctx.into_parts(other.channels).unwrap_err();
    assert!(matches!(error.reason, HandOverError::NotBound(_)));
    drop(one.channels);
    error.context.teardown().unwrap();
    let error = error.context.into_parts(Vec::new()).unwrap_err();
    assert!(matches!(error.reason, HandOverError::NotOpen));
}

#[test]
fn context_put_together_in_a_child_is_inherited() {
    let old = Old::with_channels(1);
    let parts = old.ctx.into_parts(old.channels).unwrap();
    old.opener.fork();
    let (ctx, channels) = Context::from_parts(parts, old.opener, SimLoop::level());
    channels[0].notify().unwrap_err();
    channels[0].wait().unwrap_err();
    ctx.bind_unbound_port(DomId::DOM0).unwrap_err();
}

#[test]
fn table_of_no_ports_is_a_table() {
    let old = Old::with_channels(1);
    let mut channels = old.channels;
    channels.pop().unwrap().unbind().unwrap();
    let parts = old.ctx.into_parts(channels).unwrap();
    assert_eq!(parts.table, "v1:-:.".parse::<HandOver>().unwrap());
}

/// The first two waits of an adopted channel: one that is ready at once, and one that is not.
fn wait_on(channel: &SimChannel) {
    assert_eq!(channel.wait().unwrap(), Wait::Ready(Cause::Adopted));
    assert_eq!(channel.wait().unwrap(), Wait::Pending);
}

fn check(sim: &Sim, ctx: &SimContext) -> usize {
    ctx.check_peers(&sim.privcmd(DomId::DOM0)).unwrap()
}

#[test]
fn a_peer_that_dies_during_the_hand_over_is_told_gone_by_the_successor() {
    let mut old = Old::with_channels(3);
    let ports: Vec<_> = old.channels.iter().map(Channel::port).collect();
    // One was seen by a check, one was heard, and of one nothing is known.
    let _pending = old.channels[0].wait().unwrap();
    assert_eq!(check(&old.sim, &old.ctx), 1);
    assert_eq!(turn(&old.ctx), [(ports[0], Cause::PeerConnected)]);
    let _pending = old.channels[1].wait().unwrap();
    old.guest.send(old.theirs[1]).unwrap();
    assert_eq!(turn(&old.ctx), [(ports[1], Cause::Event)]);
    // And one was bound to its peer.
    let theirs = old.guest.alloc_unbound(DomId::DOM0).unwrap();
    let bound = old.ctx.bind_interdomain(old.guest.remote(theirs)).unwrap();
    let bound_port = bound.port();
    old.channels.push(bound);

    let parts = old.ctx.into_parts(old.channels).unwrap();
    old.sim.destroy_domain(old.guest.domid()).unwrap();
    let (ctx, channels) = Context::from_parts(adopt(parts), old.opener, SimLoop::level());
    channels.iter().for_each(wait_on);
    // The event of the bind.
    assert_eq!(turn(&ctx), [(bound_port, Cause::Event)]);
    let _pending = channels[3].wait().unwrap();
    assert_eq!(check(&old.sim, &ctx), 3);
    let gone = [ports[0], ports[1], bound_port].map(|port| (port, Cause::PeerGone));
    assert_eq!(turn(&ctx), gone);
    for place in [0, 1, 3] {
        assert_eq!(channels[place].wait().unwrap(), Wait::Pending);
    }
    assert_eq!(check(&old.sim, &ctx), 0);
}

#[test]
fn a_peer_that_lives_through_the_hand_over_is_told_of_by_no_check() {
    let old = Old::with_channels(1);
    let _pending = old.channels[0].wait().unwrap();
    assert_eq!(check(&old.sim, &old.ctx), 1);
    let _connected = turn(&old.ctx);
    let parts = old.ctx.into_parts(old.channels).unwrap();
    let remote = old.guest.domid();
    let known = format!("v2:-:10;peers={remote}:{}.", old.theirs[0]);
    assert_eq!(parts.table.to_string(), known);
    let (ctx, channels) = Context::from_parts(adopt(parts), old.opener, SimLoop::level());
    wait_on(&channels[0]);
    assert_eq!((check(&old.sim, &ctx), turn(&ctx)), (0, vec![]));
    // Another port of the same domain takes its place.
    old.guest.close(old.theirs[0]).unwrap();
    old.guest.alloc_unbound(DomId::DOM0).unwrap();
    let port = channels[0].port();
    old.guest.bind_interdomain(DomId::DOM0, port).unwrap();
    for cause in [Cause::PeerGone, Cause::PeerConnected] {
        assert_eq!(check(&old.sim, &ctx), 1);
        assert_eq!(turn(&ctx), [(port, cause)]);
        assert_eq!(channels[0].wait().unwrap(), Wait::Pending);
    }
}

#[test]
fn what_a_check_found_and_the_old_process_was_not_told_is_told_by_the_successor() {
    for is_gone in [false, true] {
        let old = Old::with_channels(1);
        let _pending = old.channels[0].wait().unwrap();
        assert_eq!(check(&old.sim, &old.ctx), 1);
        if is_gone {
            let _connected = turn(&old.ctx);
            let _pending = old.channels[0].wait().unwrap();
            old.guest.close(old.theirs[0]).unwrap();
            assert_eq!(check(&old.sim, &old.ctx), 1);
        }
        let parts = old.ctx.into_parts(old.channels).unwrap();
        let (ctx, channels) = Context::from_parts(adopt(parts), old.opener, SimLoop::level());
        wait_on(&channels[0]);
        assert_eq!(check(&old.sim, &ctx), 1);
        let cause = [Cause::PeerConnected, Cause::PeerGone][usize::from(is_gone)];
        assert_eq!(turn(&ctx), [(channels[0].port(), cause)]);
    }
}

/// The text is as a program wrote it that knew version 1 alone.
#[test]
fn a_table_of_the_first_format_is_taken_over() {
    let old = Old::with_channels(2);
    let parts = old.ctx.into_parts(old.channels).unwrap();
    assert_eq!(parts.table.to_v1(), "v1:-:10,11.");
    let table: HandOver = "v1:-:10,11.".parse().unwrap();
    let device = parts.device;
    let parts = Parts { device, table };
    let (ctx, channels) = Context::from_parts(parts, old.opener, SimLoop::level());
    channels.iter().for_each(wait_on);
    old.guest.send(old.theirs[1]).unwrap();
    assert_eq!(turn(&ctx), [(channels[1].port(), Cause::Event)]);
    // What a check has not seen in this process, it tells.
    assert_eq!(check(&old.sim, &ctx), 1);
    assert_eq!(turn(&ctx), [(channels[0].port(), Cause::PeerConnected)]);
}

/// A program that reads version 1 alone goes on with what this one hands over.
#[test]
fn a_table_with_known_peers_can_be_written_in_the_first_format() {
    let old = Old::with_channels(2);
    let _pending = old.channels[0].wait().unwrap();
    assert_eq!(check(&old.sim, &old.ctx), 1);
    let _connected = turn(&old.ctx);
    old.ctx.restrict(old.guest.domid()).unwrap();
    let parts = old.ctx.into_parts(old.channels).unwrap();
    assert!(parts.table.to_string().starts_with("v2:"));
    let domid = old.guest.domid();
    assert_eq!(parts.table.to_v1(), format!("v1:{domid}:10,11."));
}

#[test]
fn a_table_has_no_port_that_xen_does_not_have() {
    let ports = |raw| vec![Port::new(raw).unwrap()];
    HandOver::new(ports(131_071), None).unwrap();
    for raw in [131_072, 0x7fff_ffff] {
        let error = HandOver::new(ports(raw), None).unwrap_err();
        assert_eq!(error, BadHandOver::TooLarge(Port::new(raw).unwrap()));
        assert_eq!(format!("v1:-:{raw}.").parse::<HandOver>(), Err(error));
        assert_eq!(format!("v2:-:{raw}.").parse::<HandOver>(), Err(error));
    }
}
