//! The state of an exploration. It is small, and kept in a file between two runs.

use serde::{Deserialize, Serialize};

use super::coverage::Coverage;
use super::scenario::Scenario;

/// The version changes if the file changes, or if a seed means other scripts.
const VERSION: u32 = 2;

/// What was done so far, and what comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The seed of all scripts.
    pub seed: u64,
    /// The names of the scenarios, which take turns.
    pub scenarios: Vec<String>,
    /// The next block of scripts.
    pub next: u64,
    /// Scripts that were played.
    pub scripts: u64,
    /// Steps that had something to do.
    pub steps: u64,
    /// Steps that had nothing to do and were passed over.
    pub idle: u64,
    /// Wakes that were handed out.
    pub wakes: u64,
    /// Calls that were set to fail and did.
    pub failures: u64,
    /// Which cells were reached.
    pub coverage: Coverage,
}

/// A file that an exploration cannot continue from.
#[derive(Debug, thiserror::Error)]
pub enum BadState {
    /// It is not JSON, or has other fields.
    #[error("it is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("it has version {0}, and only version {VERSION} is read here")]
    Version(u32),
    /// Its checksum is wrong.
    #[error("it is damaged: its checksum is wrong")]
    Sum,
    /// A scenario is not known.
    #[error("there is no scenario {0:?}")]
    Scenario(String),
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    sum: u64,
    state: State,
}

impl State {
    /// The beginning.
    #[must_use]
    pub fn new(seed: u64, scenarios: &[Scenario]) -> State {
        State {
            seed,
            scenarios: scenarios.iter().map(ToString::to_string).collect(),
            next: 0,
            scripts: 0,
            steps: 0,
            idle: 0,
            wakes: 0,
            failures: 0,
            coverage: Coverage::default(),
        }
    }

    /// The scenarios.
    ///
    /// # Errors
    /// [`BadState::Scenario`] where one is not known.
    pub fn recipes(&self) -> Result<Vec<Scenario>, BadState> {
        let recipe = |name: &String| name.parse().map_err(|_| BadState::Scenario(name.clone()));
        self.scenarios.iter().map(recipe).collect()
    }

    /// As a file.
    ///
    /// # Errors
    /// None that is known of.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Kept {
            version: VERSION,
            sum: self.sum()?,
            state: self.clone(),
        })
    }

    /// From a file.
    ///
    /// # Errors
    /// [`BadState`]
    pub fn from_text(text: &str) -> Result<State, BadState> {
        let Version { version } = serde_json::from_str(text)?;
        if version != VERSION {
            return Err(BadState::Version(version));
        }
        let kept: Kept = serde_json::from_str(text)?;
        if kept.state.sum()? != kept.sum {
            return Err(BadState::Sum);
        }
        if kept.state.recipes()?.is_empty() {
            return Err(BadState::Scenario(String::new()));
        }
        Ok(kept.state)
    }

    /// FNV-1a over the state as it is written.
    fn sum(&self) -> Result<u64, serde_json::Error> {
        let bytes = serde_json::to_vec(self)?;
        let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Ok(bytes.iter().fold(0xcbf2_9ce4_8422_2325, add))
    }
}
