//! Long random scripts over thousands of channels, against the model.
//!
//! The state machine draws each step to fit the steps before it, as if none of them had failed:
//! mostly steps for many channels at once, some for a single one. The script is played on a context
//! over the simulator, where the player checks each answer. A failing script is minimized and
//! printed in a form that can be pasted into `tests/regressions.rs`.
#![expect(clippy::panic, reason = "a test ends by panicking")]
#![expect(
    clippy::print_stdout,
    reason = "how much was covered is part of the result"
)]

mod expected;

use std::cell::RefCell;

use evtchn_checks::{Broken, Each, Failing, Op, Played, Seen, Source, Stepped, check_on};
use evtchn_core::{Stats, Trigger};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestError, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use expected::Expected;

/// How many channels a script can hold: as many ports as four reads bring.
const SLOTS: u16 = 4096;
/// At least so many are bound at some time in most scripts: more than fit into a read or a write.
const MANY: u16 = 2000;
/// How many slots the steps for one slot prefer, so that they meet.
const NEAR: u16 = 4;
const STEPS: std::ops::Range<usize> = 10..60;

/// The script: steps on the expected channels.
struct Script<const EDGE: bool>;

impl<const EDGE: bool> ReferenceStateMachine for Script<EDGE> {
    type State = Expected;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Expected> {
        Just(Expected::new()).boxed()
    }

    fn transitions(expected: &Expected) -> BoxedStrategy<Op> {
        if expected.bound == 0 {
            return prop_oneof![8 => first_binds(), 1 => rare(), 1 => Just(Op::Teardown)].boxed();
        }
        let rounds = if expected.in_round {
            inside_a_round().boxed()
        } else {
            outside_of_rounds().boxed()
        };
        prop_oneof![8 => for_many(), 6 => for_one(), 9 => rounds, 3 => rare()].boxed()
    }

    fn preconditions(expected: &Expected, op: &Op) -> bool {
        match op {
            Op::Next | Op::NextMany(_) | Op::Finish | Op::Leave => expected.in_round,
            Op::Begin(_) | Op::Turn | Op::Serve => !expected.in_round,
            Op::Many(..) | Op::Bind(..) | Op::Unbind(_) | Op::Drop(_) | Op::Wait(_) => true,
            Op::WaitEach(_) | Op::Cancel(_) | Op::Block(_) | Op::Await(_) => true,
            Op::Signal(_) | Op::Notify(_) | Op::Storm(..) => true,
            Op::Spurious | Op::Overflow | Op::Teardown => true,
            Op::Fail(_) | Op::FailNth(..) | Op::Short(_) => true,
            // Not drawn.
            Op::Callback(_) | Op::Calls | Op::HandOver => false,
        }
    }

    fn apply(mut expected: Expected, op: &Op) -> Expected {
        match *op {
            Op::Many(each, first, count) => expected.many(each, first, count),
            Op::Bind(slot, source) => expected.each(Each::Binds(source), slot),
            Op::Unbind(slot) => expected.each(Each::Unbinds, slot),
            Op::Drop(slot) => expected.each(Each::Drops, slot),
            Op::Wait(slot) => expected.each(Each::Waits, slot),
            Op::WaitEach(slot) => {
                expected.each(Each::Waits, slot);
                expected.stands(slot);
            }
            Op::Cancel(slot) => expected.each(Each::Cancels, slot),
            Op::Block(slot) | Op::Await(slot) => expected.blocks(slot),
            Op::Signal(slot) | Op::Storm(slot, _) => expected.each(Each::Signals, slot),
            Op::Begin(_) => expected.in_round = true,
            Op::Next | Op::NextMany(_) => expected.some_woke(),
            Op::Finish | Op::Leave => expected.in_round = false,
            Op::Turn => expected.turn(false),
            Op::Serve => expected.turn(true),
            Op::Fail(_) | Op::FailNth(..) | Op::Short(_) => expected.may_fail = true,
            Op::Notify(_) | Op::Spurious | Op::Overflow | Op::Teardown => {}
            Op::Callback(_) | Op::Calls | Op::HandOver => {}
        }
        expected
    }
}

fn source() -> impl Strategy<Value = Source> {
    select(&Source::ALL[..])
}

fn slot() -> impl Strategy<Value = u16> {
    prop_oneof![2 => 0..NEAR, 1 => 0..SLOTS]
}

fn first_binds() -> impl Strategy<Value = Op> {
    (source(), MANY..=SLOTS).prop_map(|(source, count)| Op::Many(Each::Binds(source), 0, count))
}

fn for_many() -> impl Strategy<Value = Op> {
    let each = prop_oneof![
        2 => source().prop_map(Each::Binds),
        1 => Just(Each::Unbinds),
        1 => Just(Each::Drops),
        6 => Just(Each::Waits),
        1 => Just(Each::Cancels),
        6 => Just(Each::Signals),
        1 => Just(Each::Notifies),
    ];
    let first = prop_oneof![Just(0), 0..SLOTS];
    let count = prop_oneof![1 => 1..100_u16, 2 => 1..=SLOTS];
    (each, first, count).prop_map(|(each, first, count)| {
        // Most channels stay bound; a script without channels begins again.
        let ends = matches!(each, Each::Unbinds | Each::Drops) && first > 0;
        Op::Many(each, first, if ends { count / 16 } else { count })
    })
}

fn for_one() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (slot(), source()).prop_map(|(slot, source)| Op::Bind(slot, source)),
        1 => slot().prop_map(Op::Unbind),
        1 => slot().prop_map(Op::Drop),
        3 => slot().prop_map(Op::Wait),
        1 => slot().prop_map(Op::WaitEach),
        1 => slot().prop_map(Op::Cancel),
        2 => slot().prop_map(Op::Block),
        2 => slot().prop_map(Op::Await),
        3 => slot().prop_map(Op::Signal),
        1 => slot().prop_map(Op::Notify),
        1 => (slot(), 2..500_u16).prop_map(|(slot, times)| Op::Storm(slot, times)),
    ]
}

fn inside_a_round() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::Next),
        2 => (1..=SLOTS).prop_map(Op::NextMany),
        2 => Just(Op::Finish),
        1 => Just(Op::Leave),
    ]
}

fn outside_of_rounds() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Turn),
        4 => Just(Op::Serve),
        3 => (0..=SLOTS).prop_map(Op::Begin),
    ]
}

fn rare() -> impl Strategy<Value = Op> {
    let failing = || select(&Failing::ALL[..]);
    let nth = prop_oneof![2..5_u16, 5..MANY];
    prop_oneof![
        4 => Just(Op::Overflow),
        2 => Just(Op::Spurious),
        1 => Just(Op::Teardown),
        4 => failing().prop_map(Op::Fail),
        2 => (failing(), nth).prop_map(|(failing, nth)| Op::FailNth(failing, nth)),
        1 => (0..MANY).prop_map(Op::Short),
    ]
}

/// The context on its machine, and what was last seen of it.
struct Tested {
    player: Stepped,
    seen: Option<Seen>,
}

impl<const EDGE: bool> StateMachineTest for Script<EDGE> {
    type SystemUnderTest = Tested;
    type Reference = Self;

    fn init_test(_: &Expected) -> Tested {
        Tested {
            player: Stepped::new(SLOTS, trigger(EDGE)),
            seen: None,
        }
    }

    /// After a failing step nothing more is checked; `teardown` reports it.
    fn apply(mut tested: Tested, _: &Expected, op: Op) -> Tested {
        tested.seen = tested.player.step(op);
        tested
    }

    fn check_invariants(tested: &Tested, expected: &Expected) {
        let Some(seen) = tested.seen.filter(|_| !expected.may_fail) else {
            return;
        };
        COVERED.with_borrow_mut(|covered| covered.compared += 1);
        assert_eq!(seen.bound, expected.bound, "bound");
        assert!(
            seen.waiting <= expected.waiting,
            "{} wait, but only {} can",
            seen.waiting,
            expected.waiting
        );
    }

    fn teardown(tested: Tested, _: Expected) {
        let played = tested.player.rest();
        COVERED.with_borrow_mut(|covered| match played {
            Ok(played) => covered.add(&played),
            Err(broken) => covered.broken = Some(broken),
        });
    }
}

const fn trigger(edge: bool) -> Trigger {
    if edge { Trigger::Edge } else { Trigger::Level }
}

thread_local! {
    static COVERED: RefCell<Covered> = RefCell::default();
}

/// What all scripts of one test did.
#[derive(Debug, Default)]
struct Covered {
    scripts: u64,
    /// Steps after which as many were bound as expected, and no more waited.
    compared: u64,
    /// Scripts that had [`MANY`] channels bound at once.
    large: u64,
    most_bound: usize,
    wakes: u64,
    latched: u64,
    overflows: u64,
    faults: u64,
    failures: u64,
    /// How the last failing script broke.
    broken: Option<Broken>,
}

impl Covered {
    fn add(&mut self, played: &Played) {
        let Stats {
            latched,
            overflows,
            faults,
            ..
        } = played.stats;
        self.scripts += 1;
        self.large += u64::from(played.most_bound >= usize::from(MANY));
        self.most_bound = self.most_bound.max(played.most_bound);
        self.wakes += played.wakes;
        self.latched += latched;
        self.overflows += overflows;
        self.faults += faults;
        self.failures += played.failures;
    }
}

fn run<const EDGE: bool>() {
    let default = ProptestConfig::default();
    let config = ProptestConfig {
        // Each script is as much work as many small ones; PROPTEST_CASES sets more.
        cases: default.cases.max(256) / 2,
        // What the scripts reach is asserted, so the seed is fixed; PROPTEST_RNG_SEED sets another.
        rng_seed: match default.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            given @ RngSeed::Fixed(_) => given,
        },
        failure_persistence: None,
        // The rest of the shrinking is done below, on the script alone.
        max_shrink_iters: 100,
        ..default
    };
    let scripts = Script::<EDGE>::sequential_strategy(STEPS);
    let result = TestRunner::new(config.clone()).run(&scripts, |(expected, script, seen)| {
        Script::<EDGE>::test_sequential(config.clone(), expected, script, seen);
        match COVERED.with_borrow_mut(|covered| covered.broken.take()) {
            Some(broken) => Err(TestCaseError::fail(broken.to_string())),
            None => Ok(()),
        }
    });
    if let Err(TestError::Fail(why, (_, script, _))) = &result {
        check_on(SLOTS, trigger(EDGE), script);
        panic!(
            "{why}
{script:?}"
        );
    }
    result.unwrap_or_else(|error| panic!("{error}"));
    let covered = COVERED.take();
    println!("{:?}: {covered:?}", trigger(EDGE));
    // About a third of what the scripts usually reach.
    assert!(
        covered.large > covered.scripts / 2
            && covered.compared > covered.scripts * 5
            && covered.wakes > covered.scripts * 700
            && covered.latched > covered.scripts * 500
            && covered.overflows > covered.scripts / 8
            && covered.failures > covered.scripts / 8
            && covered.faults > covered.scripts / 32,
        "the scripts reach less than they did: {covered:?}"
    );
}

#[test]
fn thousands_of_channels_hold_on_a_level_triggered_loop() {
    run::<false>();
}

#[test]
fn thousands_of_channels_hold_on_an_edge_triggered_loop() {
    run::<true>();
}
