//! What is printed: one line per happening, as text or as JSON, and the summary.
//!
//! A reader that goes away ends the output, not the program: what is left to do is done unheard.

use std::io::{self, BufWriter, Stdout, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn::{Cause, Port, Registrar, Trigger};
use serde_json::{Value, json};

use crate::summary::Summary;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Aligned columns, for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Something to report.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Line<'a> {
    /// A channel was bound.
    Bound { port: Port, remote: &'a str },
    /// The device was registered with the event loop.
    Registered,
    /// The device was deregistered from the event loop.
    Deregistered,
    /// A channel woke its waiter.
    Wake {
        port: Port,
        remote: &'a str,
        cause: Cause,
    },
}

/// Where lines go, and the clock that stamps them.
pub(crate) struct Output {
    format: Format,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    sink: Mutex<Sink>,
}

#[derive(Debug)]
struct Sink {
    out: BufWriter<Stdout>,
    /// The first write that failed. Nothing is written after it.
    failed: Option<io::Error>,
}

impl Output {
    /// Output to stdout; `clock` tells the time since the start of the job.
    pub(crate) fn new(
        format: Format,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Output {
        Output {
            format,
            clock: Box::new(clock),
            sink: Mutex::new(Sink {
                out: BufWriter::new(io::stdout()),
                failed: None,
            }),
        }
    }

    /// Reports one happening.
    pub(crate) fn line(&self, line: Line<'_>) {
        let now = (self.clock)();
        self.write(|out| match self.format {
            Format::Text => text(out, now, line),
            Format::Json => writeln!(out, "{}", object(now, line)),
        });
    }

    /// Reports how it all came out.
    pub(crate) fn summary(&self, summary: &Summary) {
        let now = (self.clock)();
        self.write(|out| match self.format {
            Format::Text => write!(out, "{summary}"),
            Format::Json => writeln!(out, "{}", summary.object(now)),
        });
    }

    /// Brings out what was held back, before the program sleeps or ends.
    pub(crate) fn flush(&self) {
        self.write(Write::flush);
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_over(&self) -> bool {
        self.sink().failed.is_some()
    }

    /// Ends the output. A reader that had enough is no error.
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

    fn write(&self, write: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>) {
        let mut sink = self.sink();
        if sink.failed.is_none() {
            sink.failed = write(&mut sink.out).err();
        }
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(out: &mut impl Write, now: Duration, line: Line<'_>) -> io::Result<()> {
    write!(out, "[{:>5}.{:06}] ", now.as_secs(), now.subsec_micros())?;
    match line {
        Line::Bound { port, remote } => {
            writeln!(out, "bound         port {port:<6} remote {remote}")
        }
        Line::Registered => writeln!(out, "registered"),
        Line::Deregistered => writeln!(out, "deregistered"),
        Line::Wake {
            port,
            remote,
            cause,
        } => {
            let cause = cause_name(cause);
            writeln!(
                out,
                "wake          port {port:<6} remote {remote:<12} cause {cause}"
            )
        }
    }
}

fn object(now: Duration, line: Line<'_>) -> Value {
    let time_ns = nanoseconds(now);
    match line {
        Line::Bound { port, remote } => json!({
            "event": "bound", "time_ns": time_ns, "port": port.as_raw(), "remote": remote,
        }),
        Line::Registered => json!({"event": "registered", "time_ns": time_ns}),
        Line::Deregistered => json!({"event": "deregistered", "time_ns": time_ns}),
        Line::Wake {
            port,
            remote,
            cause,
        } => json!({
            "event": "wake", "time_ns": time_ns, "port": port.as_raw(), "remote": remote,
            "cause": cause_name(cause),
        }),
    }
}

/// A time as JSON carries it; 584 years fit.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Event => "event",
        Cause::Overflow => "overflow",
        Cause::PeerGone => "peer_gone",
        Cause::Adopted => "adopted",
        Cause::Gone => "gone",
    }
}

/// A registrar that reports what it registers.
pub(crate) struct Announce<R> {
    registrar: R,
    output: Arc<Output>,
}

impl<R> Announce<R> {
    /// Reports to `output` what `registrar` does.
    pub(crate) fn new(registrar: R, output: Arc<Output>) -> Announce<R> {
        Announce { registrar, output }
    }
}

impl<D: ?Sized, R: Registrar<D>> Registrar<D> for Announce<R> {
    type Error = R::Error;

    fn trigger(&self) -> Trigger {
        self.registrar.trigger()
    }

    fn register(&self, device: &D) -> Result<(), R::Error> {
        self.registrar.register(device)?;
        self.output.line(Line::Registered);
        Ok(())
    }

    fn deregister(&self, device: &D) -> Result<(), R::Error> {
        self.registrar.deregister(device)?;
        self.output.line(Line::Deregistered);
        Ok(())
    }

    fn wake(&self) {
        self.registrar.wake();
    }
}
