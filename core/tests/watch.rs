//! The `Watch` of a device, on places that count its calls.

use std::convert::Infallible;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use evtchn_core::watch::{Parked, Places, Polled, Unpark, Waited, Watch};

/// While one thread polls, another one begins to wait and is woken before it sleeps.
#[derive(Default)]
struct Overtaken {
    watch: OnceLock<&'static Watch<Overtaken>>,
    other: OnceLock<Waited>,
    unparks: AtomicUsize,
}

impl Places for Overtaken {
    type Deadline = ();
    type Error = Infallible;
    const PASSED: () = ();

    fn count(&self) -> usize {
        2
    }

    fn poll(&self, _device: Option<usize>, (): ()) -> Result<Polled, Infallible> {
        if let Some(watch) = self.watch.get() {
            watch.wake();
            let other = watch.wait(())?;
            assert_eq!(self.other.set(other), Ok(()), "one poll");
        }
        Ok(Polled {
            rung: true,
            ..Polled::default()
        })
    }

    fn ring(&self) {}

    fn clear_rings(&self) {}

    fn unparks(&self, _place: usize) -> u32 {
        0
    }

    fn park(&self, _place: usize, _before: u32, (): ()) -> Result<Parked, Infallible> {
        Ok(Parked::TimedOut)
    }

    fn unpark(&self, _place: usize, _unpark: Unpark) {
        self.unparks.fetch_add(1, Relaxed);
    }
}

/// No other thread sleeps any more, so none is woken to poll.
#[test]
fn a_thread_woken_before_it_sleeps_is_not_woken_to_poll() {
    let watch: &'static Watch<Overtaken> = Box::leak(Box::new(Watch::new(Overtaken::default())));
    assert!(watch.register(0));
    assert!(watch.places().watch.set(watch).is_ok());
    let woken = Waited {
        woken: true,
        ..Waited::default()
    };
    assert_eq!(watch.wait(()), Ok(woken));
    assert_eq!(watch.places().other.get(), Some(&woken));
    assert_eq!(watch.counts().parks, 0);
    assert_eq!(watch.places().unparks.load(Relaxed), 0);
}
