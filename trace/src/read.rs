//! Reads traces. [`Trace`] checks the whole of a trace before any of it is used.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::header::{FORMAT, Header, VERSION};
use crate::line::{
    Answer, BackendRecord, Call, Guest, Input, Line, Op, Record, Schedule, Sim, Verdict,
};
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
/// use evtchn_core::Trigger;
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
            digest,
            is_whole: false,
        };
        Ok((header, check))
    }

    /// Checks the next line. Returns `None` for the last one.
    fn line(&mut self, text: &[u8]) -> Result<Option<Line>, BadTrace> {
        self.number += 1;
        self.parse(text).map_err(|kind| kind.at(self.number))
    }

    fn parse(&mut self, text: &[u8]) -> Result<Option<Line>, BadTraceKind> {
        if self.is_whole {
            return Err(BadTraceKind::AfterTheEnd);
        }
        let object = object(text)?;
        if object.contains_key("end") {
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

fn object(text: &[u8]) -> Result<Map<String, Value>, BadTraceKind> {
    if text.len() > LINE_LIMIT {
        return Err(BadTraceKind::TooLong { limit: LINE_LIMIT });
    }
    // A line without its end was still being written.
    let text = text.strip_suffix(b"\n").ok_or(BadTraceKind::Truncated)?;
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(BadTraceKind::NoJson(
            "it is a value of another type".to_owned(),
        )),
        Err(error) => Err(BadTraceKind::NoJson(error.to_string())),
    }
}

fn header(text: &[u8]) -> Result<Header, BadTraceKind> {
    let object = object(text).map_err(|kind| {
        let says_more = matches!(kind, BadTraceKind::Truncated | BadTraceKind::TooLong { .. });
        if says_more {
            kind
        } else {
            BadTraceKind::NotATrace
        }
    })?;
    if object.get("trace").and_then(Value::as_str) != Some(FORMAT) {
        return Err(BadTraceKind::NotATrace);
    }
    match object.get("version").and_then(Value::as_u64) {
        Some(0) | None => return Err(BadTraceKind::NotATrace),
        Some(older) if older < u64::from(VERSION) => return Err(BadTraceKind::Older(older)),
        Some(newer) if newer > u64::from(VERSION) => return Err(BadTraceKind::Newer(newer)),
        Some(_) => {}
    }
    serde_json::from_value(Value::Object(object))
        .map_err(|error| BadTraceKind::Field(error.to_string()))
}

/// Parses a line of one kind.
type Reader = fn(&Map<String, Value>) -> Result<Record, serde_json::Error>;

const KINDS: [(&str, Reader); 9] = [
    ("call", |it| Call::deserialize(it).map(Record::Call)),
    ("answer", |it| Answer::deserialize(it).map(Record::Answer)),
    ("seam", |it| {
        BackendRecord::deserialize(it).map(Record::Backend)
    }),
    ("guest", |it| Guest::deserialize(it).map(Record::Guest)),
    ("sim", |it| Sim::deserialize(it).map(Record::Sim)),
    ("op", |it| Op::deserialize(it).map(Record::Op)),
    ("input", |it| Input::deserialize(it).map(Record::Input)),
    ("schedule", |it| {
        Schedule::deserialize(it).map(Record::Schedule)
    }),
    ("verdict", |it| {
        Verdict::deserialize(it).map(Record::Verdict)
    }),
];

fn line(mut object: Map<String, Value>) -> Result<Line, BadTraceKind> {
    let mut kinds = KINDS.iter().filter(|(kind, _)| object.contains_key(*kind));
    let Some((kind, reader)) = kinds.next() else {
        let fields: Vec<&str> = object.keys().map(String::as_str).collect();
        return Err(BadTraceKind::UnknownKind(format!(
            "a line with the fields {fields:?}"
        )));
    };
    let record = reader(&object).map_err(|error| {
        let text = error.to_string();
        match text.starts_with("unknown variant") {
            true => BadTraceKind::UnknownKind(format!("{kind}: {text}")),
            false => BadTraceKind::Field(text),
        }
    })?;
    let thread = match object.remove("thread") {
        None => 0,
        Some(thread) => u32::deserialize(thread)
            .map_err(|error| BadTraceKind::Field(format!("thread: {error}")))?,
    };
    // Only the unknown fields are left.
    if let Ok(Value::Object(known)) = serde_json::to_value(&record) {
        object.retain(|field, _| !known.contains_key(field));
    }
    Ok(Line {
        thread,
        record,
        rest: object,
    })
}
