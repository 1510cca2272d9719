//! What the library costs in instructions, on the simulator, where a count has no noise:
//! `cargo bench -p evtchn --bench instructions`. It needs valgrind.
//!
//! Each case runs in a process of its own under callgrind, once with few rounds and once with many;
//! the difference is what the rounds cost. The counts are compared with those of `counts.txt`, and
//! with bounds that do not depend on them. `-- --bless` rewrites that file.
//!
//! Three other loops on the same device are measured too: one written by hand, which is the limit,
//! and two with the data structures of other libraries, a linear list of waiters and a hash map of
//! them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints, and may end by panicking"
)]

mod cases;
mod peers;
mod valgrind;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use cases::{CASES, Case};

const COUNTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/instructions/counts.txt"
);
/// How far a count may be from the one in the file, in percent.
const TOLERANCE: f64 = 2.0;

/// Instructions per event, or per operation, by case and number of waiters.
type Counts = BTreeMap<(String, usize), f64>;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, name, waiters, rounds] = &args[..]
        && flag == "--case"
    {
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        (case.run)(waiters.parse().unwrap(), rounds.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let counts = measure();
    if args == ["--bless"] {
        fs::write(COUNTS, text(&counts)).unwrap();
    }
    let kept = parse(&fs::read_to_string(COUNTS).unwrap_or_default());
    let mut complaints = compare(&counts, &kept);
    complaints.extend(check(&counts));
    for complaint in &complaints {
        println!("FAILED: {complaint}");
    }
    if complaints.is_empty() {
        println!("all counts as they were, within {TOLERANCE} %, and within their bounds");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// Runs every case, as many at a time as there are processors, and prints what it costs.
fn measure() -> Counts {
    let runs: Vec<_> = CASES
        .iter()
        .flat_map(|case| case.waiters.iter().map(move |waiters| (case, *waiters)))
        .collect();
    let counts = Mutex::new(Counts::new());
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((case, waiters)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let count = cost(case, *waiters);
            let key = (case.name.to_owned(), *waiters);
            counts.lock().unwrap().insert(key, count);
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    let counts = counts.into_inner().unwrap();
    for (case, waiters) in runs {
        let name = case.name;
        let count = counts[&(name.to_owned(), waiters)];
        println!("{name:>24} {waiters:>6} {count:>10.1}");
    }
    counts
}

/// What one event or operation costs.
fn cost(case: &Case, waiters: usize) -> f64 {
    let rounds = (case.rounds)(waiters);
    let [few, many] = rounds.map(|rounds| valgrind::count(case.name, waiters, rounds));
    let units = (case.units)(waiters) * (rounds[1] - rounds[0]);
    (many - few) as f64 / units as f64
}

/// What differs from the file.
fn compare(counts: &Counts, kept: &Counts) -> Vec<String> {
    let mut complaints = Vec::new();
    for ((name, waiters), count) in counts {
        let Some(before) = kept.get(&(name.clone(), *waiters)) else {
            complaints.push(format!("{name} {waiters} is not in counts.txt"));
            continue;
        };
        let change = (count / before - 1.0) * 100.0;
        if change.abs() > TOLERANCE {
            complaints.push(format!(
                "{name} {waiters}: {count:.1} instructions, {change:+.1} % of {before:.1}"
            ));
        }
    }
    complaints
}

/// What breaks a bound.
fn check(counts: &Counts) -> Vec<String> {
    let of = |name: &str, waiters: usize| counts[&(name.to_owned(), waiters)];
    let bounds = [
        (
            "an event among 65,536 waiters costs at most 1.1 times one among 16",
            of("values", 65_536) / of("values", 16),
            1.1,
        ),
        (
            "a callback among 65,536 waiters costs at most 1.1 times one among 16",
            of("callbacks", 65_536) / of("callbacks", 16),
            1.1,
        ),
        (
            "a bind costs with 10,000 ports at most 1.05 times what it costs with 1,000",
            of("bind", 10_000) / of("bind", 1_000),
            1.05,
        ),
        (
            "a port costs in the teardown of 10,000 at most 1.05 times what it costs in that of 1,000",
            of("tear down", 10_000) / of("tear down", 1_000),
            1.05,
        ),
        (
            "wait and cancel beside another waiter cost at most 300 instructions",
            of("wait and cancel", 2),
            300.0,
        ),
    ];
    let broken = bounds.iter().filter(|(_, count, most)| count > most);
    broken
        .map(|(bound, count, most)| format!("{bound}: {count:.2} > {most}"))
        .collect()
}

fn text(counts: &Counts) -> String {
    let line = |((name, waiters), count): (&(String, usize), &f64)| {
        format!("{waiters:>6} {count:>10.1} {name}\n")
    };
    counts.iter().map(line).collect()
}

fn parse(text: &str) -> Counts {
    let line = |line: &str| {
        let (waiters, rest) = line.trim().split_once(' ')?;
        let (count, name) = rest.trim().split_once(' ')?;
        Some((
            (name.to_owned(), waiters.parse().ok()?),
            count.parse().ok()?,
        ))
    };
    text.lines().filter_map(line).collect()
}
