//! The log of the library, with `--verbose` or `RUST_LOG`.

use std::env;
use std::io;

use anyhow::Result;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{layer, time::uptime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::exit::Exit;
use crate::plain::{self, Log};

/// Starts the log on stderr, if it is wanted.
///
/// # Errors
/// If `RUST_LOG` is not a list of targets and levels.
pub(crate) fn start(verbose: u8) -> Result<()> {
    let Some(targets) = targets(env::var("RUST_LOG").ok().as_deref(), verbose)? else {
        return Ok(());
    };
    let lines = layer()
        .with_writer(|| Log(io::stderr()))
        .with_ansi(plain::has_color(&io::stderr()))
        .with_timer(uptime());
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .try_init()?;
    Ok(())
}

/// Whether anything is logged.
pub(crate) fn is_on() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

/// The targets to log. The flag overrides the variable.
fn targets(variable: Option<&str>, verbose: u8) -> Result<Option<Targets>> {
    let level = match (verbose, variable) {
        (0, None | Some("")) => return Ok(None),
        (0, Some(text)) => {
            let targets = text.parse::<Targets>();
            let invalid = |error| Exit::Usage.because(format!("RUST_LOG is invalid: {error}"));
            return targets.map(Some).map_err(invalid);
        }
        (1, _) => LevelFilter::DEBUG,
        (_, _) => LevelFilter::TRACE,
    };
    Ok(Some(Targets::new().with_target("evtchn", level)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_overrides_the_variable_and_without_both_nothing_is_logged() {
        let level = |variable, verbose| {
            let targets = targets(variable, verbose).unwrap()?;
            targets
                .iter()
                .find(|(target, _)| *target == "evtchn")
                .map(|(_, level)| level)
        };
        assert_eq!(level(None, 0), None);
        assert_eq!(level(Some(""), 0), None);
        assert_eq!(level(Some("evtchn=info"), 0), Some(LevelFilter::INFO));
        assert_eq!(level(Some("evtchn=info"), 1), Some(LevelFilter::DEBUG));
        assert_eq!(level(None, 3), Some(LevelFilter::TRACE));
        assert!(targets(Some("evtchn=loud"), 0).is_err());
    }
}
