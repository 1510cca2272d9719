//! The output: a line for each event, as text or as JSON, or a table of the channels; and the
//! summary.
//!
//! If the reader goes away, the output ends and the program finishes its work without it.

pub(crate) mod screen;
mod table;

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use evtchn::{Cause, Device, Driver, LoopError, Port, Registrar, Trigger, WakeTargets};
use serde_json::{Map, Value};

use crate::options::Place;
use crate::plain;
use crate::source::Source;
use screen::Screen;
use table::Table;

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Aligned columns, for people.
    Text,
    /// One JSON object per line.
    Json,
    /// A table on the terminal that is redrawn.
    Table,
    /// Nothing: an observer prints.
    Silent,
}

/// A line of the output.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Line {
    /// A channel was bound.
    Bound { port: Port, source: Source },
    /// The device was registered with the event loop.
    Registered,
    /// The device was deregistered from the event loop.
    Deregistered,
    /// A channel woke its waiter.
    Wake {
        port: Port,
        source: Source,
        cause: Cause,
    },
    /// The other end was notified.
    Notified { port: Port, source: Source },
    /// The simulated other end has handled this number of events.
    Handled { source: Source, events: u32 },
}

/// Prints lines with the time of a clock, and first of all where the channels are.
pub(crate) struct Output {
    format: Format,
    place: Place,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    sink: Mutex<Sink>,
}

#[derive(Debug)]
struct Sink {
    out: BufWriter<Stdout>,
    live: Option<LiveTable>,
    /// Whether the line that names the backend is written.
    has_header: bool,
    /// The first write that failed. Nothing is written after it.
    failed: Option<io::Error>,
}

#[derive(Debug)]
struct LiveTable {
    table: Table,
    screen: Screen,
}

impl LiveTable {
    fn new(place: &Place) -> LiveTable {
        LiveTable {
            table: Table::new(place.to_string()),
            screen: Screen::default(),
        }
    }

    fn note(&mut self, now: Duration, line: Line) {
        match line {
            Line::Bound { port, source } => self.table.bound(port, &source.to_string()),
            Line::Registered => self.table.registered(true),
            Line::Deregistered => self.table.registered(false),
            Line::Wake { port, .. } => self.table.woke(port, now),
            Line::Notified { .. } | Line::Handled { .. } => {}
        }
    }

    fn draw(&mut self, out: &mut BufWriter<Stdout>, now: Duration) -> io::Result<()> {
        if !self.screen.is_due() {
            return Ok(());
        }
        let (columns, rows) = Screen::size();
        let lines = self.table.lines(now, columns, rows);
        self.screen.draw(out, &lines)
    }
}

impl Output {
    /// Output to stdout for channels of `place`; `clock` returns the time since the start of the job.
    pub(crate) fn new(
        format: Format,
        place: Place,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Output {
        Output {
            format,
            clock: Box::new(clock),
            sink: Mutex::new(Sink {
                out: BufWriter::new(io::stdout()),
                live: (format == Format::Table).then(|| LiveTable::new(&place)),
                has_header: false,
                failed: None,
            }),
            place,
        }
    }

    /// Where the channels are.
    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Prints a line.
    pub(crate) fn line(&self, line: Line) {
        let now = (self.clock)();
        self.write(|sink| match (self.format, &mut sink.live) {
            (Format::Table, Some(live)) => {
                live.note(now, line);
                live.draw(&mut sink.out, now)
            }
            (Format::Text | Format::Table, _) => {
                if !mem::replace(&mut sink.has_header, true) {
                    stamp(&mut sink.out, Duration::ZERO)?;
                    writeln!(sink.out, "backend       {}", self.place)?;
                }
                text(&mut sink.out, now, line)
            }
            (Format::Json, _) => {
                let object = object(now, &self.place, line);
                writeln!(sink.out, "{}", plain::json(&object))
            }
            (Format::Silent, _) => Ok(()),
        });
    }

    /// Prints the summary: in text as it displays, in JSON as this object.
    pub(crate) fn summary<S: fmt::Display>(
        &self,
        summary: &S,
        object: impl FnOnce(&S, Duration) -> Value,
    ) {
        let now = (self.clock)();
        self.end_live(now);
        self.write(|Sink { out, .. }| match self.format {
            Format::Text | Format::Table => write!(out, "{summary}"),
            Format::Json => {
                let mut object = object(summary, now);
                object["backend"] = self.place.name().into();
                if let Place::Sim(seed) = self.place {
                    object["seed"] = seed.into();
                }
                writeln!(out, "{}", plain::json(&object))
            }
            Format::Silent => Ok(()),
        });
    }

    /// Restores the terminal, and prints the table on it once more.
    fn end_live(&self, now: Duration) {
        let Some(LiveTable { mut table, screen }) = self.sink().live.take() else {
            return;
        };
        drop(screen);
        let (columns, rows) = Screen::size();
        // The summary and the prompt need the other rows. Some channels are shown in any window.
        let room = rows.saturating_sub(12).max(Table::LEAST);
        let lines = table.last_lines(now, columns, room);
        self.write(|Sink { out, .. }| lines.iter().try_for_each(|line| writeln!(out, "{line}")));
    }

    /// Writes buffered lines, before the program sleeps or ends.
    pub(crate) fn flush(&self) {
        let now = (self.clock)();
        self.write(|Sink { out, live, .. }| match live {
            Some(live) => live.draw(out, now),
            None => out.flush(),
        });
    }

    /// Draws the table, if there is one. Lines stay buffered.
    pub(crate) fn flush_live(&self) {
        if self.max_sleep().is_some() {
            self.flush();
        }
    }

    /// The time since the start of the job.
    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// How long the program may sleep before it flushes again, if there is a limit.
    pub(crate) fn max_sleep(&self) -> Option<Duration> {
        self.sink().live.as_ref().map(|_| Screen::EVERY)
    }

    /// Whether the reader is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.sink().failed.is_some()
    }

    /// Ends the output. A reader that has gone away is not an error.
    ///
    /// # Errors
    /// The first write that failed for another reason.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.flush();
        match self.sink().failed.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            Some(_) | None => Ok(()),
        }
    }

    fn write(&self, write: impl FnOnce(&mut Sink) -> io::Result<()>) {
        let sink = &mut *self.sink();
        if sink.failed.is_none() {
            sink.failed = write(sink).err();
        }
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints bytes. A reader that has gone away is not an error.
///
/// # Errors
/// If they cannot be written for another reason.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

/// What became of an output. It is no failure if its reader is gone.
///
/// # Errors
/// If it cannot be written for another reason.
pub(crate) fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn text(out: &mut impl Write, now: Duration, line: Line) -> io::Result<()> {
    stamp(out, now)?;
    match line {
        Line::Bound { port, source } => {
            writeln!(out, "bound         port {port:<6} remote {source}")
        }
        Line::Registered => writeln!(out, "registered"),
        Line::Deregistered => writeln!(out, "deregistered"),
        Line::Wake {
            port,
            source,
            cause,
        } => {
            let cause = cause_name(cause);
            writeln!(
                out,
                "wake          port {port:<6} remote {source:<12} cause {cause}"
            )
        }
        Line::Notified { port, source } => {
            writeln!(out, "notified      port {port:<6} remote {source}")
        }
        Line::Handled { source, events } => {
            writeln!(out, "heard         events {events:<4} remote {source}")
        }
    }
}

/// The time at the beginning of a line.
fn stamp(out: &mut impl Write, now: Duration) -> io::Result<()> {
    write!(out, "[{:>5}.{:06}] ", now.as_secs(), now.subsec_micros())
}

fn object(now: Duration, place: &Place, line: Line) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("backend", place.name().into());
    put("time_ns", nanoseconds(now).into());
    let (event, source) = match line {
        Line::Bound { port, source } => {
            put("port", port.as_raw().into());
            ("bound", Some(source))
        }
        Line::Registered => ("registered", None),
        Line::Deregistered => ("deregistered", None),
        Line::Wake {
            port,
            source,
            cause,
        } => {
            put("port", port.as_raw().into());
            put("cause", cause_name(cause).into());
            ("wake", Some(source))
        }
        Line::Notified { port, source } => {
            put("port", port.as_raw().into());
            ("notified", Some(source))
        }
        Line::Handled { source, events } => {
            put("events", events.into());
            ("heard", Some(source))
        }
    };
    put("event", event.into());
    if let Some(source) = source {
        source.put(&mut object);
    }
    object.into()
}

/// A time as JSON has it; 584 years fit.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The name of a cause in the output and for commands.
pub(crate) const fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Event => "event",
        Cause::Overflow => "overflow",
        Cause::PeerGone => "peer_gone",
        Cause::PeerConnected => "peer_connected",
        Cause::Adopted => "adopted",
        Cause::Gone => "gone",
        Cause::Resumed => "restored",
        _ => "other",
    }
}

/// An event loop that prints when it registers or deregisters the device.
pub(crate) struct ReportingRegistrar {
    registrar: Box<dyn Registrar>,
    output: Arc<Output>,
}

impl ReportingRegistrar {
    /// Prints to `output` when `registrar` registers or deregisters.
    pub(crate) fn new(registrar: impl Registrar, output: Arc<Output>) -> ReportingRegistrar {
        let registrar = Box::new(registrar);
        ReportingRegistrar { registrar, output }
    }
}

impl Registrar for ReportingRegistrar {
    fn attach(&self, driver: Driver) {
        self.registrar.attach(driver);
    }

    fn trigger(&self) -> Trigger {
        self.registrar.trigger()
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        self.registrar.register(device)?;
        self.output.line(Line::Registered);
        Ok(())
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        self.registrar.deregister(device)?;
        self.output.line(Line::Deregistered);
        Ok(())
    }

    fn wake(&self) {
        self.registrar.wake();
    }

    fn wake_only(&self, targets: WakeTargets<'_>) {
        self.registrar.wake_only(targets);
    }
}
