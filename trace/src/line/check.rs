//! The lines of a check: its steps or its input, and what the model found.

use serde::{Deserialize, Serialize};

/// A step of a script.
///
/// ```
/// use evtchn_trace::Op;
///
/// let step: Op = serde_json::from_str(r#"{"op":"bind 0 unbound"}"#)?;
/// assert_eq!(step.op, "bind 0 unbound");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// The step, as `evtchn_checks::Op` writes it.
    pub op: String,
}

/// The input of a fuzz target.
///
/// ```
/// use evtchn_trace::Input;
///
/// let given: Input = serde_json::from_str(r#"{"input":"script","bytes":"00ff"}"#)?;
/// assert_eq!((given.input.as_str(), given.bytes.as_str()), ("script", "00ff"));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The name of the target.
    pub input: String,
    /// The bytes, as hexadecimal digits.
    pub bytes: String,
}

/// The order in which the threads of a scenario took their steps.
///
/// ```
/// use evtchn_trace::Schedule;
///
/// let line = r#"{"schedule":"two waiters","steps":"91010a"}"#;
/// let order: Schedule = serde_json::from_str(line)?;
/// assert_eq!(order.schedule, "two waiters");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The name of the scenario.
    pub schedule: String,
    /// The order, as the schedule checker writes it.
    pub steps: String,
}

/// What the model found.
///
/// ```
/// use evtchn_trace::Verdict;
///
/// let holds = serde_json::to_string(&Verdict::Holds)?;
/// assert_eq!(holds, r#"{"verdict":"holds"}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every answer was one that the model allows.
    Holds,
    /// One answer was not.
    Broken {
        /// The step with this answer.
        step: usize,
        /// What was wrong.
        what: String,
    },
}
