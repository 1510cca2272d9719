//! Results of calls of a context, as answers.

use evtchn_core::{Cause, Error, Outcome};

use crate::failed::Failed;
use crate::line::Answer;
use crate::names::WakeCause;

/// The answer to a call that returns nothing.
pub(crate) fn done<T>(result: &Result<T, Error>) -> Answer {
    match result {
        Ok(_) => Answer::Done,
        Err(error) => failed(error),
    }
}

/// The answer to a call that failed.
pub(crate) fn failed(error: &Error) -> Answer {
    let (step, count, failed) = match error {
        Error::Device(error) => ("device", None, Some(Failed::of_device(error))),
        Error::NotUnmasked { ports, .. } => ("not_written", Some(*ports), None),
        Error::NewLoop(error) => ("new_loop", None, Some(Failed::of_loop(error))),
        Error::Register(error) => ("register", None, Some(Failed::of_loop(error))),
        Error::Deregister(error) => ("deregister", None, Some(Failed::of_loop(error))),
        Error::Sleep(error) => ("sleep", None, Some(Failed::of_loop(error))),
        Error::HookPanicked => ("panicked", None, None),
        Error::Reentrant => ("reentrant", None, None),
        Error::Inherited => ("inherited", None, None),
        Error::NotBound(_) => ("not_bound", None, None),
        Error::AlreadyWaited(_) => ("already_waited", None, None),
        Error::Busy => ("busy", None, None),
        Error::Cancelled => ("cancelled", None, None),
        Error::CallbackRuns(_) => ("callback_runs", None, None),
        Error::Restricted(_) => ("already", None, None),
        Error::NoTarget(_) => ("no_target", None, None),
        Error::StillInUse(left) => ("leftover", Some(left.channels.len() + left.held), None),
        Error::NotNotified(left) => {
            let first = left.failed.iter().find_map(|(_, error)| error.device());
            let count = Some(left.failed.len());
            ("not_notified", count, first.map(Failed::of_device))
        }
        Error::NotOpen => ("not_open", None, None),
        Error::NotStatic(_) => ("not_static", None, None),
        Error::HandOver(_) => ("table", None, None),
        _ => ("other", None, None),
    };
    Answer::Failed {
        step: step.to_owned(),
        count,
        failed: failed.map(Box::new),
    }
}

/// The answer to a cancel.
pub(crate) fn cancelled(cancelled: &Result<bool, Error>) -> Answer {
    match cancelled {
        Ok(ended) => Answer::Cancelled { ended: *ended },
        Err(error) => failed(error),
    }
}

/// The answer to a blocking wait.
pub(crate) fn blocked(blocked: &Result<Option<Cause>, Error>) -> Answer {
    match blocked {
        Ok(Some(cause)) => Answer::Woken {
            cause: WakeCause(*cause),
        },
        Ok(None) => Answer::TimedOut,
        Err(error) => failed(error),
    }
}

/// The answer to a check of the peers.
pub(crate) fn checked(checked: &Result<usize, Error>) -> Answer {
    match checked {
        Ok(ended) => Answer::Checked { ended: *ended },
        Err(error) => failed(error),
    }
}

/// The answer to a call that ends a round.
pub(crate) fn outcome(ended: &Result<Outcome, Error>) -> Answer {
    match ended {
        Ok(Outcome::Done) => Answer::Done,
        Ok(Outcome::More) => Answer::More,
        Err(error) => failed(error),
    }
}
