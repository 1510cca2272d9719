//! The command that is run for each wake.

use std::io;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use evtchn::Port;

/// See the [module](self). It knows no shell: its words are fixed when it is made, and what a
/// wake is about stands in the environment.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    program: String,
    arguments: Vec<String>,
    tally: Ran,
}

/// How often it ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ran {
    /// How often.
    pub(crate) times: u64,
    /// How often it failed.
    pub(crate) failed: u64,
}

impl Exec {
    /// Splits the words as a shell does.
    ///
    /// # Errors
    /// No word, or a quote that does not end.
    pub(crate) fn parse(text: &str) -> Result<Exec, String> {
        let words = shlex::split(text).ok_or("a quote in it does not end")?;
        let mut words = words.into_iter();
        Ok(Exec {
            program: words.next().ok_or("it names no program")?,
            arguments: words.collect(),
            tally: Ran::default(),
        })
    }

    /// Runs it for one wake, and waits until it ends.
    ///
    /// # Errors
    /// It cannot be started. One that fails is counted.
    pub(crate) fn run(&mut self, port: Port, remote: &str, cause: &str, wakes: u64) -> Result<()> {
        let ended = Command::new(&self.program)
            .args(&self.arguments)
            .env("EVTCHN_PORT", port.to_string())
            .env("EVTCHN_REMOTE", remote)
            .env("EVTCHN_CAUSE", cause)
            .env("EVTCHN_WAKES", wakes.to_string())
            .stdin(Stdio::null())
            // Stdout is for the lines of the watch.
            .stdout(io::stderr())
            .status();
        let status = ended.with_context(|| format!("cannot run {}", self.program))?;
        self.tally.times += 1;
        self.tally.failed += u64::from(!status.success());
        Ok(())
    }

    /// How often it ran.
    pub(crate) const fn ran(&self) -> Ran {
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does_and_nothing_else_is_done_to_them() {
        let exec = Exec::parse("logger -t 'two words' $EVTCHN_PORT;reboot").unwrap();
        assert_eq!(exec.program, "logger");
        assert_eq!(exec.arguments, ["-t", "two words", "$EVTCHN_PORT;reboot"]);
        for text in ["", "  ", "'"] {
            assert!(Exec::parse(text).is_err(), "{text}");
        }
    }
}
