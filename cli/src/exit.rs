//! How the command ends: an error in one line, and an exit code.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use evtchn::xen::{self, Call, DEVICE_PATH};
use evtchn::{DeviceCall, DeviceError, Error, ErrorKind, Port};
use rustix::io::Errno;

use crate::diagnosis;

/// The codes, for the help of each command.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0  success
  1  failure
  2  wrong usage
  3  no event-channel device: not a Xen domain, or its driver is not loaded
  4  no permission
  5  no peer: no such domain, it offers no such port, or it closed its end or died
  6  timed out"
    };
}
pub(crate) use exit_codes;

/// Why a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A failure without a code of its own.
    Failed = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// There is no device.
    NoDevice = 3,
    /// The device, or Xen, refuses this user or this domain.
    NotPermitted = 4,
    /// There is no peer to bind to.
    NoPeer = 5,
    /// The time was over before the wakes had come.
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
    pub(crate) fn because(self, message: impl Into<String>) -> anyhow::Error {
        let message = message.into();
        Failure {
            exit: self,
            message,
        }
        .into()
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
    message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Failure {}

/// The message if the time was over before the wakes had come.
pub(crate) fn timed_out(left: u64) -> String {
    let wakes = if left == 1 { "wake" } else { "wakes" };
    format!("timed out with {left} {wakes} still to come")
}

/// The error if this domain was restored, which ends the wait for this port.
pub(crate) fn restored(port: Port, advice: &str) -> anyhow::Error {
    Exit::Failed.because(format!(
        "this domain was saved and restored, or migrated, so port {port} is no longer bound{advice}"
    ))
}

/// The error of a bind to a port of another domain, with advice.
pub(crate) fn bind_failed(error: Error) -> anyhow::Error {
    if let Error::Device(source) = &error {
        if let DeviceCall::BindInterdomain(_) = source.call() {
            if source.kind() == ErrorKind::NoSuchDomain {
                return Exit::NoPeer.because(format!("{source}; `xl list` has the ids"));
            }
            if source.kind() == ErrorKind::Invalid {
                let message = format!("{source}; run `evtchn listen` there to offer one");
                return Exit::NoPeer.because(message);
            }
        }
    }
    call_failed(error)
}

/// The error of a call of a context or a channel, with advice.
pub(crate) fn call_failed(error: Error) -> anyhow::Error {
    if let Error::Device(source) = error {
        return device_failed(source);
    }
    error.into()
}

/// The error of a device, with advice.
pub(crate) fn device_failed(source: DeviceError) -> anyhow::Error {
    if let Some(error) = open_failed(&source) {
        return error;
    }
    let kind = source.kind();
    if kind == ErrorKind::Unsupported {
        Exit::NoDevice.because(source.to_string())
    } else if kind == ErrorKind::NotPermitted {
        Exit::NotPermitted.because(source.to_string())
    } else if kind == ErrorKind::InUse {
        Exit::Failed.because(format!(
            "{source}; stop the process that has it, or use another one"
        ))
    } else {
        source.into()
    }
}

/// The error of a query about ports, with advice.
pub(crate) fn query_failed(error: DeviceError) -> anyhow::Error {
    let kind = error.kind();
    if kind == ErrorKind::NoDevice {
        Exit::NoDevice.because(format!("{error}; --backend sim needs no Xen"))
    } else if kind == ErrorKind::NotPermitted {
        // To a question Xen or the driver says no, whoever asks.
        let is_question = matches!(error.call(), DeviceCall::Status(_));
        let advice = match is_question || rustix::process::geteuid().is_root() {
            true => "",
            false => "; run it as root",
        };
        Exit::NotPermitted.because(format!("{error}{advice}"))
    } else if kind == ErrorKind::NoSuchDomain {
        Exit::NoPeer.because(format!("{error}; `xl list` has the ids"))
    } else {
        error.into()
    }
}

/// The error if opening the device of this machine failed, with its cause.
fn open_failed(failed: &DeviceError) -> Option<anyhow::Error> {
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
    } else if is_no_device(error.errno()) {
        let why = "it is not an event-channel device; the usual one is ";
        (Exit::NoDevice, Some(format!("{why}{DEVICE_PATH}")))
    } else {
        (Exit::Failed, None)
    };
    let errno = io::Error::from(error.errno());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    Some(exit.because(format!("cannot open {}: {errno}{why}", path.display())))
}

/// Whether the errno of an open says that the path is not one of a device.
fn is_no_device(errno: Errno) -> bool {
    let others = [Errno::ISDIR, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG];
    others.contains(&errno)
}

/// An error and its causes in one line.
pub(crate) fn line(error: &anyhow::Error) -> String {
    // The error of a device repeats the text of the backend's error below it.
    let is_repeated = |cause: &&(dyn StdError + 'static)| {
        cause.is::<xen::Error>() || cause.is::<evtchn::sim::Error>()
    };
    let causes = error.chain().filter(|cause| !is_repeated(cause));
    let messages: Vec<_> = causes.map(ToString::to_string).collect();
    messages.join(": ")
}

#[cfg(test)]
mod tests {
    use evtchn::sim::Sim;
    use evtchn::{DomId, EventChannel as _, Open as _};

    use super::*;

    #[test]
    fn a_line_has_the_error_of_a_device_once_and_its_context() {
        let device = Sim::new(0).open(DomId::DOM0).open().unwrap();
        let failed = device.notify(Port::MAX).unwrap_err();
        assert!(failed.source().is_some(), "the simulator's own error");
        let message = failed.to_string();
        assert_eq!(line(&failed.clone().into()), message);
        let of_context = anyhow::Error::new(Error::from(failed)).context("cannot go on");
        assert_eq!(line(&of_context), format!("cannot go on: {message}"));
    }

    #[test]
    fn the_error_of_a_device_that_cannot_be_opened_has_its_path() {
        for (path, exit, part) in [
            ("/nowhere/evtchn", Exit::NoDevice, "the usual one is"),
            ("/", Exit::NoDevice, "the usual one is"),
            ("/etc/passwd/evtchn", Exit::NoDevice, "the usual one is"),
        ] {
            let failed = xen::Device::open_at(path).unwrap_err();
            let error = call_failed(failed.into());
            assert_eq!(Exit::of(&error), exit, "{error}");
            let line = line(&error);
            assert!(line.starts_with(&format!("cannot open {path}: ")), "{line}");
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn the_document_of_the_command_has_the_exit_codes_of_the_help() {
        let page = include_str!("../../docs/command.md");
        let lines = exit_codes!().lines().skip(1);
        let rows = lines.map(|line| line.trim().split_once("  ").unwrap());
        for (code, meaning) in rows {
            let row = format!("| {code} | {meaning} |");
            assert!(page.contains(&row), "{row}");
        }
    }
}
