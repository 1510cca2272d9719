//! Options that several commands have.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Args, ValueEnum};
use evtchn::xen::DEVICE_PATH;
use evtchn::{BadId, DomId, RemotePort, Virq};

use crate::diagnosis;
use crate::exit::Exit;
use crate::output::Format;
use crate::plain::{self, Plain};

/// The headings of the options that only one backend has, in each help.
pub(crate) const ON_XEN: &str = "Options that need Xen";
pub(crate) const ON_SIM: &str = "Options of the simulator";

/// Where the event channels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// The simulator
    Sim,
    /// The device of this machine
    Xen,
}

impl Backend {
    /// Its name for `--backend`, and in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Backend::Sim => "sim",
            Backend::Xen => "xen",
        }
    }

    /// The one rule of all commands: the named backend; else the one that a given option needs; else
    /// the device on a Xen domain and the simulator on any other machine. `needs` has the options that
    /// were given and the backend that each needs.
    ///
    /// # Errors
    /// The message, if an option needs the other backend.
    fn choose(
        named: Option<Backend>,
        needs: &[(&str, Backend)],
        is_xen: bool,
    ) -> Result<Backend, String> {
        let (backend, because) = match (named, needs.first()) {
            (Some(named), _) => (named, None),
            (None, Some(&(option, needed))) => (needed, Some(option)),
            (None, None) if is_xen => (Backend::Xen, None),
            (None, None) => (Backend::Sim, None),
        };
        let misplaced = needs.iter().find(|(_, needed)| *needed != backend);
        match (misplaced, because) {
            (None, _) => Ok(backend),
            (Some((option, needed)), None) => {
                Err(format!("{option} needs --backend {}", needed.name()))
            }
            (Some((option, needed)), Some(because)) => Err(format!(
                "{option} needs --backend {}, and {because} needs --backend {}",
                needed.name(),
                backend.name()
            )),
        }
    }

    /// The backend of the command `name`, by the rule of [`Backend::choose`]. Ends the program if an
    /// option needs the other backend. Each entry of `options` says whether that option was given.
    pub(crate) fn of<A: Args>(
        name: &'static str,
        named: Option<Backend>,
        options: &[(&str, Backend, bool)],
    ) -> Backend {
        let given = options.iter().filter(|(_, _, is_given)| *is_given);
        let needs: Vec<_> = given.map(|&(option, needed, _)| (option, needed)).collect();
        match Backend::choose(named, &needs, diagnosis::has_xen(Path::new("/"))) {
            Ok(backend) => backend,
            Err(message) => usage_error::<A>(name, ErrorKind::ArgumentConflict, message),
        }
    }
}

/// The backend of a run, as its output says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The simulator with this seed.
    Sim(u64),
    /// Xen, through this device.
    Xen(PathBuf),
    /// Xen, through its debug key `e`.
    Live,
    /// A dump in this file.
    Dump(PathBuf),
}

impl Place {
    /// As in JSON.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Place::Sim(_) => Backend::Sim.name(),
            Place::Xen(_) | Place::Live => Backend::Xen.name(),
            Place::Dump(_) => "dump",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Sim(seed) => write!(f, "simulator, seed {seed}"),
            Place::Xen(device) => write!(f, "Xen, {}", Plain(device.display())),
            Place::Live => f.write_str("Xen, its debug key e"),
            Place::Dump(file) => write!(f, "dump of Xen's debug key e, {}", Plain(file.display())),
        }
    }
}

/// The options that `listen`, `notify` and `ping` share: the backend and the format.
#[derive(Debug, Args)]
pub(crate) struct CommonOptions {
    /// Where the channels are [default: xen on a Xen domain, else sim]
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// The device [default: /dev/xen/evtchn]
    #[arg(long, value_name = "PATH", help_heading = ON_XEN)]
    device: Option<PathBuf>,
    /// Same seed, same output [default: 0]
    #[arg(long, value_name = "N", help_heading = ON_SIM)]
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

    /// The path of the device of this machine.
    pub(crate) fn device(&self) -> PathBuf {
        let path = self.device.clone();
        path.unwrap_or_else(|| DEVICE_PATH.into())
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// The backend of the command `name`; ends the program if an option needs the other one.
    /// `dies_after` says whether that option of the command itself was given.
    pub(crate) fn backend<A: Args>(&self, name: &'static str, dies_after: bool) -> Backend {
        let options = [
            ("--device", Backend::Xen, self.device.is_some()),
            ("--seed", Backend::Sim, self.seed.is_some()),
            ("--dies-after", Backend::Sim, dies_after),
        ];
        Backend::of::<A>(name, self.backend, &options)
    }
}

/// Ends the program with a usage error of the command `name`.
pub(crate) fn usage_error<A: Args>(name: &'static str, kind: ErrorKind, message: String) -> ! {
    let command = A::augment_args(clap::Command::new(name));
    report_usage_error(&command.clone().error(kind, message), name).exit()
}

/// What Rust says of a text that is not a number that fits, and plainer words for it.
const NUMBERS: [(&str, &str); 3] = [
    ("invalid digit found in string", "expected a number"),
    (
        "cannot parse integer from empty string",
        "expected a number",
    ),
    (
        "number too large to fit in target type",
        "the number is too large",
    ),
];

/// Prints a usage error in one line that names the help.
pub(crate) fn report_usage_error(error: &clap::Error, name: &str) -> Exit {
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first);
    let tip = paragraphs.find(|it| it.starts_with("tip: a similar") || it.starts_with("tip: some"));
    let mut words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    for (said, plainly) in NUMBERS {
        words = words.replace(said, plainly);
    }
    let tip = tip.map(|tip| format!("; {tip}")).unwrap_or_default();
    plain::eprintln(format_args!("{words}{tip}; see {name} --help"));
    Exit::Usage
}

/// A domain: its id, or `self`.
///
/// # Errors
/// If the text is neither.
pub(crate) fn domid(text: &str) -> Result<DomId, String> {
    match text {
        "self" => Ok(DomId::SELF),
        id => id
            .parse()
            .map_err(|error| said(error, "expected the id of a domain, such as 3, or self")),
    }
}

/// An error of an id, or what is `expected` where the text is not even a number.
fn said(error: BadId, expected: &str) -> String {
    if error == BadId::Unreadable {
        return expected.to_owned();
    }
    error.to_string()
}

/// A port of a domain, such as `3:17` or `self:17`.
///
/// # Errors
/// If the text has another form.
pub(crate) fn remote(text: &str) -> Result<RemotePort, String> {
    const FORM: &str = "expected DOM:PORT, a domain and its port, such as 3:17 or self:17";
    let (of, number) = text.split_once(':').ok_or(FORM)?;
    let number = number.parse().map_err(|error| said(error, FORM));
    Ok(RemotePort {
        domid: domid(of)?,
        port: number?,
    })
}

/// Parses a virtual interrupt: its name or its number. Completions offer the names.
pub(crate) fn virqs() -> impl TypedValueParser<Value = Virq> {
    VirqParser
}

#[derive(Debug, Clone)]
struct VirqParser;

impl TypedValueParser for VirqParser {
    type Value = Virq;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Virq, clap::Error> {
        let parse = |text: &str| {
            let unreadable = "expected a virtual interrupt: a name such as DOM_EXC, or a number";
            text.parse::<Virq>().map_err(|_| unreadable)
        };
        parse.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = (0..24).filter_map(|raw| Virq::new(raw).name());
        Some(Box::new(names.map(PossibleValue::new)))
    }
}

/// A time: `500us`, `20ms`, `1.5s`, `15m` or `8h`; a number without a unit is seconds, in every command.
///
/// # Errors
/// If the text has another form, or the time is longer than a year.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    // "s" is the end of others, so it comes after them.
    const UNITS: [(&str, u64); 5] = [
        ("us", 1),
        ("ms", 1_000),
        ("s", 1_000_000),
        ("m", 60_000_000),
        ("h", 3_600_000_000),
    ];
    const YEAR: u64 = 365 * 24 * 3_600_000_000;
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, us) = match unit {
        Some((unit, us)) => (text.strip_suffix(unit).unwrap_or(text), *us),
        None => (text, 1_000_000),
    };
    match decimal(number, us) {
        Some(us @ 0..=YEAR) => Ok(Duration::from_micros(us)),
        Some(_) | None => Err(
            "expected a time such as 500us, 20ms, 1.5s, 15m or 8h (without a unit: seconds), a year \
             at most"
                .into(),
        ),
    }
}

/// A decimal number of units of `us` microseconds, in whole microseconds.
fn decimal(number: &str, us: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_number =
        |digits: &str| !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 9 {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
    let part = u128::from(part.parse::<u64>().ok()?) * u128::from(us) / u128::from(scale);
    let whole = whole.parse::<u64>().ok()?.checked_mul(us)?;
    whole.checked_add(u64::try_from(part).ok()?)
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
            ("0.1", 100_000),
            ("1.5s", 1_500_000),
            ("0.5ms", 500),
            ("1.25h", 4_500_000_000),
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
            "1.s",
            ".5",
            "1.2.3s",
            "+1",
            "1e3",
            "1d",
            "8761h",
            "99999999999999999999",
            "0.1234567890",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_backend_is_the_named_one_or_that_of_an_option_or_that_of_the_machine() {
        use Backend::{Sim, Xen};
        for (named, needs, is_xen, expected) in [
            (None, &[][..], true, Ok(Xen)),
            (None, &[], false, Ok(Sim)),
            (Some(Sim), &[], true, Ok(Sim)),
            (Some(Xen), &[], false, Ok(Xen)),
            (None, &[("--virq", Xen)], false, Ok(Xen)),
            (None, &[("--seed", Sim)], true, Ok(Sim)),
            (
                Some(Sim),
                &[("--virq", Xen)],
                true,
                Err("--virq needs --backend xen"),
            ),
            (
                Some(Xen),
                &[("--seed", Sim)],
                true,
                Err("--seed needs --backend sim"),
            ),
            (
                None,
                &[("--virq", Xen), ("--seed", Sim)],
                true,
                Err("--seed needs --backend sim, and --virq needs --backend xen"),
            ),
        ] {
            let chosen = Backend::choose(named, needs, is_xen);
            assert_eq!(
                chosen,
                expected.map_err(str::to_owned),
                "{named:?} {needs:?}"
            );
        }
    }
}
