//! Hand-over tables from bytes: `tests/corpus.rs` replays the corpus.
#![no_main]

use evtchn_checks::Target;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: Target::catch_panics(), |bytes: &[u8]| Target::HandOver.check(bytes));
