//! Any bytes as the file of a trace, drawn as `evtchn timeline` does: `tests/corpus.rs` draws the corpus.
#![no_main]

use std::alloc::System;

use evtchn_checks::Target;
use libfuzzer_sys::fuzz_target;
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc};

#[global_allocator]
static HEAP: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

fuzz_target!(init: Target::set_up(), |bytes: &[u8]| Target::Timeline.check(bytes));
