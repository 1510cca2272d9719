//! An event loop that does whatever an implementor of [`Registrar`](evtchn_core::Registrar) may
//! do: its hooks fail, panic and call back, and readiness comes late, for nothing, or twice.
//!
//! A program runs on it whose callbacks do odd things too. After each step the context is held
//! against the model and against what it promises of the loop.

mod acts;
mod binds;
mod looper;
mod player;
mod promises;
mod rig;
mod rounds;
mod script;
#[cfg(test)]
mod tests;

use player::play;
use script::Op;

/// Plays the script that `bytes` mean, three bytes a step.
///
/// # Errors
/// Where it breaks, with the script as a test of this module can play it.
pub(crate) fn play_registrar(bytes: &[u8]) -> Result<(), String> {
    let (setup, script) = Op::decode(bytes);
    let played = play(setup, &script).map(drop);
    played.map_err(|broken| format!("{broken}\n    play({setup:?}, &{script:?})"))
}
