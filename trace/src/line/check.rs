//! What a check played.

use serde::{Deserialize, Serialize};

/// A step of a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// As `evtchn_checks::Op` is written.
    pub op: String,
}

/// What a fuzz target is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The name of the target.
    pub input: String,
    /// The bytes, as hexadecimal digits.
    pub bytes: String,
}

/// In which order the threads of a scenario took their steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The name of the scenario.
    pub schedule: String,
    /// The order, as the schedule checker writes it.
    pub steps: String,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every answer was one that it allows.
    Holds,
    /// One was not.
    Broken {
        /// At which step.
        step: usize,
        /// What was wrong.
        what: String,
    },
}
