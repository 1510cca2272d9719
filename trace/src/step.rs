//! The errors of a context as answers: the step that failed, and the failure under it.

use evtchn_core::{
    BindError, BlockError, Blocked, CancelError, DispatchError, HandOverError, LinkError,
    NotifyError, Outcome, RestrictError, TeardownError, UnbindError, WaitError,
};

use crate::failed::Failure;
use crate::line::Answer;
use crate::names::Caused;

/// Done, or the step that failed.
pub(crate) fn done<T, E>(result: &Result<T, E>, failed: impl FnOnce(&E) -> Answer) -> Answer {
    match result {
        Ok(_) => Answer::Done,
        Err(error) => failed(error),
    }
}

fn alone(step: &str) -> Answer {
    Answer::Failed {
        step: step.to_owned(),
        count: None,
        failed: None,
    }
}

fn under(step: &str, failed: &impl Failure) -> Answer {
    Answer::Failed {
        step: step.to_owned(),
        count: None,
        failed: Some(Box::new(failed.failed())),
    }
}

fn counted(mut answer: Answer, number: usize) -> Answer {
    if let Answer::Failed { count, .. } = &mut answer {
        *count = Some(number);
    }
    answer
}

pub(crate) fn link<R: Failure>(error: &LinkError<R>) -> Answer {
    match error {
        LinkError::Register(source) => under("register", source),
        LinkError::Deregister(source) => under("deregister", source),
        LinkError::Panicked => alone("panicked"),
        LinkError::Reentrant => alone("reentrant"),
        LinkError::Inherited => alone("inherited"),
        _ => alone("link"),
    }
}

pub(crate) fn bind<D: Failure>(error: &BindError<D>) -> Answer {
    match error {
        BindError::Open(source) => under("open", source),
        BindError::Restrict(source) => under("restrict", source),
        BindError::Drain(source) => under("drain", source),
        BindError::Bind(source) => under("bind", source),
        BindError::Reentrant => alone("reentrant"),
        BindError::Inherited => alone("inherited"),
        _ => alone("bind"),
    }
}

pub(crate) fn wait<D: Failure, R: Failure>(error: &WaitError<D, R>) -> Answer {
    match error {
        WaitError::NotBound(_) => alone("not_bound"),
        WaitError::AlreadyWaited(_) => alone("already_waited"),
        WaitError::Link(error) => link(error),
        WaitError::Unmask { source, .. } => under("unmask", source),
        WaitError::NotWritten { .. } => alone("not_written"),
        _ => alone("wait"),
    }
}

pub(crate) fn cancel<R: Failure>(error: &CancelError<R>) -> Answer {
    match error {
        CancelError::NotBound(_) => alone("not_bound"),
        CancelError::Link(error) => link(error),
        _ => alone("cancel"),
    }
}

pub(crate) fn notify<D: Failure>(error: &NotifyError<D>) -> Answer {
    match error {
        NotifyError::NotBound(_) => alone("not_bound"),
        NotifyError::Inherited => alone("inherited"),
        NotifyError::Device(source) => under("device", source),
        _ => alone("notify"),
    }
}

pub(crate) fn unbind<C: std::fmt::Debug, D: Failure, R: Failure>(
    error: &UnbindError<C, D, R>,
) -> Answer {
    match error {
        UnbindError::Unbind { source, .. } => under("unbind", source),
        UnbindError::Link(error) => link(error),
        UnbindError::Reentrant(_) => alone("reentrant"),
        UnbindError::Inherited(_) => alone("inherited"),
        _ => alone("unbind"),
    }
}

pub(crate) fn dispatch<D: Failure, R: Failure>(error: &DispatchError<D, R>) -> Answer {
    match error {
        DispatchError::Busy => alone("busy"),
        DispatchError::Device(source) => under("device", source),
        DispatchError::Unmask { ports, source } => counted(under("unmask", source), *ports),
        DispatchError::NotWritten { ports } => counted(alone("not_written"), *ports),
        DispatchError::Link(error) => link(error),
        _ => alone("dispatch"),
    }
}

pub(crate) fn restrict<D: Failure>(error: &RestrictError<D>) -> Answer {
    match error {
        RestrictError::Already(_) => alone("already"),
        RestrictError::NoTarget(_) => alone("no_target"),
        RestrictError::Inherited => alone("inherited"),
        RestrictError::Device(source) => under("device", source),
        _ => alone("restrict"),
    }
}

pub(crate) fn teardown<R: Failure>(error: &TeardownError<R>) -> Answer {
    match error {
        TeardownError::Leftover(left) => {
            counted(alone("leftover"), left.channels.len() + left.held)
        }
        TeardownError::Link(error) => link(error),
        _ => alone("teardown"),
    }
}

pub(crate) fn blocked<D: Failure, R: Failure, S: Failure>(
    blocked: &Result<Blocked, BlockError<D, R, S>>,
) -> Answer {
    match blocked {
        Ok(Blocked::Woken(cause)) => Answer::Ready {
            cause: Caused(*cause),
        },
        Ok(Blocked::TimedOut) => Answer::TimedOut,
        Ok(Blocked::Cancelled) => Answer::Cancelled,
        Err(BlockError::Wait(error)) => wait(error),
        Err(BlockError::Device(source)) => under("device", source),
        Err(BlockError::Sleep(source)) => under("sleep", source),
        Ok(_) | Err(_) => alone("block"),
    }
}

pub(crate) fn hand_over<R: Failure>(error: &HandOverError<R>) -> Answer {
    match error {
        HandOverError::NotOpen => alone("not_open"),
        HandOverError::Leftover(left) => {
            counted(alone("leftover"), left.channels.len() + left.held)
        }
        HandOverError::NotBound(_) => alone("not_bound"),
        HandOverError::Notifier(_) => alone("notifier"),
        HandOverError::Table(_) => alone("table"),
        HandOverError::Link(error) => link(error),
        _ => alone("hand_over"),
    }
}

/// How a round ended.
pub(crate) fn outcome<D: Failure, R: Failure>(
    ended: &Result<Outcome, DispatchError<D, R>>,
) -> Answer {
    match ended {
        Ok(Outcome::Done) => Answer::Done,
        Ok(Outcome::More) => Answer::More,
        Err(error) => dispatch(error),
    }
}
