//! Reading a trace: the whole of it is checked before any of it is used.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use crate::digest::Digest;
use crate::header::Header;
use crate::line::Line;
use crate::parse::{Object, header, line};
use crate::refused::{BadTrace, LoadError, Why};
use crate::salvage::Cut;
use crate::tape;

/// How long a line of a trace may be, with its end, in bytes. A reader refuses a longer one.
///
/// The longest line that is recorded, a batch with a wake of every port that a domain can have, has
/// less than 3.5 million bytes.
///
/// ```
/// use evtchn_trace::{LINE_LIMIT, Lines, LoadError, Why};
///
/// let LoadError::Bad(bad) = Lines::new(std::io::BufReader::new(std::io::repeat(0))).unwrap_err() else {
///     panic!("it can be read");
/// };
/// assert_eq!(bad.why, Why::TooLong { limit: LINE_LIMIT });
/// ```
pub const LINE_LIMIT: usize = 1 << 22;

/// A trace that was read whole and is as it was written.
///
/// ```
/// use std::io::Write;
/// use std::sync::{Arc, Mutex};
///
/// use evtchn_core::Trigger;
/// use evtchn_trace::{Call, Header, Source, Tape, Trace, What};
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
/// tape.put(|| What::Call(Call::Teardown));
/// tape.finish()?;
///
/// let bytes = file.0.lock().unwrap().clone();
/// let trace = Trace::read(&bytes)?;
/// assert_eq!(trace.lines[0].what, What::Call(Call::Teardown));
/// assert_eq!(trace.to_bytes(), bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The first line.
    pub header: Header,
    /// All others but the last.
    pub lines: Vec<Line>,
}

impl Trace {
    /// Reads a file.
    ///
    /// # Errors
    /// [`LoadError`]; the file is checked as a whole.
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

    /// The trace as it is written, with a digest of what it is now.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        tape::text(&self.header, &self.lines)
    }
}

/// The lines of a trace one by one, for traces of any length: none is kept.
///
/// That the trace is whole is known once the last line came, so what is made of the others before
/// may have to be thrown away. After an error nothing comes.
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
    /// A trace that was cut off is no error.
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

    /// The same, where a trace may be cut off, as by a crash: where the file ends in the middle of a
    /// line, or before the last line of a trace, the lines that are whole come, and
    /// [`cut`](Self::cut) says where they end. Any other damage is an error as before.
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

    /// Where the trace was cut off, once the last line came of one that was and is
    /// [salvaged](Self::salvaging).
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

/// Reads the next line, with its end, and no more than a byte beyond the limit. Nothing at the end.
fn read_line(input: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<()> {
    text.clear();
    let most = LINE_LIMIT as u64 + 1;
    input.take(most).read_until(b'\n', text).map(drop)
}

/// What is known of the lines so far.
#[derive(Debug)]
struct Check {
    /// How many there were.
    number: usize,
    bytes: u64,
    digest: Digest,
    /// The last one was the last of a trace.
    is_whole: bool,
}

impl Check {
    fn begin(first: &[u8]) -> Result<(Header, Check), BadTrace> {
        if first.is_empty() {
            return Err(Why::NotATrace.at(1));
        }
        let header = header(first).map_err(|why| why.at(1))?;
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

    /// The next line; none where it is the last.
    fn line(&mut self, text: &[u8]) -> Result<Option<Line>, BadTrace> {
        self.number += 1;
        self.bytes += text.len() as u64;
        self.what(text).map_err(|why| why.at(self.number))
    }

    fn what(&mut self, text: &[u8]) -> Result<Option<Line>, Why> {
        if self.is_whole {
            return Err(Why::AfterTheEnd);
        }
        let object = Object::read(text)?;
        if object.has("end") {
            let expected = tape::end(self.number - 1, self.digest);
            if text != expected.as_bytes() {
                let expected = expected.trim_end().to_owned();
                return Err(Why::Changed { expected });
            }
            self.is_whole = true;
            return Ok(None);
        }
        self.digest.update(text);
        line(object).map(Some)
    }

    /// Nothing follows.
    fn end(&self) -> Result<(), BadTrace> {
        match self.is_whole {
            true => Ok(()),
            false => Err(Why::Truncated.at(self.number)),
        }
    }
}
