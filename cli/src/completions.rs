//! `evtchn completions`: scripts with which shells complete the command.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Cli;
use crate::output::print;

const EXAMPLES: &str = "\
Examples:
  evtchn completions bash >/usr/share/bash-completion/completions/evtchn
  evtchn completions zsh >~/.zfunc/_evtchn
  evtchn completions fish >~/.config/fish/completions/evtchn.fish";

/// Print a script that lets a shell complete the command.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn run(&self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "evtchn", &mut script);
        print(&script)
    }
}
