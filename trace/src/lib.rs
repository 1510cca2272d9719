//! Traces: the calls of a program on its context, the calls of the context on the device and the
//! event loop (backend calls), and every answer, written as they happen and replayed anywhere.
//!
//! - [`Tape`] writes a trace. [`Tape::record`] wraps a backend, and the trace then has what the
//!   program does with it.
//! - [`Trace`] is a trace that was read as a whole. [`Lines`] reads it line by line, and [`Salvaged`]
//!   reads what is left of a trace that was cut off. docs/traces.md has an example of each kind of
//!   [`Line`].
//! - [`Recording`] is a trace of any length, which is replayed from its file.
//! - [`replay`] plays a trace again on a real context, with the recorded answers.
//! - With the feature `timeline`, `draw` draws a trace as a picture.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod device;
mod digest;
mod failed;
mod header;
mod line;
mod names;
mod parse;
#[cfg(feature = "timeline")]
pub mod plain;
mod read;
mod record;
mod recording;
mod refused;
mod replay;
mod salvage;
#[cfg(feature = "sim")]
mod sim;
mod step;
mod tape;
mod text;
#[cfg(feature = "timeline")]
mod timeline;

pub use failed::Failed;
pub use header::{Header, Source, VERSION};
pub use line::{
    Answer, BackendAnswer, BackendCall, BackendRecord, Call, Guest, Input, Line, Op, Record,
    Schedule, Sim, Verdict,
};
pub use names::{RecordedStatus, SleepEnd, WakeCause};
pub use read::{LINE_LIMIT, Lines, Trace};
pub use recording::Recording;
pub use refused::{BadTrace, BadTraceKind, LoadError};
pub use replay::{Difference, Replayed, Tally, replay};
pub use salvage::{Cut, Salvaged};
#[cfg(feature = "sim")]
pub use sim::{observe, replay_on_sim};
pub use tape::Tape;
#[cfg(feature = "timeline")]
pub use timeline::{DrawError, Format, draw};
