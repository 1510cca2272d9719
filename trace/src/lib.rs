//! Traces: what a program asked of its context, what that asked of the device and the event loop,
//! and every answer, written down as it happens and replayed anywhere.
//!
//! - [`Trace`]: one that was read whole; [`Lines`] reads it one by one. [`Line`] is one of them;
//!   docs/traces.md has an example of each kind. [`Salvaged`] is what is left of one that was cut off.
//! - [`Recording`]: one of any length, which is replayed from its file.
//! - [`Tape`]: where a trace is written while it happens. [`Tape::record`] records the program that
//!   uses a backend.
//! - [`replay`]: plays a trace again, with the recorded answers, on a real context.
#![forbid(unsafe_code)]

mod device;
mod digest;
mod failed;
mod header;
mod line;
mod names;
mod parse;
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

pub use failed::Failed;
pub use header::{Header, Source, VERSION};
pub use line::{
    Answer, AtSeam, Call, Got, Guest, Input, Line, Op, Schedule, Seam, Sim, Verdict, What,
};
pub use names::{Caused, Ended, State};
pub use read::{LINE_LIMIT, Lines, Trace};
pub use recording::Recording;
pub use refused::{BadTrace, LoadError, Why};
pub use replay::{Difference, Replayed, Tally, replay};
pub use salvage::{Cut, Salvaged};
#[cfg(feature = "sim")]
pub use sim::{observe, replay_on_sim};
pub use tape::Tape;
