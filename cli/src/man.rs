//! `evtchn man`: the manual, generated from the help.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use crate::output::print;
use crate::{Cli, file};

const EXAMPLES: &str = "\
Examples:
  evtchn man | man -l -                        read the first page
  evtchn man /usr/local/share/man/man1         install all pages";

/// Print the manual, or write its pages to a directory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Man {
    /// An existing directory for evtchn.1, evtchn-watch.1 and so on
    dir: Option<PathBuf>,
}

impl Man {
    /// Prints or writes it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn run(&self) -> Result<()> {
        if let Some(dir) = &self.dir {
            let mut cli = Cli::command().disable_help_subcommand(true);
            cli.build();
            return pages(cli, dir).with_context(|| format!("cannot write to {}", dir.display()));
        }
        let mut page = Vec::new();
        Page::new(Cli::command()).render(&mut page)?;
        print(&page)
    }
}

/// Writes the page of a command and those of its subcommands.
fn pages(command: clap::Command, dir: &Path) -> Result<()> {
    let shown = command.get_subcommands().filter(|it| !it.is_hide_set());
    shown.cloned().try_for_each(|command| pages(command, dir))?;
    let page = Page::new(command);
    let path = dir.join(page.get_filename());
    file::write(&path, None, |out| Ok(page.render(&mut *out)?))
}
