//! Hand-over tables from bytes: `tests/corpus.rs` replays the corpus.
#![no_main]

use evtchn_checks::check_hand_over;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check_hand_over(bytes));
