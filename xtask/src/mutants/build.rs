//! A copy of the workspace with every mutant in it as a branch, compiled once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{
    list::Mutant,
    weave::{self, Woven},
};

/// What the core gets besides: it tells which mutant the environment asks for, and writes down which were come by
/// where the environment names a file for it. What the compiler computes is not changed.
const SWITCH: &str = include_str!("switch.rs");
const SWITCH_FEATURES: &str =
    "#![feature(const_eval_select, core_intrinsics)]\n#![allow(internal_features)]\n";
const SWITCH_FILE: &str = "core/src/lib.rs";

/// A test binary.
#[derive(Debug, Clone)]
pub(super) struct Binary {
    pub(super) package: String,
    pub(super) name: String,
    pub(super) executable: PathBuf,
    pub(super) folder: PathBuf,
}

/// What was compiled.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) binaries: Vec<Binary>,
    /// Mutants that do not compile.
    pub(super) unviable: BTreeSet<u32>,
    /// Mutants that no branch can express, or that compile in no branch.
    pub(super) single: BTreeSet<u32>,
}

/// The copy.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) path: PathBuf,
    target: PathBuf,
    /// The files as they are, by path.
    sources: BTreeMap<String, String>,
}

/// Checks HEAD out into a folder of its own.
pub(super) fn check_out(path: &Path) -> Result<PathBuf> {
    let head = output(Command::new("git").args(["rev-parse", "HEAD"]))?;
    let head = head.trim();
    if path.join(".git").exists() {
        let mut checkout = Command::new("git");
        checkout.current_dir(path);
        output(checkout.args(["checkout", "--quiet", "--force", "--detach", head]))?;
    } else {
        output(Command::new("git").args(["worktree", "prune"]))?;
        let mut add = Command::new("git");
        add.args(["worktree", "add", "--quiet", "--force", "--detach"]);
        output(add.arg(path).arg(head))?;
    }
    Ok(path.to_owned())
}

impl Tree {
    /// Checks HEAD out under `work`.
    pub(super) fn check_out(work: &Path) -> Result<Self> {
        Ok(Self {
            path: check_out(&work.join("tree"))?,
            target: work.join("build"),
            sources: BTreeMap::new(),
        })
    }

    /// Compiles the tests of some packages, or of all, with the mutants in them.
    pub(super) fn build(
        &mut self,
        mutants: &[Mutant],
        packages: Option<&BTreeSet<&str>>,
    ) -> Result<Built> {
        for mutant in mutants {
            if !self.sources.contains_key(&mutant.file) {
                let text = fs::read_to_string(self.path.join(&mutant.file))?;
                self.sources.insert(mutant.file.clone(), text);
            }
        }
        let mutated: BTreeSet<&str> = mutants.iter().map(|it| &*it.package).collect();
        let switched = self.path.join(SWITCH_FILE);
        let core = fs::read_to_string(&switched)?;
        let core = core.replace("#![forbid(unsafe_code)]", "");
        fs::write(&switched, format!("{SWITCH_FEATURES}{core}\n{SWITCH}"))?;
        let mut left_out = BTreeSet::new();
        let mut unviable = BTreeSet::new();
        for round in 1.. {
            let woven = self.write(mutants, &left_out)?;
            let before = left_out.len();
            for error in self.errors(&mutated)? {
                let of = |(file, at): &(String, Range<usize>)| woven.get(file)?.mutant_of(at);
                let of: Vec<(u32, bool)> = error.places.iter().filter_map(of).collect();
                ensure!(!of.is_empty(), "this is not of a mutant: {}", error.text);
                left_out.extend(of.iter().map(|(id, _)| *id));
                unviable.extend(of.iter().filter(|(_, is_in)| *is_in).map(|(id, _)| *id));
            }
            eprintln!("round {round}: {} do not compile", left_out.len());
            if left_out.len() == before {
                let branches = woven.values().flat_map(|woven| &woven.branches);
                let expressed: BTreeSet<u32> = branches.map(|(_, id)| *id).collect();
                let expressed = |it: &&Mutant| expressed.contains(&it.id);
                let others = mutants.iter().filter(|it| !expressed(it)).map(|it| it.id);
                return Ok(Built {
                    single: others.filter(|id| !unviable.contains(id)).collect(),
                    binaries: self.binaries(packages)?,
                    unviable,
                });
            }
        }
        bail!("unreachable")
    }

    fn write(
        &self,
        mutants: &[Mutant],
        left_out: &BTreeSet<u32>,
    ) -> Result<BTreeMap<String, Woven>> {
        let mut all = BTreeMap::new();
        for (file, source) in &self.sources {
            let of_file = mutants.iter().filter(|it| it.file == *file);
            let of_file: Vec<&Mutant> = of_file.filter(|it| !left_out.contains(&it.id)).collect();
            let condition = match file.starts_with("core/") {
                true => "crate::__mutant",
                false => "::evtchn_core::__mutant",
            };
            let woven = weave::weave(source, &of_file, condition)
                .with_context(|| format!("cannot change {file}"))?;
            let path = self.path.join(file);
            if fs::read_to_string(&path)? != woven.text {
                fs::write(&path, &woven.text)?;
            }
            all.insert(file.clone(), woven);
        }
        Ok(all)
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command
            .current_dir(&self.path)
            .args(arguments)
            .arg("--message-format=json")
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("RUSTC_BOOTSTRAP", "evtchn_core")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn errors(&self, packages: &BTreeSet<&str>) -> Result<Vec<Diagnostic>> {
        let mut command = self.cargo(&["check", "--keep-going", "--lib"]);
        choose(&mut command, packages);
        let messages = command.output()?.stdout;
        Ok(messages_of(&messages)?
            .iter()
            .filter_map(Diagnostic::of)
            .collect())
    }

    fn binaries(&self, packages: Option<&BTreeSet<&str>>) -> Result<Vec<Binary>> {
        let mut command = self.cargo(&["test", "--no-run"]);
        match packages {
            Some(packages) => choose(&mut command, packages),
            None => {
                command.arg("--workspace");
            }
        }
        let output = command.output()?;
        let messages = messages_of(&output.stdout)?;
        if let Some(errors) = messages.iter().find_map(Diagnostic::of) {
            bail!("the tests do not compile: {}", errors.text);
        }
        ensure!(output.status.success(), "the tests do not compile");
        let mut binaries = Vec::new();
        for message in &messages {
            let Some(executable) = message["executable"].as_str() else {
                continue;
            };
            if message["profile"]["test"] != true {
                continue;
            }
            let manifest = Path::new(message["manifest_path"].as_str().context("no manifest")?);
            let folder = manifest.parent().context("no folder")?;
            let package = message["package_id"].as_str().context("no package")?;
            let package = package
                .rsplit(['/', '#'])
                .find(|it| !it.starts_with(|c: char| c.is_ascii_digit()));
            binaries.push(Binary {
                package: package
                    .unwrap_or_default()
                    .split('@')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                name: message["target"]["name"]
                    .as_str()
                    .context("no name")?
                    .to_owned(),
                executable: executable.into(),
                folder: folder.to_owned(),
            });
        }
        Ok(binaries)
    }
}

/// Features whose code has tests, in the packages that have mutants.
const FEATURES: [(&str, &str); 12] = [
    ("evtchn-core", "futures"),
    ("evtchn-core", "mock"),
    ("evtchn-core", "tables"),
    ("evtchn-core", "tracing"),
    ("evtchn-loops", "async-io"),
    ("evtchn-loops", "calloop"),
    ("evtchn-loops", "crossbeam"),
    ("evtchn-loops", "hooks"),
    ("evtchn-loops", "mio"),
    ("evtchn-loops", "polling"),
    ("evtchn-loops", "tokio"),
    ("evtchn-xen", "status"),
];

/// Chooses packages, with these features.
fn choose(command: &mut Command, packages: &BTreeSet<&str>) {
    for package in packages {
        command.args(["--package", package]);
    }
    // With its package before it cargo takes a feature for that of a dependency.
    for (_, feature) in FEATURES.iter().filter(|it| packages.contains(it.0)) {
        command.args(["--features", feature]);
    }
}

/// An error of the compiler.
#[derive(Debug)]
struct Diagnostic {
    places: Vec<(String, Range<usize>)>,
    text: String,
}

impl Diagnostic {
    fn of(message: &Value) -> Option<Self> {
        let message = message.get("message")?;
        if message["level"] != "error" {
            return None;
        }
        let spans = message["spans"].as_array()?;
        let place = |span: &Value| {
            let number = |key: &str| span[key].as_u64()?.try_into().ok();
            Some((
                span["file_name"].as_str()?.to_owned(),
                number("byte_start")?..number("byte_end")?,
            ))
        };
        let primary = spans.iter().filter(|span| span["is_primary"] == true);
        let places: Vec<_> = primary.filter_map(place).collect();
        // The last line of an error says how many there were.
        if places.is_empty() {
            return None;
        }
        Some(Self {
            places,
            text: message["rendered"].as_str()?.to_owned(),
        })
    }
}

fn messages_of(output: &[u8]) -> Result<Vec<Value>> {
    let lines = output.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| line.starts_with(b"{"));
    Ok(lines
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()?)
}

pub(super) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let trouble = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {trouble}");
    Ok(String::from_utf8(output.stdout)?)
}
