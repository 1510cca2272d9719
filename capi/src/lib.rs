//! The C library `libxenevtchn`: the twelve functions of `xenevtchn.h`, on `/dev/xen/evtchn` or, with the feature `sim`, on
//! the simulator.
//!
//! `cargo xtask capi --prefix DIR` builds and installs both libraries with their headers and pkg-config files. This crate is their
//! source, and no Rust program needs it.
//!
//! Each function makes the system call that its name says, and returns -1 with the errno of that call. What it adds:
//!
//! - A null handle is `EINVAL`. Any other pointer that is not a handle is undefined, as in every C library.
//! - With `EVTCHN_SURVIVE_OVERFLOW=1` in the environment, [a handle goes on after an overflow](calls::xenevtchn_fd).
//! - `xentoolcore_restrict_all` reaches each handle, if the program has loaded `libxentoolcore.so.1`.
//!
//! The unsafe code is the boundary in [`calls`] and `sim::calls`, the system calls with any descriptor in `device` and
//! `system`, errno in `errno`, the registration in `toolcore`, the memory in `table`, and the place in `slot`. A panic, which would be a bug, ends the process: no unwinding leaves
//! a function.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

pub mod calls;
mod device;
mod errno;
mod file;
mod handle;
#[cfg(feature = "player")]
mod player;
#[cfg(feature = "sim")]
pub mod sim;
mod slot;
mod survivor;
mod system;
mod table;
mod toolcore;

pub use handle::Handle;
#[cfg(feature = "player")]
pub use player::play;
