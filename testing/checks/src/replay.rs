//! Reads any bytes as the file of a trace, and plays it as `evtchn replay` does.

use std::io::Cursor;
use std::sync::Arc;

use evtchn_trace::{BadTrace, BadTraceKind, Lines, LoadError, Recording, Source};

use crate::memory::within;
use crate::trace::{CheckTrace, CheckTraceError};

/// Reads bytes as a trace, and plays it with the recorded answers and on the simulator. The trace may be
/// refused, and its replay may differ. But nothing may panic, a script or an input in it must not fail,
/// and the memory must be in proportion to the trace.
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
        // The replay of a changed trace may differ.
        let _with_its_answers = recording.replay();
        let _on_sim = read().and_then(Recording::replay_on_sim);
        Ok(())
    })
}

fn kept(recording: Recording) -> Result<(), String> {
    match CheckTrace::load(recording) {
        Ok(CheckTrace::Script(script)) => {
            let played = script.play();
            played.map(drop).map_err(|broken| broken.to_string())
        }
        Ok(CheckTrace::Input(input)) => input.play(),
        Err(CheckTraceError::Load(_) | CheckTraceError::Bad(_)) => Ok(()),
    }
}

/// Makes a whole trace of these lines: adds the last line with their digest, which a fuzzer does not
/// find. If they end in the middle of a line, they stay a trace that was cut off.
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
    // The error for this last line has the right one.
    file.extend_from_slice(b"{\"end\":0}\n");
    let number = file.iter().filter(|byte| **byte == b'\n').count();
    let refused = Lines::new(&file[..]).map(|mut read| read.find_map(Result::err));
    file.truncate(lines.len());
    if let Ok(Some(LoadError::Bad(BadTrace { line, kind }))) = refused
        && let BadTraceKind::Changed { expected } = kind
        && line == number
    {
        file.extend_from_slice(expected.as_bytes());
        file.push(b'\n');
    }
    file
}
