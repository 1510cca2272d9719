//! The number of open descriptors.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::time::Duration;

use evtchn::poll::PollLoop;
use evtchn::sim::Sim;
use evtchn::{Context, DomId};
use libtest_mimic::{Failed, Trial};

/// The case of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "descriptors::loops_and_contexts_that_come_and_go_leave_no_descriptor",
        loops_and_contexts_that_come_and_go_leave_no_descriptor,
    )]
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// libxl 7fbebfa540: the pipe that wakes a poll was leaked.
fn loops_and_contexts_that_come_and_go_leave_no_descriptor() -> Result<(), Failed> {
    let sim = Sim::new(1);
    let before = open_descriptors();
    for _ in 0..10 {
        let poll_loop = PollLoop::new().unwrap();
        let context = Context::with_registrar(sim.open(DomId::DOM0), poll_loop.clone());
        let channel = context.bind_unbound_port(DomId::SELF).unwrap();
        channel.wait().unwrap();
        poll_loop.wake();
        poll_loop.wait(Some(Duration::ZERO)).unwrap();
        assert!(open_descriptors() > before);
    }
    assert_eq!(open_descriptors(), before);
    Ok(())
}
