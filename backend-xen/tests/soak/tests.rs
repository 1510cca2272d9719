//! A few laps on the simulator.

use std::time::Duration;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::board::{Board, PATIENCE};
use crate::crew::Threads;
use crate::side::Sim;
use crate::supervisor::{Length, Plan, Supervisor};

pub(crate) fn run() -> Result<()> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = vec![Trial::test(
        "a_soak_on_the_simulator_loses_nothing_and_leaves_nothing",
        laps,
    )];
    libtest_mimic::run(&arguments, trials).exit();
}

fn plan(patience: Duration) -> Plan {
    Plan {
        seed: 1,
        length: Length::Laps(4),
        lap: 3_000,
        patience,
    }
}

fn laps() -> Result<(), Failed> {
    let sim = Sim::new(1);
    let board: &'static Board = Box::leak(Box::default());
    let mut threads = Threads::new(&sim, board, 1, PATIENCE);
    let mut supervisor = Supervisor::new(board, &mut threads, plan(PATIENCE));
    let ended = supervisor.run(|_| ());
    println!("{supervisor}");
    Ok(ended?)
}
