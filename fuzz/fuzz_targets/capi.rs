//! Calls of the C functions, from bytes: `capi/tests/corpus.rs` replays the corpus.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(what) = evtchn_capi::play(bytes) {
        panic!("{what}");
    }
});
