//! Writes a trace while the calls happen.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use evtchn_core::ChannelId;
use evtchn_fork::{Inherited, Process};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::header::Header;
use crate::line::{Answer, BackendCall, BackendRecord, Call, Line, Record};

/// A handle on a trace that is being written; clones are handles on the same one.
///
/// Recording never disturbs the program. If a write fails, the trace ends there, and
/// [`finish`](Self::finish) returns the error. Whenever no call of the program is under way, all lines
/// are written out. A trace that is not finished is refused as truncated.
///
/// A forked child writes nothing: the trace is its parent's. On a kernel where a fork cannot be
/// noticed nothing is written at all, and [`finish`](Self::finish) returns an error.
///
/// ```
/// use evtchn::Trigger;
/// use evtchn_trace::{Header, Record, Source, Tape};
///
/// let off = Tape::off(); // records nothing, at nearly no cost
/// off.put(|| -> Record { unreachable!("it is off") });
///
/// let tape = Tape::new(&Header::new(Source::Sim, Trigger::Level), std::io::sink());
/// assert!(tape.is_on() && !off.is_on());
/// tape.finish()?;
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Tape(Option<Arc<Shared>>);

/// What the handles of a tape share, and the process that made it.
struct Shared {
    process: u64,
    sink: Mutex<Sink>,
}

struct Sink {
    out: Box<dyn Write + Send>,
    written: Written,
    /// The error of the first write that failed. Nothing is written after it.
    failed: Option<io::Error>,
    /// The last line was written. Nothing is written after it.
    is_finished: bool,
    /// Calls of the program that are under way, rounds included.
    under_way: usize,
    /// Returns the number of the calling thread.
    thread: Box<dyn FnMut() -> u32 + Send>,
    channels: HashMap<ChannelId, u32>,
    /// How many channels were bound. An adopted channel can have the id of an earlier one.
    bound: u32,
    peers: u32,
}

/// Lines that are still to be written out, and the digest of all lines so far.
pub(crate) struct Written {
    buf: Vec<u8>,
    lines: usize,
    digest: Digest,
}

/// A line as it is written.
#[derive(Serialize)]
struct Out<'a> {
    #[serde(flatten)]
    record: &'a Record,
    #[serde(skip_serializing_if = "is_zero")]
    thread: u32,
    #[serde(flatten)]
    rest: &'a Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Written {
    pub(crate) fn new(header: &Header) -> Written {
        let mut written = Written {
            buf: Vec::new(),
            lines: 0,
            digest: Digest::new(),
        };
        written.json(header);
        written
    }

    pub(crate) fn line(&mut self, thread: u32, record: &Record, rest: &Map<String, Value>) {
        self.json(&Out {
            record,
            thread,
            rest,
        });
    }

    /// Adds the last line and returns the text.
    pub(crate) fn end(mut self) -> Vec<u8> {
        let end = end(self.lines, self.digest);
        self.buf.extend_from_slice(end.as_bytes());
        self.buf
    }

    fn json(&mut self, line: &impl Serialize) {
        let before = self.buf.len();
        // This cannot fail: all keys are strings, and a write to a `Vec` succeeds.
        let _written = serde_json::to_writer(&mut self.buf, line);
        self.buf.push(b'\n');
        self.digest.update(&self.buf[before..]);
        self.lines += 1;
    }
}

/// The last line of a trace with this many lines before it.
pub(crate) fn end(lines: usize, digest: Digest) -> String {
    format!(
        "{{\"end\":{lines},\"digest\":\"{:016x}\"}}\n",
        digest.value()
    )
}

/// How many bytes are kept back at most while a call is under way.
const ROOM: usize = 1 << 16;

impl Sink {
    fn put(&mut self, record: &Record) {
        if self.is_finished {
            return;
        }
        let thread = match record {
            Record::Call(_)
            | Record::Answer(_)
            | Record::Backend(BackendRecord { peer: None, .. }) => (self.thread)(),
            Record::Backend(_)
            | Record::Guest(_)
            | Record::Sim(_)
            | Record::Op(_)
            | Record::Input(_)
            | Record::Schedule(_)
            | Record::Verdict(_) => 0,
        };
        self.written.line(thread, record, &Map::new());
        if self.under_way == 0 || self.written.buf.len() > ROOM {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.failed.is_none() {
            let out = &mut self.out;
            let wrote = out.write_all(&self.written.buf).and_then(|()| out.flush());
            self.failed = wrote.err();
        }
        self.written.buf.clear();
    }
}

impl Tape {
    /// A tape that records nothing.
    #[must_use]
    pub const fn off() -> Tape {
        Tape(None)
    }

    /// Makes a tape that writes to `out`, and writes the header.
    pub fn new(header: &Header, out: impl Write + Send + 'static) -> Tape {
        let mut threads = HashMap::new();
        Tape::of_threads(header, out, move || {
            let next = u32::try_from(threads.len()).unwrap_or(u32::MAX);
            *threads.entry(thread::current().id()).or_insert(next)
        })
    }

    /// [`new`](Self::new) for threads that are not those of the system: `thread` returns the number of
    /// the calling thread.
    pub fn of_threads(
        header: &Header,
        out: impl Write + Send + 'static,
        thread: impl FnMut() -> u32 + Send + 'static,
    ) -> Tape {
        let mut sink = Sink {
            out: Box::new(out),
            written: Written::new(header),
            failed: Process::current().err().map(io::Error::from),
            is_finished: false,
            under_way: 0,
            thread: Box::new(thread),
            channels: HashMap::new(),
            bound: 0,
            peers: 0,
        };
        sink.flush();
        Tape(Some(Arc::new(Shared {
            process: evtchn_fork::number(),
            sink: Mutex::new(sink),
        })))
    }

    /// Whether it records.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether both are handles on the same trace.
    pub(crate) fn is(&self, other: &Tape) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Writes a line of this thread.
    pub fn put(&self, record: impl FnOnce() -> Record) {
        if let Some(mut sink) = self.sink() {
            sink.put(&record());
        }
    }

    /// Checks that no write has failed so far.
    ///
    /// # Errors
    /// The error of the first write that failed. Nothing is written after it.
    pub fn check(&self) -> io::Result<()> {
        let sink = self.sink();
        let failed = sink.as_ref().and_then(|sink| sink.failed.as_ref());
        failed.map_or(Ok(()), |error| Err(copy_of(error)))
    }

    /// Writes the last line. What happens afterwards is not recorded. A second call writes nothing.
    ///
    /// # Errors
    /// The error of the first write that failed; in a forked child [`Inherited`], inside of the
    /// [`io::Error`].
    pub fn finish(&self) -> io::Result<()> {
        if self.0.as_ref().is_some_and(|shared| !shared.is_ours()) {
            return Err(Inherited.into());
        }
        let Some(mut sink) = self.sink().filter(|sink| !sink.is_finished) else {
            return self.check();
        };
        sink.is_finished = true;
        let end = end(sink.written.lines, sink.written.digest);
        sink.written.buf.extend_from_slice(end.as_bytes());
        sink.flush();
        drop(sink);
        self.check()
    }

    /// Writes a backend call, once it has returned.
    pub(crate) fn backend_call(&self, call: impl FnOnce() -> BackendRecord) {
        self.put(|| Record::Backend(call()));
    }

    /// A call of the program begins.
    pub(crate) fn begins(&self, call: impl FnOnce(&Channels<'_>) -> Call) {
        if let Some(mut sink) = self.sink() {
            sink.under_way += 1;
            let call = call(&Channels(&mut sink));
            sink.put(&Record::Call(call));
        }
    }

    /// A call of the program returns. A round is under way from its begin to its end.
    pub(crate) fn ends(&self, round: Round, answer: impl FnOnce(&mut Channels<'_>) -> Answer) {
        if let Some(mut sink) = self.sink() {
            let answer = answer(&mut Channels(&mut sink));
            sink.under_way = match round {
                Round::Begun => sink.under_way,
                Round::Same => sink.under_way.saturating_sub(1),
                Round::Over => sink.under_way.saturating_sub(2),
            };
            sink.put(&Record::Answer(answer));
        }
    }

    /// Returns a number for another holder of the device.
    pub(crate) fn peer(&self) -> u32 {
        self.sink().map_or(0, |mut sink| {
            sink.peers += 1;
            sink.peers - 1
        })
    }

    fn sink(&self) -> Option<MutexGuard<'_, Sink>> {
        // In a forked child the lock may be held for ever, by a thread that exists only in the parent.
        let shared = self.0.as_ref().filter(|shared| shared.is_ours())?;
        Some(shared.sink.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A second error with the same content.
fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// What an answer means for the round of its thread.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Round {
    Begun,
    Same,
    Over,
}

/// The numbers of the channels.
pub(crate) struct Channels<'a>(&'a mut Sink);

impl Channels<'_> {
    /// The number of a channel that was bound on this tape.
    pub(crate) fn of(&self, id: ChannelId) -> u32 {
        self.0.channels.get(&id).copied().unwrap_or(u32::MAX)
    }

    /// Numbers a channel that was just bound.
    pub(crate) fn bound(&mut self, id: ChannelId) -> u32 {
        let channel = self.0.bound;
        self.0.bound = channel.saturating_add(1);
        self.0.channels.insert(id, channel);
        channel
    }
}

impl BackendRecord {
    pub(crate) const fn new(call: BackendCall) -> BackendRecord {
        BackendRecord {
            call,
            peer: None,
            answer: None,
            failed: None,
        }
    }
}

impl Shared {
    fn is_ours(&self) -> bool {
        evtchn_fork::is_current(self.process)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.is_ours() {
            let sink = self.sink.get_mut();
            sink.unwrap_or_else(PoisonError::into_inner).flush();
        }
    }
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tape").field(&self.is_on()).finish()
    }
}

/// The text of a whole trace.
pub(crate) fn text(header: &Header, lines: &[Line]) -> Vec<u8> {
    let mut written = Written::new(header);
    for line in lines {
        written.line(line.thread, &line.record, &line.rest);
    }
    written.end()
}
