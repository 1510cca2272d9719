//! Replays a trace from its file, and keeps no more than one line of it in memory.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use crate::header::Header;
use crate::line::Line;
use crate::read::Lines;
use crate::refused::{BadTrace, LoadError};
use crate::replay::{self, Check, Cursor as ReplayCursor, Machine, Replayed};
use crate::salvage::Cut;
#[cfg(feature = "sim")]
use crate::sim::{self, SimCheck};

/// A trace in a file, for traces of any length. The file is read once to check the whole trace, and
/// once more to replay it, and no line is kept. Like a [`Salvaged`](crate::Salvaged) trace it may be
/// cut off.
///
/// ```
/// use std::io::Cursor;
///
/// use evtchn_trace::{Cut, Recording, Replayed, Tally};
///
/// let text = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
/// {"call":"teardown"}
/// {"answer":"done"}
/// {"call":"ne"#;
/// let recording = Recording::read(Cursor::new(text))?;
/// assert_eq!(recording.cut(), Some(Cut { after: 3 }));
/// let same = Tally { calls: 1, backend_calls: 0, threads: 1 };
/// assert_eq!(recording.replay()?, Replayed::Same(same));
/// # Ok::<_, evtchn_trace::LoadError>(())
/// ```
pub struct Recording {
    input: Box<dyn Input>,
    checked: Checked,
}

/// An input that can be read a second time.
trait Input: BufRead + Seek + Send {}

impl<R: BufRead + Seek + Send> Input for R {}

/// What the first read of a trace found.
struct Checked {
    header: Header,
    cut: Option<Cut>,
    /// The threads of the program, if the trace can be replayed.
    threads: Result<BTreeSet<u32>, BadTrace>,
    #[cfg(feature = "sim")]
    on_sim: Result<(), BadTrace>,
}

impl Recording {
    /// Reads a file. A file that can be read only once, such as a pipe, is kept in memory.
    ///
    /// # Errors
    /// [`LoadError`] if the file cannot be read, if its first line is not whole, or if a line is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Recording, LoadError> {
        let mut file = File::open(path)?;
        let can_rewind = file.rewind().is_ok();
        let input = BufReader::with_capacity(1 << 16, file);
        if can_rewind {
            return Recording::read(input);
        }
        let mut input = Keeping {
            input,
            kept: Vec::new(),
        };
        let checked = check(&mut input)?;
        let input = Box::new(Cursor::new(input.kept));
        Ok(Recording { input, checked })
    }

    /// Reads `input` from its beginning to its end.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn read(mut input: impl BufRead + Seek + Send + 'static) -> Result<Recording, LoadError> {
        input.rewind()?;
        let checked = check(&mut input)?;
        let input = Box::new(input);
        Ok(Recording { input, checked })
    }

    /// The first line.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.checked.header
    }

    /// Where the trace was cut off, if it was.
    #[must_use]
    pub const fn cut(&self) -> Option<Cut> {
        self.checked.cut
    }

    /// All lines but the first and the last.
    ///
    /// # Errors
    /// [`LoadError`] if the file cannot be read again. Each line can be an error too, if the file was
    /// changed meanwhile.
    pub fn lines(
        mut self,
    ) -> Result<impl Iterator<Item = Result<Line, LoadError>> + Send, LoadError> {
        self.input.rewind()?;
        Ok(Lines::new(self.input)?.salvaging())
    }

    /// Replays it as [`replay`](crate::replay()) does, up to where it was cut off.
    ///
    /// # Errors
    /// [`LoadError::Bad`] if it cannot be replayed; then nothing was played. [`LoadError`] at the place
    /// where the file cannot be read again, or was changed meanwhile.
    pub fn replay(self) -> Result<Replayed, LoadError> {
        self.replay_with(None)
    }

    /// Replays it as [`replay_on_sim`](crate::replay_on_sim) does, up to where it was cut off.
    ///
    /// # Errors
    /// Those of [`replay`](Self::replay).
    #[cfg(feature = "sim")]
    pub fn replay_on_sim(self) -> Result<Replayed, LoadError> {
        self.checked.on_sim.clone()?;
        let machine = sim::machine(&self.checked.header);
        self.replay_with(Some(machine))
    }

    fn replay_with(self, machine: Option<Box<dyn Machine>>) -> Result<Replayed, LoadError> {
        let threads = self.checked.threads.clone()?;
        let (trigger, is_cut) = (self.header().trigger, self.cut().is_some());
        let cursor = ReplayCursor::new(Box::new(self.lines()?), is_cut, machine);
        replay::play(trigger, cursor, &threads)
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut recording = f.debug_struct("Recording");
        recording.field("header", self.header());
        recording.field("cut", &self.cut()).finish_non_exhaustive()
    }
}

/// Reads a trace to its end and checks it.
fn check(input: &mut impl BufRead) -> Result<Checked, LoadError> {
    let mut lines = Lines::new(input)?.salvaging();
    let header = lines.header().clone();
    let mut replay = Check::new();
    #[cfg(feature = "sim")]
    let mut on_sim = SimCheck::new(header.source);
    for line in lines.by_ref() {
        let line = line?;
        replay.line(&line);
        #[cfg(feature = "sim")]
        on_sim.line(&line);
    }
    Ok(Checked {
        header,
        cut: lines.cut(),
        threads: replay.end(lines.cut().is_some()),
        #[cfg(feature = "sim")]
        on_sim: on_sim.end(),
    })
}

/// Keeps the bytes that are read.
struct Keeping<R> {
    input: R,
    kept: Vec<u8>,
}

impl<R: BufRead> Read for Keeping<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(bytes)?;
        self.kept.extend_from_slice(&bytes[..read]);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Keeping<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // Only bytes that were filled before are consumed, so this reads nothing.
        if let Ok(filled) = self.input.fill_buf() {
            self.kept.extend_from_slice(&filled[..amount]);
        }
        self.input.consume(amount);
    }
}
