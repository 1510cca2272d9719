//! Calls on open files of the simulator, from bytes: `tests/corpus.rs` replays the corpus.
#![no_main]

use evtchn_checks::check_calls;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check_calls(bytes));
