//! Tests of the command: arguments in, lines, files and an exit code out.
#![expect(
    clippy::incompatible_msrv,
    reason = "tests may need a newer Rust than the crate"
)]

mod commands;
mod completions;
mod doctor;
mod dumps;
mod pictures;
mod replay;
mod schema;
mod sim;
mod support;
mod terminal;
mod timeline;
mod versions;
mod watch;
mod wrong;
