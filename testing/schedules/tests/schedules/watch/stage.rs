//! A device, a bell and places to park in, made of what shuttle can schedule, and threads that use them
//! through a [`Watch`] as a context does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::panic::resume_unwind;

use evtchn_core::watch::{Parked, Places, Polled, Unpark, Watch};
use evtchn_core::{Sleeper, Slept, WakeTargets};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Condvar, Mutex, MutexGuard};

/// The only device.
pub(super) const DEVICE: usize = 7;
/// The number that stands for all threads that run the loop, instead of one that blocks.
pub(super) const RUNNERS: usize = 0;
/// How many numbers of threads there are.
const THREADS: usize = 4;

/// When a thread stops waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    Passed,
    /// When the schedule says so: [`Stage::expire`].
    Some,
    Never,
}

/// What the kernel would keep.
#[derive(Debug, Default)]
struct State {
    /// The threads that the events of the device are for.
    events: Vec<usize>,
    rung: bool,
    expired: bool,
    /// A signal comes to the thread that polls.
    signal: bool,
    /// The next poll panics.
    panic: bool,
    /// The device is closed: a poll of it fails the schedule.
    closed: bool,
    polling: usize,
    /// How many of these poll the device.
    polling_device: usize,
    unparks: [u32; 3],
    /// The threads that are parked in each place, in the order in which they came.
    parked: [VecDeque<usize>; 3],
    woken: Vec<usize>,
    tokens: usize,
}

#[derive(Debug, Default)]
pub(super) struct Stage {
    state: Mutex<State>,
    changed: Condvar,
}

impl Stage {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// An event comes for a thread that blocks, or for `RUNNERS`.
    pub(super) fn fire(&self, thread: usize) {
        self.change(|state| state.events.push(thread));
    }

    /// The deadlines of all threads pass.
    pub(super) fn expire(&self) {
        self.change(|state| state.expired = true);
    }

    /// A signal comes to the thread that polls, or to the next one that does.
    pub(super) fn signal(&self) {
        self.change(|state| state.signal = true);
    }

    /// The next poll panics.
    pub(super) fn panic_next(&self) {
        self.change(|state| state.panic = true);
    }

    /// Closes the device. No thread polls it, and none may from now on.
    pub(super) fn close(&self) {
        self.change(|state| {
            state.closed = true;
            assert_eq!(state.polling_device, 0, "a closed device is polled");
        });
    }

    /// Blocks until this many threads are asleep.
    pub(super) fn until_asleep(&self, threads: usize) {
        let mut state = self.lock();
        while state.polling + state.parked.iter().map(VecDeque::len).sum::<usize>() < threads {
            state = self.wait(state);
        }
    }

    /// Reads the device.
    fn read(&self) -> Vec<usize> {
        std::mem::take(&mut self.lock().events)
    }
}

impl Places for Stage {
    type Deadline = Deadline;
    type Error = Infallible;

    const PASSED: Deadline = Deadline::Passed;

    fn count(&self) -> usize {
        3
    }

    fn poll(&self, device: Option<usize>, deadline: Deadline) -> Result<Polled, Infallible> {
        let mut state = self.lock();
        assert!(device.is_none_or(|it| it == DEVICE && !state.closed));
        if std::mem::take(&mut state.panic) {
            drop(state);
            // A planned panic is not a failure of the schedule, so shuttle need not print it.
            resume_unwind(Box::new("as planned"));
        }
        state.polling += 1;
        assert_eq!(state.polling, 1, "two threads poll");
        state.polling_device += usize::from(device.is_some());
        self.changed.notify_all();
        let polled = loop {
            let polled = Polled {
                ready: device.is_some() && !state.events.is_empty(),
                rung: state.rung,
                interrupted: state.signal,
            };
            let is_over = match deadline {
                Deadline::Passed => true,
                Deadline::Some => state.expired,
                Deadline::Never => false,
            };
            if is_over || polled != Polled::default() {
                break polled;
            }
            state = self.wait(state);
        };
        state.signal = false;
        state.polling -= 1;
        state.polling_device -= usize::from(device.is_some());
        Ok(polled)
    }

    fn ring(&self) {
        self.change(|state| state.rung = true);
    }

    fn clear_rings(&self) {
        self.change(|state| state.rung = false);
    }

    fn unparks(&self, place: usize) -> u32 {
        self.lock().unparks[place]
    }

    fn park(&self, place: usize, before: u32, deadline: Deadline) -> Result<Parked, Infallible> {
        let mut state = self.lock();
        if state.unparks[place] != before {
            return Ok(Parked::Unparked);
        }
        let token = state.tokens;
        state.tokens += 1;
        state.parked[place].push_back(token);
        self.changed.notify_all();
        loop {
            if state.woken.contains(&token) {
                return Ok(Parked::Unparked);
            }
            if deadline == Deadline::Passed || deadline == Deadline::Some && state.expired {
                state.parked[place].retain(|it| *it != token);
                return Ok(Parked::TimedOut);
            }
            state = self.wait(state);
        }
    }

    fn unpark(&self, place: usize, how_many: Unpark) {
        self.change(|state| {
            state.unparks[place] += 1;
            let count = match how_many {
                Unpark::One => 1,
                Unpark::All => usize::MAX,
            };
            let count = count.min(state.parked[place].len());
            let woken: Vec<_> = state.parked[place].drain(..count).collect();
            state.woken.extend(woken);
        });
    }
}

/// A watch, and for each thread whether it has an event.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) watch: Watch<Stage>,
    /// Whether a thread has an event that was read. It checks this itself, as in a context.
    pending: [AtomicBool; THREADS],
}

impl Scene {
    /// With a registered device.
    pub(super) fn new() -> Scene {
        let scene = Scene::without_device();
        assert!(scene.watch.register(DEVICE));
        scene
    }

    pub(super) fn without_device() -> Scene {
        Scene {
            watch: Watch::new(Stage::default()),
            pending: Default::default(),
        }
    }

    pub(super) fn stage(&self) -> &Stage {
        self.watch.places()
    }

    /// A thread has an event; it is woken.
    pub(super) fn wake_for(&self, thread: usize) {
        self.pending[thread].store(true, Ordering::SeqCst);
        self.watch.wake_only(WakeTargets {
            runners: thread == RUNNERS,
            sleepers: sleeper(thread).as_slice(),
        });
    }

    /// A thread has an event; all threads are woken.
    pub(super) fn wake_all_for(&self, thread: usize) {
        self.pending[thread].store(true, Ordering::SeqCst);
        self.watch.wake();
    }

    pub(super) fn has_event(&self, thread: usize) -> bool {
        self.pending[thread].load(Ordering::SeqCst)
    }

    /// Reads the device, and wakes the threads that its events are for.
    fn read(&self, myself: usize) {
        for thread in self.stage().read() {
            if thread == myself {
                self.pending[thread].store(true, Ordering::SeqCst);
            } else {
                self.wake_for(thread);
            }
        }
    }

    /// Blocks as a context does, until this thread has an event. Returns false if its deadline passed
    /// before.
    pub(super) fn block(&self, myself: usize, deadline: Deadline) -> bool {
        let [sleeper] = sleeper(myself).try_into().unwrap();
        let mut slept = Slept::Notified;
        let woke = loop {
            let ticket = self.watch.ticket();
            if self.has_event(myself) {
                break true;
            }
            if slept == Slept::TimedOut {
                break false;
            }
            slept = self.watch.sleep_as(sleeper, ticket, deadline).unwrap();
            if slept != Slept::Notified {
                self.read(myself);
            }
        };
        self.watch.leave(sleeper);
        woke
    }

    /// Runs the loop until there is an event for the threads that run it. Returns how often it was woken.
    pub(super) fn run(&self) -> usize {
        let mut woken = 0;
        while !self.has_event(RUNNERS) {
            let waited = self.watch.wait(Deadline::Never).unwrap();
            woken += usize::from(waited.woken);
            if waited.ready {
                self.read(RUNNERS);
            }
        }
        woken
    }
}

/// The number under which a thread sleeps. A thread that runs the loop has none.
pub(super) fn sleeper(thread: usize) -> Vec<Sleeper> {
    let number = u32::try_from(thread).unwrap();
    NonZeroU32::new(number)
        .map(Sleeper::new)
        .into_iter()
        .collect()
}
