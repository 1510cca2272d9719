//! Cases that look at the descriptors or the threads of the whole process.

use std::fs;

use super::bench::Bench;
use super::device::Backend;
use super::rig::Rig;

/// libxl 681ce16816: a descriptor that was closed and opened again under the same number made
/// poll report it as invalid.
pub(crate) fn a_device_opened_again_under_the_same_number_is_watched_anew<B: Backend, A: Rig<B>>(
    backend: B,
) {
    let mut bench = Bench::<B, A>::new(backend);
    let mut numbers = Vec::new();
    for turn in 1..4 {
        let mut wire = bench.wire();
        wire.wait();
        numbers.push(bench.fd());
        bench.expect_hooks(2 * turn - 1, 2 * turn - 2);
        bench.expect_idle();
        bench.fire(&wire);
        bench.expect_wakes(&[&wire]);
        // Waited for until the end: the device is deregistered before it closes.
        wire.wait();
        wire.channel.unbind().unwrap();
        bench.context.teardown().unwrap();
        numbers.dedup();
    }
    assert_eq!(numbers.len(), 1, "{numbers:?}");
}

/// libxl 7fbebfa540: each context left a pipe behind, by which it was woken.
pub(crate) fn no_descriptor_outlives_its_loop<B: Backend, A: Rig<B>>(backend: B) {
    let mut backend = Some(backend);
    // One that the whole process has comes with the first and stays.
    drop(A::new());
    let before = descriptors();
    for _ in 0..3 {
        let mut bench = Bench::<B, A>::new(backend.take().unwrap_or_else(B::start));
        let wire = bench.wire();
        wire.wait();
        bench.fire(&wire);
        assert_eq!(bench.rewait().len(), 1);
        assert!(descriptors() > before);
    }
    assert_eq!(descriptors(), before);
}

pub(crate) fn no_thread_is_made<B: Backend, A: Rig<B>>(backend: B) {
    let mut bench = Bench::<B, A>::new(backend);
    // Those of the event loop itself.
    let before = threads();
    let _another = bench.another();
    let wire = bench.wire();
    wire.wait();
    for _ in 0..3 {
        bench.fire(&wire);
        assert_eq!(bench.rewait().len(), 1);
        // One of another case may only just have ended.
        assert!(threads() <= before);
    }
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
