//! The table of what differs between the platforms of the simulator.

use std::{collections::BTreeSet, iter};

use evtchn_sim::{Datum, Platform, Seen};

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
