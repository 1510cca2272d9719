//! Event-loop adapters of evtchn: one thin file per event loop, one feature each.
//!
//! An adapter implements [`Registrar`](evtchn_core::Registrar) for every device that has a file
//! descriptor, so it runs on the real device and on the simulator alike. All of them obey one
//! rule: *any* readiness of the descriptor means "dispatch", because after an overflow the
//! driver shows the error bit alone.
//!
//! While an event loop watches a device, its adapter keeps the device open, so the number of its
//! descriptor never goes to another file under the loop. A device that the loop could not
//! deregister stays open until the process ends.
//!
//! | feature | adapter | event loop |
//! | --- | --- | --- |
//! | `async-io` | `AsyncIoRegistrar` | the reactor of `async-io` and smol, for tasks |
//! | `calloop` | `CalloopRegistrar`, `CalloopSource` | `calloop` |
//! | `hooks` | `HookRegistrar` | any loop that can watch a descriptor, as libxl's callers supply one |
//! | `hooks` | `PollArray` | a program that fills an array for poll(2) itself |
//! | `mio` | `MioRegistrar` | `mio` |
//! | `polling` | `PollingRegistrar` | `polling` |
//! | `tokio` | `TokioRegistrar` | the reactor of `tokio`, for tasks |
//!
//! The feature `crossbeam` is no adapter: its `Dispatcher` hands wakes to threads, on every loop
//! that threads can sleep in ([`Sleep`](evtchn_core::Sleep)).
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

#[cfg(feature = "async-io")]
mod async_io;
#[cfg(feature = "calloop")]
mod calloop;
#[cfg(feature = "crossbeam")]
mod crossbeam;
#[cfg(any(feature = "mio", feature = "polling"))]
mod failed_wake;
#[cfg(all(test, feature = "tokio"))]
#[path = "../tests/fd_device.rs"]
mod fd_device;
#[cfg(any(
    feature = "calloop",
    feature = "hooks",
    feature = "mio",
    feature = "polling"
))]
mod held;
#[cfg(feature = "hooks")]
mod hooks;
#[cfg(feature = "mio")]
mod mio;
#[cfg(feature = "hooks")]
mod poll_array;
#[cfg(feature = "polling")]
mod polling;
#[cfg(any(feature = "async-io", feature = "tokio"))]
mod reactor;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "async-io")]
pub use crate::async_io::AsyncIoRegistrar;
#[cfg(feature = "calloop")]
pub use crate::calloop::{CalloopRegistrar, CalloopSource};
#[cfg(feature = "crossbeam")]
pub use crate::crossbeam::{AddError, Delivery, Dispatcher, RunError, Running};
#[cfg(feature = "hooks")]
pub use crate::hooks::{Cookie, HookRegistrar, Hooks, Interest};
#[cfg(feature = "mio")]
pub use crate::mio::MioRegistrar;
#[cfg(feature = "hooks")]
pub use crate::poll_array::{PollArray, PollFd};
#[cfg(feature = "polling")]
pub use crate::polling::PollingRegistrar;
#[cfg(feature = "tokio")]
pub use crate::tokio::TokioRegistrar;
