//! `evtchn completions`: scripts with which shells complete the command. A script asks the command
//! itself at each Tab, through the variable [`VARIABLE`].

mod bash;
pub(crate) mod candidates;
mod zsh;

use std::env;

use anyhow::{Context as _, Result};
use clap::builder::PossibleValuesParser;
use clap::{Args, CommandFactory};
use clap_complete::CompleteEnv;
use clap_complete::env::{Elvish, Fish, Powershell, Shells};

use crate::Cli;
use crate::output::print;

/// The environment variable that names the shell that asks.
const VARIABLE: &str = "EVTCHN_COMPLETE";

/// The shells that have a script.
const SHELLS: Shells<'static> = Shells(&[&bash::Bash, &Elvish, &Fish, &Powershell, &zsh::Zsh]);

const EXAMPLES: &str = "\
Examples:
  evtchn completions bash >/usr/share/bash-completion/completions/evtchn
  evtchn completions zsh >~/.zfunc/_evtchn
  evtchn completions fish >~/.config/fish/completions/evtchn.fish
Write the script again after an update of the command.";

/// Print a script that lets a shell complete the command.
///
/// At each Tab the script asks the command, which knows its options, the virtual interrupts and, where
/// this user may ask Xen, the domains and the ports that they offer to this domain.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_parser = PossibleValuesParser::new(SHELLS.names()))]
    shell: String,
}

impl Completions {
    /// Prints it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn run(&self) -> Result<()> {
        let mut script = Vec::new();
        let shell = SHELLS.completer(&self.shell).context("no such shell")?;
        shell.write_registration(VARIABLE, "evtchn", "evtchn", "evtchn", &mut script)?;
        print(&script)
    }
}

/// Answers a shell that asks how a line goes on, and returns whether one does.
///
/// # Errors
/// If the answer cannot be written, or there is no script for the shell.
pub(crate) fn answer() -> Result<bool> {
    let answer = CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .shells(SHELLS);
    Ok(answer.try_complete(env::args_os(), env::current_dir().ok().as_deref())?)
}
