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
/// # Panics
/// Where it breaks, with the shortest script that does, as a test of this module can play it.
#[expect(clippy::panic, reason = "a test ends by panicking")]
pub fn check_registrar(bytes: &[u8]) {
    let (setup, script) = Op::decode(bytes);
    if let Err(broken) = play(setup, &script) {
        let short = shorten(&script, |script| play(setup, script).is_err());
        let broken = play(setup, &short).err().unwrap_or(broken);
        panic!("{broken}\n    play({setup:?}, &{short:?})");
    }
}

/// The shortest script of which `breaks` still holds, found by leaving steps out one by one.
fn shorten<T: Clone>(script: &[T], breaks: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut script = script.to_vec();
    let mut index = 0;
    while index < script.len() {
        let mut shorter = script.clone();
        shorter.remove(index);
        if breaks(&shorter) {
            script = shorter;
            index = 0;
        } else {
            index += 1;
        }
    }
    script
}
