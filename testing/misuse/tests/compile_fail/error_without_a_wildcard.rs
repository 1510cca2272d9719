//! Errors, causes and kinds of errors may be added, so a match needs a wildcard arm.
use evtchn::{Cause, Error};

fn of_error(error: Error) -> bool {
    match error {
        Error::Device(_) | Error::NotUnmasked { .. } => true,
        Error::NewLoop(_) | Error::Register(_) | Error::Deregister(_) | Error::Sleep(_) => true,
        Error::HookPanicked | Error::Reentrant | Error::Inherited | Error::Busy => true,
        Error::NotBound(_) | Error::AlreadyWaited(_) | Error::CallbackRuns(_) => true,
        Error::Cancelled | Error::Restricted(_) | Error::NoTarget(_) => true,
        Error::StillInUse(_) | Error::NotOpen | Error::HandOver(_) => true,
    }
}

fn of_cause(cause: Cause) -> bool {
    match cause {
        Cause::Event | Cause::Overflow | Cause::Adopted => true,
        Cause::PeerGone | Cause::PeerConnected | Cause::Gone => false,
    }
}

fn main() {}
