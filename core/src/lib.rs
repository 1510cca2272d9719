//! The core of evtchn: Xen event channels over any backend.
//!
//! No file descriptor, no errno, no clock and no unsafe code live here, and nothing starts a
//! thread. Read the modules in this order:
//!
//! - [`ids`]: the typed numbers (`Port`, `DomId`, `Virq`, `RemotePort`).
//! - [`hal`]: the seam. What a backend and an event loop must supply, on one screen.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod hal;
pub mod ids;

pub use hal::{Error, ErrorKind, EventChannel, Open, PortBuf, Registrar, Trigger};
pub use ids::{BadId, DomId, Port, RemotePort, Virq};
