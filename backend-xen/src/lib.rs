//! The real backend of evtchn: ioctl, read and write on `/dev/xen/evtchn`.
//!
//! - [`Device`]: one open device, an [`EventChannel`](evtchn_core::EventChannel); [`XenOpen`]
//!   opens it.
//! - [`Error`]: a failed [`Call`] with its errno, and a hint at what to do about it.
//! - `Privcmd` (feature `status`): asks Xen for the state of the ports of a domain. It implements
//!   [`PortStatuses`](evtchn_core::PortStatuses).
//! - `Multicall` (feature `multicall`): whether many notifies are made in one hypercall.
//! - [`PollLoop`]: an event loop on `poll(2)` for programs that have none. It watches any
//!   device with a file descriptor, so it runs on the simulator too.
//! - [`abi`]: the request codes, checked at compile time.
//!
//! Where a behaviour is described, it is that of Linux drivers/xen/evtchn.c. The unsafe code is the
//! ioctl call and the view of ports as bytes in `abi`, the borrow of the registered descriptor in
//! `places`, hypercalls with their pages in `privcmd`, and the instruction `cpuid` in `restore`.
//!
//! ```no_run
//! use evtchn::poll::PollLoop;
//! use evtchn::xen::XenOpen;
//! use evtchn::{Device, DomId, Open, PortBuf, Registrar};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::new(XenOpen::default().open()?);
//! let port = device.bind_unbound_port(DomId::SELF)?;
//! println!("waiting on port {port}");
//!
//! let poll_loop = PollLoop::new()?;
//! poll_loop.register(&device)?;
//! if poll_loop.wait(None)?.ready {
//!     let mut fired = PortBuf::with_capacity(PortBuf::MAX);
//!     device.pending(&mut fired)?;
//!     println!("fired: {:?}", fired.words());
//! }
//! poll_loop.deregister(&device)?;
//! # Ok(())
//! # }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

pub mod abi;
mod device;
mod errno;
mod error;
#[cfg(feature = "multicall")]
mod multicall;
mod opener;
mod places;
mod poll_loop;
#[cfg(any(feature = "status", feature = "multicall"))]
mod privcmd;
mod restore;

pub use device::Device;
pub use error::{Call, Error};
#[cfg(feature = "multicall")]
pub use multicall::Multicall;
pub use opener::{DEVICE_PATH, XenOpen, backend};
pub use poll_loop::{Counters, PollLoop, Readiness, RegistrationError};
#[cfg(any(feature = "status", feature = "multicall"))]
pub use privcmd::PRIVCMD_PATH;
#[cfg(feature = "status")]
pub use privcmd::Privcmd;
pub use rustix::io::Errno;
