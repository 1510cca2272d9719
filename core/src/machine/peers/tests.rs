use super::super::Owner;
use super::*;
use crate::ids::{Port, Virq};

fn machine() -> (Machine, ChannelId) {
    let mut machine = Machine::new();
    let id = machine.bind(Port::new(5).unwrap());
    (machine, id)
}

fn remote(domid: DomId, port: u32) -> RemotePort {
    let port = Port::new(port).unwrap();
    RemotePort { domid, port }
}

fn theirs() -> RemotePort {
    remote(DomId::new(7), 3)
}

fn taken(machine: &mut Machine) -> Option<Cause> {
    machine.next_wake(|_| true).map(|wake| wake.cause)
}

/// A wait after a wake, outside a round.
fn wait(machine: &mut Machine, id: ChannelId) {
    machine.wait(id, Owner::NEXT).unwrap();
    machine.unmasked_one(id.port());
}

#[test]
fn a_status_is_news_where_it_says_more_than_was_known() {
    let unknown = DomId::new(7);
    let seen = Peer::Seen(theirs());
    let connected = |remote| Status::Interdomain { remote };
    let unbound = Status::Unbound { remote: unknown };
    let virq = Status::Virq {
        virq: Virq::DOM_EXC,
    };
    let new = Some(News::Connected(theirs()));
    for (peer, status, news) in [
        (Peer::Unknown, connected(theirs()), new),
        (Peer::HadEvent, connected(theirs()), new),
        (seen, connected(theirs()), None),
        (seen, connected(remote(DomId::new(7), 4)), Some(News::Gone)),
        (seen, connected(remote(DomId::new(8), 3)), Some(News::Gone)),
        (Peer::Unknown, unbound, None),
        (Peer::HadEvent, unbound, Some(News::Gone)),
        (seen, unbound, Some(News::Gone)),
        (Peer::Unknown, Status::Closed, Some(News::Closed)),
        (Peer::HadEvent, Status::Closed, Some(News::Closed)),
        (seen, Status::Closed, Some(News::Closed)),
        (Peer::Unknown, virq, None),
        (Peer::HadEvent, virq, None),
        (seen, virq, Some(News::Closed)),
        (seen, Status::Ipi, Some(News::Closed)),
        (seen, Status::Pirq { pirq: 9 }, Some(News::Closed)),
    ] {
        assert_eq!(peer.news(status), news, "{peer:?}, {status:?}");
    }
}

#[test]
fn a_bind_to_self_knows_its_peer_by_the_port() {
    let bound = Peer::Seen(remote(DomId::SELF, 3));
    let now = |port| Status::Interdomain {
        remote: remote(DomId::DOM0, port),
    };
    assert_eq!(bound.news(now(3)), None);
    assert_eq!(bound.news(now(4)), Some(News::Gone));
}

#[test]
fn each_peer_is_reported_connected_once_and_gone_once() {
    let (mut machine, id) = machine();
    for count in 1..3 {
        machine.wait(id, Owner::NEXT).unwrap();
        machine.unmasked_one(id.port());
        assert_eq!(machine.without_wake(), [(id, Peer::Unknown)]);
        assert!(machine.apply_news(id, News::Connected(theirs())));
        assert_eq!(machine.without_wake(), []);
        assert_eq!(taken(&mut machine), Some(Cause::PeerConnected));
        wait(&mut machine, id);
        assert_eq!(machine.without_wake(), [(id, Peer::Seen(theirs()))]);
        assert!(machine.apply_news(id, News::Gone));
        assert_eq!(machine.without_wake(), []);
        assert_eq!(taken(&mut machine), Some(Cause::PeerGone));
        let stats = machine.stats;
        assert_eq!((stats.peers_connected, stats.peers_gone), (count, count));
        assert!(!machine.has_ready());
    }
}

#[test]
fn a_wake_that_is_there_already_comes_first_and_the_news_is_found_later() {
    for news in [News::Gone, News::Connected(remote(DomId::new(7), 4))] {
        let (mut machine, id) = machine();
        machine.set_peer(id, Peer::Seen(theirs()));
        machine.wait(id, Owner::NEXT).unwrap();
        machine.overflow();
        assert!(!machine.apply_news(id, news));
        assert_eq!(taken(&mut machine), Some(Cause::Overflow));
        machine.wait(id, Owner::NEXT).unwrap();
        assert_eq!(machine.without_wake(), [(id, Peer::Seen(theirs()))]);
    }
}

#[test]
fn a_wait_that_ended_meanwhile_leaves_it_to_the_next() {
    let (mut machine, id) = machine();
    machine.set_peer(id, Peer::Seen(theirs()));
    assert!(machine.apply_news(id, News::Gone));
    assert_eq!(machine.state(id), Ok(PortState::Latched(Cause::PeerGone)));
    assert_eq!(machine.stats.latched, 1);
    machine.unbind(id).unwrap();
    for news in [News::Gone, News::Connected(theirs()), News::Closed] {
        assert!(!machine.apply_news(id, news));
    }
    assert!(!machine.take_closed(id));
}

#[test]
fn the_next_owner_of_the_number_has_a_peer_of_its_own() {
    let (mut machine, id) = machine();
    machine.set_peer(id, Peer::Seen(theirs()));
    machine.set_peer(id, Peer::HadEvent);
    machine.unbind(id).unwrap();
    let next = machine.bind(id.port());
    machine.wait(next, Owner::NEXT).unwrap();
    assert_eq!(machine.without_wake(), [(next, Peer::Unknown)]);
    machine.set_peer(id, Peer::Seen(theirs()));
    assert_eq!(machine.without_wake(), [(next, Peer::Unknown)]);
}

/// Waits after an event and after other causes, in a round and outside.
#[test]
fn a_wait_after_an_event_knows_there_was_a_peer_and_one_after_anything_else_does_not() {
    let (mut machine, id) = machine();
    let known = |machine: &Machine| machine.without_wake()[0].1;
    wait(&mut machine, id);
    assert_eq!(known(&machine), Peer::Unknown);
    machine.overflow();
    assert_eq!(taken(&mut machine), Some(Cause::Overflow));
    assert!(!machine.wait_again(id), "that is for events");
    assert_eq!(
        machine.wait(id, Owner::NEXT),
        Ok(super::super::Waited::Unmask)
    );
    machine.queue_unmask(id.port());
    assert_eq!(machine.ports_to_unmask(), [id.port()]);
    machine.unmasked(1);
    assert_eq!(known(&machine), Peer::Unknown, "not written");
    assert_eq!(machine.ports_to_unmask(), [id.port()]);
    machine.unmasked(0);
    assert_eq!(machine.state(id), Ok(PortState::Waiting));
    assert_eq!(known(&machine), Peer::Unknown);
    // Cancelled before its unmask, and waited for again.
    machine.overflow();
    assert_eq!(taken(&mut machine), Some(Cause::Overflow));
    machine.wait(id, Owner::NEXT).unwrap();
    machine.cancel(id).unwrap();
    wait(&mut machine, id);
    assert_eq!(known(&machine), Peer::Unknown);

    hand_out_event(&mut machine, id);
    wait(&mut machine, id);
    assert_eq!(known(&machine), Peer::HadEvent);
    assert!(machine.apply_news(id, News::Gone));
    assert_eq!(taken(&mut machine), Some(Cause::PeerGone));
    wait(&mut machine, id);
    assert_eq!(known(&machine), Peer::Unknown);

    hand_out_event(&mut machine, id);
    assert!(machine.wait_again(id));
    assert_eq!(known(&machine), Peer::HadEvent);
    assert_eq!(machine.ports_to_unmask(), [id.port()]);
    machine.unmasked(0);
    assert_eq!(known(&machine), Peer::HadEvent);
    machine.cancel(id).unwrap();
    machine.wait(id, Owner::NEXT).unwrap();
    assert_eq!(known(&machine), Peer::HadEvent);
}

/// Hands out an event of the channel, which is waited for.
fn hand_out_event(machine: &mut Machine, id: ChannelId) {
    let word = id.port().as_raw();
    let filled = machine.inbox().fill(|room| {
        room[0] = word;
        Ok::<_, core::convert::Infallible>(1)
    });
    assert_eq!(filled, Ok(()));
    assert_eq!(taken(machine), Some(Cause::Event));
}

#[test]
fn an_event_that_comes_behind_another_wake_is_noted_too() {
    let (mut machine, id) = machine();
    machine.overflow();
    let word = id.port().as_raw();
    let filled = machine.inbox().fill(|room| {
        room[0] = word;
        Ok::<_, core::convert::Infallible>(1)
    });
    assert_eq!(filled, Ok(()));
    machine.queue_unread();
    assert_eq!(
        machine.wait(id, Owner::of(super::super::Waiter::FIRST)),
        Ok(super::super::Waited::Ready(Cause::Overflow))
    );
    wait(&mut machine, id);
    assert_eq!(machine.without_wake(), [(id, Peer::HadEvent)]);
}

#[test]
fn a_successor_gets_the_news_that_was_not_reported_yet() {
    let (mut machine, id) = machine();
    assert_eq!(machine.peer_to_hand_over(id), Peer::Unknown);
    machine.wait(id, Owner::NEXT).unwrap();
    assert!(machine.apply_news(id, News::Connected(theirs())));
    assert_eq!(machine.peer_to_hand_over(id), Peer::HadEvent);
    assert_eq!(taken(&mut machine), Some(Cause::PeerConnected));
    assert_eq!(machine.peer_to_hand_over(id), Peer::Seen(theirs()));
    wait(&mut machine, id);
    assert!(machine.apply_news(id, News::Gone));
    assert_eq!(machine.peer_to_hand_over(id), Peer::HadEvent);
    assert_eq!(taken(&mut machine), Some(Cause::PeerGone));
    assert_eq!(machine.peer_to_hand_over(id), Peer::Unknown);
    wait(&mut machine, id);
    hand_out_event(&mut machine, id);
    assert_eq!(machine.peer_to_hand_over(id), Peer::HadEvent);
    machine.unbind(id).unwrap();
    assert_eq!(machine.peer_to_hand_over(id), Peer::Unknown);
}

#[test]
fn a_port_that_was_found_closed_is_remembered_until_its_channel_is_dropped() {
    let (mut machine, id) = machine();
    machine.wait(id, Owner::NEXT).unwrap();
    assert!(machine.apply_news(id, News::Closed));
    assert_eq!(taken(&mut machine), Some(Cause::Gone));
    assert!(machine.state(id).is_err() && machine.is_dirty());
    // The device fails, and the next one hands out the same number.
    machine.fault();
    let next = machine.bind(id.port());
    assert!(machine.take_closed(id) && !machine.take_closed(id));
    assert!(!machine.take_closed(next));
    // Without a wait, no wait ends with it.
    assert!(!machine.apply_news(next, News::Closed));
    assert_eq!((taken(&mut machine), machine.stats.closed), (None, 2));
}
