//! Scripts of calls, with failures, from bytes: `tests/corpus.rs` replays the corpus.
#![no_main]

use evtchn_checks::{Op, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (trigger, script) = Op::decode(bytes);
    check(trigger, &script);
});
