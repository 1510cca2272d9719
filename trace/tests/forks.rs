//! A forked child writes nothing into the trace that its parent records.
#![expect(
    clippy::unwrap_used,
    reason = "a scene ends by panicking, and its process with it"
)]

#[path = "../../fork/tests/scenes/mod.rs"]
mod scenes;

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::process;

use evtchn_core::{DomId, Trigger};
use evtchn_fork::Inherited;
use evtchn_sim::Sim;
use evtchn_trace::{Header, Source, Tape, Trace};
use scenes::Forks;

fn main() {
    scenes::main(&[(
        "trace_of_a_parent_has_nothing_of_its_child",
        trace_of_a_parent_has_nothing_of_its_child,
    )]);
}

/// A file of this process alone, which is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, forks: &Forks) -> Scratch {
        let name = format!("evtchn-{name}-{}-{:p}", process::id(), forks);
        Scratch(std::env::temp_dir().join(name))
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _removed = fs::remove_file(&self.0);
    }
}

fn header() -> Header {
    Header::new(Source::Sim, Trigger::Level)
}

fn trace_of_a_parent_has_nothing_of_its_child(forks: &Forks) {
    let scratch = Scratch::new("trace-of-a-parent", forks);
    let file = File::create(&scratch.0).unwrap();
    let tape = Tape::new(&header(), BufWriter::new(file));
    let backend = tape.record(Sim::new(7).open(DomId::DOM0));
    let device = backend.open().unwrap();
    device.bind_unbound_port(DomId::SELF).unwrap();
    let before = scratch.text();
    let (device, tape) = forks.in_child((device, tape), |(device, tape)| {
        device.bind_unbound_port(DomId::SELF).unwrap();
        let refused = tape.finish().unwrap_err();
        assert!(is_inherited(&refused));
        drop((device, tape));
    });
    assert_eq!(scratch.text(), before);
    device.bind_unbound_port(DomId::SELF).unwrap();
    drop(device);
    tape.finish().unwrap();
    let trace = Trace::read(scratch.text().as_bytes()).unwrap();
    // Opened, bound twice, closed.
    assert_eq!(trace.lines.len(), 4);
}

/// Whether that is why a call was refused.
fn is_inherited(error: &io::Error) -> bool {
    let why = error.get_ref();
    why.and_then(|it| it.downcast_ref::<Inherited>()).is_some()
}
