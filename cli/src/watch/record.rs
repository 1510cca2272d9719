//! The trace that `--record` asks for.

use std::fs::File;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result};
use evtchn::Trigger;
use evtchn::sim::Choice;
use evtchn_trace::{Header, Sim, Source, Tape, What};

/// A trace of a run on the simulator, if one was asked for.
///
/// # Errors
/// The file cannot be made.
pub(crate) fn sim(file: Option<&Path>, seed: u64) -> Result<Tape> {
    let mut header = Header::new(Source::Sim, Trigger::Level);
    header.seed = Some(seed);
    tape(file, &header)
}

/// The decisions of the scene, on the trace too.
pub(crate) fn choice(seed: u64, tape: &Tape) -> Choice {
    let tape = tape.clone();
    let tell = move |way, of| tape.put(|| What::Sim(Sim::Choice { way, of }));
    Choice::seeded(seed).observed(tell)
}

/// A trace of a run on the real device, if one was asked for.
///
/// # Errors
/// The file cannot be made.
pub(crate) fn xen(file: Option<&Path>) -> Result<Tape> {
    let mut header = Header::new(Source::Xen, Trigger::Level);
    header.cpus = thread::available_parallelism().ok().map(usize::from);
    tape(file, &header)
}

/// Ends the trace.
///
/// # Errors
/// It could not be written.
pub(crate) fn finish(tape: &Tape) -> Result<()> {
    tape.finish().context("cannot write the trace")
}

fn tape(file: Option<&Path>, header: &Header) -> Result<Tape> {
    let Some(path) = file else {
        return Ok(Tape::off());
    };
    let file = File::create(path);
    let file = file.with_context(|| format!("cannot create {}", path.display()))?;
    Ok(Tape::new(header, file))
}
