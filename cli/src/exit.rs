//! How the command ends: one line that says why, and a code that says it to programs.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use evtchn::xen::Call;
use evtchn::{BindError, ErrorKind};

use crate::diagnosis;

/// The codes, for the help of each command.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0  it ended as it should
  1  it failed
  2  wrong usage
  3  no event-channel device: not a Xen domain, or its driver is not loaded
  4  no permission
  5  no peer: no such domain, it offers no such port, or it closed its end or died
  6  the time was up before what was waited for"
    };
}
pub(crate) use exit_codes;

/// Why a command did not end as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Anything without a code of its own.
    Failed = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// There is no device.
    NoDevice = 3,
    /// The device, or Xen, refuses this user or this domain.
    NotPermitted = 4,
    /// There is nobody to bind to.
    NoPeer = 5,
    /// What was waited for did not come in time.
    TimedOut = 6,
}

impl Exit {
    /// The code for an error of a command.
    pub(crate) fn of(error: &anyhow::Error) -> Exit {
        let known = error.downcast_ref().map(|failure: &Failure| failure.exit);
        known.unwrap_or(Exit::Failed)
    }

    /// Ends the program.
    pub(crate) fn exit(self) -> ! {
        std::process::exit((self as u8).into())
    }

    /// A failure with this code.
    pub(crate) fn because(self, says: impl Into<String>) -> anyhow::Error {
        let says = says.into();
        Failure { exit: self, says }.into()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[derive(Debug)]
struct Failure {
    exit: Exit,
    says: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)
    }
}

impl std::error::Error for Failure {}

/// What is said where the time was up before the wakes.
pub(crate) fn late(left: u64) -> String {
    let wakes = if left == 1 { "wake" } else { "wakes" };
    format!("the time was up with {left} {wakes} still to come")
}

/// The failure of a bind to a port of another domain, with what to do about it.
pub(crate) fn no_peer<E: evtchn::Error>(error: BindError<E>) -> anyhow::Error {
    if let BindError::Bind(source) = &error {
        if source.kind() == ErrorKind::NoSuchDomain {
            return Exit::NoPeer.because(format!("{source}; `xl list` has the ids"));
        }
        if source.kind() == ErrorKind::Invalid {
            let says = format!("{source}; let `evtchn listen` there offer one");
            return Exit::NoPeer.because(says);
        }
    }
    refused(error)
}

/// The failure of a bind, with what to do about it.
pub(crate) fn refused<E: evtchn::Error>(error: BindError<E>) -> anyhow::Error {
    match error {
        BindError::Open(source)
        | BindError::Restrict(source)
        | BindError::Drain(source)
        | BindError::Bind(source) => device(source),
        other @ (BindError::Reentrant | _) => other.into(),
    }
}

/// The failure of a device, with what to do about it.
pub(crate) fn device<E: evtchn::Error>(source: E) -> anyhow::Error {
    let kind = source.kind();
    if let Some(says) = unopened(&source) {
        return says;
    }
    if kind == ErrorKind::Unsupported {
        Exit::NoDevice.because(source.to_string())
    } else if kind == ErrorKind::NotPermitted {
        Exit::NotPermitted.because(source.to_string())
    } else if kind == ErrorKind::InUse {
        Exit::Failed.because(format!("{source}; stop the holder or take another one"))
    } else {
        source.into()
    }
}

/// The failure to ask Xen what ports are, with what to do about it.
pub(crate) fn unasked<E: evtchn::Error>(error: E) -> anyhow::Error {
    let kind = error.kind();
    if kind == ErrorKind::NoDevice {
        Exit::NoDevice.because(format!("{error}; --backend sim shows a simulated machine"))
    } else if kind == ErrorKind::NotPermitted {
        Exit::NotPermitted.because(format!("{error}; run it as root"))
    } else if kind == ErrorKind::NoSuchDomain {
        Exit::NoPeer.because(format!("{error}; `xl list` has the ids"))
    } else {
        error.into()
    }
}

/// Why the device of this machine could not be opened, if that is what failed.
fn unopened<E: evtchn::Error>(source: &E) -> Option<anyhow::Error> {
    let any: &(dyn std::error::Error + 'static) = source;
    let error = any.downcast_ref::<evtchn::xen::Error>()?;
    let Call::Open(path) = error.call() else {
        return None;
    };
    let (exit, why) = if source.kind() == ErrorKind::NoDevice {
        (Exit::NoDevice, diagnosis::absent(Path::new("/"), path))
    } else if source.kind() == ErrorKind::NotPermitted {
        (Exit::NotPermitted, diagnosis::denied(error.errno()))
    } else {
        return None;
    };
    let errno = io::Error::from(error.errno());
    Some(exit.because(format!("cannot open {}: {errno}: {why}", path.display())))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_of_the_command_has_the_codes_of_the_help() {
        let page = include_str!("../../docs/command.md");
        let lines = exit_codes!().lines().skip(1);
        let rows = lines.map(|line| line.trim().split_once("  ").unwrap());
        for (code, meaning) in rows {
            let row = format!("| {code} | {meaning} |");
            assert!(page.contains(&row), "{row}");
        }
    }
}
