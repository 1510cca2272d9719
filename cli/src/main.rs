//! The `evtchn` command.
#![forbid(unsafe_code)]
fn main() {}
