#!/usr/bin/env bash
# tokio 1.54.1: a descriptor that shows only an error (EPOLLERR) is not readable for `AsyncFd::readable`, though
# poll(2) for POLLIN returns at once. A task that waits for `readable()` sleeps on; it has to ask for
# `Interest::ERROR` too. Drivers that report an overflow by the error bit alone are such descriptors. Shown with the
# write end of a pipe whose read end is closed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cargo init --quiet --name probe
cargo add --quiet tokio@=1.54.1 --features net,rt,time,macros
cargo add --quiet rustix@=1.1.6 --features event,pipe
cat >src/main.rs <<'RUST'
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{Interest, unix::AsyncFd};
use tokio::time::timeout;

#[tokio::main(flavor = "current_thread")]
#[allow(deprecated)] // the new constructor is unsafe, and the same
async fn main() {
    for interest in [Interest::READABLE, Interest::READABLE | Interest::ERROR] {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&writer, PollFlags::IN)];
        let polled = poll(&mut fds, Some(&now)).unwrap();
        println!("poll: {polled}, {:?}", fds[0].revents());
        let fd = AsyncFd::with_interest(writer, interest).unwrap();
        let ready = timeout(Duration::from_secs(1), fd.ready(interest)).await;
        println!("tokio, {interest:?}: {}", if ready.is_ok() { "ready" } else { "not ready" });
    }
}
RUST
cargo run --quiet >seen
cat seen
diff - seen <<'EXPECTED'
poll: 1, PollFlags(ERR)
tokio, READABLE: not ready
poll: 1, PollFlags(ERR)
tokio, READABLE | ERROR: ready
EXPECTED
