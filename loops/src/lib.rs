//! Event-loop adapters of evtchn: one thin file per event loop, one feature each.
//!
//! An adapter implements [`Registrar`](evtchn_core::Registrar) for every device that has a file
//! descriptor, so it runs on the real device and on the simulator alike. All of them obey one
//! rule: *any* readiness of the descriptor means "dispatch", because after an overflow the
//! driver shows the error bit alone.
//!
#![cfg_attr(feature = "polling", doc = "- [`PollingLoop`]: the `polling` crate.")]
#![cfg_attr(not(feature = "polling"), doc = "- `polling`: the `polling` crate.")]
#![deny(unsafe_code)]

#[cfg(feature = "polling")]
mod polling;

#[cfg(feature = "polling")]
pub use crate::polling::PollingLoop;
