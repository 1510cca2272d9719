//! Scripts of calls on a context over the simulator, played step by step against a model.
//!
//! One player serves them all: the exhaustive test enumerates scripts, the property tests draw
//! and shrink them, a fuzz target decodes them from bytes. A script that fails can be pasted
//! into a test as it is printed.
//!
//! - [`Op`]: one step of a script, and a line of text. [`Op::decode`] reads scripts from bytes.
//! - [`model`]: what a program may rely on, in a few lines that know nothing of the core.
//! - [`play`]: plays a script and says where it broke; [`check`] does it for a test. Three
//!   channels are enough for most scripts; [`play_on`] and [`check_on`] have as many as wanted.
//! - [`play_seen`]: shows the [`Player`] after each step; [`Stepped`] takes the steps one by one.
//! - `explore`, a feature: plays scripts of many kinds and says which cells of the tables they met.
//! - [`keep`]: writes what fails to a trace, and says the command that plays it again. [`Kept`] is
//!   what such a trace is of.
//! - [`Target`]: what each fuzz target does with any bytes; [`Input`] is what it is given, and [`room`]
//!   the memory that it may take. [`check_timeline`] is that of the target whose code is the command's.
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
pub use picture::{check_timeline, play_timeline};
pub use player::{
    Broken, Faults, Moment, Played, Player, SLOTS, Seen, Stepped, check, check_on, play, play_on,
    play_seen, shortest,
};
pub use replay::whole;
pub use target::{Input, Target};
pub use text::NoStep;
pub use trace::{Kept, LoadKept, NotKept, Script, keep, record, write, write_unplayed};
