//! The trace-event format of Chrome, which Perfetto reads too. It is written while the trace is read,
//! so a trace can have any length.
//!
//! The context is the process and a lane is a thread. A step takes a microsecond; the line of the
//! trace stands in the arguments.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde_json::{Value, json};

use super::DrawError;
use super::drive::{LaneId, Position, Visitor, drive};
use super::lanes::{Kind, State};
use crate::{Lines, plain};

/// The process id of the context.
const CONTEXT: u32 = 1;

/// Writes it.
///
/// # Errors
/// Those of `out`, and a line is refused.
pub(super) fn draw(trace: &mut Lines<impl BufRead>, out: &mut dyn Write) -> Result<(), DrawError> {
    write!(out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    let mut events = Events {
        out,
        error: None,
        is_first: true,
        at: Position { step: 0, line: 0 },
        lanes: BTreeMap::new(),
        changed: BTreeMap::new(),
    };
    let summary = drive(trace, &mut events)?;
    events.write_changes();
    let name = format!("evtchn: {summary}");
    events.name("process_name", 0, &json!({"name": name}));
    for (lane, sort) in std::mem::take(&mut events.lanes).into_iter().zip(1..) {
        let (id, lane) = lane;
        let name = match lane.about.as_str() {
            "" => id.name(),
            about => format!("{} ({about})", id.name()),
        };
        events.name("thread_name", lane.number, &json!({"name": name}));
        let sort = json!({"sort_index": sort});
        events.name("thread_sort_index", lane.number, &sort);
    }
    if let Some(error) = events.error {
        return Err(error.into());
    }
    Ok(writeln!(out, "\n]}}")?)
}

struct Events<'a> {
    out: &'a mut dyn Write,
    /// The first error; nothing is written after it.
    error: Option<io::Error>,
    is_first: bool,
    /// The last position.
    at: Position,
    lanes: BTreeMap<LaneId, Track>,
    /// The lanes whose state changed in this step, with the new state.
    changed: BTreeMap<LaneId, Option<State>>,
}

/// A lane as a thread.
struct Track {
    number: usize,
    about: String,
    /// Whether a state has begun and not ended.
    is_open: bool,
}

impl Events<'_> {
    fn track(&mut self, lane: LaneId) -> &mut Track {
        let number = self.lanes.len() + 1;
        self.lanes.entry(lane).or_insert_with(|| Track {
            number,
            about: String::new(),
            is_open: false,
        })
    }

    /// Moves to a position, which may begin a new step.
    fn move_to(&mut self, at: Position) {
        if at.step != self.at.step {
            self.write_changes();
        }
        self.at = at;
    }

    /// Writes the states that lanes have at the end of a step.
    fn write_changes(&mut self) {
        let Position { step, line } = self.at;
        for (lane, state) in std::mem::take(&mut self.changed) {
            let track = self.track(lane);
            let number = track.number;
            let was_open = std::mem::replace(&mut track.is_open, state.is_some());
            if was_open {
                self.event(format_args!(
                    "{{\"ph\":\"E\",\"pid\":{CONTEXT},\"tid\":{number},\"ts\":{step}}}"
                ));
            }
            // Names of states and kinds need no escapes.
            if let Some(state) = state {
                self.event(format_args!(
                    "{{\"ph\":\"B\",\"name\":\"{}\",\"cat\":\"state\",\"pid\":{CONTEXT},\
                     \"tid\":{number},\"ts\":{step},\"args\":{{\"line\":{line}}}}}",
                    state.name()
                ));
            }
        }
    }

    fn name(&mut self, what: &str, number: usize, arguments: &Value) {
        self.event(format_args!(
            "{{\"ph\":\"M\",\"name\":\"{what}\",\"pid\":{CONTEXT},\"tid\":{number},\
             \"args\":{}}}",
            plain::json(arguments)
        ));
    }

    fn event(&mut self, event: std::fmt::Arguments<'_>) {
        let comma = if self.is_first { "" } else { "," };
        self.is_first = false;
        if self.error.is_none() {
            self.error = write!(self.out, "{comma}\n{event}").err();
        }
    }
}

impl Visitor for Events<'_> {
    fn about(&mut self, lane: LaneId, about: &str) {
        about.clone_into(&mut self.track(lane).about);
    }

    fn enter(&mut self, lane: LaneId, at: Position, state: Option<State>) {
        self.move_to(at);
        self.changed.insert(lane, state);
    }

    fn mark(&mut self, lane: LaneId, at: Position, kind: Kind, text: &str) {
        self.move_to(at);
        let (name, class, number) = (kind.name(), kind.class(), self.track(lane).number);
        let scope = if kind == Kind::Overflow { 'p' } else { 't' };
        let Position { step, line } = at;
        let what = match text {
            "" => String::new(),
            text => format!(",\"what\":{}", plain::json(&json!(text))),
        };
        self.event(format_args!(
            "{{\"ph\":\"i\",\"name\":\"{name}\",\"cat\":\"{class}\",\"s\":\"{scope}\",\
             \"pid\":{CONTEXT},\"tid\":{number},\"ts\":{step},\
             \"args\":{{\"line\":{line}{what}}}}}"
        ));
    }
}
