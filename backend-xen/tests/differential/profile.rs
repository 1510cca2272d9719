//! What an episode is about: how often each kind of step comes, and how many ports there may be.

use evtchn_sim::Choice;

use crate::op::Kind;

/// The weight of each kind, in the order of [`Kind::ALL`].
type Weights = [usize; Kind::ALL.len()];

#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    /// The fewest and the most steps.
    pub(crate) steps: [usize; 2],
    weights: Weights,
    /// How many ports are bound at once.
    pub(crate) most_ports: usize,
    /// How many binds come first, all of the ports of one file.
    pub(crate) first_binds: usize,
    /// In how many of eight steps the first file is used.
    pub(crate) focus: usize,
    /// Whether reads are mostly small.
    pub(crate) small_reads: bool,
    /// Whether there are bursts of events that are not read.
    pub(crate) bursts: bool,
}

/// Some of everything.
const MIXED: Profile = Profile {
    steps: [150, 400],
    weights: [4, 3, 3, 5, 12, 10, 3, 8, 24, 3, 2, 3, 15, 25],
    most_ports: 12,
    first_binds: 0,
    focus: 2,
    small_reads: false,
    bursts: false,
};

/// Port numbers change their owners all the time.
const CHURN: Profile = Profile {
    weights: [4, 3, 3, 6, 22, 16, 3, 24, 8, 3, 1, 3, 9, 8],
    ..MIXED
};

/// Few ports, and now and then one that fires over and over unread, so that the ring overflows.
const OVERFLOW: Profile = Profile {
    steps: [400, 700],
    weights: [2, 3, 2, 2, 10, 9, 2, 6, 23, 2, 1, 2, 28, 29],
    focus: 5,
    small_reads: true,
    bursts: true,
    ..MIXED
};

/// Files that are restricted, opened and closed often.
const RESTRICTED: Profile = Profile {
    weights: [8, 3, 9, 11, 28, 9, 3, 5, 10, 3, 15, 3, 8, 9],
    ..MIXED
};

/// More ports than a first ring has entries.
const CROWDED: Profile = Profile {
    steps: [300, 450],
    weights: [1, 1, 1, 2, 34, 30, 1, 4, 16, 1, 0, 1, 3, 5],
    most_ports: 300,
    focus: 5,
    small_reads: true,
    ..MIXED
};

/// More ports than one read brings, and than the first page of the kernel's table.
const HUGE: Profile = Profile {
    steps: [2300, 2500],
    weights: [0, 1, 0, 1, 8, 6, 1, 22, 24, 1, 0, 1, 14, 14],
    most_ports: 2100,
    first_binds: 2070,
    focus: 6,
    ..MIXED
};

/// How many episodes it takes until a huge one comes.
const HUGE_EVERY: u64 = 60;

impl Profile {
    /// The profile of an episode.
    pub(crate) fn of(episode: u64, choice: &mut Choice) -> Profile {
        if episode % HUGE_EVERY == HUGE_EVERY / 2 {
            return HUGE;
        }
        match choice.of(20) {
            0..=4 => MIXED,
            5..=7 => CHURN,
            8..=12 => OVERFLOW,
            13..=17 => RESTRICTED,
            _ => CROWDED,
        }
    }

    /// Draws a kind of step.
    pub(crate) fn kind(&self, choice: &mut Choice) -> Kind {
        let mut drawn = choice.of(self.weights.iter().sum());
        for (kind, weight) in Kind::ALL.into_iter().zip(self.weights) {
            match drawn.checked_sub(weight) {
                None => return kind,
                Some(rest) => drawn = rest,
            }
        }
        Kind::Read
    }
}
