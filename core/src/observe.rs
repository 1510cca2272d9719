//! What a recording learns of a context: each call of the program, what it came to, and each call of
//! the event loop. A backend brings the observer ([`Backend::observed`](crate::Backend::observed)).
//!
//! Only evtchn-trace implements it, in the same version. Nothing here is under semantic versioning.
//! An observer writes down what happens: it decides nothing and calls nothing of the context.

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
    /// A context was made: the observer of its calls.
    fn context(&self) -> Arc<dyn Observer>;

    /// The device was opened, or not: the same, with its calls observed.
    ///
    /// # Errors
    /// That of the open.
    fn open(&self, opened: Result<Device, DeviceError>) -> Result<Device, DeviceError>;

    /// A context goes on with this device: the same, with its calls observed.
    fn adopt(&self, device: Device) -> Device;
}

/// Observes one context.
pub trait Observer: OfThisWorkspace {
    /// The program makes a call.
    fn begins(&self, call: Called<'_>);

    /// The call that this thread began last came back, or calls a callback.
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
    Unbind(ChannelId),
    DropChannel(ChannelId),
    NextTimeout,
    /// A round begins, with so many wakes at most.
    Begin(usize),
    Next,
    /// With room for so many wakes.
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
    /// One that only its name is known of.
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

/// What a call came to.
#[derive(Debug, Clone, Copy)]
pub enum Came<'a> {
    /// It is done.
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
    /// A round of callbacks is over, which was one call.
    Dispatched(Outcome),
    /// A callback is called.
    Calls(Wake),
    /// A future or a stream has no wake yet.
    Pending,
    /// A check of the peers ended so many waits.
    Checked(usize),
    /// A thread that blocked has its wake, or its time is over.
    Woken(Option<Cause>),
}

/// A call of the event loop or of what tells the states of ports, and what it came to.
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
