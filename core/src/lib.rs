//! The core of evtchn: Xen event channels over any backend.
//!
//! No file descriptor, no errno, no clock and no unsafe code live here, and nothing starts a
//! thread. Read the modules in this order:
//!
//! - [`ids`]: the typed numbers (`Port`, `DomId`, `Virq`, `RemotePort`).
//! - [`hal`]: the seam. What a backend and an event loop must supply, on one screen.
//! - [`handover`]: the table that one process gives to the next with its device.
//! - [`machine`]: the pure part. The states of a port and of the link, as tables.
//! - [`status`]: what a port is, as Xen tells it.
//! - [`policy`]: when a port whose wake was handed out is enabled again.
//! - [`context`]: the machine behind locks, carrying out over the seam what the tables say.
//! - [`watch`]: for loops in which several threads wait: which of them polls, and which is woken.
//!
//! With the feature `mock` there are mocks of the seam, in `mock`.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod context;
pub mod hal;
pub mod handover;
pub mod ids;
#[cfg_attr(
    not(feature = "std"),
    expect(dead_code, reason = "the context, which drives the machine, needs std")
)]
pub mod machine;
#[cfg(feature = "mock")]
pub mod mock;
pub mod policy;
pub mod status;
#[cfg(feature = "std")]
mod sync;
#[cfg(feature = "std")]
mod trace;
#[cfg(feature = "std")]
pub mod watch;

#[cfg(feature = "std")]
pub use context::{
    BindError, BindResult, BlockError, BlockResult, Blocked, Call, CancelError, Channel,
    CheckError, CheckResult, Context, DeviceError, DispatchError, DispatchResult, Driver, Eoi,
    HandOverError, HandleError, HandleResult, Handlers, IntoPartsError, Leftover, LinkError,
    LoopError, Notifier, NotifyError, Outcome, Parts, PeerError, RestrictError, Round, SleepError,
    TaskError, TeardownError, TryCancelError, UnbindError, UnbindResult, Wait, WaitError, WakeBuf,
    Wakes, Woken, WokenResult,
};
pub use hal::{
    Error, ErrorKind, EventChannel, Open, PortBuf, PortStatuses, Registrar, Sleep, Sleeper, Slept,
    Trigger, Whom,
};
pub use handover::{BadHandOver, HandOver};
pub use ids::{BadId, DomId, Port, RemotePort, Virq};
pub use machine::link::Link;
pub use machine::port::Cause;
pub use machine::{ChannelId, NotBound, Stats, Wake};
pub use policy::{AtOnce, BadLimit, RateLimit, Unmask, UnmaskPolicy, WhenDone, WhenTold};
pub use status::{PortStatus, Ports, Status};
