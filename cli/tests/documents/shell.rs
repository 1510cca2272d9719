//! Runs the shell commands of a document.
//!
//! A block `sh` has commands that must succeed. A block `console` has commands after `$ `, each with its
//! output, in which a line `...` stands for any lines. A block with the word `xen` needs the device. The
//! blocks of a document run in order in one folder, empty at first, so a block may use files of earlier
//! ones.

use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::{env, fs};

use super::blocks::{Block, blocks};
use super::places;

/// Where a document runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// On any machine.
    Here,
    /// In dom0 of a real Xen, where also the commands for any machine run.
    Xen,
}

impl Where {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Where::Here => "sim",
            Where::Xen => "xen",
        }
    }
}

/// A command of a document, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// In this test, on any machine.
    Here(String),
    /// In this test, where there is no Xen: what a newcomer does.
    WithoutXen(String),
    /// In this test, in dom0.
    Xen(String),
    /// In another test.
    Elsewhere(String),
}

/// One command of a script, and its output, if the document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    command: Command,
    prints: Option<String>,
}

/// The commands of one block.
#[derive(Debug)]
pub(crate) struct Script {
    line: usize,
    steps: Vec<Step>,
}

/// The commands of a block of shell.
pub(crate) fn commands(block: &Block) -> Result<Vec<Command>, String> {
    let steps = steps(block)?;
    if steps.is_empty() {
        return Err("no command".to_owned());
    }
    let compared = |step: &Step| step.prints.is_none() || !is_elsewhere(&step.command);
    match steps.iter().find(|step| !compared(step)) {
        None => Ok(steps.into_iter().map(|step| step.command).collect()),
        Some(step) => Err(format!("nothing compares the output of {:?}", step.command)),
    }
}

fn is_elsewhere(command: &Command) -> bool {
    matches!(command, Command::Elsewhere(_))
}

fn steps(block: &Block) -> Result<Vec<Step>, String> {
    let words = block.words();
    let needs_xen = words.get(1) == Some(&"xen");
    let mut steps: Vec<Step> = Vec::new();
    let mut rest = block.text.lines();
    while let Some(line) = rest.next() {
        let written = match (words[0], line.strip_prefix("$ ")) {
            ("console", Some(command)) => command,
            ("console", None) => {
                let step = steps.last_mut().ok_or("an output without a command")?;
                let prints = step.prints.get_or_insert_default();
                prints.push_str(line);
                prints.push('\n');
                continue;
            }
            _ if line.is_empty() || line.starts_with('#') => continue,
            _ => line,
        };
        let mut command = written.to_owned();
        while let Some(begun) = command.strip_suffix('\\') {
            command = format!("{begun}{}", rest.next().unwrap_or_default().trim_start());
        }
        steps.push(Step {
            command: translate(&command, needs_xen),
            prints: (words[0] == "console").then(String::new),
        });
    }
    Ok(steps)
}

/// Where a command runs. `cargo run` is replaced by the command that was built.
fn translate(command: &str, needs_xen: bool) -> Command {
    let command = command.split(" #").next().unwrap_or(command).trim_end();
    if let Some(arguments) = command.strip_prefix("cargo run --release -- ") {
        return Command::WithoutXen(format!("evtchn {arguments}"));
    }
    if let Some(in_guest) = command.strip_prefix("cargo xtask xen -- ") {
        return Command::Xen(in_guest.to_owned());
    }
    if command.starts_with("cargo ") || places::is_run_elsewhere(command) {
        return Command::Elsewhere(command.to_owned());
    }
    match needs_xen {
        false => Command::Here(command.to_owned()),
        true => Command::Xen(command.to_owned()),
    }
}

/// The scripts of a document for a place; none if no command needs that place.
pub(crate) fn scripts(text: &str, place: Where) -> Vec<Script> {
    let mut scripts = Vec::new();
    for block in blocks(text) {
        if !["sh", "console"].contains(&block.words().first().copied().unwrap_or_default()) {
            continue;
        }
        let mut steps = steps(&block).unwrap_or_default();
        steps.retain(|step| match step.command {
            Command::Here(_) => true,
            Command::WithoutXen(_) => place == Where::Here,
            Command::Xen(_) => place == Where::Xen,
            Command::Elsewhere(_) => false,
        });
        scripts.push(Script {
            line: block.line,
            steps,
        });
    }
    let needs_xen = |step: &Step| matches!(step.command, Command::Xen(_));
    let mut steps = scripts.iter().flat_map(|script| &script.steps);
    let is_wanted = match place {
        Where::Here => steps.next().is_some(),
        Where::Xen => steps.any(needs_xen),
    };
    if is_wanted { scripts } else { Vec::new() }
}

/// Runs the scripts of a document.
pub(crate) fn run(document: &str, scripts: &[Script]) -> Result<(), String> {
    let folder = env::temp_dir().join(format!(
        "evtchn-{}-{}",
        process::id(),
        document.replace('/', "-")
    ));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let ran = scripts.iter().try_for_each(|script| {
        let steps = &script.steps;
        let ran = steps.iter().try_for_each(|step| step.run(&folder));
        ran.map_err(|error| format!("{document}:{}: {error}", script.line))
    });
    fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    ran
}

impl Step {
    fn run(&self, folder: &Path) -> Result<(), String> {
        let (Command::Here(command)
        | Command::WithoutXen(command)
        | Command::Xen(command)
        | Command::Elsewhere(command)) = &self.command;
        let ran = process::Command::new("sh")
            .args(["-euc", &format!("exec 2>&1\n{command}")])
            .current_dir(folder)
            .env("PATH", search_path())
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("no shell: {error}"))?;
        let printed = String::from_utf8_lossy(&ran.stdout);
        if !ran.status.success() {
            return Err(format!("`{command}` ended with {}\n{printed}", ran.status));
        }
        match &self.prints {
            Some(prints) if !is_like(&lines(prints), &lines(&printed)) => Err(format!(
                "`{command}` prints\n{printed}but the document has\n{prints}"
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// The search path, which begins with the folder of the built command.
fn search_path() -> String {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_evtchn"));
    let folder = built.parent().unwrap_or(Path::new("/")).display();
    let others = env::var("PATH").unwrap_or_default();
    format!("{folder}:{others}")
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// Whether lines match those of a document, in which `...` stands for any number of lines.
fn is_like(pattern: &[&str], printed: &[&str]) -> bool {
    match pattern.split_first() {
        None => printed.is_empty(),
        Some((&"...", rest)) => {
            (0..=printed.len()).any(|skipped| is_like(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed.first() == Some(first) && is_like(rest, &printed[1..]),
    }
}
