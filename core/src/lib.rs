//! The core of evtchn: Xen event channels over any backend.
//!
//! It contains no errno, no clock and no unsafe code, uses no file descriptor and starts no thread.
//! Its modules, in the order in which to read them:
//!
//! - `ids`: the typed numbers (`Port`, `DomId`, `Virq`, `RemotePort`).
//! - `hal`: what a backend and an event loop must supply.
//! - `error`: what can go wrong with a call.
//! - `handover`: the table that one process gives to the next with its device.
//! - `machine`: the pure part. The states of a port and of the link (whether the device is open, and
//!   registered with the event loop), as tables. It is public with the feature `tables`.
//! - `status`: what a port is, as Xen reports it.
//! - `channel_map`: values by channel.
//! - `policy`: when a port is unmasked after its wake was handed out.
//! - `context`: the `machine` behind locks. It calls the backend and the event loop as the tables say.
//! - `handlers`: rounds with handlers under such policies, over the public calls of a context.
//! - [`watch`]: for event loops in which several threads wait. It decides which thread polls and which
//!   are woken.
//!
//! With the feature `mock` there are mocks of what a backend and a loop supply, in `mock`.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod channel_map;
#[cfg(feature = "std")]
mod context;
mod error;
#[cfg_attr(
    not(feature = "std"),
    expect(dead_code, reason = "the context, which opens devices, needs std")
)]
mod hal;
#[cfg(feature = "std")]
mod handlers;
mod handover;
mod ids;
#[cfg(feature = "tables")]
#[cfg_attr(
    not(feature = "std"),
    allow(dead_code, reason = "the context, which drives the machine, needs std")
)]
pub mod machine;
#[cfg(not(feature = "tables"))]
#[allow(
    dead_code,
    unnameable_types,
    unreachable_pub,
    reason = "public with the feature `tables`; driven by the context, which needs std"
)]
mod machine;
#[cfg(feature = "mock")]
pub mod mock;
mod not_static;
#[cfg(feature = "std")]
#[doc(hidden)]
pub mod observe;
mod policy;
mod status;
#[cfg(feature = "std")]
mod sync;
#[cfg(feature = "std")]
mod trace;
#[cfg(feature = "std")]
pub mod watch;

pub use channel_map::ChannelMap;
#[cfg(feature = "std")]
pub use context::{
    Channel, Context, Driver, Notifier, NotifySet, Outcome, Parts, Round, WakeBuf, Wakes,
    WeakContext, Woken,
};
pub use error::{Error, NotNotified, StillInUse};
pub use hal::{
    Backend, Device, DeviceCall, DeviceError, ErrorKind, EventChannel, ForkMark, LoopError,
    NewLoop, Open, OwnTime, Passed, PortBuf, PortStatuses, Registrar, Sleep, Sleeper, Slept,
    Trigger, WakeTargets,
};
#[cfg(feature = "std")]
pub use handlers::{Call, Eoi, Handlers};
pub use handover::{BadHandOver, HandOver};
pub use ids::{BadId, DomId, Port, RemotePort, Virq};
pub use machine::link::Link;
pub use machine::port::Cause;
pub use machine::{ChannelId, Stats, Wake};
pub use not_static::NotStatic;
pub use policy::{AfterHandler, BadLimit, BeforeHandler, OnEoi, RateLimit, Unmask, UnmaskPolicy};
pub use status::{PortStatus, Ports, Status};
