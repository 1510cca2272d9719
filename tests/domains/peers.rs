//! A check finds a peer that connected, closed its end, died or was replaced, for which Xen sends no event, and reports
//! no peer that lives.

use evtchn_core::{Cause, ChannelId, Device, DomId, HandOver, Link, Parts, Port, Status};
use evtchn_xen::PollLoop;

use super::rig::*;
use super::side::{Guest, Side, There};

/// Dom0 waits on these: a channel that the guest bound to, a channel that dom0 bound to a port of the guest, and a
/// channel without a peer.
struct Channels {
    offered: Channel,
    bound: Channel,
    alone: Channel,
    /// The guest's ends of the first two.
    far: [Port; 2],
}

impl Channels {
    #[track_caller]
    fn new<G: Guest>(rig: &Rig, guest: &G, there: &There<'_, G>) -> Channels {
        let alone = rig.offer(guest);
        let offered = rig.offer(guest);
        let first = there.bind_interdomain(DomId::DOM0, offered.port()).unwrap();
        let second = there.bind_unbound_port(DomId::DOM0).unwrap();
        let remote = of(guest.domid(), second);
        let bound = rig.context.bind_interdomain(remote).unwrap();
        bound.wait().unwrap();
        // The event of the bind.
        rig.turn(|wake| assert_eq!((wake.port(), wake.cause), (bound.port(), Cause::Event)));
        bound.wait().unwrap();
        let far = [first, second];
        Channels {
            offered,
            bound,
            alone,
            far,
        }
    }

    /// The check reports the peer that bound to the offered port, and no other.
    #[track_caller]
    fn expect_connected<S: Side>(&self, side: &S, rig: &Rig) {
        meet(side, rig, &self.offered);
        assert_eq!(check(side, rig), 0);
    }

    /// Both peers are gone: no event comes, and the check reports each once.
    #[track_caller]
    fn expect_gone<S: Side>(&self, side: &S, rig: &Rig, domid: DomId) {
        rig.expect_quiet();
        assert_eq!(check(side, rig), 2);
        let both = [self.offered.id(), self.bound.id()];
        assert_eq!(woken(rig, Cause::PeerGone), both);
        for channel in [&self.offered, &self.bound] {
            assert_eq!(state(side, channel), Status::Unbound { remote: domid });
            channel.wait().unwrap();
        }
        assert_eq!(check(side, rig), 0);
        rig.expect_quiet();
        assert_eq!(rig.context.stats().peers_gone, 2);
    }
}

#[track_caller]
fn check<S: Side>(side: &S, rig: &Rig) -> usize {
    rig.context.check_peers_with(&side.statuses()).unwrap()
}

#[track_caller]
fn state<S: Side>(side: &S, channel: &Channel) -> Status {
    channel.peer_state_with(&side.statuses()).unwrap().state
}

/// The check reports that a peer connected to this channel, which waits again.
#[track_caller]
fn meet<S: Side>(side: &S, rig: &Rig, channel: &Channel) {
    assert_eq!(check(side, rig), 1);
    assert_eq!(woken(rig, Cause::PeerConnected), [channel.id()]);
    channel.wait().unwrap();
}

/// The channels that a round wakes, each with this cause, in the order of their ports.
#[track_caller]
fn woken(rig: &Rig, cause: Cause) -> Vec<ChannelId> {
    let mut woken = Vec::new();
    rig.turn(|wake| {
        assert_eq!(wake.cause, cause);
        woken.push(wake.channel);
    });
    woken.sort();
    woken
}

pub(crate) fn a_guest_that_binds_to_an_offered_port_is_reported_once_by_the_next_check<S: Side>(
    side: &S,
) {
    let (guest, rig) = (side.guest(), Rig::new(side));
    let there = guest.open();
    let offered = rig.offer(&guest);
    assert_eq!(check(side, &rig), 0);
    let far = there.bind_interdomain(DomId::DOM0, offered.port()).unwrap();
    rig.expect_quiet();
    meet(side, &rig, &offered);
    assert_eq!(check(side, &rig), 0);
    there.notify(far, 1);
    assert_eq!(woken(&rig, Cause::Event), [offered.id()]);
    assert_eq!(rig.context.stats().peers_connected, 1);
    there.close();
}

pub(crate) fn a_guest_that_binds_with_another_port_is_found_gone_and_then_connected<S: Side>(
    side: &S,
) {
    let (guest, rig) = (side.guest(), Rig::new(side));
    let there = guest.open();
    let offered = rig.offer(&guest);
    let first = there.bind_interdomain(DomId::DOM0, offered.port()).unwrap();
    meet(side, &rig, &offered);
    let mut next = first;
    while next == first {
        there.unbind(next);
        // Takes the free number.
        there.bind_unbound_port(DomId::DOM0).unwrap();
        next = there.bind_interdomain(DomId::DOM0, offered.port()).unwrap();
    }
    assert_eq!(check(side, &rig), 1);
    assert_eq!(woken(&rig, Cause::PeerGone), [offered.id()]);
    offered.wait().unwrap();
    meet(side, &rig, &offered);
    there.notify(next, 1);
    assert_eq!(woken(&rig, Cause::Event), [offered.id()]);
    there.close();
}

pub(crate) fn a_guest_that_sent_and_unbinds_before_the_first_check_is_found_gone<S: Side>(
    side: &S,
) {
    let (guest, rig) = (side.guest(), Rig::new(side));
    let there = guest.open();
    let offered = rig.offer(&guest);
    let far = there.bind_interdomain(DomId::DOM0, offered.port()).unwrap();
    there.notify(far, 1);
    assert_eq!(woken(&rig, Cause::Event), [offered.id()]);
    offered.wait().unwrap();
    there.close();
    assert_eq!(check(side, &rig), 1);
    assert_eq!(woken(&rig, Cause::PeerGone), [offered.id()]);
    offered.wait().unwrap();
    assert_eq!(check(side, &rig), 0);
}

/// Takes the context apart and goes on as another, with the table as text.
#[track_caller]
fn hand_over<S: Side>(
    side: &S,
    rig: Rig,
    mut channels: Vec<Channel>,
    meanwhile: impl FnOnce(&Device),
) -> (Rig, Vec<Channel>) {
    let parts = rig.context.hand_over(&mut channels);
    let Parts { device, table } = parts.unwrap();
    drop((rig, channels));
    meanwhile(&device);
    let table: HandOver = table.to_string().parse().unwrap();
    let poll_loop = PollLoop::new().unwrap();
    let parts = Parts { device, table };
    let (context, channels) = Context::from_parts(parts, side.opener(), poll_loop.clone());
    let rig = Rig { poll_loop, context };
    let wait_on_all = || channels.iter().try_for_each(Channel::wait).unwrap();
    wait_on_all();
    let mut adopted: Vec<_> = channels.iter().map(Channel::id).collect();
    adopted.sort();
    assert_eq!(woken(&rig, Cause::Adopted), adopted);
    wait_on_all();
    (rig, channels)
}

pub(crate) fn a_guest_that_is_destroyed_during_a_hand_over_is_found_gone_by_the_successor<
    S: Side,
>(
    side: &S,
) {
    let (guest, rig) = (side.own_guest(), Rig::new(side));
    let there = guest.open();
    let channels = Channels::new(&rig, &guest, &there);
    channels.expect_connected(side, &rig);
    let Channels {
        offered,
        bound,
        alone,
        ..
    } = channels;
    let channels = vec![offered, bound, alone];
    let destroy = |_: &Device| side.destroy(guest.domid());
    let (rig, channels) = hand_over(side, rig, channels, destroy);
    rig.expect_quiet();
    assert_eq!(check(side, &rig), 2);
    let gone = woken(&rig, Cause::PeerGone);
    assert_eq!(gone.len(), 2);
    assert!(!gone.contains(&channels[2].id()), "it had no peer");
}

pub(crate) fn a_port_that_xen_has_closed_ends_its_wait_and_is_not_unbound<S: Side>(side: &S) {
    let (guest, rig) = (side.guest(), Rig::new(side));
    let (kept, closed) = (rig.offer(&guest), rig.offer(&guest));
    let number = closed.port();
    // The device unbinds the port, and the table still has it.
    let unbind = |device: &Device| device.unbind(number).unwrap();
    let channels = vec![kept, closed];
    let (rig, mut channels) = hand_over(side, rig, channels, unbind);
    assert_eq!(state(side, &channels[1]), Status::Closed);
    assert_eq!(check(side, &rig), 1);
    assert_eq!(woken(&rig, Cause::Gone), [channels[1].id()]);
    assert_eq!(check(side, &rig), 0);
    drop(channels.pop());
    // An unbind of it would have been refused, and counted.
    assert_eq!(rig.context.stats().unreported, 0);
    drop(channels);
    assert_eq!(rig.context.link(), Link::Idle);
    rig.context.teardown().unwrap();
}

pub(crate) fn a_guest_that_unbinds_ends_the_wait_at_the_next_check<S: Side>(side: &S) {
    let (guest, rig) = (side.guest(), Rig::new(side));
    let there = guest.open();
    let channels = Channels::new(&rig, &guest, &there);
    channels.expect_connected(side, &rig);
    channels.far.into_iter().for_each(|far| there.unbind(far));
    channels.expect_gone(side, &rig, guest.domid());

    // The port waits for the next peer, which can close as well.
    let near = channels.offered.port();
    let far = there.bind_interdomain(DomId::DOM0, near).unwrap();
    meet(side, &rig, &channels.offered);
    there.notify(far, 1);
    assert_eq!(woken(&rig, Cause::Event), [channels.offered.id()]);
    channels.offered.wait().unwrap();
    there.close();
    rig.expect_quiet();
    assert_eq!(check(side, &rig), 1);
    assert_eq!(woken(&rig, Cause::PeerGone), [channels.offered.id()]);
}

pub(crate) fn a_guest_that_is_destroyed_ends_the_wait_at_the_next_check<S: Side>(side: &S) {
    let (guest, rig) = (side.own_guest(), Rig::new(side));
    let there = guest.open();
    let channels = Channels::new(&rig, &guest, &there);
    channels.expect_connected(side, &rig);
    side.destroy(guest.domid());
    channels.expect_gone(side, &rig, guest.domid());

    let Channels {
        offered,
        bound,
        alone,
        ..
    } = channels;
    for mut channel in [offered, bound, alone] {
        assert!(channel.cancel().unwrap());
        channel.unbind().unwrap();
    }
    assert_eq!(rig.context.link(), Link::Idle);
    rig.context.teardown().unwrap();
}

pub(crate) fn events_sent_before_a_guest_was_destroyed_wake_before_the_check<S: Side>(side: &S) {
    let (guest, rig) = (side.own_guest(), Rig::new(side));
    let there = guest.open();
    let channels = Channels::new(&rig, &guest, &there);
    channels.expect_connected(side, &rig);
    channels
        .far
        .into_iter()
        .for_each(|far| there.notify(far, 1));
    side.destroy(guest.domid());
    let both = [channels.offered.id(), channels.bound.id()];
    assert_eq!(woken(&rig, Cause::Event), both);
    channels.offered.wait().unwrap();
    channels.bound.wait().unwrap();
    channels.expect_gone(side, &rig, guest.domid());
}

pub(crate) fn a_peer_that_lives_is_not_found_gone<S: Side>(side: &S) {
    let (guest, rig) = (side.guest(), Rig::new(side));
    let there = guest.open();
    let channels = Channels::new(&rig, &guest, &there);
    channels.expect_connected(side, &rig);
    let expect_connected = || {
        for (channel, far) in [&channels.offered, &channels.bound]
            .into_iter()
            .zip(channels.far)
        {
            let remote = of(guest.domid(), far);
            assert_eq!(state(side, channel), Status::Interdomain { remote });
        }
        assert_eq!(check(side, &rig), 0);
        rig.expect_quiet();
    };
    // A peer that is silent, busy and paused.
    expect_connected();
    for _ in 0..20 {
        channels
            .far
            .into_iter()
            .for_each(|far| there.notify(far, 1));
        let mut woken = 0;
        while woken < 2 {
            rig.turn(|wake| {
                assert_eq!(wake.cause, Cause::Event);
                rig.context.wait(wake.channel).unwrap();
                woken += 1;
            });
        }
        expect_connected();
    }
    side.pause(guest.domid());
    expect_connected();
    side.unpause(guest.domid());
    expect_connected();
    assert_eq!(rig.context.stats().peers_gone, 0);
    there.close();
}
