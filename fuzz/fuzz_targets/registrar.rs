//! A program on an event loop that misbehaves, from bytes: `tests/corpus.rs` replays the corpus.
#![no_main]

use evtchn_checks::check_registrar;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check_registrar(bytes));
