//! What a recording learns of a context: each call of the program, its result, and each call of the
//! event loop. A backend brings the observer ([`Backend::observed`](crate::Backend::observed)).
//!
//! Only evtchn-trace implements it, in the same version. Nothing here is under semantic versioning.
//! An observer only writes down what happens. It calls nothing of the context.

use alloc::sync::Arc;

use crate::context::Outcome;
use crate::error::Error;
use crate::hal::{Device, DeviceError, LoopError, Slept};
use crate::handover::HandOver;
use crate::ids::{DomId, Port, RemotePort, Virq};
use crate::machine::port::Cause;
use crate::machine::{ChannelId, Wake};
use crate::status::PortStatus;

/// Only for crates of this workspace.
pub trait OfThisWorkspace: Send + Sync + 'static {}

/// Observes the contexts of a backend.
pub trait Observe: OfThisWorkspace {
    /// A context was made. Returns the observer of its calls.
    fn context(&self) -> Arc<dyn Observer>;

    /// The device was opened, or the open failed. Returns the device with its calls observed.
    ///
    /// # Errors
    /// The error of the open.
    fn open(&self, opened: Result<Device, DeviceError>) -> Result<Device, DeviceError>;

    /// A context adopts this device. Returns the device with its calls observed.
    fn adopt(&self, device: Device) -> Device;
}

/// Observes one context.
pub trait Observer: OfThisWorkspace {
    /// The program makes a call.
    fn begins(&self, call: Called<'_>);

    /// The call that this thread began last returned, or calls a callback.
    fn ends(&self, came: Came<'_>);

    /// The context called the event loop, or asked what a port is.
    fn hook(&self, hook: Hook<'_>);
}

/// A call of the program.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named after the methods")]
pub enum Called<'a> {
    Bind(Source),
    Restrict(DomId),
    Wait(ChannelId),
    WaitEach(ChannelId),
    Cancel(ChannelId),
    Notify(ChannelId),
    NotifyMany(&'a [ChannelId]),
    Unbind(ChannelId),
    DropChannel(ChannelId),
    NextTimeout,
    /// A round begins, with at most this many wakes.
    Begin(usize),
    Next,
    /// With room for this many wakes.
    Fill(usize),
    Finish,
    /// A round is dropped.
    Leave,
    /// [`Round::call`](crate::Round::call)
    Call,
    DispatchCallbacks,
    SetCallback(ChannelId),
    RemoveCallback(ChannelId),
    /// A callback returns.
    Return {
        /// Or panics.
        panics: bool,
    },
    Block {
        channel: ChannelId,
        /// There is a deadline.
        until: bool,
    },
    /// A future of the next wake is polled.
    Woken(ChannelId),
    /// A future that waits is dropped.
    DropWoken(ChannelId),
    HandOver(&'a [ChannelId]),
    FromParts(&'a HandOver),
    CheckPeers,
    Teardown,
    DropContext,
    /// A call that is recorded by its name only.
    Other(&'static str),
}

/// The four ways to get a port.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named after the methods")]
pub enum Source {
    Unbound(DomId),
    Interdomain(RemotePort),
    Virq(Virq),
    Static(Port),
}

/// The result of a call.
#[derive(Debug, Clone, Copy)]
pub enum Came<'a> {
    /// It succeeded.
    Done,
    /// It failed.
    Failed(&'a Error),
    /// The device was handed over.
    HandedOver,
    /// A channel was bound.
    Bound(ChannelId),
    /// These channels were adopted.
    Adopted(&'a [ChannelId]),
    /// A wait was cancelled, if there was one.
    Cancelled(bool),
    /// A callback was removed, if there was one.
    Removed(bool),
    /// How long the event loop may sleep: not at all, or for ever.
    Timeout {
        /// Not at all.
        zero: bool,
    },
    /// A round has begun.
    Begun,
    /// The round handed out a wake, or has none.
    Wake(Option<Wake>),
    /// The round handed out these wakes.
    Wakes(&'a [Wake]),
    /// The round is over.
    Over(Result<Outcome, &'a Error>),
    /// A round of callbacks, made by one call, is over.
    Dispatched(Outcome),
    /// A callback is called.
    Calls(Wake),
    /// A future or a stream has no wake yet.
    Pending,
    /// A check of the peers ended this many waits.
    Checked(usize),
    /// A thread that blocked has its wake, or timed out.
    Woken(Option<Cause>),
}

/// A call of the event loop or of [`PortStatuses`](crate::PortStatuses), and its result.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named after the methods of the registrar")]
pub enum Hook<'a> {
    Register(&'a Result<(), LoopError>),
    Deregister(&'a Result<(), LoopError>),
    Wake,
    Sleep {
        /// There is a deadline.
        until: bool,
        slept: &'a Result<Slept, LoopError>,
    },
    /// [`PortStatuses::status`](crate::PortStatuses::status) of a port of this domain.
    Status {
        port: Port,
        status: &'a Result<PortStatus, DeviceError>,
    },
}
