//! The first line.

use evtchn_core::Trigger;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::names;

/// The value of the first field of every trace.
pub(crate) const FORMAT: &str = "evtchn";
/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 3;

/// Where a trace comes from.
///
/// ```
/// use evtchn_trace::Source;
///
/// assert_eq!(serde_json::to_string(&Source::Xen)?, r#""xen""#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A program on the simulator.
    Sim,
    /// A program on the real device.
    Xen,
    /// A script of the checks, played against their model on the simulator.
    Script,
}

/// The first line of a trace: where and how it was recorded.
///
/// ```
/// use evtchn::Trigger;
/// use evtchn_trace::{Header, Source};
///
/// let mut header = Header::new(Source::Sim, Trigger::Level);
/// header.seed = Some(7);
/// assert_eq!(
///     serde_json::to_string(&header)?,
///     r#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level","seed":7}"#
/// );
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    trace: String,
    version: u32,
    /// Where it was recorded.
    pub source: Source,
    /// How the loop reports readiness.
    #[serde(with = "names::trigger")]
    pub trigger: Trigger,
    /// The seed of the simulator, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How many slots the script has, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u16>,
    /// How many CPUs the host had, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<usize>,
    /// Fields that this version does not know. They are kept.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Header {
    /// Makes a header of this version.
    #[must_use]
    pub fn new(source: Source, trigger: Trigger) -> Header {
        Header {
            trace: FORMAT.to_owned(),
            version: VERSION,
            source,
            trigger,
            seed: None,
            slots: None,
            cpus: None,
            rest: Map::new(),
        }
    }

    /// The version of the format that the trace is written in.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }
}
