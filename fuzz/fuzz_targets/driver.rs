//! Calls on open files of the simulator, from bytes: `tests/corpus.rs` replays the corpus.
#![no_main]

use std::alloc::System;

use evtchn_checks::Target;
use libfuzzer_sys::fuzz_target;
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc};

#[global_allocator]
static HEAP: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

fuzz_target!(init: Target::set_up(), |bytes: &[u8]| Target::Driver.check(bytes));
