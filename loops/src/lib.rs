//! Event-loop adapters of evtchn: one thin file per event loop, one feature each.
//!
//! An adapter implements [`Registrar`](evtchn_core::Registrar) for every device that has a file
//! descriptor, so it runs on the real device and on the simulator alike. All of them obey one
//! rule: *any* readiness of the descriptor means "dispatch", because after an overflow the
//! driver shows the error bit alone.
//!
#![cfg_attr(
    feature = "async-io",
    doc = "- [`AsyncIoLoop`]: the reactor of `async-io`, for tasks."
)]
#![cfg_attr(
    not(feature = "async-io"),
    doc = "- `async-io`: its reactor, for tasks."
)]
#![cfg_attr(feature = "polling", doc = "- [`PollingLoop`]: the `polling` crate.")]
#![cfg_attr(not(feature = "polling"), doc = "- `polling`: the `polling` crate.")]
#![cfg_attr(
    feature = "tokio",
    doc = "- [`TokioLoop`]: the reactor of `tokio`, for tasks."
)]
#![cfg_attr(not(feature = "tokio"), doc = "- `tokio`: its reactor, for tasks.")]
#![deny(unsafe_code)]

#[cfg(feature = "async-io")]
mod async_io;

#[cfg(feature = "polling")]
mod polling;
#[cfg(any(feature = "async-io", feature = "tokio"))]
mod reactor;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "async-io")]
pub use crate::async_io::AsyncIoLoop;
#[cfg(feature = "polling")]
pub use crate::polling::PollingLoop;
#[cfg(any(feature = "async-io", feature = "tokio"))]
pub use crate::reactor::NotAttached;
#[cfg(feature = "tokio")]
pub use crate::tokio::TokioLoop;
