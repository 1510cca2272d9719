//! A loop watches only devices, which stay open while they are watched, and no other descriptors.
use std::fs::File;
use std::os::fd::AsFd;

use evtchn::Registrar;
use evtchn::poll::PollLoop;

fn misuse(event_loop: &PollLoop, file: File) {
    let _ = event_loop.register(&file);
    let _ = event_loop.register(&file.as_fd());
}

fn main() {}
