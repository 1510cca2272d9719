//! Reads traces. [`Trace`] checks the whole of a trace before any of it is used.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use crate::digest::Digest;
use crate::header::Header;
use crate::line::Line;
use crate::parse::{Object, header, line};
use crate::refused::{BadTrace, BadTraceKind, LoadError};
use crate::salvage::Cut;
use crate::tape;

/// How many bytes a line of a trace may have, with its end. A longer line is refused.
///
/// The longest line that a recording can have, a batch with a wake for every port that a domain can
/// have, is shorter than 3.5 million bytes.
///
/// ```
/// use evtchn_trace::{BadTraceKind, LINE_LIMIT, Lines, LoadError};
///
/// let LoadError::Bad(bad) = Lines::new(std::io::BufReader::new(std::io::repeat(0))).unwrap_err() else {
///     panic!("it can be read");
/// };
/// assert_eq!(bad.kind, BadTraceKind::TooLong { limit: LINE_LIMIT });
/// ```
pub const LINE_LIMIT: usize = 1 << 22;

/// A whole trace. When it was read, its digest was checked.
///
/// ```
/// use std::io::Write;
/// use std::sync::{Arc, Mutex};
///
/// use evtchn::Trigger;
/// use evtchn_trace::{Call, Header, Record, Source, Tape, Trace};
///
/// /// A file in memory.
/// #[derive(Clone, Default)]
/// struct Memory(Arc<Mutex<Vec<u8>>>);
///
/// impl Write for Memory {
///     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
///         self.0.lock().unwrap().write(bytes)
///     }
///
///     fn flush(&mut self) -> std::io::Result<()> {
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = Memory::default();
/// let tape = Tape::new(&Header::new(Source::Sim, Trigger::Level), file.clone());
/// tape.put(|| Record::Call(Call::Teardown));
/// tape.finish()?;
///
/// let bytes = file.0.lock().unwrap().clone();
/// let trace = Trace::read(&bytes)?;
/// assert_eq!(trace.lines[0].record, Record::Call(Call::Teardown));
/// assert_eq!(trace.to_bytes(), bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The first line.
    pub header: Header,
    /// All lines but the first and the last.
    pub lines: Vec<Line>,
}

impl Trace {
    /// Reads a file.
    ///
    /// # Errors
    /// [`LoadError`]: the file cannot be read, or it is not a whole trace.
    pub fn load(path: impl AsRef<Path>) -> Result<Trace, LoadError> {
        let mut lines = Lines::open(path)?;
        let all = lines.by_ref().collect::<Result<_, _>>()?;
        let header = lines.header;
        Ok(Trace { header, lines: all })
    }

    /// Reads a whole trace.
    ///
    /// # Errors
    /// [`BadTrace`] with the first line that is wrong.
    pub fn read(bytes: &[u8]) -> Result<Trace, BadTrace> {
        let mut texts = bytes.split_inclusive(|byte| *byte == b'\n');
        let (header, mut check) = Check::begin(texts.next().unwrap_or_default())?;
        let mut lines = Vec::new();
        for text in texts {
            lines.extend(check.line(text)?);
        }
        check.end()?;
        Ok(Trace { header, lines })
    }

    /// The text of the trace, with the digest of its present lines.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        tape::text(&self.header, &self.lines)
    }
}

/// Reads the lines of a trace one by one and keeps none of them, for traces of any length.
///
/// Whether the trace is whole is only known after its last line. So be ready to throw away what you
/// made of the lines before. After an error the iterator ends.
///
/// ```
/// use evtchn_trace::{Lines, Source};
///
/// let text = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
/// {"call":"teardown"}
/// "#;
/// let mut lines = Lines::new(&text[..])?;
/// assert_eq!(lines.header().source, Source::Sim);
/// assert!(lines.next().unwrap().is_ok());
/// assert!(lines.next().unwrap().is_err(), "it has no last line");
/// assert!(lines.next().is_none());
/// # Ok::<_, evtchn_trace::LoadError>(())
/// ```
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    header: Header,
    check: Check,
    text: Vec<u8>,
    is_over: bool,
    /// A trace that was cut off is accepted.
    salvages: bool,
    cut: Option<Cut>,
}

impl Lines<BufReader<File>> {
    /// Reads a file.
    ///
    /// # Errors
    /// [`LoadError`] of its first line.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Lines::new(BufReader::with_capacity(1 << 16, File::open(path)?))
    }
}

impl<R: BufRead> Lines<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`LoadError`] of that line.
    pub fn new(mut input: R) -> Result<Lines<R>, LoadError> {
        let mut text = Vec::new();
        read_line(&mut input, &mut text)?;
        let (header, check) = Check::begin(&text)?;
        Ok(Lines {
            input,
            header,
            check,
            text,
            is_over: false,
            salvages: false,
            cut: None,
        })
    }

    /// Accepts a trace that was cut off, for example by a crash. If the file ends in the middle of a
    /// line, or before the last line of a trace, the iterator returns the lines that are whole, and
    /// [`cut`](Self::cut) says where they end. Any other damage is still an error.
    ///
    /// ```
    /// use evtchn_trace::Lines;
    ///
    /// let text = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
    /// {"call":"teardown"}
    /// {"answ"#;
    /// let mut lines = Lines::new(&text[..])?.salvaging();
    /// assert_eq!(lines.by_ref().map(|line| line.unwrap()).count(), 1);
    /// assert_eq!(lines.cut().unwrap().after, 2);
    /// # Ok::<_, evtchn_trace::LoadError>(())
    /// ```
    #[must_use]
    pub fn salvaging(mut self) -> Lines<R> {
        self.salvages = true;
        self
    }

    /// Where the trace was cut off. Known when the iterator has ended, and only if cut-off traces are
    /// [accepted](Self::salvaging).
    pub const fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// The first line.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes the lines so far have.
    ///
    /// ```
    /// use evtchn_trace::Lines;
    ///
    /// let text = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
    /// {"call":"teardown"}
    /// "#;
    /// let mut lines = Lines::new(&text[..])?.salvaging();
    /// assert_eq!(lines.bytes(), 64);
    /// assert_eq!(lines.by_ref().count(), 1);
    /// assert_eq!(lines.bytes(), text.len() as u64);
    /// # Ok::<_, evtchn_trace::LoadError>(())
    /// ```
    pub const fn bytes(&self) -> u64 {
        self.check.bytes
    }

    fn line(&mut self) -> Result<Option<Line>, LoadError> {
        loop {
            read_line(&mut self.input, &mut self.text)?;
            let is_whole_line = self.text.ends_with(b"\n") || self.text.len() > LINE_LIMIT;
            if self.salvages && !is_whole_line && !self.check.is_whole {
                let after = self.check.number;
                self.cut = Some(Cut { after });
                return Ok(None);
            }
            if self.text.is_empty() {
                self.check.end()?;
                return Ok(None);
            }
            if let Some(line) = self.check.line(&self.text)? {
                return Ok(Some(line));
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let line = self.line().transpose();
        self.is_over = !matches!(line, Some(Ok(_)));
        line
    }
}

/// Reads the next line, with its end, but at most one byte more than the limit. At the end of the
/// file it reads nothing.
fn read_line(input: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<()> {
    text.clear();
    let most = LINE_LIMIT as u64 + 1;
    input.take(most).read_until(b'\n', text).map(drop)
}

/// What was checked so far.
#[derive(Debug)]
struct Check {
    /// How many lines were read.
    number: usize,
    bytes: u64,
    digest: Digest,
    /// The last line of the trace was read.
    is_whole: bool,
}

impl Check {
    fn begin(first: &[u8]) -> Result<(Header, Check), BadTrace> {
        if first.is_empty() {
            return Err(BadTraceKind::NotATrace.at(1));
        }
        let header = header(first).map_err(|kind| kind.at(1))?;
        let mut digest = Digest::new();
        digest.update(first);
        let check = Check {
            number: 1,
            bytes: first.len() as u64,
            digest,
            is_whole: false,
        };
        Ok((header, check))
    }

    /// Checks the next line. Returns `None` for the last one.
    fn line(&mut self, text: &[u8]) -> Result<Option<Line>, BadTrace> {
        self.number += 1;
        self.bytes += text.len() as u64;
        self.parse(text).map_err(|kind| kind.at(self.number))
    }

    fn parse(&mut self, text: &[u8]) -> Result<Option<Line>, BadTraceKind> {
        if self.is_whole {
            return Err(BadTraceKind::AfterTheEnd);
        }
        let object = Object::read(text)?;
        if object.has("end") {
            let expected = tape::end(self.number - 1, self.digest);
            if text != expected.as_bytes() {
                let expected = expected.trim_end().to_owned();
                return Err(BadTraceKind::Changed { expected });
            }
            self.is_whole = true;
            return Ok(None);
        }
        self.digest.update(text);
        line(object).map(Some)
    }

    /// Checks that the trace may end here.
    fn end(&self) -> Result<(), BadTrace> {
        match self.is_whole {
            true => Ok(()),
            false => Err(BadTraceKind::Truncated.at(self.number)),
        }
    }
}
