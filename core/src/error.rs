//! What can go wrong with a call of a context, a channel, or a type made from them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::hal::{DeviceError, LoopError};
use crate::handover::BadHandOver;
use crate::ids::{DomId, Port};
use crate::machine::{ChannelId, NotBound};
use crate::not_static::NotStatic;

/// A call failed. The documentation of each call says what it can fail with.
///
/// Unless a variant says otherwise, the call changed nothing: ports, waits and the registration
/// are as before, and the program may try the call again.
///
/// An error prints as one line, with the call, the port and the errno if it has them.
///
/// ```
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Context, DeviceCall, DomId, Error, ErrorKind, Port, RemotePort};
///
/// let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
/// let remote = RemotePort { domid: DomId::new(77), port: Port::MAX };
/// let error = ctx.bind_interdomain(remote).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "cannot bind to port 2147483647 of domain 77: ESRCH (3): no such domain",
/// );
/// let Error::Device(error) = error else {
///     panic!("the device refused it");
/// };
/// assert_eq!(error.kind(), ErrorKind::NoSuchDomain);
/// assert_eq!(error.call(), DeviceCall::BindInterdomain(remote));
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device refused a call, or could not be opened; [`DeviceError::call`] says which.
    ///
    /// - [`Open`](crate::DeviceCall::Open) and [`Restrict`](crate::DeviceCall::Restrict) from a bind:
    ///   no port was bound, and a device that was opened for it is closed again.
    /// - [`Pending`](crate::DeviceCall::Pending), the read of the device (a bind reads too, to remove
    ///   old entries from the ring): the device failed and was closed.
    ///   Every channel is dead, and every waiter gets a wake with
    ///   [`Cause::Gone`](crate::Cause::Gone). The next bind opens a new device.
    /// - [`Unmask`](crate::DeviceCall::Unmask) at the end of a round: the ports that it names are
    ///   still masked, and the next round tries again.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device unmasked fewer ports than it was given. If a round fails with this error, the
    /// next round unmasks the rest. If a wait fails with it, the wait did not begin.
    #[error("the device did not take {ports} ports from port {first} on to unmask them")]
    NotUnmasked {
        /// The first port that is still masked.
        first: Port,
        /// How many ports are still masked.
        ports: usize,
    },
    /// The event loop of the context could not be made.
    #[error("cannot make the event loop: {0}")]
    NewLoop(LoopError),
    /// The event loop refused the device.
    #[error("the event loop refused the device: {0}")]
    Register(LoopError),
    /// The event loop could not deregister the device. Apart from that the call did its work: the
    /// channel is unbound, the wait is over, the wakes are handed out. The next call tries again to
    /// deregister. (Some calls undo their work instead, such as a cancel; their documentation says
    /// so.)
    #[error("the event loop did not let go of the device: {0}")]
    Deregister(LoopError),
    /// The event loop could not sleep. The wait is over.
    #[error("cannot sleep in the event loop: {0}")]
    Sleep(LoopError),
    /// A hook of the event loop panicked while another panic unwound. The hook counts as having
    /// done nothing.
    #[error("a hook of the event loop panicked")]
    HookPanicked,
    /// The call came from inside a hook of the event loop, or while the same thread opens the
    /// device.
    #[error("a registrar hook must not call back into its context")]
    Reentrant,
    /// The call came from a forked child. Context and channels belong to the parent.
    #[error("the event-channel device belongs to the process that this one was forked from")]
    Inherited,
    /// The channel was unbound, its device failed or was handed over, or a check found that Xen has
    /// closed its port.
    #[error("{0} is not bound here")]
    NotBound(ChannelId),
    /// The channel already has another waiter: a task, a thread that blocks, or a wait of rounds.
    #[error("{0} already has a waiter")]
    AlreadyWaited(ChannelId),
    /// Another thread has a round of this context, this thread is in a callback, or another
    /// [check](crate::Context::check_peers) of the peers is under way.
    #[error("another round or check of this context is under way")]
    Busy,
    /// Another thread cancelled the wait of this task or thread, or dropped the context.
    #[error("the wait was cancelled")]
    Cancelled,
    /// The callback of the channel is running on another thread.
    #[error("the callback of {0} runs on another thread")]
    CallbackRuns(ChannelId),
    /// The device is already restricted to this domain, and stays so.
    #[error("already restricted to domain {0}")]
    Restricted(DomId),
    /// No device can be restricted to this domain: it is domain 0, or a reserved id (Linux
    /// drivers/xen/evtchn.c, evtchn_ioctl).
    #[error("domain {0} cannot be the target of a restriction")]
    NoTarget(DomId),
    /// The port is not one that a static bind may take over.
    #[error(transparent)]
    NotStatic(#[from] NotStatic),
    /// Channels or notifiers still use the device.
    #[error("{0}")]
    StillInUse(Box<StillInUse>),
    /// Some channels of a batch were not notified; all others were.
    #[error("{0}")]
    NotNotified(Box<NotNotified>),
    /// No device is open, so there is nothing to hand over.
    #[error("no device is open")]
    NotOpen,
    /// The ports cannot be written into a table: the device gave out a number that Xen does not
    /// have.
    #[error(transparent)]
    HandOver(#[from] BadHandOver),
}

impl Error {
    /// The device's error, if this is [`Error::Device`].
    #[must_use]
    pub const fn device(&self) -> Option<&DeviceError> {
        if let Error::Device(error) = self {
            Some(error)
        } else {
            None
        }
    }
}

/// Which channels of a batch were not notified. All others were.
///
/// ```
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Context, DomId, Error};
///
/// let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
/// let channels = [ctx.bind_unbound_port(DomId::SELF)?, ctx.bind_unbound_port(DomId::SELF)?];
/// let ids = channels.each_ref().map(|channel| channel.id());
/// drop(channels);
/// let Err(Error::NotNotified(refused)) = ctx.notify_many(&ids) else {
///     panic!("no channel is bound");
/// };
/// assert_eq!((refused.failed.len(), refused.of), (2, 2));
/// assert!(matches!(refused.failed[0], (id, Error::NotBound(_)) if id == ids[0]));
/// # Ok::<_, Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NotNotified {
    /// Each channel that was not notified and why, in the order of the batch.
    pub failed: Vec<(ChannelId, Error)>,
    /// How many channels the batch named.
    pub of: usize,
}

impl fmt::Display for NotNotified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotNotified { failed, of } = self;
        write!(f, "{} of {of} channels were not notified", failed.len())?;
        match failed.first() {
            Some((_, error)) => write!(f, "; the first: {error}"),
            None => Ok(()),
        }
    }
}

impl From<NotBound> for Error {
    fn from(NotBound(id): NotBound) -> Error {
        Error::NotBound(id)
    }
}

/// What keeps a context from being torn down or handed over.
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use evtchn::Error;
///
/// channel.wait()?;
/// let Err(Error::StillInUse(left)) = ctx.teardown() else {
///     panic!("the channel is bound");
/// };
/// assert_eq!(left.channels, [channel.port()]);
/// assert_eq!((left.waiting, left.held), (vec![channel.port()], 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StillInUse {
    /// Ports of the channels that are still bound.
    pub channels: Vec<Port>,
    /// The ports of those channels that have a waiter.
    pub waiting: Vec<Port>,
    /// How many channels still have a [`Notifier`](crate::Notifier).
    pub held: usize,
}

impl fmt::Display for StillInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raw = |ports: &[Port]| ports.iter().map(|port| port.as_raw()).collect::<Vec<_>>();
        write!(
            f,
            "still in use: channels on ports {:?}, of which {:?} have a waiter; notifiers of {} channels",
            raw(&self.channels),
            raw(&self.waiting),
            self.held
        )
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString};
    use core::error::Error as StdError;

    use super::*;
    use crate::hal::{DeviceCall, ErrorKind};
    use crate::machine::Machine;
    use crate::status::Status;

    /// The error that a backend or an event loop itself returned.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot do this: EIO (5)")]
    struct Failed;

    fn port() -> Port {
        Port::new(7).unwrap()
    }

    fn channel() -> ChannelId {
        Machine::new().bind(port())
    }

    fn device(call: DeviceCall) -> Error {
        let error = DeviceError::new(ErrorKind::Other, call).with_code(5, "EIO");
        error.into()
    }

    /// The error and its sources on one line, as `anyhow` prints them with `{:#}`.
    fn chain(error: &dyn StdError) -> String {
        let mut line = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            line = line + ": " + &cause.to_string();
            source = cause.source();
        }
        line
    }

    #[test]
    fn every_error_prints_its_cause_with_call_and_errno_once() {
        let (first, refused) = (port(), || LoopError::new(Failed));
        let table = [
            (
                device(DeviceCall::Open),
                "cannot open the event-channel device: EIO (5)",
            ),
            (
                device(DeviceCall::Restrict(DomId::new(5))),
                "cannot restrict the device to domain 5: EIO (5)",
            ),
            (
                device(DeviceCall::BindUnboundPort(DomId::new(5))),
                "cannot allocate a port for domain 5: EIO (5)",
            ),
            (
                device(DeviceCall::Unbind(port())),
                "cannot unbind port 7: EIO (5)",
            ),
            (
                device(DeviceCall::Notify(port())),
                "cannot notify port 7: EIO (5)",
            ),
            (
                device(DeviceCall::Pending),
                "cannot read the ports that fired: EIO (5)",
            ),
            (
                device(DeviceCall::Unmask { first, count: 1 }),
                "cannot unmask port 7: EIO (5)",
            ),
            (
                device(DeviceCall::Unmask { first, count: 3 }),
                "cannot unmask 3 ports from port 7 on: EIO (5)",
            ),
            (
                Error::NewLoop(refused()),
                "cannot make the event loop: cannot do this: EIO (5)",
            ),
            (
                Error::Register(refused()),
                "the event loop refused the device: cannot do this: EIO (5)",
            ),
            (
                Error::Deregister(refused()),
                "the event loop did not let go of the device: cannot do this: EIO (5)",
            ),
            (
                Error::Sleep(refused()),
                "cannot sleep in the event loop: cannot do this: EIO (5)",
            ),
        ];
        for (error, expected) in table {
            assert_eq!(error.to_string(), expected);
            assert_eq!(format!("{error:#}"), expected);
            assert_eq!(chain(&error), expected);
        }
    }

    #[test]
    fn a_failed_call_has_the_error_of_the_backend_as_its_source() {
        let error = DeviceError::new(ErrorKind::Other, DeviceCall::Open).with_source(Failed);
        let error = Error::from(error);
        assert!(error.source().is_some_and(<dyn StdError>::is::<Failed>));
        assert_eq!(
            chain(&error),
            "cannot open the event-channel device: it failed: cannot do this: EIO (5)"
        );
        assert_eq!(
            error.device().map(DeviceError::call),
            Some(DeviceCall::Open)
        );
        assert!(Error::Busy.device().is_none());
    }

    #[test]
    fn an_error_without_a_cause_says_what_is_wrong() {
        let inherited =
            "the event-channel device belongs to the process that this one was forked from";
        let channel = channel();
        let left = StillInUse {
            channels: [port(), Port::MAX].into(),
            waiting: [port()].into(),
            held: 2,
        };
        let table = [
            (Error::Inherited, inherited),
            (
                Error::Reentrant,
                "a registrar hook must not call back into its context",
            ),
            (Error::HookPanicked, "a hook of the event loop panicked"),
            (
                Error::Restricted(DomId::new(5)),
                "already restricted to domain 5",
            ),
            (
                Error::NoTarget(DomId::DOM0),
                "domain 0 cannot be the target of a restriction",
            ),
            (
                Error::Busy,
                "another round or check of this context is under way",
            ),
            (
                Error::NotUnmasked {
                    first: port(),
                    ports: 2,
                },
                "the device did not take 2 ports from port 7 on to unmask them",
            ),
            (Error::Cancelled, "the wait was cancelled"),
            (Error::NotOpen, "no device is open"),
            (
                Error::NotStatic(NotStatic::Ours(port())),
                "cannot bind static port 7: a channel of this context has it; use that channel, or \
                 unbind it first",
            ),
            (
                Error::NotStatic(NotStatic::Is(port(), Status::Ipi)),
                "cannot bind static port 7: Xen says that it is ipi, which no static port is; look \
                 up the number where the channel was set up, in the device tree or in the toolstack",
            ),
            (
                Error::NotStatic(NotStatic::Hidden(port())),
                "cannot bind static port 7: Xen keeps it for itself; look up the number where the \
                 channel was set up, in the device tree or in the toolstack",
            ),
            (
                Error::StillInUse(Box::new(left)),
                "still in use: channels on ports [7, 2147483647], of which [7] have a waiter; \
                 notifiers of 2 channels",
            ),
            (
                Error::HandOver(BadHandOver::Twice(port())),
                "port 7 is in the hand-over twice",
            ),
        ];
        for (error, expected) in table {
            assert_eq!(error.to_string(), expected);
            assert_eq!(chain(&error), expected);
        }
        for (error, expected) in [
            (Error::from(NotBound(channel)), "is not bound here"),
            (Error::AlreadyWaited(channel), "already has a waiter"),
        ] {
            assert_eq!(error.to_string(), format!("{channel} {expected}"));
        }
        assert_eq!(
            Error::CallbackRuns(channel).to_string(),
            format!("the callback of {channel} runs on another thread")
        );
    }
}
