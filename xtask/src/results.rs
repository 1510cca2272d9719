//! What was tried on which platform: every boot adds what it found, and docs/platforms.md shows it.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::{platform::Bootable, report::Tally, workspace};

/// The results that the documents show.
pub(crate) const FILE: &str = "docs/xen-platforms.json";

/// Where the boots leave theirs.
fn found() -> PathBuf {
    workspace::target_dir().join("xen-platforms.json")
}

/// What a boot of a platform has tried.
#[derive(Debug)]
pub(crate) struct Results {
    platform: &'static Bootable,
    entry: Map<String, Value>,
}

impl Results {
    /// `booted` is what the guest said of its versions.
    pub(crate) fn new(platform: &'static Bootable, booted: &str) -> Self {
        let mut entry = Map::new();
        entry.insert("booted".to_owned(), booted.into());
        Self { platform, entry }
    }

    /// Adds the tests of a binary.
    pub(crate) fn test(&mut self, name: &str, tally: Tally) {
        let left_out = self.platform.left_out.iter();
        let skipped = left_out.filter(|case| case.test == name).count();
        let Tally {
            passed,
            failed,
            ignored,
        } = tally;
        let left_out = u64::from(ignored) + skipped as u64;
        let counts = json!({"passed": passed, "failed": failed, "left out": left_out});
        self.entry.insert(name.to_owned(), counts);
    }

    /// Adds a run of the simulator against the device, of which this is the last line.
    pub(crate) fn differential(&mut self, last: &str) {
        let numbers = last
            .strip_suffix(" differences")
            .and_then(|last| last.split_once(" operations, "));
        let Some((operations, differences)) = numbers else {
            return;
        };
        let [operations, differences] = [operations, differences].map(|it| it.parse::<u64>().ok());
        let counts = json!({"operations": operations, "differences": differences});
        self.entry.insert("differential".to_owned(), counts);
    }

    /// Keeps it beside what other boots have found.
    pub(crate) fn save(self) -> Result<()> {
        let path = found();
        let mut all = read(&path)?;
        let entry = [(self.platform.name().to_owned(), Value::Object(self.entry))];
        merge(&mut all, entry.into_iter().collect());
        write(&path, all)
    }
}

/// Takes over into the documents what boots have found since.
pub(crate) fn copy() -> Result<()> {
    let path = workspace::root().join(FILE);
    let mut all = read(&path)?;
    merge(&mut all, read(&found())?);
    write(&path, all)
}

/// The results that the documents show, by platform.
pub(crate) fn shown() -> Result<Map<String, Value>> {
    read(&workspace::root().join(FILE))
}

fn read(path: &std::path::Path) -> Result<Map<String, Value>> {
    if !path.exists() {
        return Ok(Map::new());
    }
    let text = fs::read_to_string(path)?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &std::path::Path, all: Map<String, Value>) -> Result<()> {
    let text = serde_json::to_string_pretty(&Value::Object(all))? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Adds the newer results to the platforms that they are of.
fn merge(all: &mut Map<String, Value>, newer: Map<String, Value>) {
    for (name, entry) in newer {
        match (all.get_mut(&name), entry) {
            (Some(Value::Object(known)), Value::Object(entry)) => known.extend(entry),
            (_, entry) => {
                all.insert(name, entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_replaces_what_it_has_tried_again_and_keeps_the_rest() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let mut all = object(json!({"a": {"booted": 1, "raw": 2}, "b": {"raw": 3}}));
        merge(
            &mut all,
            object(json!({"a": {"booted": 4}, "c": {"raw": 5}})),
        );
        let merged = json!({"a": {"booted": 4, "raw": 2}, "b": {"raw": 3}, "c": {"raw": 5}});
        assert_eq!(Value::Object(all), merged);
    }

    #[test]
    fn the_counts_of_a_differential_run_are_those_of_its_last_line() {
        let mut results = Results::new(Bootable::default(), "");
        results.differential("50000 operations, 0 differences");
        let counts = json!({"operations": 50000, "differences": 0});
        assert_eq!(results.entry["differential"], counts);
    }
}
