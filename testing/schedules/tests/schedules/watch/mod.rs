//! Which thread of a loop polls the device, how the watch is handed over whenever that thread leaves it,
//! and which threads are woken (I15). A wake that is lost leaves a thread asleep, which fails the
//! schedule.

mod stage;

use std::panic::{AssertUnwindSafe, catch_unwind};

use evtchn_core::watch::Waited;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use crate::explore::scenarios;
use stage::{DEVICE, Deadline, RUNNERS, Scene};

scenarios! {
    watch_of_three_threads_is_handed_over_until_each_has_its_event,
    watch_is_handed_over_among_three_threads_that_wait,
    watch_that_is_handed_to_a_thread_at_its_deadline_goes_on_to_the_next,
    watch_that_is_handed_to_a_thread_that_is_woken_goes_on_to_the_next,
    wake_reaches_each_of_three_waiting_threads_once,
    wakes_for_two_threads_each_reach_their_thread,
    watch_of_a_block_that_ends_is_handed_over_to_a_thread_that_waits,
    deregistering_under_three_threads_returns_when_none_polls_the_device;
    small
    watch_is_handed_over_when_the_watcher_is_woken,
    watch_is_handed_over_at_the_deadline,
    watch_is_handed_over_by_a_cancel,
    watch_is_handed_over_by_a_signal,
    watch_is_handed_over_by_a_panic,
    watch_is_handed_over_when_the_device_is_ready,
    watch_without_a_device_sees_one_that_is_registered_later,
    deregistering_returns_when_no_thread_polls_the_device,
    wake_between_the_check_and_the_sleep_ends_the_sleep,
    wake_for_one_watcher_is_not_lost_for_the_next,
}

/// Two threads block, and each gets an event. The thread that watches when an event comes reads it.
fn watch_is_handed_over_when_the_watcher_is_woken() {
    let scene = Scene::new();
    thread::scope(|scope| {
        for number in [1, 2] {
            let scene = &scene;
            scope.spawn(move || assert!(scene.block(number, Deadline::Never)));
        }
        scene.stage().fire(1);
        scene.stage().fire(2);
    });
}

fn watch_of_three_threads_is_handed_over_until_each_has_its_event() {
    let scene = Scene::new();
    thread::scope(|scope| {
        for number in [1, 2, 3] {
            let scene = &scene;
            scope.spawn(move || assert!(scene.block(number, Deadline::Never)));
        }
        [3, 1, 2].iter().for_each(|it| scene.stage().fire(*it));
    });
}

fn watch_is_handed_over_at_the_deadline() {
    let scene = Scene::new();
    thread::scope(|scope| {
        scope.spawn(|| assert!(!scene.block(1, Deadline::Some)));
        scope.spawn(|| assert!(scene.block(2, Deadline::Never)));
        scene.stage().expire();
        scene.stage().fire(2);
    });
}

/// The thread that is woken to take over the watch leaves instead.
fn watch_that_is_handed_to_a_thread_at_its_deadline_goes_on_to_the_next() {
    let scene = Scene::new();
    thread::scope(|scope| {
        scope.spawn(|| assert!(scene.block(1, Deadline::Never)));
        scope.spawn(|| scene.watch.wait(Deadline::Some).unwrap());
        scope.spawn(|| scene.run());
        scene.stage().until_asleep(3);
        scene.wake_for(1);
        scene.stage().expire();
        scene.stage().fire(RUNNERS);
    });
}

fn watch_that_is_handed_to_a_thread_that_is_woken_goes_on_to_the_next() {
    let scene = Scene::new();
    thread::scope(|scope| {
        for number in [1, 2] {
            let scene = &scene;
            scope.spawn(move || assert!(scene.block(number, Deadline::Never)));
        }
        scope.spawn(|| assert!(scene.watch.wait(Deadline::Never).unwrap() != Waited::default()));
        scene.stage().until_asleep(3);
        scene.wake_for(1);
        scene.wake_for(2);
        scene.stage().fire(RUNNERS);
    });
}

fn watch_is_handed_over_by_a_cancel() {
    let scene = Scene::new();
    thread::scope(|scope| {
        scope.spawn(|| assert!(scene.block(1, Deadline::Never)));
        scope.spawn(|| assert!(scene.block(2, Deadline::Never)));
        scene.stage().until_asleep(2);
        scene.wake_for(1);
        scene.stage().fire(2);
    });
}

/// The thread that gets the signal leaves, and the other one gets the event.
fn watch_is_handed_over_by_a_signal() {
    let scene = Scene::new();
    let waits = || {
        let waited = scene.watch.wait(Deadline::Never).unwrap();
        if waited.interrupted {
            scene.stage().fire(RUNNERS);
        }
        waited
    };
    thread::scope(|scope| {
        let threads = [scope.spawn(waits), scope.spawn(waits)];
        scene.stage().until_asleep(2);
        scene.stage().signal();
        let [one, other] = threads.map(|it| it.join().unwrap());
        assert!(one.interrupted != other.interrupted);
        assert!(one.ready != other.ready);
    });
}

/// A panic in the poll stands for any panic that unwinds through it.
fn watch_is_handed_over_by_a_panic() {
    let scene = Scene::new();
    scene.stage().panic_next();
    let panicked = AtomicBool::new(false);
    let blocks = |number| {
        let blocked = catch_unwind(AssertUnwindSafe(|| scene.block(number, Deadline::Never)));
        if blocked.is_err() {
            panicked.store(true, Ordering::SeqCst);
            let [sleeper] = stage::sleeper(number).try_into().unwrap();
            // The end of a block does the same.
            scene.watch.leave(sleeper);
        }
    };
    let waits = || {
        let waited = catch_unwind(AssertUnwindSafe(|| scene.run()));
        if waited.is_err() {
            panicked.store(true, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| blocks(1));
        scope.spawn(waits);
        scene.stage().fire(1);
        scene.stage().fire(RUNNERS);
    });
    assert!(panicked.load(Ordering::SeqCst));
}

/// The thread that was woken does not wait again.
fn watch_is_handed_over_when_the_device_is_ready() {
    let scene = Scene::new();
    thread::scope(|scope| {
        for _ in [1, 2] {
            scope.spawn(|| assert!(scene.watch.wait(Deadline::Never).unwrap().ready));
        }
        scene.stage().fire(RUNNERS);
    });
}

fn watch_is_handed_over_among_three_threads_that_wait() {
    let scene = Scene::new();
    thread::scope(|scope| {
        for _ in [1, 2, 3] {
            scope.spawn(|| assert!(scene.watch.wait(Deadline::Never).unwrap().ready));
        }
        scene.stage().fire(RUNNERS);
    });
}

/// A wake reaches each thread that sleeps, and no thread twice.
fn wake_reaches_each_of_three_waiting_threads_once() {
    let scene = Scene::new();
    thread::scope(|scope| {
        for _ in [1, 2, 3] {
            scope.spawn(|| {
                assert!(scene.watch.wait(Deadline::Never).unwrap().woken);
                assert!(!scene.watch.wait(Deadline::Passed).unwrap().woken);
            });
        }
        scene.stage().until_asleep(3);
        scene.watch.wake();
    });
    // At most two for each, and one for the thread that follows the one that was woken.
    assert!(scene.watch.counts().polls <= 7);
    assert!(!scene.watch.wait(Deadline::Passed).unwrap().woken);
}

fn wakes_for_two_threads_each_reach_their_thread() {
    let scene = Scene::new();
    thread::scope(|scope| {
        scope.spawn(|| assert!(scene.block(1, Deadline::Never)));
        scope.spawn(|| assert!(scene.block(2, Deadline::Never)));
        scope.spawn(|| scene.run());
        scene.wake_for(2);
        scene.wake_for(RUNNERS);
        scene.wake_for(1);
    });
}

/// Events for rounds are read by the thread that watches.
fn watch_of_a_block_that_ends_is_handed_over_to_a_thread_that_waits() {
    let scene = Scene::new();
    thread::scope(|scope| {
        scope.spawn(|| assert!(scene.block(1, Deadline::Never)));
        scope.spawn(|| scene.run());
        scene.stage().fire(1);
        scene.stage().fire(RUNNERS);
    });
}

fn watch_without_a_device_sees_one_that_is_registered_later() {
    let scene = Scene::without_device();
    thread::scope(|scope| {
        scope.spawn(|| assert!(scene.block(1, Deadline::Never)));
        scope.spawn(|| scene.run());
        scene.stage().fire(1);
        scene.stage().fire(RUNNERS);
        assert!(scene.watch.register(DEVICE));
    });
}

fn deregistering_returns_when_no_thread_polls_the_device() {
    let scene = Scene::new();
    thread::scope(|scope| {
        scope.spawn(|| scene.run());
        assert!(scene.watch.deregister(DEVICE));
        scene.stage().close();
        scene.wake_for(RUNNERS);
    });
}

fn deregistering_under_three_threads_returns_when_none_polls_the_device() {
    let scene = Scene::new();
    thread::scope(|scope| {
        scope.spawn(|| scene.run());
        scope.spawn(|| assert!(scene.block(1, Deadline::Never)));
        scope.spawn(|| assert!(!scene.block(2, Deadline::Some)));
        scene.stage().expire();
        assert!(scene.watch.deregister(DEVICE));
        scene.stage().close();
        scene.wake_for(1);
        scene.wake_for(RUNNERS);
    });
}

/// One thread is woken by every wake, another one blocks.
fn wake_between_the_check_and_the_sleep_ends_the_sleep() {
    let scene = Scene::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let ticket = scene.watch.ticket();
                if scene.has_event(1) {
                    break;
                }
                scene.watch.sleep(ticket, Deadline::Never).unwrap();
            }
        });
        scope.spawn(|| assert!(scene.block(2, Deadline::Never)));
        scene.wake_all_for(1);
        scene.wake_for(2);
    });
}

/// The first thread that is woken leaves, and the second one is woken meanwhile.
fn wake_for_one_watcher_is_not_lost_for_the_next() {
    let scene = Scene::new();
    thread::scope(|scope| {
        scope.spawn(|| assert!(scene.block(1, Deadline::Never)));
        scope.spawn(|| assert!(scene.run() <= 2, "it was woken twice for one wake"));
        scene.wake_for(1);
        scene.wake_all_for(RUNNERS);
    });
}
