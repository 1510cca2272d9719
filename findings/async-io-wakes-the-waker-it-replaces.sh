#!/usr/bin/env bash
# async-io 2.6.0: `Async::poll_readable` with another waker than the last time wakes the waker that it replaces. A
# caller that makes a new waker for each poll is woken by its own poll, and polls for ever, though nothing came.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cargo init --quiet --name probe
cargo add --quiet async-io@=2.6.0
cat >src/main.rs <<'RUST'
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use async_io::Async;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn main() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let ours = Async::new(ours).unwrap();
    let wakers: Vec<Arc<Count>> = (0..3).map(|_| Arc::default()).collect();
    for waker in &wakers {
        let waker = Waker::from(Arc::clone(waker));
        assert!(ours.poll_readable(&mut Context::from_waker(&waker)).is_pending());
    }
    let wakes: Vec<_> = wakers.iter().map(|waker| waker.0.load(Ordering::SeqCst)).collect();
    println!("nothing came; each waker was woken so often: {wakes:?}");
}
RUST
cargo run --quiet >seen
cat seen
diff - seen <<'EXPECTED'
nothing came; each waker was woken so often: [1, 1, 0]
EXPECTED
