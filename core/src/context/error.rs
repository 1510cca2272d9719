//! One error enum per operation: each variant is a step that failed and says what state is left.
//!
//! `D` is the device's error, `R` the registrar's.

use std::error::Error;
use std::fmt;

use crate::ids::{DomId, Port};
use crate::machine::{ChannelId, NotBound};

/// The event loop failed, or called back in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError<R: Error + 'static> {
    /// The event loop refused the device.
    #[error("the event loop refused the device")]
    Register(#[source] R),
    /// The event loop did not let go of the device; it is still registered. The next call on the
    /// context tries again.
    #[error("the event loop did not let go of the device")]
    Deregister(#[source] R),
    /// A hook panicked while a panic was unwinding already. (Otherwise its panic goes on to the
    /// caller.) It counts as having done nothing.
    #[error("a hook of the event loop panicked")]
    Panicked,
    /// Called from inside a hook of the registrar, or from the opening of the device. Nothing was
    /// done.
    #[error("a registrar hook must not call back into its context")]
    Reentrant,
    /// Called in a forked child: the context belongs to the parent. Nothing was done.
    #[error("the context belongs to the process that this one was forked from")]
    Inherited,
}

/// A bind failed. No port was bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError<D: Error + 'static> {
    /// The device could not be opened. The next bind tries again.
    #[error("cannot open the event-channel device")]
    Open(#[source] D),
    /// The new device could not be restricted to the domain asked for, and was closed again.
    #[error("cannot restrict the event-channel device")]
    Restrict(#[source] D),
    /// What an earlier unbind may have left in the driver could not be read away first.
    #[error("cannot read old events away before the bind")]
    Drain(#[source] D),
    /// The bind itself failed. A device that was opened for it is closed again.
    #[error(transparent)]
    Bind(D),
    /// Called from inside a hook of the registrar, or the opening of the device.
    #[error("a registrar hook must not call back into its context")]
    Reentrant,
    /// Called in a forked child.
    #[error("the context belongs to the process that this one was forked from")]
    Inherited,
}

/// A wait failed. Nobody waits that did not wait before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError<D: Error + 'static, R: Error + 'static> {
    /// The channel was unbound, or its device failed.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// The next wake of the channel is somebody else's. Cancel that wait first.
    #[error("{0} is waited for already")]
    AlreadyWaited(ChannelId),
    /// The event loop refused the device.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
    /// The port could not be enabled again. A later wait tries again.
    #[error("cannot enable port {port} again")]
    Unmask {
        /// The port.
        port: Port,
        /// Why.
        #[source]
        source: D,
    },
    /// The driver took no port. A later wait tries again.
    #[error("the device did not take port {port} to enable it again")]
    NotWritten {
        /// The port.
        port: Port,
    },
}

/// A cancel failed. Who waited still waits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError<R: Error + 'static> {
    /// The channel was unbound, or its device failed.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// The event loop did not let go of the device.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
}

/// A cancel that does not wait for callbacks failed. Who waited still waits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryCancelError<R: Error + 'static> {
    /// The channel's callback runs on another thread. Nothing was done.
    #[error("the callback of {0} runs on another thread")]
    Running(ChannelId),
    /// As a cancel that waits.
    #[error(transparent)]
    Cancel(#[from] CancelError<R>),
}

impl<R: Error + 'static> From<NotBound> for TryCancelError<R> {
    fn from(error: NotBound) -> TryCancelError<R> {
        CancelError::from(error).into()
    }
}

impl<R: Error + 'static> From<LinkError<R>> for TryCancelError<R> {
    fn from(error: LinkError<R>) -> TryCancelError<R> {
        CancelError::from(error).into()
    }
}

/// A notify failed. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError<D: Error + 'static> {
    /// The channel was unbound.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// Called in a forked child.
    #[error("the channel belongs to the process that this one was forked from")]
    Inherited,
    /// The device refused.
    #[error(transparent)]
    Device(D),
}

/// An unbind failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnbindError<C: fmt::Debug, D: Error + 'static, R: Error + 'static> {
    /// The device refused; the channel is as it was and comes back to its owner.
    #[error("cannot unbind")]
    Unbind {
        /// The channel.
        channel: C,
        /// Why.
        #[source]
        source: D,
    },
    /// The channel is unbound, but the event loop did not let go of the device.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
    /// Called from inside a hook of the registrar; the channel comes back to its owner.
    #[error("a registrar hook must not call back into its context")]
    Reentrant(C),
    /// Called in a forked child; the channel comes back to its owner, to be dropped.
    #[error("the channel belongs to the process that this one was forked from")]
    Inherited(C),
}

/// A round failed, or could not begin. Wakes that it handed out are good; what was read and not
/// handed out is in the ready queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError<D: Error + 'static, R: Error + 'static> {
    /// Another round of this context is under way.
    #[error("another round of this context is under way")]
    Busy,
    /// The device failed and was closed. Every channel is dead, and every waiter gets a wake
    /// with [`Cause::Gone`](crate::Cause::Gone). The next bind opens a new device.
    #[error("the event-channel device failed")]
    Device(#[source] D),
    /// Some ports could not be enabled again. The next round tries again.
    #[error("cannot enable {ports} ports again")]
    Unmask {
        /// How many are still to be written.
        ports: usize,
        /// Why.
        #[source]
        source: D,
    },
    /// The device took no more ports to enable again. The next round tries again.
    #[error("the device did not take {ports} ports to enable them again")]
    NotWritten {
        /// How many are still to be written.
        ports: usize,
    },
    /// The event loop failed at the end of the round. The next call on the context tries again.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
}

/// The restriction could not be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestrictError<D: Error + 'static> {
    /// The context was restricted already, and stays so.
    #[error("already restricted to domain {0}")]
    Already(DomId),
    /// No device can be restricted to this domain: it is domain 0, or a reserved id (Linux
    /// drivers/xen/evtchn.c, evtchn_ioctl).
    #[error("domain {0} cannot be the target of a restriction")]
    NoTarget(DomId),
    /// Called in a forked child.
    #[error("the context belongs to the process that this one was forked from")]
    Inherited,
    /// The device refused.
    #[error(transparent)]
    Device(D),
}

/// What keeps a context from being torn down.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// Ports of the channels that are still bound.
    pub channels: Vec<Port>,
    /// Those of them that somebody waits for.
    pub waiting: Vec<Port>,
    /// How many channels that are no longer bound are still held, by a
    /// [`Notifier`](crate::Notifier) or by their owner.
    pub held: usize,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "still in use: channels on ports {:?}, waited for {:?}; {} unbound channels still held",
            self.channels.iter().map(|p| p.as_raw()).collect::<Vec<_>>(),
            self.waiting.iter().map(|p| p.as_raw()).collect::<Vec<_>>(),
            self.held
        )
    }
}

/// A teardown failed. Everything is as it was and usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeardownError<R: Error + 'static> {
    /// Somebody still uses the context.
    #[error("{0}")]
    Leftover(Leftover),
    /// The event loop did not let go of the device.
    #[error(transparent)]
    Link(#[from] LinkError<R>),
}
