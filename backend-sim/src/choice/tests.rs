//! Each source of decisions, and the runs through all of them.

use super::*;

#[test]
fn splitmix64_gives_the_published_sequence() {
    let mut state = 1_234_567;
    let drawn: Vec<u64> = (0..3).map(|_| splitmix64(&mut state)).collect();
    let expected = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
    ];
    assert_eq!(drawn, expected);
}

#[test]
fn same_seed_same_decisions_and_every_way_is_taken() {
    let draw = |seed| {
        let mut choice = Choice::seeded(seed);
        (0..200).map(|_| choice.of(7)).collect::<Vec<_>>()
    };
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
    assert!((0..7).all(|way| draw(3).contains(&way)));
}

#[test]
fn a_script_is_taken_modulo_the_ways_and_ends_in_first_ways() {
    let mut choice = Choice::scripted([1, 7, 9]);
    assert_eq!([choice.of(2), choice.of(5), choice.of(3)], [1, 2, 0]);
    assert_eq!([choice.of(9), choice.of(9)], [0, 0]);
    assert_eq!(choice.asked(), 5);
}

#[test]
fn a_decision_with_one_way_is_not_counted() {
    let mut choice = Choice::scripted([1]);
    assert_eq!([choice.of(0), choice.of(1)], [0, 0]);
    assert!(choice.flip());
    assert_eq!(choice.asked(), 1);
}

#[test]
fn a_decision_takes_one_byte_or_more_where_it_has_more_ways() {
    let mut choice = Choice::bytes([5, 1, 0x34, 0x12, 7]);
    assert_eq!([choice.of(4), choice.of(256)], [1, 1]);
    assert_eq!(choice.of(0x2000), 0x1234);
    assert_eq!([choice.of(9), choice.of(9)], [7, 0], "then the first way");
}

#[test]
fn recorded_decisions_replay_as_a_script() {
    let (mut choice, taken) = Choice::seeded(5).recorded();
    let mut clone = choice.clone();
    let ways = [2, 9, 1, 300, 4];
    let drawn = ways.map(|ways| choice.of(ways));
    let mut again = Choice::scripted(taken.script());
    assert_eq!(ways.map(|ways| again.of(ways)), drawn);
    assert_eq!(taken.script().len(), 4, "one way is no decision");
    clone.flip();
    assert_eq!(taken.script().len(), 5);
}

#[test]
fn once_in_answers_no_on_the_first_way() {
    let mut choice = Choice::scripted([0, 1, 2, 3]);
    assert_eq!(
        [(); 4].map(|()| choice.once_in(3)),
        [false, false, true, false]
    );
    assert!(choice.once_in(0) && choice.once_in(1));
    assert_eq!(choice.asked(), 4);
}

/// Questions that depend on the answers: every leaf of the tree, in its order.
#[test]
fn exhaustive_takes_every_path_once_in_order() {
    let mut seen = Vec::new();
    let explored = Choice::exhaustive(100, |mut choice| {
        let first = choice.of(3);
        let mut path = vec![first];
        for _ in 0..first {
            // A clone goes on in the same run.
            path.push(choice.clone().of(2));
        }
        seen.push(path);
    });
    assert_eq!((explored.runs, explored.complete), (7, true));
    assert_eq!(
        seen,
        [
            vec![0],
            vec![1, 0],
            vec![1, 1],
            vec![2, 0, 0],
            vec![2, 0, 1],
            vec![2, 1, 0],
            vec![2, 1, 1],
        ]
    );
}

#[test]
fn exhaustive_stops_at_its_bound_and_reports_whether_it_was_complete() {
    let tour = |bound| {
        let explored = Choice::exhaustive(bound, |mut choice| {
            let _ = (choice.flip(), choice.flip());
        });
        (explored.runs, explored.complete)
    };
    assert_eq!(
        [tour(0), tour(3), tour(4), tour(5)],
        [(0, false), (3, false), (4, true), (4, true)]
    );
}

#[test]
#[should_panic(expected = "with the decisions [1, 0, 1]")]
fn a_panic_of_a_scenario_names_the_script_of_its_run() {
    let _ = Choice::exhaustive(100, |mut choice| {
        let taken = [choice.flip(), choice.flip(), choice.flip()];
        assert!(taken != [true, false, true], "the one bad run");
    });
}

#[test]
#[should_panic(expected = "not the same each time")]
fn a_scenario_that_asks_something_else_when_repeated_panics() {
    let mut run = 0;
    let _ = Choice::exhaustive(100, |mut choice| {
        run += 1;
        choice.of(1 + run);
        choice.flip();
    });
}
