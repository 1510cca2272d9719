//! Scripts of calls on a context over the simulator, played step by step against a model.
//!
//! All checks use one player: the exhaustive test enumerates scripts, the property tests generate and
//! shrink them, a fuzz target decodes them from bytes. A script that fails is printed so that it can be
//! pasted into a test.
//!
//! - [`Op`]: one step of a script, and a line of text. [`Op::decode`] reads scripts from bytes.
//! - [`model`]: what a program may rely on, in a few lines that do not use the core.
//! - [`play`]: plays a script and reports where it broke; [`check`] does it for a test. Three channels
//!   are enough for most scripts; [`play_on`] and [`check_on`] take any number of them.
//! - [`play_seen`]: shows the [`Player`] after each step; [`Stepped`] takes the steps one by one.
//! - `explore`, a feature: plays scripts of many kinds and reports which cells of the tables they
//!   reached.
//! - [`keep`]: writes the trace of a script that fails, and returns the command that plays it again.
//!   [`CheckTrace`] is what such a trace contains.
//! - [`Target`]: the fuzz targets; [`Input`] is the input of one, and [`room`] the memory that it may
//!   take.
#![forbid(unsafe_code)]

#[cfg(feature = "explore")]
pub mod explore;
mod failed;
mod handover;
mod memory;
pub mod model;
mod op;
mod picture;
mod player;
mod raw;
mod registrar;
mod replay;
mod smaller;
mod target;
mod text;
mod trace;

pub use memory::{is_counted, room, within};
pub use op::{Each, Failing, Op, Source};
pub use player::{
    Broken, Faults, Moment, Played, Player, SLOTS, Seen, Stepped, check, check_on, play, play_on,
    play_seen, shortest,
};
pub use replay::whole;
pub use target::{Input, Target};
pub use text::BadStep;
pub use trace::{
    BadCheckTrace, CheckTrace, CheckTraceError, Script, keep, record, write, write_unplayed,
};
