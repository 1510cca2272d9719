//! How the command ends: one line that says why, and a code that says it to programs.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use evtchn::xen::{self, Call};
use evtchn::{DeviceCall, DeviceError, Error, ErrorKind};

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

impl StdError for Failure {}

/// What is said where the time was up before the wakes.
pub(crate) fn late(left: u64) -> String {
    let wakes = if left == 1 { "wake" } else { "wakes" };
    format!("the time was up with {left} {wakes} still to come")
}

/// The failure of a bind to a port of another domain, with what to do about it.
pub(crate) fn no_peer(error: Error) -> anyhow::Error {
    if let Error::Device(source) = &error
        && let DeviceCall::BindInterdomain(_) = source.call()
    {
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

/// The failure of a call of a context or a channel, with what to do about it.
pub(crate) fn refused(error: Error) -> anyhow::Error {
    if let Error::Device(source) = error {
        return device(source);
    }
    error.into()
}

/// The failure of a device, with what to do about it.
pub(crate) fn device(source: DeviceError) -> anyhow::Error {
    if let Some(says) = unopened(&source) {
        return says;
    }
    let kind = source.kind();
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
pub(crate) fn unasked(error: DeviceError) -> anyhow::Error {
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
fn unopened(failed: &DeviceError) -> Option<anyhow::Error> {
    let error: &xen::Error = failed.source()?.downcast_ref()?;
    let Call::Open(path) = error.call() else {
        return None;
    };
    let (exit, why) = if failed.kind() == ErrorKind::NoDevice {
        let why = diagnosis::absent(Path::new("/"), path);
        (Exit::NoDevice, Some(why))
    } else if failed.kind() == ErrorKind::NotPermitted {
        let why = diagnosis::denied(error.errno());
        (Exit::NotPermitted, Some(why))
    } else {
        (Exit::Failed, None)
    };
    let errno = io::Error::from(error.errno());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    Some(exit.because(format!("cannot open {}: {errno}{why}", path.display())))
}

/// What an error says, with its causes, in one line.
pub(crate) fn line(error: &anyhow::Error) -> String {
    // The failure of a device says all that the backend's own error under it says.
    let is_said = |cause: &&(dyn StdError + 'static)| {
        cause.is::<xen::Error>() || cause.is::<evtchn::sim::Error>()
    };
    let unsaid = error.chain().filter(|cause| !is_said(cause));
    let says: Vec<_> = unsaid.map(ToString::to_string).collect();
    says.join(": ")
}

#[cfg(test)]
mod tests {
    use evtchn::sim::Sim;
    use evtchn::{DomId, EventChannel as _, Open as _, Port};

    use super::*;

    #[test]
    fn a_failure_of_a_device_is_told_once_with_what_led_to_it() {
        let device = Sim::new(0).open(DomId::DOM0).open().unwrap();
        let failed = device.notify(Port::MAX).unwrap_err();
        assert!(failed.source().is_some(), "the simulator's own error");
        let says = failed.to_string();
        assert_eq!(line(&failed.clone().into()), says);
        let of_context = anyhow::Error::new(Error::from(failed)).context("cannot go on");
        assert_eq!(line(&of_context), format!("cannot go on: {says}"));
    }

    #[test]
    fn a_device_that_cannot_be_opened_is_told_with_its_path() {
        for (path, exit, part) in [
            ("/nowhere/evtchn", Exit::NoDevice, "the usual one is"),
            ("/", Exit::Failed, "Is a directory"),
        ] {
            let failed = xen::Device::open_at(path).unwrap_err();
            let says = refused(failed.into());
            assert_eq!(Exit::of(&says), exit, "{says}");
            let says = line(&says);
            assert!(says.starts_with(&format!("cannot open {path}: ")), "{says}");
            assert!(says.contains(part), "{says}");
        }
    }

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
