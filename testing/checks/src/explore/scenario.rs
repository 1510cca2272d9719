//! Kinds of scripts. Each kind is a recipe from which scripts are drawn.

use std::fmt;
use std::str::FromStr;

use evtchn_core::Trigger;
use evtchn_sim::Choice;

use crate::op::{Each, Failing, Op, Source};
use crate::trace::Script;

/// A kind of scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario(&'static Recipe);

#[derive(Debug, PartialEq, Eq)]
struct Recipe {
    name: &'static str,
    about: &'static str,
    slots: u16,
    steps: usize,
    /// Drawn where there is none.
    trigger: Option<Trigger>,
    /// The steps that are drawn, with their weights.
    draws: &'static [(Draw, u8)],
    /// Beginnings of scripts that chance would lead to too rarely.
    openings: &'static [&'static [Op]],
}

/// The kinds of steps that can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draw {
    Bind,
    End,
    Wait,
    WaitEach,
    Cancel,
    Signal,
    Notify,
    Round,
    /// A round of which one wake is taken and the rest is left.
    Brief,
    Turn,
    Spurious,
    Overflow,
    Fail,
    Block,
    Await,
    Many,
    Storm,
    Callback,
    Calls,
    HandOver,
    Teardown,
}

const ROUNDS: &[(Draw, u8)] = &[
    (Draw::Bind, 6),
    (Draw::End, 3),
    (Draw::Wait, 14),
    (Draw::WaitEach, 3),
    (Draw::Cancel, 4),
    (Draw::Signal, 14),
    (Draw::Notify, 2),
    (Draw::Round, 18),
    (Draw::Turn, 8),
    (Draw::Spurious, 2),
    (Draw::Overflow, 2),
    (Draw::Fail, 3),
    (Draw::Teardown, 1),
];

/// The first wake is taken and two are left in the queue. The wake of the second channel is then taken
/// before its turn, so its entry in the queue is out of date.
macro_rules! left {
    ($($then:expr),* $(,)?) => {
        &[
            Op::Bind(0, Source::Interdomain),
            Op::Bind(1, Source::Interdomain),
            Op::Bind(2, Source::Interdomain),
            Op::Many(Each::Waits, 0, 3),
            Op::Begin(1),
            Op::Next,
            Op::Leave,
            $($then),*
        ]
    };
}

/// Out-of-date entries of the queue, each found in another state of its port.
const LEFTOVERS: &[&[Op]] = &[
    // Waited on again in the round: to be unmasked.
    left![
        Op::Begin(9),
        Op::Cancel(1),
        Op::Block(1),
        Op::Wait(1),
        Op::Next
    ],
    // Still to be unmasked, because the write failed; it has no callback in the round of callbacks.
    left![
        Op::Begin(9),
        Op::Cancel(1),
        Op::Block(1),
        Op::Wait(1),
        Op::Fail(Failing::Unmasking),
        Op::Leave,
        Op::Calls,
    ],
    // Unmasked, and the wait was cancelled.
    left![
        Op::Cancel(1),
        Op::Block(1),
        Op::Wait(1),
        Op::Cancel(1),
        Op::Calls
    ],
    left![
        Op::Cancel(1),
        Op::Block(1),
        Op::Wait(1),
        Op::Cancel(1),
        Op::Begin(9),
        Op::Next
    ],
    // Adopted, and queued for a callback that was removed.
    &[
        Op::Bind(0, Source::Interdomain),
        Op::Bind(1, Source::Interdomain),
        Op::HandOver,
        Op::Callback(0),
        Op::Callback(1),
        Op::Wait(0),
        Op::Wait(1),
        Op::Cancel(0),
        Op::Callback(0),
        Op::Calls,
    ],
];

const SCENARIOS: &[Recipe] = &[
    Recipe {
        name: "plain",
        about: "all kinds of steps on a few channels",
        slots: 3,
        steps: 160,
        trigger: None,
        draws: &[
            (Draw::Bind, 6),
            (Draw::End, 3),
            (Draw::Wait, 12),
            (Draw::WaitEach, 3),
            (Draw::Cancel, 4),
            (Draw::Signal, 12),
            (Draw::Notify, 2),
            (Draw::Round, 16),
            (Draw::Turn, 6),
            (Draw::Spurious, 1),
            (Draw::Overflow, 2),
            (Draw::Fail, 3),
            (Draw::Block, 2),
            (Draw::Await, 2),
            (Draw::Callback, 2),
            (Draw::Calls, 3),
            (Draw::HandOver, 1),
            (Draw::Teardown, 1),
        ],
        openings: &[],
    },
    Recipe {
        name: "storms",
        about: "peers that notify many times in a row, rings that overflow, small budgets",
        slots: 8,
        steps: 200,
        trigger: None,
        draws: &[
            (Draw::Bind, 6),
            (Draw::End, 2),
            (Draw::Wait, 14),
            (Draw::WaitEach, 3),
            (Draw::Cancel, 4),
            (Draw::Storm, 10),
            (Draw::Overflow, 6),
            (Draw::Round, 24),
            (Draw::Turn, 6),
            (Draw::Calls, 2),
            (Draw::Callback, 1),
        ],
        openings: &[],
    },
    Recipe {
        name: "faults",
        about: "calls of the device and of the loop that fail",
        slots: 4,
        steps: 200,
        trigger: None,
        draws: &[
            (Draw::Bind, 8),
            (Draw::End, 4),
            (Draw::Wait, 10),
            (Draw::WaitEach, 2),
            (Draw::Cancel, 5),
            (Draw::Signal, 10),
            (Draw::Notify, 3),
            (Draw::Round, 14),
            (Draw::Turn, 6),
            (Draw::Overflow, 4),
            (Draw::Fail, 16),
            (Draw::Block, 3),
            (Draw::Await, 3),
            (Draw::Callback, 2),
            (Draw::Calls, 3),
            (Draw::HandOver, 2),
            (Draw::Teardown, 1),
        ],
        openings: &[],
    },
    Recipe {
        name: "many",
        about: "hundreds of channels, and steps for many of them",
        slots: 300,
        steps: 120,
        trigger: None,
        draws: &[
            (Draw::Many, 20),
            (Draw::Wait, 6),
            (Draw::WaitEach, 1),
            (Draw::Signal, 6),
            (Draw::Round, 16),
            (Draw::Turn, 4),
            (Draw::Overflow, 2),
            (Draw::Fail, 2),
        ],
        openings: &[],
    },
    Recipe {
        name: "edge",
        about: "an edge-triggered loop, rounds that end early",
        slots: 4,
        steps: 200,
        trigger: Some(Trigger::Edge),
        draws: ROUNDS,
        openings: &[],
    },
    Recipe {
        name: "level",
        about: "a level-triggered loop, rounds that end early",
        slots: 4,
        steps: 200,
        trigger: Some(Trigger::Level),
        draws: ROUNDS,
        openings: &[],
    },
    Recipe {
        name: "threads-free",
        about: "rounds and callbacks alone: no step blocks a thread, no task waits",
        slots: 4,
        steps: 200,
        trigger: None,
        draws: &[
            (Draw::Bind, 6),
            (Draw::End, 3),
            (Draw::Wait, 14),
            (Draw::WaitEach, 3),
            (Draw::Cancel, 7),
            (Draw::Signal, 14),
            (Draw::Round, 16),
            (Draw::Turn, 4),
            (Draw::Overflow, 3),
            (Draw::Callback, 5),
            (Draw::Calls, 8),
        ],
        openings: &[],
    },
    Recipe {
        name: "sleepers",
        about: "threads that block and tasks that wait, beside rounds",
        slots: 4,
        steps: 200,
        trigger: None,
        draws: &[
            (Draw::Bind, 6),
            (Draw::End, 3),
            (Draw::Wait, 6),
            (Draw::WaitEach, 1),
            (Draw::Cancel, 4),
            (Draw::Signal, 14),
            (Draw::Round, 6),
            (Draw::Turn, 6),
            (Draw::Overflow, 3),
            (Draw::Fail, 2),
            (Draw::Block, 14),
            (Draw::Await, 14),
            (Draw::Calls, 2),
        ],
        openings: &[],
    },
    Recipe {
        name: "hand-overs",
        about: "contexts that hand over to others",
        slots: 5,
        steps: 200,
        trigger: None,
        draws: &[
            (Draw::Bind, 8),
            (Draw::End, 3),
            (Draw::Wait, 14),
            (Draw::WaitEach, 3),
            (Draw::Cancel, 8),
            (Draw::Signal, 12),
            (Draw::Brief, 16),
            (Draw::Turn, 2),
            (Draw::Overflow, 3),
            (Draw::Fail, 1),
            (Draw::Await, 3),
            (Draw::Callback, 8),
            (Draw::Calls, 6),
            (Draw::HandOver, 6),
        ],
        openings: &[],
    },
    Recipe {
        name: "leftovers",
        about: "rounds that leave wakes in the queue whose waits then end",
        slots: 4,
        steps: 200,
        trigger: None,
        draws: &[
            (Draw::Bind, 8),
            (Draw::Wait, 24),
            (Draw::WaitEach, 6),
            (Draw::Cancel, 14),
            (Draw::Signal, 18),
            (Draw::Brief, 20),
            (Draw::Overflow, 3),
            (Draw::Callback, 2),
            (Draw::Calls, 10),
            (Draw::HandOver, 1),
        ],
        openings: LEFTOVERS,
    },
];

impl Scenario {
    /// All of them.
    pub fn all() -> impl ExactSizeIterator<Item = Scenario> {
        SCENARIOS.iter().map(Scenario)
    }

    /// The name by which it is chosen.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// What its scripts are like.
    #[must_use]
    pub const fn about(self) -> &'static str {
        self.0.about
    }

    /// The script of this seed.
    #[must_use]
    pub fn script(self, seed: u64) -> Script {
        let mut choice = Choice::seeded(seed);
        let recipe = self.0;
        let trigger = recipe.trigger.unwrap_or_else(|| {
            if choice.flip() {
                Trigger::Edge
            } else {
                Trigger::Level
            }
        });
        let sum = recipe.draws.iter().map(|(_, often)| usize::from(*often));
        let sum = sum.sum();
        let mut steps = Vec::with_capacity(recipe.steps);
        let openings = recipe.openings;
        if !openings.is_empty() {
            let opening = openings.get(choice.of(openings.len() + 1));
            steps.extend_from_slice(opening.copied().unwrap_or_default());
        }
        while steps.len() < recipe.steps {
            steps.push(draw(recipe, sum, &mut choice));
        }
        Script::new(recipe.slots, trigger, steps)
    }
}

fn draw(recipe: &Recipe, sum: usize, choice: &mut Choice) -> Op {
    let mut drawn = choice.of(sum);
    let found = recipe.draws.iter().find(|(_, often)| {
        let often = usize::from(*often);
        let is_it = drawn < often;
        drawn = drawn.saturating_sub(often);
        is_it
    });
    let draw = found.map_or(Draw::Turn, |(draw, _)| *draw);
    let slot = number(choice, recipe.slots);
    match draw {
        Draw::Bind => Op::Bind(slot, one_of(choice, &Source::ALL)),
        Draw::End if choice.flip() => Op::Drop(slot),
        Draw::End => Op::Unbind(slot),
        Draw::Wait => Op::Wait(slot),
        Draw::WaitEach => Op::WaitEach(slot),
        Draw::Cancel => Op::Cancel(slot),
        Draw::Signal => Op::Signal(slot),
        Draw::Notify => Op::Notify(slot),
        Draw::Round => match choice.of(8) {
            0 | 1 => Op::Begin(1 + number(choice, 8)),
            2 => Op::Begin(u16::MAX),
            3 | 4 => Op::Next,
            5 => Op::NextMany(1 + number(choice, 8)),
            6 => Op::Finish,
            _ => Op::Leave,
        },
        Draw::Brief => one_of(choice, &[Op::Begin(1), Op::Next, Op::Leave]),
        Draw::Turn if choice.flip() => Op::Serve,
        Draw::Turn => Op::Turn,
        Draw::Spurious => Op::Spurious,
        Draw::Overflow => Op::Overflow,
        Draw::Fail => match (one_of(choice, &Failing::ALL), choice.of(4)) {
            (Failing::ShortUnmask, ports) => Op::Short(u16::try_from(ports).unwrap_or(1)),
            (failing, 0) => Op::FailNth(failing, 2 + number(choice, 3)),
            (failing, _) => Op::Fail(failing),
        },
        Draw::Block => Op::Block(slot),
        Draw::Await => Op::Await(slot),
        Draw::Many => {
            let each = match choice.of(8) {
                0 | 1 => Each::Binds(one_of(choice, &Source::ALL)),
                2 => Each::Drops,
                3 | 4 => Each::Waits,
                5 => Each::Cancels,
                _ => Each::Signals,
            };
            Op::Many(each, slot, 1 + number(choice, recipe.slots / 3))
        }
        Draw::Storm => Op::Storm(slot, 1 + number(choice, 40)),
        Draw::Callback => Op::Callback(slot),
        Draw::Calls => Op::Calls,
        Draw::HandOver => Op::HandOver,
        Draw::Teardown => Op::Teardown,
    }
}

fn number(choice: &mut Choice, below: u16) -> u16 {
    u16::try_from(choice.of(below.into())).unwrap_or(0)
}

fn one_of<T: Copy>(choice: &mut Choice, all: &[T]) -> T {
    all[choice.of(all.len())]
}

/// There is no scenario of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no scenario {0:?}")]
pub struct NoScenario(String);

impl FromStr for Scenario {
    type Err = NoScenario;

    fn from_str(name: &str) -> Result<Scenario, NoScenario> {
        let found = Scenario::all().find(|scenario| scenario.name() == name);
        found.ok_or_else(|| NoScenario(name.to_owned()))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
