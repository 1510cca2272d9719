//! The table of what differs between the platforms of the simulator.

use std::{collections::BTreeSet, iter};

use anyhow::Result;
use evtchn_sim::{Datum, Platform, Seen};
use serde_json::Value;

use crate::{binaries, guest, results};

/// A row for each fact, a column for each platform, and where the facts come from.
pub(super) fn table() -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let names = Platform::ALL
        .iter()
        .map(|platform| format!("`{}`", platform.name));
    let head: Vec<String> = iter::once(String::new())
        .chain(names)
        .chain(["decided by".into()])
        .collect();
    let rule = head.iter().map(|_| "---".to_owned()).collect();
    let all: Vec<_> = Platform::ALL.iter().map(Platform::facts).collect();
    let mut lines = line(head) + &line(rule);
    let facts = all.first().map_or(0, Vec::len);
    for place in 0..facts {
        let row: Vec<_> = all.iter().filter_map(|facts| facts.get(place)).collect();
        let sources: BTreeSet<_> = row.iter().map(|(_, fact)| fact.source).collect();
        let name = row.first().map(|(name, _)| (*name).to_owned());
        let cells = name
            .into_iter()
            .chain(row.iter().map(|(_, fact)| cell(fact)));
        let sources = Vec::from_iter(sources).join("; ");
        lines += &line(cells.chain([sources]).collect());
    }
    lines
}

/// A row for each test binary and what was booted, a column for each platform.
pub(super) fn tried() -> Result<String> {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let names = Platform::ALL
        .iter()
        .map(|platform| format!("`{}`", platform.name));
    let head: Vec<String> = iter::once(String::new()).chain(names).collect();
    let rule = head.iter().map(|_| "---".to_owned()).collect();
    let mut lines = line(head) + &line(rule);
    let shown = results::shown()?;
    let mut row = |name: &str, cell: fn(&Value) -> String| {
        let cells = Platform::ALL.iter().map(|platform| {
            let entry = shown.get(platform.name).unwrap_or(&Value::Null);
            cell(&entry[name])
        });
        lines += &line(iter::once(name.to_owned()).chain(cells).collect());
    };
    row("booted", |booted| booted.as_str().unwrap_or("-").to_owned());
    for test in binaries::TESTS {
        row(test.name, counts);
    }
    for kind in guest::KINDS {
        for test in guest::INSIDE {
            row(&format!("{test} in {kind}"), counts);
        }
    }
    row("differential", counts);
    Ok(lines)
}

/// How many passed, or operations were made, and what else there is to say.
fn counts(of: &Value) -> String {
    let more = ["failed", "left out", "differences"].into_iter();
    let more = more.filter_map(|what| match of[what].as_u64() {
        None | Some(0) => None,
        Some(count) => Some(format!(", {count} {what}")),
    });
    let done = of["passed"].as_u64().or_else(|| of["operations"].as_u64());
    let done = done.map_or_else(|| "-".to_owned(), |done| done.to_string());
    done + &more.collect::<String>()
}

fn cell(fact: &Datum<String>) -> String {
    let text = match fact.value.as_str() {
        "" => "none",
        "true" => "yes",
        "false" => "no",
        other => other,
    };
    match fact.seen {
        Seen::Observed => text.to_owned(),
        Seen::Read => format!("*{text}*"),
    }
}
