//! Any bytes as the file of a trace, read and played as `evtchn replay` does.

use std::io::Cursor;
use std::sync::Arc;

use evtchn_trace::{BadTrace, Lines, LoadError, Recording, Source, Why};

use crate::memory::within;
use crate::trace::{Kept, LoadKept};

/// Reads bytes as a trace and plays it, with the recorded answers and on the simulator. A trace that
/// is refused, and one that goes another way, is in order. A panic is not, and neither is a script or
/// an input that breaks, or memory that is out of proportion.
///
/// # Errors
/// Where one of these does not hold.
pub(crate) fn play_replay(bytes: &[u8]) -> Result<(), String> {
    let file: Arc<[u8]> = whole(bytes).into();
    within(file.len(), || {
        let read = || Recording::read(Cursor::new(Arc::clone(&file)));
        let Ok(recording) = read() else {
            return Ok(());
        };
        if recording.header().source == Source::Script {
            return kept(recording);
        }
        // What a changed trace comes to is its own affair.
        let _with_its_answers = recording.replay();
        let _on_sim = read().and_then(Recording::replay_on_sim);
        Ok(())
    })
}

fn kept(recording: Recording) -> Result<(), String> {
    match Kept::load(recording) {
        Ok(Kept::Script(script)) => {
            let played = script.play();
            played.map(drop).map_err(|broken| broken.to_string())
        }
        Ok(Kept::Input(input)) => input.play(),
        Err(LoadKept::Read(_) | LoadKept::Not(_)) => Ok(()),
    }
}

/// These lines as a whole trace: with the last line that fits them, which no fuzzer finds. Where they
/// end in the middle of a line, they stay a trace that was cut off.
///
/// ```
/// let lines = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
/// "#;
/// let whole = evtchn_checks::whole(lines);
/// assert!(evtchn_trace::Trace::read(&whole).is_ok());
/// ```
#[must_use]
pub fn whole(lines: &[u8]) -> Vec<u8> {
    let mut file = lines.to_vec();
    if !lines.ends_with(b"\n") {
        return file;
    }
    // What is wrong with this one says what is right.
    file.extend_from_slice(b"{\"end\":0}\n");
    let number = file.iter().filter(|byte| **byte == b'\n').count();
    let refused = Lines::new(&file[..]).map(|mut read| read.find_map(Result::err));
    file.truncate(lines.len());
    if let Ok(Some(LoadError::Bad(BadTrace { line, why }))) = refused
        && let Why::Changed { expected } = why
        && line == number
    {
        file.extend_from_slice(expected.as_bytes());
        file.push(b'\n');
    }
    file
}
