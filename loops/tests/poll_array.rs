//! The adapter for an array of poll(2): what is in the array, and what its answers mean.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use evtchn_core::{Device, Registrar};
use evtchn_loops::{PollArray, PollFd};

use crate::fd_device;

const IN: i16 = 0x1;
const ERR: i16 = 0x8;
const NVAL: i16 = 0x20;
const NOW: Option<Duration> = Some(Duration::ZERO);

fn device() -> Device {
    fd_device::device(io::pipe().unwrap().0)
}

fn fd(device: &Device) -> RawFd {
    device.fd().unwrap().as_raw_fd()
}

fn wake(array: &PollArray) {
    Registrar::wake(array);
}

/// The array before a poll, and how long that may sleep.
fn before(array: &PollArray) -> (Vec<PollFd>, Option<Duration>) {
    let mut fds = Vec::new();
    let timeout = array.before_poll(&mut fds);
    (fds, timeout)
}

/// The array as poll(2) leaves it that found `revents` for `fd` and nothing else.
fn answered(mut fds: Vec<PollFd>, fd: RawFd, revents: i16) -> Vec<PollFd> {
    let entry = fds.iter_mut().find(|it| it.fd == fd).unwrap();
    entry.revents = revents;
    fds
}

#[test]
fn the_device_is_in_the_array_while_it_is_registered() {
    let (array, device) = (PollArray::new().unwrap(), device());
    let has_device = || {
        let (fds, timeout) = before(&array);
        assert_eq!((timeout, array.after_poll(&fds)), (None, false));
        assert!(fds.iter().all(|it| it.events == IN && it.revents == 0));
        fds.iter().any(|it| it.fd == fd(&device))
    };
    assert!(!has_device());
    array.register(&device).unwrap();
    assert!(has_device());
    array.deregister(&device).unwrap();
    assert!(!has_device());
    array.deregister(&device).unwrap_err();
}

#[test]
fn any_bit_of_the_device_is_ready() {
    let (array, device) = (PollArray::new().unwrap(), device());
    array.register(&device).unwrap();
    for bits in [IN, ERR] {
        let (fds, _) = before(&array);
        assert!(array.after_poll(&answered(fds, fd(&device), bits)));
    }
}

#[test]
fn the_programs_own_entries_stay_and_are_ignored() {
    let array = PollArray::new().unwrap();
    let own = PollFd {
        fd: 0,
        events: IN,
        revents: IN,
    };
    let mut fds = vec![own];
    assert_eq!(array.before_poll(&mut fds), None);
    assert_eq!(fds[0], own);
    assert!(!array.after_poll(&fds));
}

#[test]
fn an_entry_of_a_device_that_was_deregistered_during_the_poll_is_ignored() {
    let (array, device) = (PollArray::new().unwrap(), device());
    array.register(&device).unwrap();
    let (fds, _) = before(&array);
    let fds = answered(fds, fd(&device), NVAL);
    array.deregister(&device).unwrap();
    drop(device);
    // Only that the array is an old one.
    assert!(!array.after_poll(&fds));
    let (fds, timeout) = before(&array);
    assert_eq!((fds.len(), timeout), (1, None));
    let bell = fds[0].fd;
    assert!(array.after_poll(&answered(fds, bell, IN)));
}

#[test]
fn a_wake_between_polls_makes_only_the_next_poll_return_at_once() {
    let array = PollArray::new().unwrap();
    wake(&array);
    wake(&array);
    let (fds, timeout) = before(&array);
    assert_eq!(timeout, NOW);
    assert!(array.after_poll(&fds));
    let (fds, timeout) = before(&array);
    assert_eq!((timeout, array.after_poll(&fds)), (None, false));
}

#[test]
fn a_wake_during_a_poll_reaches_each_thread_that_polls() {
    let array = PollArray::new().unwrap();
    let ([one, other], bell) = ([before(&array).0, before(&array).0], before(&array).0[0].fd);
    assert!(!array.after_poll(&[]));
    wake(&array);
    assert!(is_readable(bell));
    assert!(array.after_poll(&answered(one, bell, IN)));
    assert!(is_readable(bell), "the other one is still to come back");
    assert!(array.after_poll(&answered(other, bell, IN)));
    assert!(!is_readable(bell));
}

#[test]
fn several_wakes_during_a_poll_are_one() {
    let array = PollArray::new().unwrap();
    for _ in 0..2 {
        let (fds, timeout) = before(&array);
        assert_eq!(timeout, None);
        (0..100_000).for_each(|_| wake(&array));
        let bell = fds[0].fd;
        assert!(array.after_poll(&answered(fds, bell, IN)));
        assert!(!is_readable(bell));
    }
}

#[test]
fn a_thread_gets_a_wake_once_although_others_have_not_come_back() {
    let array = PollArray::new().unwrap();
    let ([one, other], bell) = ([before(&array).0, before(&array).0], before(&array).0[0].fd);
    wake(&array);
    assert!(array.after_poll(&answered(one, bell, IN)));
    let (fds, timeout) = before(&array);
    assert_eq!(timeout, None, "it would not sleep");
    assert!(
        fds.iter().all(|it| !is_readable(it.fd)),
        "it would not sleep"
    );
    assert!(!array.after_poll(&fds));
    assert!(array.after_poll(&answered(other.clone(), bell, IN)));
    assert!(array.after_poll(&answered(other, bell, IN)));
    assert!(!is_readable(bell));
}

#[test]
fn a_wake_also_reaches_threads_that_began_to_poll_after_the_last_wake() {
    let array = PollArray::new().unwrap();
    let first = before(&array).0;
    wake(&array);
    let second = before(&array).0;
    assert!(!is_readable(second[0].fd));
    wake(&array);
    assert!(is_readable(second[0].fd));
    let third = before(&array).0;
    assert!(!is_readable(third[0].fd));
    for (fds, rings) in [(first, true), (second, true), (third, false)] {
        let bell = fds[0].fd;
        let bits = if rings { IN } else { 0 };
        assert_eq!(array.after_poll(&answered(fds, bell, bits)), rings);
        assert!(!is_readable(bell), "its threads are back");
    }
}

#[test]
fn a_wake_reaches_a_thread_whose_poll_ended_just_before() {
    let array = PollArray::new().unwrap();
    let fds = before(&array).0;
    // Its poll is over, and found nothing.
    wake(&array);
    assert!(array.after_poll(&fds));
    let (fds, timeout) = before(&array);
    assert_eq!((timeout, array.after_poll(&fds)), (None, false));
}

#[test]
fn pipes_are_used_again_however_many_wakes_there_are() {
    let array = PollArray::new().unwrap();
    let mut seen = Vec::new();
    let slow = before(&array).0;
    for _ in 0..1_000 {
        let fds = before(&array).0;
        let bell = fds[0].fd;
        seen.push(bell);
        wake(&array);
        assert!(array.after_poll(&answered(fds, bell, IN)));
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() <= 3, "{} bells", seen.len());
    let bell = slow[0].fd;
    assert!(array.after_poll(&answered(slow, bell, IN)));
}

#[test]
fn a_device_that_is_registered_during_a_poll_sends_each_thread_back_once() {
    let (array, device) = (PollArray::new().unwrap(), device());
    let (one, other) = (before(&array).0, before(&array).0);
    array.register(&device).unwrap();
    let bell = one[0].fd;
    assert!(is_readable(bell));
    assert!(array.after_poll(&answered(one, bell, IN)));
    let (fds, timeout) = before(&array);
    assert_eq!(timeout, None);
    assert_eq!(fds[1].fd, fd(&device));
    assert!(!is_readable(fds[0].fd), "it would not sleep");
    assert!(!array.after_poll(&fds));
    assert!(array.after_poll(&answered(other, bell, IN)));
}

#[test]
fn an_array_with_an_older_entry_of_the_loop_counts_for_the_newer_one() {
    let array = PollArray::new().unwrap();
    let mut fds = before(&array).0;
    let bell = fds[0].fd;
    let other = before(&array).0;
    wake(&array);
    assert!(array.after_poll(&answered(fds.clone(), bell, IN)));
    // The program polls the old entry with the new ones, and finds that it rings for the other.
    assert_eq!(array.before_poll(&mut fds), None);
    assert!(!array.after_poll(&answered(fds, bell, IN)));
    assert!(is_readable(bell), "the other one is still to come back");
    assert!(array.after_poll(&answered(other, bell, IN)));
    assert!(!is_readable(bell));
}

/// Whether poll(2) says so.
fn is_readable(fd: RawFd) -> bool {
    // SAFETY: the caller has the loop, which has the descriptor.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(
        fd,
        rustix::event::PollFlags::IN,
    )];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut fds, Some(&now)).unwrap() == 1
}
