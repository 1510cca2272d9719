//! A callback outlives the function that sets it, and may run on any thread.
use std::cell::Cell;
use std::rc::Rc;

use evtchn::poll::Channel;

fn borrow(channel: &Channel) {
    let mut wakes = 0;
    let _ = channel.set_callback(|_| wakes += 1);
}

fn share(channel: &Channel) {
    let wakes = Rc::new(Cell::new(0));
    let _ = channel.set_callback(move |_| wakes.set(wakes.get() + 1));
}

fn main() {}
