//! Why a file is refused as a trace.

use crate::header::VERSION;

/// A file that is no trace, or not a whole one.
///
/// ```
/// use evtchn_trace::{BadTrace, Trace, Why};
///
/// let bad = Trace::read(b"{\"trace\":\"of something else\"}\n").unwrap_err();
/// assert_eq!(bad, BadTrace { line: 1, why: Why::NotATrace });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadTrace {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a line.
///
/// ```
/// use evtchn_trace::{Trace, Why};
///
/// let cut = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
/// "#;
/// assert_eq!(Trace::read(cut).unwrap_err().why, Why::Truncated);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// The first line is not that of a trace.
    #[error("not the first line of a trace of evtchn")]
    NotATrace,
    /// The trace is of an earlier version, in which waits handed out wakes.
    #[error("version {0} is older than {VERSION}, the only one that is read here")]
    Older(u64),
    /// The trace is of a later version.
    #[error("version {0} is newer than {VERSION}, the newest that is read here")]
    Newer(u64),
    /// The line is no JSON object.
    #[error("not a JSON object: {0}")]
    NoJson(String),
    /// The line is of no kind that this version knows.
    #[error("of no known kind: {0}")]
    UnknownKind(String),
    /// A field is missing or wrong.
    #[error("{0}")]
    Field(String),
    /// The line is longer than a line of a trace may be. What follows was not read.
    #[error("longer than {limit} bytes, the most that a line of a trace may have")]
    TooLong {
        /// How long it may be, with its end: [`LINE_LIMIT`](crate::LINE_LIMIT).
        limit: usize,
    },
    /// The line has more than a line of a trace may have beside its lists of ports, channels and
    /// wakes.
    #[error(
        "more than {values} values, or {escaped} bytes that have to be escaped, beside its lists \
         of ports, channels and wakes"
    )]
    TooMuch {
        /// How many values it may have.
        values: usize,
        /// How many bytes these may have that are escaped where they are quoted: quotation marks,
        /// backslashes, controls, and all beyond ASCII.
        escaped: usize,
    },
    /// The file ends before the last line of a trace.
    #[error("truncated: the trace ends here without its last line")]
    Truncated,
    /// Something was changed.
    #[error("the last line should be {expected}, so the trace was changed or damaged")]
    Changed {
        /// What the last line of these lines is.
        expected: String,
    },
    /// Something follows the last line.
    #[error("something follows the last line of the trace")]
    AfterTheEnd,
}

/// A file that cannot be read as a trace.
///
/// ```
/// use evtchn_trace::{LoadError, Trace};
///
/// let error = Trace::load("/nowhere/run.trace").unwrap_err();
/// assert!(matches!(error, LoadError::Io(_)));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is no trace.
    #[error(transparent)]
    Bad(#[from] BadTrace),
}

impl Why {
    pub(crate) const fn at(self, line: usize) -> BadTrace {
        BadTrace { line, why: self }
    }
}
