//! The device under epoll(7).
//!
//! The descriptor of a simulated device differs in one thing: an overflow is an edge there. So this
//! case uses the edge-triggered loop of the simulator.

use std::os::fd::{AsFd, OwnedFd};

use evtchn_core::{DomId, EventChannel};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::platform::*;

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
const NOTHING: EventFlags = EventFlags::empty();

pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    /// Watches a device for reading.
    pub(crate) fn watching(device: impl AsFd, flags: EventFlags) -> Epoll {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(
            &epoll,
            device,
            EventData::new_u64(0),
            flags | EventFlags::IN,
        )
        .unwrap();
        Epoll(epoll)
    }

    fn modify(&self, device: impl AsFd, flags: EventFlags) {
        let flags = flags | EventFlags::IN;
        epoll::modify(&self.0, device, EventData::new_u64(0), flags).unwrap();
    }

    /// What it reports right now.
    pub(crate) fn look(&self) -> EventFlags {
        let mut events = Vec::with_capacity(1);
        let spare = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&self.0, spare, Some(&NOW)).unwrap();
        events.first().map_or(NOTHING, |event: &Event| event.flags)
    }
}

pub(crate) fn a_level_triggered_epoll_reports_until_all_is_read<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 2);
    let epoll = Epoll::watching(&near, NOTHING);
    assert_eq!(epoll.look(), NOTHING);
    for (_, peer) in &wires {
        far.notify(*peer).unwrap();
    }
    p.expect_ready(&near);
    assert_eq!([epoll.look(), epoll.look()], [EventFlags::IN; 2]);
    assert_eq!(read_at_most(&near, 1).len(), 1);
    assert_eq!(epoll.look(), EventFlags::IN);
    assert_eq!(read(&near).len(), 1);
    assert_eq!(epoll.look(), NOTHING);
}

pub(crate) fn adding_a_ready_device_to_an_edge_triggered_epoll_reports_it_once<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (_, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    let epoll = Epoll::watching(&near, EventFlags::ET);
    assert_eq!([epoll.look(), epoll.look()], [EventFlags::IN, NOTHING]);
}

pub(crate) fn an_edge_triggered_epoll_is_silent_while_an_entry_is_unread<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 3);
    let epoll = Epoll::watching(&near, EventFlags::ET);
    far.notify(wires[0].1).unwrap();
    p.expect_ready(&near);
    assert_eq!([epoll.look(), epoll.look()], [EventFlags::IN, NOTHING]);
    far.notify(wires[1].1).unwrap();
    assert_eq!(epoll.look(), NOTHING);
    assert_eq!(read_at_most(&near, 1), words(&[wires[0].0]));
    far.notify(wires[2].1).unwrap();
    assert_eq!(epoll.look(), NOTHING);
    expect_events(p, &near, &[wires[1].0, wires[2].0]);
}

pub(crate) fn an_edge_triggered_epoll_reports_every_change_to_not_empty<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    let epoll = Epoll::watching(&near, EventFlags::ET);
    for _ in 0..3 {
        far.notify(peer).unwrap();
        p.expect_ready(&near);
        assert_eq!([epoll.look(), epoll.look()], [EventFlags::IN, NOTHING]);
        expect_events(p, &near, &[port]);
        near.unmask(&[port]).unwrap();
        assert_eq!(epoll.look(), NOTHING);
    }
}

pub(crate) fn a_write_that_delivers_an_event_is_an_edge<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    far.notify(peer).unwrap();
    expect_events(p, &near, &[port]);
    far.notify(peer).unwrap();
    let epoll = Epoll::watching(&near, EventFlags::ET);
    assert_eq!(epoll.look(), NOTHING);
    near.unmask(&[port]).unwrap();
    p.expect_ready(&near);
    assert_eq!([epoll.look(), epoll.look()], [EventFlags::IN, NOTHING]);
}

pub(crate) fn a_bind_that_fires_is_an_edge<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let epoll = Epoll::watching(&far, EventFlags::ET);
    let port = near.bind_unbound_port(DomId::SELF).unwrap();
    assert_eq!(epoll.look(), NOTHING);
    far.bind_interdomain(local(port)).unwrap();
    p.expect_ready(&far);
    assert_eq!([epoll.look(), epoll.look()], [EventFlags::IN, NOTHING]);
}

pub(crate) fn a_oneshot_epoll_reports_once_until_it_is_armed_again<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 2);
    let epoll = Epoll::watching(&near, EventFlags::ONESHOT);
    far.notify(wires[0].1).unwrap();
    p.expect_ready(&near);
    assert_eq!([epoll.look(), epoll.look()], [EventFlags::IN, NOTHING]);
    assert_eq!(read(&near).len(), 1);
    far.notify(wires[1].1).unwrap();
    assert_eq!(epoll.look(), NOTHING);
    epoll.modify(&near, EventFlags::ONESHOT);
    assert_eq!([epoll.look(), epoll.look()], [EventFlags::IN, NOTHING]);
}

pub(crate) fn modifying_an_edge_triggered_registration_reports_what_is_unread<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (_, peer) = connect(&near, &far);
    let epoll = Epoll::watching(&near, EventFlags::ET);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    assert_eq!([epoll.look(), epoll.look()], [EventFlags::IN, NOTHING]);
    epoll.modify(&near, EventFlags::ET);
    assert_eq!([epoll.look(), epoll.look()], [EventFlags::IN, NOTHING]);
}

pub(crate) fn a_level_triggered_epoll_reports_an_overflow_as_an_error_alone<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    let epoll = Epoll::watching(&near, NOTHING);
    overflow(&near, port, || far.notify(peer).unwrap());
    p.expect_ready(&near);
    assert_eq!([epoll.look(), epoll.look()], [EventFlags::ERR; 2]);
    near.reset().unwrap();
    assert_eq!(epoll.look(), NOTHING);
}

pub(crate) fn an_overflow_and_a_reset_are_no_edges<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    let look = p.edge_watch(&near);
    fill(&near, port, || far.notify(peer).unwrap());
    assert_eq!([look(), look()], [true, false], "the first entry");
    far.notify(peer).unwrap();
    assert_eq!(p.poll(&near), ERR);
    assert!(!look(), "the overflow");
    near.reset().unwrap();
    assert!(!look(), "the reset");
    near.unmask(&[port]).unwrap();
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    assert_eq!([look(), look()], [true, false], "the next entry");
}

pub(crate) fn a_second_entry_is_no_edge<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let wires = connect_many(&near, &far, 3);
    let look = p.edge_watch(&near);
    far.notify(wires[0].1).unwrap();
    p.expect_ready(&near);
    assert_eq!([look(), look()], [true, false]);
    far.notify(wires[1].1).unwrap();
    assert!(!look());
    assert_eq!(read(&near).len(), 2);
    assert!(!look());
    far.notify(wires[2].1).unwrap();
    p.expect_ready(&near);
    assert_eq!([look(), look()], [true, false]);
}

pub(crate) fn adding_an_overflowed_device_to_an_edge_triggered_loop_reports_it_once<P: Platform>(
    p: &P,
) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    overflow(&near, port, || far.notify(peer).unwrap());
    p.expect_ready(&near);
    let look = p.edge_watch(&near);
    assert_eq!([look(), look()], [true, false]);
}

pub(crate) fn an_error_is_reported_to_a_registration_for_nothing<P: Platform>(p: &P) {
    let (near, far) = (p.open(), p.open());
    let (port, peer) = connect(&near, &far);
    let look = || {
        let mut fds = [PollFd::new(&near, PollFlags::empty())];
        rustix::event::poll(&mut fds, Some(&NOW)).unwrap();
        fds[0].revents()
    };
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    assert_eq!(look(), PollFlags::empty());
    near.unmask(&[port]).unwrap();
    overflow(&near, port, || far.notify(peer).unwrap());
    assert_eq!(look(), PollFlags::ERR);
}

pub(crate) fn a_poll_of_two_devices_reports_the_one_that_fired<P: Platform>(p: &P) {
    let (near, far, other) = (p.open(), p.open(), p.open());
    let (_, peer) = connect(&near, &far);
    connect(&other, &far);
    far.notify(peer).unwrap();
    p.expect_ready(&near);
    let mut fds = [&near, &other].map(|device| PollFd::new(device, PollFlags::IN));
    assert_eq!(rustix::event::poll(&mut fds, Some(&NOW)), Ok(1));
    let revents = fds.map(|fd| fd.revents());
    assert_eq!(revents, [PollFlags::IN, PollFlags::empty()]);
}
