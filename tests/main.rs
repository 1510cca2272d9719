//! The tests of the whole library that need neither a device nor the process to themselves. One binary, because each
//! would compile the library's generic code again.
#![expect(
    clippy::incompatible_msrv,
    reason = "tests may need a newer Rust than the crate"
)]

mod bad_input;
mod blocking;
mod callbacks;
mod choices;
mod common;
mod corpus;
mod determinism;
mod exhaustive;
mod faults;
mod fork;
mod handles;
mod handover;
mod libxl_defects;
mod next_round;
mod own_time;
mod peers;
mod policies;
mod programs;
mod properties;
mod regressions;
mod restored;
mod soak;
mod storms;
mod third_party;
mod thousands;
mod threads;
mod uses;
mod virtual_time;
