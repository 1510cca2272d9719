//! Plays two and three threads on a context in many orders.
//!
//! Each scenario is one function. Shuttle runs it many times: at random, by priorities that change (PCT),
//! and if it is small also depth first. `EVTCHN_SCHEDULES` is the number of schedules that the suite runs
//! in all. They are the same in every run, unless `SHUTTLE_RANDOM_SEED` sets another seed. A schedule that
//! fails is written to a trace, and `EVTCHN_SCHEDULE=FILE` runs only that one. It can be run only with the
//! code that failed: if a thread takes other steps, shuttle reports that the schedule does not fit.
//!
//! Shuttle treats every atomic access as sequentially consistent, and its `Arc` is the real one, so a bug
//! that needs a weaker order is not found here.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a scenario fails by panicking, and the count is for people"
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
mod restored;
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
        restored::SCENARIOS,
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
