//! Every script of calls up to a length, on a level- and on an edge-triggered loop.
#![expect(
    clippy::print_stdout,
    reason = "how much was covered is part of the result"
)]

use evtchn_checks::{Failing, Op, Source, play, shrink};
use evtchn_core::Trigger;

/// Two channels, every call, every kind of failure.
const OPS: [Op; 21] = [
    Op::Bind(0, Source::Interdomain),
    Op::Bind(1, Source::Unbound),
    Op::Unbind(0),
    Op::Drop(1),
    Op::Wait(0),
    Op::Wait(1),
    Op::Cancel(0),
    Op::Signal(0),
    Op::Signal(1),
    Op::Begin(1),
    Op::Next,
    Op::Finish,
    Op::Turn,
    Op::Overflow,
    Op::Teardown,
    Op::Fail(Failing::Reading),
    Op::Fail(Failing::Registering),
    Op::Fail(Failing::Deregistering),
    Op::Fail(Failing::Unmasking),
    Op::Fail(Failing::Binding),
    Op::Fail(Failing::Opening),
];

/// Beyond the two binds and a wait, which begin every script.
const LENGTH: u32 = 4;

#[test]
fn every_short_script_holds() {
    let mut scripts = 0_u64;
    let mut wakes = 0;
    let mut failures = 0;
    for trigger in [Trigger::Level, Trigger::Edge] {
        for number in 0..OPS.len().pow(LENGTH) {
            let script = script(number);
            match play(trigger, &script) {
                Ok(played) => {
                    scripts += 1;
                    wakes += played.wakes;
                    failures += played.failures;
                }
                Err(broken) => {
                    let short = shrink(trigger, &script);
                    panic!("{broken}\n    check(Trigger::{trigger:?}, &{short:?});");
                }
            }
        }
    }
    println!("{scripts} scripts, {wakes} wakes, {failures} failures asked for");
    assert_eq!(scripts, 2 * 21_u64.pow(LENGTH));
    assert!(
        wakes >= 299_545 && failures >= 94_497,
        "the scripts reach less than they did"
    );
}

fn script(mut number: usize) -> Vec<Op> {
    let mut script = vec![OPS[0], OPS[1], Op::Wait(0)];
    for _ in 0..LENGTH {
        script.push(OPS[number % OPS.len()]);
        number /= OPS.len();
    }
    script
}
