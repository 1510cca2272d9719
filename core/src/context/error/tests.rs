//! What the errors print.

use std::error::Error;

use super::*;
use crate::context::{BlockError, CheckError, HandOverError, HandleError, PeerError, TaskError};
use crate::ids::{DomId, Port};
use crate::machine::{ChannelId, Machine, NotBound};

/// An error of a device or of an event loop, which says call and errno.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("cannot do this: EIO (5)")]
struct Failed;

const CAUSE: &str = "cannot do this: EIO (5)";

type Bind = BindError<Failed>;
type Dispatch = DispatchError<Failed, Failed>;
type Wait = WaitError<Failed, Failed>;
type Link = LinkError<Failed>;

fn port() -> Port {
    Port::new(7).unwrap()
}

fn channel() -> ChannelId {
    Machine::new().bind(port())
}

/// What a program prints that follows the sources, as `anyhow` does with `{:#}`.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}

fn boxed(error: impl Error + 'static) -> Box<dyn Error> {
    Box::new(error)
}

/// Every error that has a cause, and what it says before the cause.
fn with_cause() -> Vec<(Box<dyn Error>, String)> {
    let port = port();
    let channel = channel();
    let unmask = || Wait::Unmask {
        port,
        source: Failed,
    };
    let refused = || Link::Register(Failed);
    let kept = || Link::Deregister(Failed);
    let table: Vec<(Box<dyn Error>, &str)> = vec![
        (
            boxed(Bind::Open(Failed)),
            "cannot open the event-channel device: ",
        ),
        (
            boxed(Bind::Restrict(Failed)),
            "cannot restrict the event-channel device: ",
        ),
        (
            boxed(Bind::Drain(Failed)),
            "cannot read old events away before the bind: ",
        ),
        (boxed(Bind::Bind(Failed)), ""),
        (boxed(RestrictError::Device(Failed)), ""),
        (
            boxed(UnbindError::<u8, Failed, Failed>::Unbind {
                channel: 0,
                source: Failed,
            }),
            "cannot unbind: ",
        ),
        (
            boxed(UnbindError::<u8, Failed, Failed>::Link(kept())),
            "the event loop did not let go of the device: ",
        ),
        (boxed(NotifyError::Device(Failed)), ""),
        (
            boxed(Dispatch::Device(Failed)),
            "the event-channel device failed: ",
        ),
        (
            boxed(Dispatch::Unmask {
                ports: 3,
                source: Failed,
            }),
            "cannot enable 3 ports again: ",
        ),
        (
            boxed(Dispatch::Link(kept())),
            "the event loop did not let go of the device: ",
        ),
        (boxed(refused()), "the event loop refused the device: "),
        (boxed(unmask()), "cannot enable port 7 again: "),
        (
            boxed(Wait::Link(refused())),
            "the event loop refused the device: ",
        ),
        (
            boxed(CancelError::Link(kept())),
            "the event loop did not let go of the device: ",
        ),
        (
            boxed(TryCancelError::Cancel(CancelError::Link(kept()))),
            "the event loop did not let go of the device: ",
        ),
        (
            boxed(TeardownError::Link(kept())),
            "the event loop did not let go of the device: ",
        ),
        (
            boxed(HandOverError::Link(kept())),
            "the event loop did not let go of the device: ",
        ),
        (
            boxed(TaskError::Wait(unmask())),
            "cannot enable port 7 again: ",
        ),
        (
            boxed(BlockError::<Failed, Failed, Failed>::Wait(unmask())),
            "cannot enable port 7 again: ",
        ),
        (
            boxed(BlockError::<Failed, Failed, Failed>::Device(Failed)),
            "the event-channel device failed: ",
        ),
        (
            boxed(BlockError::<Failed, Failed, Failed>::Sleep(Failed)),
            "cannot sleep for the event-channel device: ",
        ),
        (boxed(PeerError::Status(Failed)), ""),
        (
            boxed(CheckError::<Failed, Failed, Failed>::Status {
                port,
                source: Failed,
            }),
            "cannot look after the peer of port 7: ",
        ),
        (
            boxed(CheckError::<Failed, Failed, Failed>::Dispatch(
                Dispatch::Device(Failed),
            )),
            "the event-channel device failed: ",
        ),
    ];
    let mut table: Vec<_> = table
        .into_iter()
        .map(|(error, before)| (error, before.to_owned()))
        .collect();
    table.push((
        boxed(HandleError::Wait {
            channel,
            source: unmask(),
        }),
        format!("cannot wait for {channel} again: cannot enable port 7 again: "),
    ));
    table
}

#[test]
fn every_error_prints_its_cause_with_call_and_errno_once() {
    for (error, before) in with_cause() {
        let expected = format!("{before}{CAUSE}");
        assert_eq!(error.to_string(), expected);
        assert_eq!(format!("{error:#}"), expected);
        assert_eq!(chain(&*error), expected);
    }
}

#[test]
fn an_error_without_a_cause_says_what_is_wrong() {
    let inherited = "the event-channel device belongs to the process that this one was forked from";
    let reentrant = "a registrar hook must not call back into its context";
    let channel = channel();
    let table: [(Box<dyn Error>, &str); 15] = [
        (boxed(Bind::Inherited), inherited),
        (boxed(RestrictError::<Failed>::Inherited), inherited),
        (
            boxed(UnbindError::<u8, Failed, Failed>::Inherited(0)),
            inherited,
        ),
        (boxed(NotifyError::<Failed>::Inherited), inherited),
        (boxed(PeerError::<Failed>::Inherited), inherited),
        (boxed(Link::Inherited), inherited),
        (boxed(Bind::Reentrant), reentrant),
        (boxed(Link::Reentrant), reentrant),
        (
            boxed(UnbindError::<u8, Failed, Failed>::Reentrant(0)),
            reentrant,
        ),
        (boxed(Link::Panicked), "a hook of the event loop panicked"),
        (
            boxed(RestrictError::<Failed>::Already(DomId::new(5))),
            "already restricted to domain 5",
        ),
        (
            boxed(RestrictError::<Failed>::NoTarget(DomId::DOM0)),
            "domain 0 cannot be the target of a restriction",
        ),
        (
            boxed(Dispatch::Busy),
            "another round of this context is under way",
        ),
        (
            boxed(Dispatch::NotWritten { ports: 2 }),
            "the device did not take 2 ports to enable them again",
        ),
        (
            boxed(Wait::NotWritten { port: port() }),
            "the device did not take port 7 to enable it again",
        ),
    ];
    for (error, expected) in table {
        assert_eq!(error.to_string(), expected);
        assert_eq!(chain(&*error), expected);
    }
    let unbound = boxed(Wait::NotBound(NotBound(channel)));
    assert_eq!(unbound.to_string(), format!("{channel} is not bound here"));
    let waited = boxed(Wait::AlreadyWaited(channel));
    assert_eq!(
        waited.to_string(),
        format!("{channel} is waited for already")
    );
}
