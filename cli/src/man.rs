//! `evtchn man`: the manual, generated from the help.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Arg, ArgAction, Args, CommandFactory};
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
        let mut cli = Cli::command().disable_help_subcommand(true);
        cli.build();
        Page::new(with_synopsis(cli)).render(&mut page)?;
        print(&page)
    }
}

/// Writes the page of a command and those of its subcommands.
fn pages(command: clap::Command, dir: &Path) -> Result<()> {
    let shown = command.get_subcommands().filter(|it| !it.is_hide_set());
    shown.cloned().try_for_each(|command| pages(command, dir))?;
    let page = Page::new(with_synopsis(command));
    let path = dir.join(page.get_filename());
    file::write(&path, None, |out| Ok(page.render(&mut *out)?))
}

/// The command with a synopsis that names the value of each option.
fn with_synopsis(command: clap::Command) -> clap::Command {
    let name = command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned();
    let mut words = vec![name];
    let arguments = command.get_arguments().filter(|it| !it.is_hide_set());
    let (places, options): (Vec<&Arg>, Vec<&Arg>) = arguments.partition(|it| it.is_positional());
    words.extend(options.into_iter().chain(places).map(word));
    if command.has_subcommands() {
        words.push("<command>".to_owned());
    }
    command.override_usage(words.join(" "))
}

/// An argument in a synopsis, such as `[--events N]`, `--output FILE` or `[DOM]...`.
fn word(argument: &Arg) -> String {
    let takes_value = argument.get_action().takes_values();
    let values = argument.get_value_names().unwrap_or_default();
    let values = values
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    let option = argument.get_long().map(|long| format!("--{long}"));
    let option = option.or_else(|| argument.get_short().map(|short| format!("-{short}")));
    let word = match option {
        Some(option) if takes_value => format!("{option} {values}"),
        Some(option) => option,
        None => values,
    };
    let is_repeatable = matches!(argument.get_action(), ArgAction::Append);
    let more = if is_repeatable { "..." } else { "" };
    match argument.is_required_set() {
        true => format!("{word}{more}"),
        false => format!("[{word}]{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synopsis_has_the_value_of_each_option() {
        let synopsis = |name: &str| {
            let mut cli = Cli::command();
            cli.build();
            let command = cli.find_subcommand(name).unwrap().clone();
            let mut page = Vec::new();
            Page::new(with_synopsis(command)).render(&mut page).unwrap();
            let page = String::from_utf8(page).unwrap().replace("\\-", "-");
            let (_, rest) = page.split_once(".SH SYNOPSIS\n").unwrap();
            rest.split(".SH ").next().unwrap().to_owned()
        };
        for (name, parts) in [
            (
                "watch",
                &[
                    "[--events N]",
                    "[--virq NAME|N]...",
                    "[--record FILE]",
                    "[--once]",
                ][..],
            ),
            ("ls", &["[--interval TIME]", "[DOM]..."]),
            ("timeline", &["--output FILE", "[--format FORMAT]", "TRACE"]),
            ("listen", &["[--count N]", "DOM"]),
        ] {
            let synopsis = synopsis(name);
            for part in parts {
                assert!(synopsis.contains(part), "{name} {part}: {synopsis}");
            }
        }
    }
}
