//! The C library as programs get it: linked, installed, and used by programs that `cc` and pkg-config build.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints to another one"
)]

mod corpus;
mod installed;
mod names;
mod programs;
mod served;
