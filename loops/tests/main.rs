//! The adapters on the simulator, each with what only it does. What all do alike is in `loops.rs`.
#![expect(
    clippy::incompatible_msrv,
    reason = "tests may need a newer Rust than the crate"
)]

mod async_io;
mod crossbeam;
mod ended;
mod fd_device;
mod held;
mod hooks;
mod mio;
mod poll_array;
mod polling;
mod tasks;
mod tokio;
mod workers;
