//! What a block leaves when the device, the loop or the caller's condition fails.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use evtchn::sim::{Call, Errno};
use evtchn::{Cause, DeviceCall, DeviceError, Error, Link};

use super::{SECOND, WOKEN, expect_no_wait, scripted};

#[test]
fn a_block_fails_when_a_round_finds_the_device_failed() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let (opener, context) = (rig.opener.clone(), Arc::clone(&rig.context));
    event_loop.while_asleep(move || {
        opener.fail_next(Call::Pending, Errno::EIO);
        let mut round = context.dispatch().unwrap();
        assert_eq!(round.next(), None, "the wake is the other thread's");
        round.finish().unwrap_err();
    });
    let error = wire.channel.block().unwrap_err();
    assert!(matches!(error, Error::Device(_)), "{error:?}");
    assert_eq!(Errno::of(&error), Some(Errno::EIO));
    assert_eq!(rig.context.link(), Link::Faulted);
    assert_eq!(rig.context.next_timeout(), None);
}

#[test]
fn a_block_fails_when_its_read_finds_the_device_failed() {
    let (rig, event_loop) = scripted();
    let [own, other] = [rig.wire(), rig.wire()];
    other.wait();
    own.fire();
    rig.opener.fail_next(Call::Pending, Errno::EIO);
    let error = own.channel.block().unwrap_err();
    assert!(matches!(error, Error::Device(_)), "{error:?}");
    assert_eq!(Errno::of(&error), Some(Errno::EIO));
    assert_eq!(rig.context.link(), Link::Faulted);
    assert_eq!(event_loop.violations(), []);
    // The other waiter is woken by a round.
    assert_eq!(rig.context.next_timeout(), Some(Duration::ZERO));
    let wakes: Vec<_> = rig.context.dispatch().unwrap().collect();
    assert_eq!(wakes.len(), 1);
    assert_eq!(
        (wakes[0].channel, wakes[0].cause),
        (other.channel.id(), Cause::Gone)
    );
}

#[test]
fn a_failed_sleep_leaves_no_wait() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let error = wire.channel.block().unwrap_err();
    assert!(matches!(error, Error::Sleep(_)), "{error:?}");
    assert_eq!(Errno::of(&error), Some(Errno::EDEADLK));
    expect_no_wait(&rig);
    event_loop.fail_next(Call::Sleep, Errno::ENOMEM);
    let error = wire.channel.block_until(SECOND).unwrap_err();
    assert!(matches!(error, Error::Sleep(_)), "{error:?}");
    assert_eq!(Errno::of(&error), Some(Errno::ENOMEM));
    expect_no_wait(&rig);
    wire.fire();
    wire.expect_block(WOKEN);
}

#[test]
fn a_failed_unmask_leaves_no_wait() {
    let (rig, _) = scripted();
    let wire = rig.wire();
    wire.fire();
    wire.expect_block(WOKEN);
    rig.opener.fail_next(Call::Unmask, Errno::ENOMEM);
    let error = wire.channel.block().unwrap_err();
    let (first, count) = (wire.port(), 1);
    let call = DeviceCall::Unmask { first, count };
    assert_eq!(error.device().map(DeviceError::call), Some(call));
    assert_eq!(Errno::of(&error), Some(Errno::ENOMEM));
    expect_no_wait(&rig);
    wire.fire();
    wire.expect_block(WOKEN);
}

#[test]
fn a_failed_deregister_at_the_end_of_a_block_loses_no_wake() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    wire.fire();
    event_loop.fail_next(Call::Deregister, Errno::EIO);
    wire.expect_block(WOKEN);
    assert_eq!(rig.unreported(), 1);
    // The end of the block has tried the deregister again.
    expect_no_wait(&rig);
}

#[test]
fn a_failed_deregister_at_the_deadline_is_counted() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    event_loop.fail_next(Call::Deregister, Errno::EIO);
    let blocked = wire.channel.block_until(SECOND).unwrap();
    assert_eq!(blocked, None);
    assert_eq!(rig.unreported(), 1);
    assert!(event_loop.is_registered(), "though no channel waits");
    // The next call tries again.
    wire.channel.cancel().unwrap();
    expect_no_wait(&rig);
}

#[test]
fn a_cancel_ends_a_block_though_it_cannot_deregister() {
    let (rig, event_loop) = scripted();
    let wire = rig.wire();
    let (other, hooks) = (wire.clone(), event_loop.clone());
    event_loop.while_asleep(move || {
        hooks.fail_next(Call::Deregister, Errno::EIO);
        other.channel.cancel().unwrap();
    });
    wire.expect_cancelled();
    assert_eq!(rig.unreported(), 1);
    expect_no_wait(&rig);
}

#[test]
fn a_condition_that_panics_leaves_no_wait() {
    let (rig, _) = scripted();
    let wire = rig.wire();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        wire.channel
            .block_while(None, || resume_unwind(Box::new("in the condition")))
    }));
    assert_eq!(
        panicked.unwrap_err().downcast_ref(),
        Some(&"in the condition")
    );
    expect_no_wait(&rig);
    wire.fire();
    wire.expect_block(WOKEN);
}
