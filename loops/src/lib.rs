//! Event-loop adapters of evtchn: one thin file per event loop, one feature each.
//!
//! An adapter implements [`Registrar`](evtchn_core::Registrar) for every device that has a file
//! descriptor, so it runs on the real device and on the simulator alike. All of them obey one
//! rule: *any* readiness of the descriptor means "dispatch", because after an overflow the
//! driver shows the error bit alone.
//!
#![cfg_attr(feature = "polling", doc = "- [`PollingLoop`]: the `polling` crate.")]
#![cfg_attr(not(feature = "polling"), doc = "- `polling`: the `polling` crate.")]
#![cfg_attr(feature = "mio", doc = "- [`MioLoop`]: the `mio` crate.")]
#![cfg_attr(not(feature = "mio"), doc = "- `mio`: the `mio` crate.")]
#![cfg_attr(
    feature = "calloop",
    doc = "- [`CalloopLoop`] and [`CalloopSource`]: the `calloop` crate."
)]
#![cfg_attr(not(feature = "calloop"), doc = "- `calloop`: the `calloop` crate.")]
#![cfg_attr(
    feature = "hooks",
    doc = "- [`HookLoop`]: any loop that can be told of a descriptor, as libxl's callers are.\n\
           - [`PollArray`]: a program that fills an array for poll(2) itself."
)]
#![cfg_attr(
    not(feature = "hooks"),
    doc = "- `hooks`: loops that can be told of a descriptor, and arrays of poll(2)."
)]
#![deny(unsafe_code)]

#[cfg(feature = "calloop")]
mod calloop;
#[cfg(feature = "hooks")]
mod hooks;
#[cfg(feature = "mio")]
mod mio;
#[cfg(feature = "hooks")]
mod poll_array;
#[cfg(feature = "polling")]
mod polling;

#[cfg(feature = "calloop")]
pub use crate::calloop::{CalloopLoop, CalloopSource};
#[cfg(feature = "hooks")]
pub use crate::hooks::{Cookie, HookLoop, Hooks, Interest};
#[cfg(feature = "mio")]
pub use crate::mio::MioLoop;
#[cfg(feature = "hooks")]
pub use crate::poll_array::{PollArray, PollFd};
#[cfg(feature = "polling")]
pub use crate::polling::PollingLoop;
