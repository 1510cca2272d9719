//! The trace-event format of Chrome, which Perfetto reads too: for traces of any length.
//!
//! The context is the process and a lane is a thread. A step takes a microsecond; the line of the
//! trace stands in the arguments.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::lanes::{Kind, Lane, Mark, Span, Timeline};

/// The number of the context.
const CONTEXT: u32 = 1;

/// Writes it.
///
/// # Errors
/// Those of `out`.
pub(super) fn draw(timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
    let named = |name: &str, tid: usize, args: Value| json!({"ph": "M", "name": name, "pid": CONTEXT, "tid": tid, "args": args});
    let context = format!("evtchn: {}", timeline.summary());
    writeln!(out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    write!(
        out,
        "{}",
        named("process_name", 0, json!({"name": context}))
    )?;
    for (lane, tid) in timeline.lanes.iter().zip(1..) {
        let name = match lane.about.as_str() {
            "" => lane.name.clone(),
            about => format!("{} ({about})", lane.name),
        };
        let order = json!({"sort_index": tid});
        write!(
            out,
            ",\n{}",
            named("thread_name", tid, json!({"name": name}))
        )?;
        write!(out, ",\n{}", named("thread_sort_index", tid, order))?;
    }
    for event in events(&timeline.lanes) {
        event.write(timeline, out)?;
    }
    writeln!(out, "\n]}}")
}

/// A state or a mark of a lane.
#[derive(Debug, Clone, Copy)]
enum Event {
    Span(u32, Span),
    Mark(u32, Mark),
}

/// All of them in the order of their steps.
fn events(lanes: &[Lane]) -> Vec<Event> {
    let of_lane = |(lane, tid): (&'_ Lane, u32)| {
        let spans = lane.spans.clone().into_iter();
        let marks = lane.marks.clone().into_iter();
        let spans = spans.map(move |span| Event::Span(tid, span));
        spans.chain(marks.map(move |mark| Event::Mark(tid, mark)))
    };
    let mut events: Vec<Event> = lanes.iter().zip(1..).flat_map(of_lane).collect();
    events.sort_by_key(|event| event.at());
    events
}

impl Event {
    const fn at(self) -> u32 {
        match self {
            Event::Span(_, span) => span.from,
            Event::Mark(_, mark) => mark.at,
        }
    }

    /// Names of states and kinds need no escape.
    fn write(self, timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
        let (at, line) = (self.at(), timeline.line(self.at()));
        match self {
            Event::Span(tid, span) => write!(
                out,
                ",\n{{\"ph\":\"X\",\"name\":\"{}\",\"cat\":\"state\",\"pid\":{CONTEXT},\"tid\":{tid},\
                 \"ts\":{at},\"dur\":{},\"args\":{{\"line\":{line}}}}}",
                span.state.name(),
                span.to - at
            ),
            Event::Mark(tid, mark) => {
                let (name, class) = (mark.kind.name(), mark.kind.class());
                let scope = if mark.kind == Kind::Overflow {
                    'p'
                } else {
                    't'
                };
                write!(
                    out,
                    ",\n{{\"ph\":\"i\",\"name\":\"{name}\",\"cat\":\"{class}\",\"s\":\"{scope}\",\
                     \"pid\":{CONTEXT},\"tid\":{tid},\"ts\":{at},\"args\":{{\"line\":{line}"
                )?;
                match timeline.texts.of(mark.text) {
                    "" => {}
                    text => write!(out, ",\"what\":{}", json!(text))?,
                }
                write!(out, "}}}}")
            }
        }
    }
}
