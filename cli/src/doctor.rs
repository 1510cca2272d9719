//! `evtchn doctor`: what this machine has for event channels, and what to do where something is missing.

mod machine;
mod questions;
mod versions;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::exit::{Exit, exit_codes};
use crate::options::Backend;
use crate::output::{print, screen::Screen};
use crate::plain::{self, Plain};
use machine::Machine;

const EXAMPLES: &str = concat!(
    "\
Examples:
  evtchn doctor                       what is there, and what to do
  evtchn doctor --json                the same for a bug report
  evtchn doctor --root DIR            a copy of the /proc, /sys and /dev of another machine

",
    exit_codes!()
);

/// Say what this machine has for event channels, and what to do where something is missing.
///
/// It looks at the hypervisor, the kernel, the module, the device and its permissions, asks Xen which
/// ports and virtual interrupts are bound, and says what this library can and cannot do on these
/// versions. Each line is ok, a note, or something to do. It binds nothing. The exit code is that of a
/// command that needs the device.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Look at the files below DIR; Xen is then not asked
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// A line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    topic: &'static str,
    says: String,
    state: State,
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing.
    Ok,
    /// To be known.
    Note,
    /// This, and without it a command ends with this code.
    Do(String, Exit),
}

impl Line {
    fn ok(topic: &'static str, says: impl Into<String>) -> Line {
        Line {
            topic,
            says: says.into(),
            state: State::Ok,
        }
    }

    fn note(topic: &'static str, says: impl Into<String>) -> Line {
        Line {
            state: State::Note,
            ..Line::ok(topic, says)
        }
    }

    fn todo(
        topic: &'static str,
        says: impl Into<String>,
        exit: Exit,
        todo: impl Into<String>,
    ) -> Line {
        Line {
            state: State::Do(todo.into(), exit),
            ..Line::ok(topic, says)
        }
    }

    const fn mark(&self) -> &'static str {
        match self.state {
            State::Ok => "ok",
            State::Note => "note",
            State::Do(..) => "do",
        }
    }

    fn object(&self) -> Value {
        let todo = match &self.state {
            State::Do(todo, _) => Some(todo),
            State::Ok | State::Note => None,
        };
        json!({"topic": self.topic, "state": self.mark(), "says": self.says, "do": todo})
    }

    /// Its rows on a terminal of so many columns.
    fn rows(&self, columns: usize) -> String {
        const MARGIN: usize = 20;
        let width = columns.saturating_sub(MARGIN + 1).max(19);
        let mut text = String::new();
        for (place, row) in fill(&self.says, width).iter().enumerate() {
            let (mark, topic) = match place {
                0 => (self.mark(), self.topic),
                _ => ("", ""),
            };
            text += &format!("{mark:<5} {topic:<13} {row}\n");
        }
        if let State::Do(todo, _) = &self.state {
            for (place, row) in fill(todo, width).iter().enumerate() {
                let arrow = if place == 0 { "=>" } else { "" };
                text += &format!("{:<16} {arrow:<2} {row}\n", "");
            }
        }
        text
    }
}

/// The words of a text in rows of this width. A longer word has a row of its own.
fn fill(text: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    for word in Plain(text).to_string().split(' ') {
        match rows.last_mut() {
            Some(row) if row.is_empty() => *row = word.to_owned(),
            Some(row) if row.chars().count() + 1 + word.chars().count() <= width => {
                *row += " ";
                *row += word;
            }
            _ => rows.push(word.to_owned()),
        }
    }
    rows
}

impl Doctor {
    /// Prints the report.
    ///
    /// # Errors
    /// If there is something to do, with the code that a command ends with that needs the device.
    pub(crate) fn run(&self) -> Result<()> {
        let machine = Machine::new(&self.root);
        let lines = examine(&machine, self.root == Path::new("/"));
        let text = match self.json {
            true => format!("{}\n", plain::json(&report(&machine, &lines))),
            false => {
                let columns = Screen::columns().unwrap_or(100);
                lines.iter().map(|line| line.rows(columns)).collect()
            }
        };
        print(text.as_bytes())?;
        let todo = lines.iter().filter_map(|line| match line.state {
            State::Do(_, exit) => Some((line.topic, exit)),
            State::Ok | State::Note => None,
        });
        let todo: Vec<(&str, Exit)> = todo.collect();
        let Some((_, exit)) = todo.first() else {
            return Ok(());
        };
        let topics: Vec<&str> = todo.iter().map(|(topic, _)| *topic).collect();
        Err(exit.because(format!("there is something to do: {}", topics.join(", "))))
    }
}

/// The lines about a machine; `is_here` says whether it is this one, whose Xen can be asked.
fn examine(machine: &Machine, is_here: bool) -> Vec<Line> {
    let mut lines = machine.lines();
    if machine.is_xen() {
        let is_whole = lines
            .iter()
            .all(|line| !matches!(line.state, State::Do(..)));
        if is_here && is_whole {
            lines.push(questions::device());
        }
        lines.extend(questions::lines(machine, is_here));
        lines.extend(versions::lines(machine));
    }
    lines
}

fn report(machine: &Machine, lines: &[Line]) -> Value {
    let backend = match machine.is_xen() {
        true => Backend::Xen,
        false => Backend::Sim,
    };
    json!({
        "event": "doctor",
        "backend": backend.name(),
        "version": env!("CARGO_PKG_VERSION"),
        "xen": machine.xen().map(|(major, minor)| format!("{major}.{minor}")),
        "kernel": machine.kernel(),
        "lines": lines.iter().map(Line::object).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_wide_as_the_terminal_and_no_word_is_lost() {
        let todo = "modprobe xen-evtchn, and then again a longer sentence with many words";
        let line = Line::todo(
            "module",
            "the module is not loaded at all",
            Exit::NoDevice,
            todo,
        );
        for columns in [40, 50, 60, 80, 200] {
            let rows = line.rows(columns);
            assert!(
                rows.lines().all(|row| row.chars().count() < columns),
                "{rows}"
            );
            let words: Vec<&str> = rows.split_whitespace().collect();
            let expected = format!("do module the module is not loaded at all => {todo}");
            assert_eq!(words.join(" "), expected);
        }
    }
}
