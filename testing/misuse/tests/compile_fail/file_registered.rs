//! A loop watches a device, which only stays open as long as it is watched, and no descriptor of others.
use std::fs::File;
use std::os::fd::AsFd;

use evtchn::Registrar;
use evtchn::poll::PollLoop;

fn misuse(event_loop: &PollLoop, file: File) {
    let _ = event_loop.register(&file);
    let _ = event_loop.register(&file.as_fd());
}

fn main() {}
