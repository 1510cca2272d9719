//! The reasons for which a file is refused as a trace.

use crate::header::VERSION;

/// A file that is not a trace, or not a whole one.
///
/// ```
/// use evtchn_trace::{BadTrace, BadTraceKind, Trace};
///
/// let bad = Trace::read(b"{\"trace\":\"of something else\"}\n").unwrap_err();
/// assert_eq!(bad, BadTrace { line: 1, kind: BadTraceKind::NotATrace });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct BadTrace {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: BadTraceKind,
}

/// What is wrong with a line.
///
/// ```
/// use evtchn_trace::{BadTraceKind, Trace};
///
/// let cut = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
/// "#;
/// assert_eq!(Trace::read(cut).unwrap_err().kind, BadTraceKind::Truncated);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadTraceKind {
    /// The first line is not that of a trace.
    #[error("not the first line of a trace of evtchn")]
    NotATrace,
    /// The trace is of an earlier version of the format.
    #[error(
        "version {0} is older than {VERSION}, the only one that is read here: record the run again"
    )]
    Older(u64),
    /// The trace is of a later version of the format.
    #[error(
        "version {0} is newer than {VERSION}, the newest that is read here: use the evtchn that wrote it"
    )]
    Newer(u64),
    /// The line is not a JSON object.
    #[error("not a JSON object: {0}")]
    NoJson(String),
    /// The line is of a kind that this version does not know.
    #[error("unknown kind of line: {0}")]
    UnknownKind(String),
    /// A field is missing or wrong.
    #[error("{0}")]
    Field(String),
    /// The line is longer than allowed. The rest of the file was not read.
    #[error("longer than {limit} bytes, the limit for a line of a trace")]
    TooLong {
        /// The limit in bytes, with the end of the line: [`LINE_LIMIT`](crate::LINE_LIMIT).
        limit: usize,
    },
    /// The line has more than a line may have outside of its lists of ports, channels and wakes.
    #[error(
        "more than {values} values, or {escaped} bytes that must be escaped, outside of the lists of \
         ports, channels and wakes"
    )]
    TooMuch {
        /// How many values it may have.
        values: usize,
        /// How many of their bytes may be ones that a message escapes: quotation marks, backslashes,
        /// control characters, and all that are not ASCII.
        escaped: usize,
    },
    /// The file ends before the last line of a trace.
    #[error("truncated: the trace ends here without its last line")]
    Truncated,
    /// The digest in the last line is not that of the lines before it.
    #[error("the last line should be {expected}, so the trace was changed or damaged")]
    Changed {
        /// The last line that belongs to these lines.
        expected: String,
    },
    /// There are more lines after the last line of the trace.
    #[error("there is more after the last line of the trace")]
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
    /// It is not a trace.
    #[error(transparent)]
    Bad(#[from] BadTrace),
}

impl BadTraceKind {
    pub(crate) const fn at(self, line: usize) -> BadTrace {
        BadTrace { line, kind: self }
    }
}
