//! A device that does less than the call asked for, and what is left then.

use crate::support::Tester;
use evtchn_core::{Cause, DomId, Error, ErrorKind, Link};

const GUEST: DomId = DomId::new(7);

#[test]
fn a_wait_whose_unmask_takes_no_port_does_not_begin_and_can_be_repeated() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.batch(&[channel.port()]);
    assert_eq!(ctx.dispatch().unwrap().count(), 1);
    tester.script().write_takes = 0;
    let refused = channel.wait().unwrap_err();
    let Error::NotUnmasked { first, ports } = refused else {
        panic!("the port was taken: {refused:?}");
    };
    assert_eq!((first, ports), (channel.port(), 1));
    assert_eq!(ctx.link(), Link::Idle);
    tester.script().write_takes = 1;
    tester.log();
    channel.wait().unwrap();
    assert_eq!(tester.log(), ["register", "write [1]"]);
}

#[test]
fn a_failed_reset_after_an_overflow_fails_the_device() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(GUEST).unwrap();
    channel.wait().unwrap();
    tester.fail("read", ErrorKind::Overflow);
    tester.fail("reset", ErrorKind::Gone);
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    assert!(matches!(round.finish(), Err(Error::Device(_))));
    let stats = ctx.stats();
    assert_eq!((stats.overflows, stats.faults), (0, 1));
    assert_eq!(ctx.link(), Link::Faulted);
}

#[test]
fn notifiers_of_one_binding_are_equal_and_end_with_it() {
    let tester = Tester::new();
    let ctx = tester.context();
    let mut channel = ctx.bind_unbound_port(GUEST).unwrap();
    let notifier = channel.notifier();
    let other = notifier.clone();
    assert_eq!((notifier.id(), other.id()), (channel.id(), channel.id()));
    tester.log();
    other.notify().unwrap();
    assert_eq!(tester.log(), ["notify 1"]);
    channel.unbind().unwrap();
    notifier.notify().unwrap_err();
    other.notify().unwrap_err();
    let next = ctx.bind_unbound_port(GUEST).unwrap();
    assert!(next.id().generation() > notifier.id().generation());
}
