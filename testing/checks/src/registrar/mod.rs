//! An event loop that does everything an implementation of [`Registrar`](evtchn_core::Registrar) may
//! do: its hooks fail, panic and call back, and readiness comes late, without a reason, or twice.
//!
//! The callbacks of the program that runs on it do odd things too. After each step the context is
//! compared with the model and with what it promises about the loop.

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
/// How it breaks, with the script in the form in which a test of this module can play it.
pub(crate) fn play_registrar(bytes: &[u8]) -> Result<(), String> {
    let (setup, script) = Op::decode(bytes);
    let played = play(setup, &script).map(drop);
    played.map_err(|broken| format!("{broken}\n    play({setup:?}, &{script:?})"))
}
