//! Mutants that no branch can express, each compiled by itself: by cargo-mutants, in a copy of the workspace.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{build, list::Mutant, run::Fate};

/// Seconds after which tests count as hanging.
const PATIENCE: &str = "120";

/// Runs the tests of the package, or of the workspace, with each. Returns what became of them; a mutant that does not
/// compile is not among those.
pub(super) fn try_out(
    work: &Path,
    mutants: &[&Mutant],
    whole_workspace: bool,
) -> Result<BTreeMap<u32, Fate>> {
    let Some(first) = mutants.first() else {
        return Ok(BTreeMap::new());
    };
    let tree = build::check_out(&work.join("plain"))?;
    let out = work.join("plain-out");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    let names: Vec<String> = mutants.iter().map(|it| escaped(&it.name)).collect();
    let mut command = Command::new("cargo");
    command
        .current_dir(&tree)
        .args([
            "mutants",
            "--in-place",
            "--baseline",
            "skip",
            "--no-shuffle",
            "--colors",
            "never",
        ])
        .args(["--timeout", PATIENCE, "--build-timeout", "600"])
        .args(["--package", &first.package, "--file", &first.file])
        .args(["--re", &format!("^({})$", names.join("|"))])
        .arg("--output")
        .arg(&out)
        .env("CARGO_TARGET_DIR", work.join("plain-build"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    match whole_workspace {
        true => command.args(["--test-workspace", "true"]),
        false => command.args(["--test-package", &first.package]),
    };
    if first.package == "evtchn-core" && !whole_workspace {
        command.args(["--features", "futures"]);
    }
    command.status().context("cannot run cargo mutants")?;
    let named = |list: &str| -> Result<Vec<String>> {
        let text = fs::read_to_string(out.join("mutants.out").join(list))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let unviable = named("unviable.txt")?;
    let caught = named("caught.txt")?;
    let timeout = named("timeout.txt")?;
    let fates = mutants.iter().filter(|it| !unviable.contains(&it.name));
    let fates = fates.map(|it| {
        let fate = if caught.contains(&it.name) {
            Fate::Caught("by itself".to_owned())
        } else if timeout.contains(&it.name) {
            Fate::TimedOut("by itself".to_owned())
        } else {
            Fate::Missed
        };
        (it.id, fate)
    });
    Ok(fates.collect())
}

/// The name as a regular expression.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(character) {
            text.push('\\');
        }
        text.push(character);
    }
    text
}
