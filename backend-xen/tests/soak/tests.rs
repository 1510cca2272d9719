//! A few laps on the simulator, and what a soak notices: whatever goes wrong on purpose there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use evtchn_core::DomId;
use evtchn_sim::{Call, Fault, World};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::board::{Board, PATIENCE};
use crate::processes::Threads;
use crate::side::Sim;
use crate::supervisor::{Length, Plan, Supervisor};

/// What was complained of since this was emptied.
static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Where a wake is to be missed.
const SHORT: Duration = Duration::from_millis(500);

pub(crate) fn run() -> Result<()> {
    let mut arguments = Arguments::from_args();
    // The heap and the descriptors are those of all.
    arguments.test_threads = Some(1);
    let trials = vec![
        Trial::test("laps_lose_nothing_and_leave_nothing", laps),
        Trial::test("a_wake_that_is_lost_to_another_reader_is_noticed", || {
            expect_complaint(&["no wake"], SHORT, |sim| {
                let shared = Arc::clone(&sim.shared);
                late(move |world| {
                    let shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    for file in shared.iter() {
                        let _closed = world.read(*file, &mut [0; 64]);
                    }
                })
            })
        }),
        Trial::test("an_event_without_a_notify_is_noticed", || {
            // Whichever thread finds it first reports it.
            let words = [
                "events for",
                "nothing had happened",
                "a new channel is ready",
            ];
            expect_complaint(&words, PATIENCE, |_| {
                late(|world| {
                    for port in 1..200 {
                        let _free = world.kernel_send(DomId::DOM0, port);
                    }
                })
            })
        }),
        Trial::test("a_port_that_stays_bound_is_noticed", || {
            expect_complaint(&["still bound"], PATIENCE, |_| {
                late(|world| {
                    let _full = world.kernel_alloc_unbound(DomId::DOM0, DomId::DOM0);
                })
            })
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Does this before every notify from the thousandth on.
fn late(mut act: impl FnMut(&mut World) + Send + 'static) -> Fault {
    let mut notifies = 0;
    Fault::meanwhile(Call::Notify, move |world| {
        notifies += 1;
        if notifies > 1_000 {
            act(world);
        }
    })
}

fn soak(sim: &Sim, patience: Duration) -> Result<String> {
    let plan = Plan {
        seed: 1,
        length: Length::Laps(4),
        lap: 3_000,
        patience,
    };
    let board: &'static Board = Box::leak(Box::default());
    complaints().clear();
    let mut threads = Threads::new(sim, board, plan, |complaint| {
        complaints().push(complaint.to_owned());
    });
    let mut supervisor = Supervisor::new(board, &mut threads, plan);
    supervisor.run(|_| ())?;
    Ok(supervisor.to_string())
}

fn complaints() -> MutexGuard<'static, Vec<String>> {
    COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn laps() -> Result<(), Failed> {
    let ended = soak(&Sim::new(1), PATIENCE);
    let complaints = complaints().join("; ");
    println!(
        "{}",
        ended.map_err(|error| format!("{error:#}: {complaints}"))?
    );
    Ok(())
}

/// Runs with a fault, and fails unless it is found and reported with one of these words.
fn expect_complaint(
    words: &[&str],
    patience: Duration,
    fault: impl Fn(&Sim) -> Fault,
) -> Result<(), Failed> {
    let sim = Sim::new(1);
    sim.sim.install(fault(&sim));
    let ended = soak(&sim, patience);
    let mut said = complaints().clone();
    said.extend(ended.err().map(|error| format!("{error:#}")));
    let is_wanted = |it: &String| words.iter().any(|word| it.contains(word));
    if said.iter().any(is_wanted) {
        return Ok(());
    }
    Err(format!("no complaint has {words:?}, but {said:?}").into())
}
