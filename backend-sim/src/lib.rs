//! The simulator of evtchn: hypervisor and Linux driver in one process, deterministic.
//!
//! - [`Sim`]: a handle on one simulated machine. A test drives domains, VIRQs and time with it.
//! - [`SimOpen`] and [`SimDevice`]: the device, for a context under test.
//! - [`SimPrivcmd`]: the state of ports, asked of the simulated Xen.
//! - [`SimLoop`]: an event loop without a descriptor, in the virtual time of a machine. A real loop
//!   works too: [`SimDevice`] has a descriptor that becomes ready when that of the real device would.
//!   (After an overflow it shows `OUT` too, where the real one shows `ERR` alone.)
//! - [`Fault`]: a rule by which calls fail or do less. [`Delivery`]: when events arrive.
//! - [`Choice`]: where decisions come from. With [`Choice::exhaustive`] a test runs once for every
//!   possible sequence of decisions.
//! - [`Crowd`]: guests and peers on threads of their own, for runs that are not stepped.
//! - [`Platform`]: which Xen and which Linux, by name; the default is Xen 4.17 with Linux 6.1.
//! - [`World`]: the machine itself, with the device as a C program calls it: ioctl by number,
//!   read, write, poll, threads that sleep in a read.
//! - `remote` (feature `remote`): one machine for several processes.
//!
//! It consists of two models, as in reality. The *hypervisor* has domains, port states, pending and
//! mask bits, VIRQs, limits and permissions (xen/common/event_channel.c). The *driver* has the
//! ring of each open file with its growth, the enabled flag of each port, overflow, poll bits and
//! the restriction (Linux drivers/xen/evtchn.c). The hypervisor knows nothing of the driver.
//!
//! Not modelled: running out of memory (use [`Fault::out_of_memory`]), event priorities, which vCPU an
//! event wakes, calls of Xen that are preempted. ARCHITECTURE.md says why.
//!
//! The same configuration, the same calls and the same [`Choice`] give the same run, to the last
//! answer; see [`World::digest`].
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod choice;
mod clock;
mod config;
mod crowd;
mod device;
mod digest;
mod driver;
mod errno;
mod error;
mod event_loop;
mod fault;
mod hypervisor;
mod platform;
mod pollable;
mod privcmd;
#[cfg(feature = "remote")]
pub mod remote;
mod sim;
mod world;

/// The device as a C program sees it: request numbers, arguments, poll bits.
pub mod abi {
    pub use crate::driver::abi::{
        Access, Arg, BIND_INTERDOMAIN, BIND_STATIC, BIND_UNBOUND_PORT, BIND_VIRQ, FIOASYNC,
        FIONBIO, NOTIFY, PAGE, PollBits, RESET, RESTRICT_DOMID, UNBIND,
    };
}

pub use choice::{Choice, Explored, Taken};
pub use config::{Abi, Config, DomainConfig};
pub use crowd::{Crowd, Tally};
pub use device::{SimDevice, SimOpen};
pub use errno::Errno;
pub use error::{Call, Calls, Error};
pub use event_loop::{Counts, SimLoop, Violation};
pub use fault::Fault;
pub use platform::{
    Datum, Hypercalls, KernelData, LinuxVersion, Platform, Policy, Seen, XenVersion,
};
pub use privcmd::SimPrivcmd;
pub use sim::{Guest, Sim};
pub use world::{Delivery, FileId, Happened, ReaderId, World};
