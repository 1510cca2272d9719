//! Options that several commands have.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use evtchn::xen::{DEVICE_PATH, XenOpen};
use evtchn::{BadId, DomId, RemotePort};

use crate::exit::Exit;
use crate::output::Format;
use crate::plain;

/// Where the event channels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// The simulator
    Sim,
    /// The device of this machine
    Xen,
}

/// The options that `listen`, `notify` and `ping` share: the backend and the format.
#[derive(Debug, Args)]
pub(crate) struct CommonOptions {
    /// Where the channels are
    #[arg(long, value_enum, default_value_t = Backend::Xen)]
    pub(crate) backend: Backend,
    /// Xen: the device [default: /dev/xen/evtchn]
    #[arg(long, value_name = "PATH")]
    device: Option<PathBuf>,
    /// Simulator: same seed, same output [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

impl CommonOptions {
    pub(crate) const fn format(&self) -> Format {
        if self.json {
            Format::Json
        } else {
            Format::Text
        }
    }

    /// The backend that opens the device of this machine.
    pub(crate) fn device(&self) -> evtchn::Backend {
        let path = self.device.clone();
        XenOpen::at(path.unwrap_or_else(|| DEVICE_PATH.into())).into()
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// Ends the program if an option needs the other backend. `simulated` is an option of the command
    /// itself that was given and needs the simulator.
    pub(crate) fn check<A: Args>(&self, name: &'static str, simulated: Option<&str>) {
        let misplaced = match self.backend {
            Backend::Sim => self.device.as_ref().map(|_| ("--device", "xen")),
            Backend::Xen if self.seed.is_some() => Some(("--seed", "sim")),
            Backend::Xen => simulated.map(|option| (option, "sim")),
        };
        if let Some((option, backend)) = misplaced {
            let message = format!("{option} needs --backend {backend}");
            usage_error::<A>(name, ErrorKind::ArgumentConflict, message);
        }
    }
}

/// Ends the program with a usage error of the command `name`.
pub(crate) fn usage_error<A: Args>(name: &'static str, kind: ErrorKind, message: String) -> ! {
    let command = A::augment_args(clap::Command::new(name));
    report_usage_error(&command.clone().error(kind, message), name).exit()
}

/// Prints a usage error in one line that names the help.
pub(crate) fn report_usage_error(error: &clap::Error, name: &str) -> Exit {
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first);
    let tip = paragraphs.find(|it| it.starts_with("tip: a similar") || it.starts_with("tip: some"));
    let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let tip = tip.map(|tip| format!("; {tip}")).unwrap_or_default();
    plain::eprintln(format_args!("{words}{tip}; see {name} --help"));
    Exit::Usage
}

/// A domain: its id, or `self`.
///
/// # Errors
/// If the text is neither.
pub(crate) fn domid(text: &str) -> Result<DomId, BadId> {
    match text {
        "self" => Ok(DomId::SELF),
        id => id.parse(),
    }
}

/// A port of a domain, such as `3:17` or `self:17`.
///
/// # Errors
/// If the text has another form.
pub(crate) fn remote(text: &str) -> Result<RemotePort, BadId> {
    let (of, port) = text.split_once(':').ok_or(BadId::Unreadable)?;
    Ok(RemotePort {
        domid: domid(of)?,
        port: port.parse()?,
    })
}

/// A time: `500us`, `20ms`, `90s`, `15m` or `8h`; a plain number is seconds.
///
/// # Errors
/// If the text has another form, or the time is longer than a year.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [
        ("us", 1),
        ("ms", 1_000),
        ("s", 1_000_000),
        ("m", 60_000_000),
        ("h", 3_600_000_000),
    ];
    const YEAR: u64 = 365 * 24 * 3_600_000_000;
    let units = UNITS.iter().find_map(|(unit, us)| {
        let number = text.strip_suffix(unit)?.parse::<u64>().ok()?;
        number.checked_mul(*us)
    });
    let plain = || text.parse::<u64>().ok()?.checked_mul(1_000_000);
    match units.or_else(plain) {
        Some(us @ 0..=YEAR) => Ok(Duration::from_micros(us)),
        Some(_) | None => {
            Err("expected a time such as 500us, 20ms, 90s, 15m or 8h, a year at most".into())
        }
    }
}

/// An interval: a [`time`] that is not zero.
///
/// # Errors
/// As for [`time`], and if it is zero.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("expected a time longer than zero".into()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        for (text, us) in [
            ("0", 0),
            ("7", 7_000_000),
            ("500us", 500),
            ("20ms", 20_000),
            ("90s", 90_000_000),
            ("15m", 900_000_000),
            ("8760h", 31_536_000_000_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_micros(us)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "1.5s",
            "1d",
            "8761h",
            "99999999999999999999",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
