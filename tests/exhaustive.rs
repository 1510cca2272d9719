//! Every short script of calls, without a failure and with each possible failure, on a level- and
//! on an edge-triggered loop, each step against the model.
//!
//! A search begins with a script and appends every call to it, then every call to each of the
//! results, up to a depth. Each script on the way is a path: it is played on a machine of its own,
//! brought to rest and torn down.
//!
//! *Failures.* A path records the calls of device and loop that its last step made, and those made
//! while it came to rest. Each of these calls then fails, in each possible way, in a path of its
//! own, which is extended by further calls like the path without the failure. So a path has at most
//! one failure (a failing bind: the next one of each kind), at a call that is really made; a
//! failure that no call would meet is never set.
//!
//! *Left out* is a step that does nothing, such as an unbind of an empty slot
//! ([`Player::is_idle`](evtchn_checks::Player::is_idle)). The player skips it before it calls
//! anything, so the script without it, which is a path too and has more steps left, does the same.
//! Nothing else is left out: states that look the same from outside may differ inside.
//!
//! *States* differ if [`Player::state`](evtchn_checks::Player::state), all that can be observed,
//! differs; a transition is a state, the step, with its failure, and the state after it.
#![expect(
    clippy::print_stdout,
    reason = "how much was covered is part of the result"
)]

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use evtchn_checks::{Failing, Moment, Op, SLOTS, Source, check, play_seen};
use evtchn_core::Trigger;
use evtchn_sim::Call;

/// Every call on two channels. The deep search uses the first ones.
const CALLS: [Op; 29] = [
    Op::Bind(0, Source::Interdomain),
    Op::Bind(1, Source::Unbound),
    Op::Unbind(0),
    Op::Drop(1),
    Op::Wait(0),
    Op::Wait(1),
    Op::Cancel(0),
    Op::Block(0),
    Op::Signal(0),
    Op::Signal(1),
    Op::Notify(1),
    Op::Begin(1),
    Op::Next,
    Op::Finish,
    Op::Leave,
    Op::Turn,
    Op::Serve,
    Op::Spurious,
    Op::Overflow,
    Op::Teardown,
    // Those that differ least from a call above.
    Op::Bind(1, Source::Virq),
    Op::Unbind(1),
    Op::Drop(0),
    Op::Cancel(1),
    Op::Block(1),
    Op::Notify(0),
    Op::Begin(2),
    Op::Await(0),
    Op::WaitEach(0),
];

/// Starts with nothing bound.
const WIDE: Plan = Plan {
    begin: &[],
    calls: 29,
    steps: 4,
    fewer_with_failure: 0,
};

/// Starts with two bound channels, one with a wait.
const DEEP: Plan = Plan {
    begin: &[CALLS[0], CALLS[1], Op::Wait(0)],
    calls: 20,
    steps: 4,
    fewer_with_failure: 1,
};

/// Starts with a channel that has a wait for each wake.
const WAITING_FOR_EACH: Plan = Plan {
    begin: &[CALLS[0], CALLS[1], Op::WaitEach(0)],
    calls: 20,
    steps: 3,
    fewer_with_failure: 0,
};

/// Starts with two channels that wait and have fired.
const FIRED: Plan = Plan {
    begin: &[CALLS[0], CALLS[1], Op::Wait(0), Op::Wait(1), Op::Signal(1)],
    calls: 20,
    steps: 3,
    fewer_with_failure: 0,
};

struct Plan {
    begin: &'static [Op],
    /// How many of [`CALLS`].
    calls: usize,
    steps: usize,
    fewer_with_failure: usize,
}

/// How much the search reached.
#[derive(Debug, PartialEq, Eq)]
struct Reached {
    paths: usize,
    states: usize,
    transitions: usize,
    wakes: u64,
}

struct Search {
    trigger: Trigger,
    plan: Plan,
    script: Vec<Op>,
    paths: usize,
    states: HashSet<u64>,
    transitions: HashSet<u64>,
    wakes: u64,
    failed: HashSet<Failing>,
}

/// The result of a path.
#[derive(Default)]
struct Path {
    state: u64,
    /// The calls that its last step made.
    calls: Vec<Call>,
    /// The calls that were made until it was torn down.
    at_rest: Vec<Call>,
    /// The calls that can follow.
    next: Vec<Op>,
}

impl Search {
    fn play(&mut self) -> Path {
        self.paths += 1;
        let mut path = Path::default();
        let script = &self.script;
        let calls = &CALLS[..self.plan.calls];
        let played = play_seen(
            SLOTS,
            self.trigger,
            script.iter().copied(),
            |moment, player| {
                if moment == Moment::Rest {
                    path.at_rest = player.calls();
                } else if moment == Moment::Steps(script.len()) {
                    path.state = player.state();
                    path.calls = player.calls();
                    let next = calls.iter().filter(|op| !player.is_idle(**op));
                    path.next = next.copied().collect();
                }
            },
        );
        match played {
            Ok(played) => self.wakes += played.wakes,
            Err(_) => check(self.trigger, script),
        }
        path
    }

    /// Plays the script, whose steps from `last` on are new, and every extension of it by at most
    /// `left` steps.
    fn visit(&mut self, before: u64, last: usize, left: usize, may_fail: bool) {
        let path = self.play();
        self.states.insert(path.state);
        let mut transition = DefaultHasher::new();
        (before, &self.script[last..], path.state).hash(&mut transition);
        self.transitions.insert(transition.finish());
        let left_failing = left.checked_sub(self.plan.fewer_with_failure);
        if let Some(left) = left_failing.filter(|_| may_fail) {
            for failure in self.failures(&path.calls) {
                self.script.insert(last, failure);
                self.visit(before, last, left, false);
                self.script.remove(last);
            }
            for failure in self.failures(&path.at_rest) {
                self.script.push(failure);
                self.play();
                self.script.pop();
            }
        }
        if left == 0 {
            return;
        }
        for op in path.next {
            self.script.push(op);
            self.visit(path.state, self.script.len() - 1, left - 1, may_fail);
            self.script.pop();
        }
    }

    /// The ways in which one of these calls can fail.
    fn failures(&mut self, calls: &[Call]) -> Vec<Op> {
        let mut failures = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            let nth = 1 + calls[..index].iter().filter(|made| *made == call).count();
            for failing in Failing::of(*call) {
                self.failed.insert(failing);
                failures.push(match u16::try_from(nth) {
                    Ok(1) => Op::Fail(failing),
                    nth => Op::FailNth(failing, nth.unwrap_or(u16::MAX)),
                });
            }
        }
        failures
    }
}

/// Runs every search, and asserts that it reaches no less than this.
fn search(trigger: Trigger, least: &Reached) {
    let mut search = Search {
        trigger,
        plan: WIDE,
        script: Vec::new(),
        paths: 0,
        states: HashSet::new(),
        transitions: HashSet::new(),
        wakes: 0,
        failed: HashSet::new(),
    };
    for plan in [WIDE, DEEP, FIRED, WAITING_FOR_EACH] {
        search.script = plan.begin.to_vec();
        search.plan = plan;
        let steps = search.plan.steps;
        search.visit(0, search.script.len(), steps, true);
    }
    let reached = Reached {
        paths: search.paths,
        states: search.states.len(),
        transitions: search.transitions.len(),
        wakes: search.wakes,
    };
    println!("{trigger:?}: {reached:?}");
    assert!(
        reached.paths >= least.paths
            && reached.states >= least.states
            && reached.transitions >= least.transitions
            && reached.wakes >= least.wakes,
        "{reached:?} is less than {least:?}"
    );
    assert_eq!(
        search.failed.len(),
        Failing::ALL.len(),
        "{:?}",
        search.failed
    );
}

#[test]
fn every_short_script_holds_on_a_level_triggered_loop() {
    let least = Reached {
        paths: 202_555,
        states: 1_724,
        transitions: 10_728,
        wakes: 130_944,
    };
    search(Trigger::Level, &least);
}

#[test]
fn every_short_script_holds_on_an_edge_triggered_loop() {
    let least = Reached {
        paths: 213_578,
        states: 1_742,
        transitions: 11_051,
        wakes: 147_045,
    };
    search(Trigger::Edge, &least);
}
