//! Reads what is left of a recording that was cut off, for example by a crash or a full disk.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::read::{Lines, Trace};
use crate::refused::{BadTrace, LoadError};
use crate::replay::{Replayed, replay_with};

/// Where a recording was cut off.
///
/// ```
/// use evtchn_trace::Cut;
///
/// assert_eq!(Cut { after: 812 }.to_string(), "cut off after line 812");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The number of the last whole line, counted from 1.
    pub after: usize,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut off after line {}", self.after)
    }
}

/// A whole trace, or all whole lines of a trace that was cut off.
///
/// The digest is in the last line, so if the trace was cut off, nothing shows that no byte of it was
/// changed.
///
/// ```
/// use evtchn_trace::{Cut, Salvaged};
///
/// let text = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
/// {"call":"teardown"}
/// {"answ"#;
/// let salvaged = Salvaged::read(&text[..])?;
/// assert_eq!(salvaged.trace.lines.len(), 1);
/// assert_eq!(salvaged.cut, Some(Cut { after: 2 }));
/// # Ok::<_, evtchn_trace::LoadError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// All whole lines.
    pub trace: Trace,
    /// Where it was cut off, if it was.
    pub cut: Option<Cut>,
}

impl Salvaged {
    /// Reads a file.
    ///
    /// # Errors
    /// [`LoadError`]: the file cannot be read, its first line is not whole, or a line is damaged.
    pub fn load(path: impl AsRef<Path>) -> Result<Salvaged, LoadError> {
        Salvaged::read(BufReader::with_capacity(1 << 16, File::open(path)?))
    }

    /// Reads to the end of `input`.
    ///
    /// # Errors
    /// [`LoadError`]: `input` cannot be read, the first line is not whole, or a line is damaged.
    pub fn read(input: impl BufRead) -> Result<Salvaged, LoadError> {
        let mut lines = Lines::new(input)?.salvaging();
        let header = lines.header().clone();
        let all = lines.by_ref().collect::<Result<_, _>>()?;
        Ok(Salvaged {
            trace: Trace { header, lines: all },
            cut: lines.cut(),
        })
    }

    /// Plays it again as [`replay`](crate::replay()) does, up to where it was cut off. For a call that
    /// was under way there, what it did before the cut is compared.
    ///
    /// # Errors
    /// [`BadTrace`] if it cannot be replayed; then nothing was played.
    pub fn replay(&self) -> Result<Replayed, BadTrace> {
        replay_with(&self.trace, self.cut, None)
    }

    /// Plays it again as [`replay_on_sim`](crate::replay_on_sim) does, up to where it was cut off.
    ///
    /// # Errors
    /// Those of [`replay_on_sim`](crate::replay_on_sim).
    #[cfg(feature = "sim")]
    pub fn replay_on_sim(&self) -> Result<Replayed, BadTrace> {
        crate::sim::replay_cut(&self.trace, self.cut)
    }
}
