use super::*;
use crate::op::Failing;
use crate::player::Faults;

const STEPS: u64 = 150_000;

fn explored(seed: u64, threads: usize, most: u64) -> State {
    let scenarios: Vec<Scenario> = Scenario::all().collect();
    let mut state = State::new(seed, &scenarios);
    go_on(&mut state, threads, most);
    state
}

fn go_on(state: &mut State, threads: usize, most: u64) {
    let failure = explore(state, threads, Some(most), &|| false, &|_| (), &|hang| {
        panic!("{hang:?}");
    });
    let failure = failure.unwrap();
    if let Some(failure) = failure {
        let short = failure.script.shortest();
        panic!(
            "{}: {}\n{short}{:?}",
            failure.scenario,
            failure.broken,
            short.play()
        );
    }
}

#[test]
fn every_cell_that_can_be_reached_is_reached_and_no_other() {
    // `leftovers` reaches the cells that chance reaches too rarely.
    let names = [
        "faults",
        "hand-overs",
        "leftovers",
        "leftovers",
        "leftovers",
    ];
    let scenarios = names.map(|name| name.parse().unwrap());
    let mut state = State::new(1, &scenarios);
    go_on(&mut state, 2, 2 * STEPS);
    let is_wrong = |(cell, met): &(Cell, Met)| cell.unreachable().is_none() == (met.steps == 0);
    let wrong: Vec<_> = state.coverage.iter().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(state.coverage.reached(), [(78, 78), (16, 16)]);
}

#[test]
fn every_fault_happens() {
    let state = explored(2, 2, STEPS);
    let faults = state.coverage.iter().map(|(_, met)| met.faults);
    let all = faults.fold(Faults::NONE, Faults::and);
    // A notify meets no cell.
    let notify = Faults::of(Failing::Notifying);
    assert_eq!(all.and(notify), Faults::from_bits(u16::MAX));
    assert_eq!(all.bits() & notify.bits(), 0);
}

#[test]
fn a_run_has_the_same_result_on_any_number_of_threads() {
    assert_eq!(explored(3, 1, 20_000), explored(3, 3, 20_000));
    assert_ne!(explored(3, 1, 20_000), explored(4, 1, 20_000));
}

#[test]
fn a_run_that_was_stopped_and_continued_has_the_same_result() {
    let whole = explored(5, 1, 30_000);
    let first = explored(5, 2, 10_000);
    let mut state = State::from_text(&first.to_text().unwrap()).unwrap();
    assert_eq!(state, first);
    let left = 30_000 - state.steps;
    go_on(&mut state, 2, left);
    assert_eq!(state, whole);
}

#[test]
fn each_scenario_hands_out_wakes() {
    for scenario in Scenario::all() {
        let mut state = State::new(6, &[scenario]);
        go_on(&mut state, 1, 3_000);
        assert!(state.wakes > 30, "{scenario}: {state:?}");
        assert_eq!(scenario.name().parse(), Ok(scenario));
        assert_eq!(scenario.script(7), scenario.script(7));
        assert_ne!(scenario.script(7), scenario.script(8));
    }
}

#[test]
fn a_state_that_is_damaged_or_of_another_version_is_refused() {
    let text = explored(7, 1, 1_000).to_text().unwrap();
    assert!(State::from_text(&text).is_ok());
    let refused = |text: &str| State::from_text(text).unwrap_err().to_string();
    let seed = text.replacen("\"seed\":7", "\"seed\":8", 1);
    for damaged in [&text[..text.len() / 2], "", "{}", &seed] {
        let error = refused(damaged);
        assert!(error.contains("damaged"), "{error}");
    }
    let version = text.replacen("\"version\":2", "\"version\":9", 1);
    assert!(refused(&version).contains("version 9"));
}
