//! Contexts under two and three threads, schedule by schedule.
//!
//! Each scenario is one function, and shuttle runs it over and over: at random, by priorities that
//! change (PCT), and the small ones also depth first. `EVTCHN_SCHEDULES` says how many schedules the
//! suite takes in all. They are the same in every run, unless `SHUTTLE_RANDOM_SEED` sets another
//! seed. A schedule that fails is written to a trace, and `EVTCHN_SCHEDULE=FILE` runs that one alone. It
//! fits the code that failed: once a thread takes other steps, shuttle says that it does not.
//!
//! Shuttle takes every atomic access for sequentially consistent, and its `Arc` is the real one: what
//! a weaker order lets happen is not seen here.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a scenario ends by panicking, and the count is for people"
)]
#![forbid(unsafe_code)]

mod ahead;
mod blocks;
mod callbacks;
mod ends;
mod explore;
mod link;
mod mixed;
mod peers;
mod policies;
mod rig;
mod tasks;
mod wakes;
mod watch;

use explore::{Scenario, Suite};
use libtest_mimic::{Arguments, Trial};

fn main() {
    let args = Arguments::from_args();
    explore::note_panics();
    let groups = [
        ahead::SCENARIOS,
        blocks::SCENARIOS,
        callbacks::SCENARIOS,
        ends::SCENARIOS,
        link::SCENARIOS,
        mixed::SCENARIOS,
        peers::SCENARIOS,
        tasks::SCENARIOS,
        policies::SCENARIOS,
        wakes::SCENARIOS,
        watch::SCENARIOS,
    ];
    let scenarios: Vec<Scenario> = groups.concat();
    let suite = Suite::of(scenarios.len());
    let trials = scenarios
        .iter()
        .map(|&scenario| Trial::test(scenario.name, move || suite.explore(&scenario)))
        .collect();
    let conclusion = libtest_mimic::run(&args, trials);
    if !args.list {
        println!("{}", explore::summary());
    }
    conclusion.exit();
}
