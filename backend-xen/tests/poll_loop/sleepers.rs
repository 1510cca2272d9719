//! Threads that sleep in the poll loop: which of them polls, and which are woken.

use super::*;

#[test]
fn a_wake_reaches_each_sleeping_thread_once_and_then_nothing_polls() {
    const THREADS: usize = 3;
    let poll_loop = PollLoop::new().unwrap();
    let wakes = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (waiting, wakes, stop) = (poll_loop.clone(), Arc::clone(&wakes), Arc::clone(&stop));
            until_asleep(&poll_loop, move || {
                while !stop.load(SeqCst) {
                    assert_eq!(waiting.wait(None).unwrap(), WOKEN);
                    wakes.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let before = poll_loop.counters();
    poll_loop.wake();
    until("each was woken", || wakes.load(SeqCst) >= THREADS);
    let asleep = || {
        let begun = sleeps_begun(&poll_loop);
        begun >= before.polls + before.sleeps + THREADS as u64
    };
    until("each sleeps again", asleep);
    // A thread that spins would do so now.
    (0..1_000).for_each(|_| thread::yield_now());
    let polls = poll_loop.counters().polls - before.polls;
    assert_eq!(wakes.load(SeqCst), THREADS);
    // Each may have had the watch in its turn.
    assert!(polls <= 2 * THREADS as u64, "{polls} polls");
    stop.store(true, SeqCst);
    poll_loop.wake();
    threads.into_iter().for_each(finish);
}

#[test]
fn one_thread_polls_and_the_others_sleep() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    poll_loop.register(&device).unwrap();
    let threads = [1, 2, 3].map(|number| sleeping_thread(&poll_loop, number));
    let counters = poll_loop.counters();
    assert_eq!((counters.polls, counters.sleeps), (1, 2));
    poll_loop.wake();
    for thread in threads {
        assert_eq!(finish(thread), Slept::Notified);
    }
}

#[test]
fn a_wake_for_one_sleeper_leaves_the_others_asleep() {
    let poll_loop = PollLoop::new().unwrap();
    let [one, two, three] = [1, 2, 3].map(|number| sleeping_thread(&poll_loop, number));
    notify(&poll_loop, &[3]);
    assert_eq!(finish(three), Slept::Notified);
    assert!(!one.is_finished() && !two.is_finished());
    notify(&poll_loop, &[2, 1]);
    assert_eq!(finish(two), Slept::Notified);
    assert_eq!(finish(one), Slept::Notified);
    assert_eq!(
        poll_loop.wait(NOW).unwrap(),
        NOTHING,
        "it was for no thread that waits"
    );
}

#[test]
fn a_wake_for_runners_leaves_sleepers_asleep() {
    let poll_loop = PollLoop::new().unwrap();
    // The first one polls, and need not come back for this either.
    let sleepers = [1, 2].map(|number| sleeping_thread(&poll_loop, number));
    let waits = waiting_thread(&poll_loop);
    let targets = WakeTargets {
        runners: true,
        sleepers: &[],
    };
    let before = sleeps_begun(&poll_loop);
    Registrar::wake_only(&poll_loop, targets);
    assert_eq!(finish(waits), WOKEN);
    assert!(sleepers.iter().all(|it| !it.is_finished()));
    assert_eq!(sleeps_begun(&poll_loop), before);
    poll_loop.wake();
    for thread in sleepers {
        assert_eq!(finish(thread), Slept::Notified);
    }
}

#[test]
fn a_wake_for_runners_ends_the_next_wait_where_no_thread_waits() {
    let poll_loop = PollLoop::new().unwrap();
    let targets = WakeTargets {
        runners: true,
        sleepers: &[],
    };
    Registrar::wake_only(&poll_loop, targets);
    assert_eq!(poll_loop.wait(None).unwrap(), WOKEN);
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
}

#[test]
fn a_watcher_that_is_woken_leaves_the_watch_to_a_sleeper() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    poll_loop.register(&device).unwrap();
    let watcher = waiting_thread(&poll_loop);
    let sleeping = poll_loop.clone();
    let sleeps = until_asleep(&poll_loop, move || {
        while sleep_as(&sleeping, 1, ticket(&sleeping)) != Slept::Ready {}
        leave(&sleeping, 1);
    });
    poll_loop.wake();
    assert_eq!(finish(watcher), WOKEN);
    make_readable(&device);
    finish(sleeps);
}

#[test]
fn a_sleeper_that_leaves_hands_the_watch_to_a_thread_that_waits() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    poll_loop.register(&device).unwrap();
    let sleeps = sleeping_thread(&poll_loop, 1);
    let waits = waiting_thread(&poll_loop);
    notify(&poll_loop, &[1]);
    assert_eq!(finish(sleeps), Slept::Notified);
    make_readable(&device);
    assert_eq!(finish(waits), READY);
}

#[test]
fn a_thread_that_blocks_takes_the_watch_over_before_one_that_waits() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(0);
    poll_loop.register(&device).unwrap();
    let watcher = waiting_thread(&poll_loop);
    let waits = waiting_thread(&poll_loop);
    let (sleeping, (stop, stopped)) = (poll_loop.clone(), mpsc::channel());
    let (sender, receiver) = mpsc::channel();
    let sleeps = until_asleep(&poll_loop, move || {
        while sleep_as(&sleeping, 1, ticket(&sleeping)) != Slept::Ready {}
        sender.send(sleeping.counters().polls).unwrap();
        stopped.recv().unwrap();
        leave(&sleeping, 1);
    });
    make_readable(&device);
    assert_eq!(finish(watcher), READY);
    // No other thread polled between the two.
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(2));
    stop.send(()).unwrap();
    finish(sleeps);
    assert_eq!(finish(waits), READY);
}

#[test]
fn a_sleep_on_a_ticket_from_before_a_wake_ends_at_once() {
    let poll_loop = PollLoop::new().unwrap();
    let calls: [fn(&PollLoop); 2] = [PollLoop::wake, |it| notify(it, &[1])];
    for call in calls {
        for kind in [0, 1] {
            let old = ticket(&poll_loop);
            call(&poll_loop);
            let sleeping = poll_loop.clone();
            let thread = thread::spawn(move || {
                let slept = if kind == 0 {
                    Sleep::sleep(&sleeping, old, None).unwrap()
                } else {
                    sleep_as(&sleeping, 1, old)
                };
                leave(&sleeping, 1);
                slept
            });
            assert_eq!(finish(thread), Slept::Notified);
        }
    }
}

#[test]
fn a_sleeper_keeps_the_watch_from_one_sleep_to_the_next() {
    let poll_loop = PollLoop::new().unwrap();
    let device = device(1);
    poll_loop.register(&device).unwrap();
    for _ in 0..2 {
        assert_eq!(sleep_as(&poll_loop, 1, ticket(&poll_loop)), Slept::Ready);
    }
    // Another thread does not poll meanwhile, whatever number it goes by.
    for number in [1, 2] {
        let deadline = Some(Instant::now() + Duration::from_millis(1));
        let other = poll_loop.clone();
        let sleep = move || {
            let ticket = ticket(&other);
            Sleep::sleep_as(&other, sleeper(number), ticket, deadline).unwrap()
        };
        assert_eq!(finish(thread::spawn(sleep)), Slept::TimedOut);
    }
    leave(&poll_loop, 1);
    assert_eq!(poll_loop.wait(None).unwrap(), READY);
}

#[test]
fn a_sleep_past_its_deadline_does_not_take_the_watch() {
    let poll_loop = PollLoop::new().unwrap();
    let passed = Some(Instant::now());
    let ticket = ticket(&poll_loop);
    let slept = Sleep::sleep_as(&poll_loop, sleeper(1), ticket, passed);
    assert_eq!(slept.unwrap(), Slept::TimedOut);
    assert_eq!(poll_loop.counters(), Counters::default());
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
}

#[test]
fn a_wait_that_sleeps_beside_a_watcher_ends_at_its_deadline() {
    let poll_loop = PollLoop::new().unwrap();
    let watcher = waiting_thread(&poll_loop);
    let before = poll_loop.counters();
    let readiness = poll_loop.wait(Some(Duration::from_millis(1))).unwrap();
    assert!(readiness.timed_out());
    assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
    let counters = poll_loop.counters();
    assert_eq!(counters.polls, before.polls);
    assert_eq!(counters.sleeps, before.sleeps + 2);
    poll_loop.wake();
    assert_eq!(finish(watcher), WOKEN);
}

#[test]
fn a_wake_after_a_watcher_left_does_not_end_the_next_wait_twice() {
    let poll_loop = PollLoop::new().unwrap();
    for _ in 0..200 {
        let other = poll_loop.clone();
        let wakes = thread::spawn(move || other.wake());
        assert_eq!(poll_loop.wait(None).unwrap(), WOKEN);
        wakes.join().unwrap();
        assert_eq!(poll_loop.wait(NOW).unwrap(), NOTHING);
    }
}
