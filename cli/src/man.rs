//! `evtchn man`: the manual, made of the help.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use crate::Cli;
use crate::output::print;

const EXAMPLES: &str = "\
Examples:
  evtchn man | man -l -                        read the first page
  evtchn man /usr/local/share/man/man1         install all pages";

/// Print the manual, or write its pages to a directory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Man {
    /// Where evtchn.1, evtchn-watch.1 and the others are written; it must be there
    dir: Option<PathBuf>,
}

impl Man {
    /// Prints or writes it.
    ///
    /// # Errors
    /// The output's, or the directory's.
    pub(crate) fn run(&self) -> Result<()> {
        if let Some(dir) = &self.dir {
            let written = clap_mangen::generate_to(Cli::command(), dir);
            return written.with_context(|| format!("cannot write to {}", dir.display()));
        }
        let mut page = Vec::new();
        Page::new(Cli::command()).render(&mut page)?;
        print(&page)
    }
}
