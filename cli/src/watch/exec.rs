//! The command that is run for each wake.

use std::io;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use evtchn::Port;

use crate::source::Source;

/// See the [module](self). No shell runs it: its words are fixed when it is made, and the variables
/// of its environment describe the wake.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    program: String,
    arguments: Vec<String>,
    runs: Runs,
}

/// How often it ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// How often it ran.
    pub(crate) total: u64,
    /// How often it failed.
    pub(crate) failed: u64,
}

impl Exec {
    /// Splits the text into words as a shell does.
    ///
    /// # Errors
    /// If there is no word, or a quote does not end.
    pub(crate) fn parse(text: &str) -> Result<Exec, String> {
        let words = shlex::split(text).ok_or("a quote in it does not end")?;
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        Ok(Exec {
            program: program.ok_or("it names no program")?,
            arguments: words.collect(),
            runs: Runs::default(),
        })
    }

    /// Runs it for one wake, and waits until it ends.
    ///
    /// # Errors
    /// If it cannot be started. A command that fails is only counted.
    pub(crate) fn run(
        &mut self,
        port: Port,
        source: Source,
        cause: &str,
        wakes: u64,
    ) -> Result<()> {
        let ended = Command::new(&self.program)
            .args(&self.arguments)
            .env("EVTCHN_PORT", port.to_string())
            .env("EVTCHN_REMOTE", source.to_string())
            .env("EVTCHN_CAUSE", cause)
            .env("EVTCHN_WAKES", wakes.to_string())
            .stdin(Stdio::null())
            // Stdout has only the lines of `evtchn watch`.
            .stdout(io::stderr())
            .status();
        let status = ended.with_context(|| format!("cannot run {}", self.program))?;
        self.runs.total += 1;
        self.runs.failed += u64::from(!status.success());
        Ok(())
    }

    /// How often it ran.
    pub(crate) const fn runs(&self) -> Runs {
        self.runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_into_words_and_not_expanded() {
        let exec = Exec::parse("logger -t 'two words' $EVTCHN_PORT;reboot").unwrap();
        assert_eq!(exec.program, "logger");
        assert_eq!(exec.arguments, ["-t", "two words", "$EVTCHN_PORT;reboot"]);
        for text in ["", "  ", "'", "''", "'' -x"] {
            assert!(Exec::parse(text).is_err(), "{text}");
        }
    }
}
