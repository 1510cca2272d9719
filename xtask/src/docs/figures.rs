//! The figures of the benchmark: the tables of docs/figures.md, and what the chart draws.

use std::{fmt::Write as _, fs};

use anyhow::{Context, Result, ensure};

use crate::{
    bench::{Row, Unit, from_json},
    workspace::{read, root, target_dir},
};

/// The figures that the documents show.
pub(super) const FILE: &str = "docs/xen-bench.json";

/// An implementation, its name in the documents, and whether the chart has it.
#[derive(Clone, Copy, Debug)]
struct Implementation(&'static str, &'static str, bool);

/// The implementations in the order of the documents.
const IMPLEMENTATIONS: [Implementation; 15] = [
    Implementation("raw", "by hand: read, write", true),
    Implementation("rawpoll", "by hand: poll, read, write", true),
    Implementation("evtchn-each", "`evtchn`, `for` over a round", true),
    Implementation("evtchn", "`evtchn`, batches of wakes", true),
    Implementation("evtchn-many", "`evtchn`, `notify_many`", true),
    Implementation("evtchn-callback", "`evtchn`, callbacks", true),
    Implementation("evtchn-handlers", "`evtchn`, handlers", false),
    Implementation("evtchn-mio", "`evtchn` on mio", false),
    Implementation("evtchn-polling", "`evtchn` on polling", false),
    Implementation("evtchn-async-io", "`evtchn` on async-io, one stream", false),
    Implementation("evtchn-tokio", "`evtchn` on tokio, one stream", true),
    Implementation(
        "evtchn-tokio-streams",
        "`evtchn` on tokio, a task and stream each",
        false,
    ),
    Implementation(
        "evtchn-tokio-futures",
        "`evtchn` on tokio, a task each, `woken`",
        false,
    ),
    Implementation("libxl", "libxl's loop", true),
    Implementation("krata", "krata-xenevtchn 0.0.25", true),
];

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    title: &'static str,
    case: &'static str,
    channels: u32,
    part: &'static str,
}

const fn column(
    title: &'static str,
    case: &'static str,
    channels: u32,
    part: &'static str,
) -> Column {
    Column {
        title,
        case,
        channels,
        part,
    }
}

const PING_PONG: Column = column("ping-pong", "pingpong", 1, "total");
const BURST: Column = column("burst of 1,000", "burst", 1000, "total");
const DRAIN: Column = column("1,000 without the notifies", "burst", 1000, "drain");
const COLUMNS: [Column; 5] = [
    PING_PONG,
    column("burst of 16", "burst", 16, "total"),
    column("of 256", "burst", 256, "total"),
    column("of 1,000", "burst", 1000, "total"),
    DRAIN,
];

/// All figures.
#[derive(Debug)]
pub(super) struct Figures(Vec<Row>);

/// Copies the figures of the last run into the documents.
pub(super) fn copy() -> Result<()> {
    let last = target_dir().join("xen-bench.json");
    let text = fs::read_to_string(&last);
    let text = text.with_context(|| {
        let last = last.display();
        format!("no {last}: run `cargo xtask xen --bench`")
    })?;
    Figures(from_json(&text)?).tables()?;
    fs::write(root().join(FILE), text)?;
    Ok(())
}

impl Figures {
    pub(super) fn read() -> Result<Figures> {
        let rows = from_json(&read(FILE)?);
        Ok(Figures(
            rows.with_context(|| format!("cannot read {FILE}"))?,
        ))
    }

    fn row(&self, implementation: &str, unit: Unit, cpus: u8, column: Column) -> Result<&Row> {
        let row = self.0.iter().find(|row| {
            row.implementation == implementation
                && row.unit == unit
                && row.cpus == cpus
                && row.case == column.case
                && row.channels == column.channels
                && row.part == column.part
        });
        row.with_context(|| {
            let Column {
                case,
                channels,
                part,
                ..
            } = column;
            let unit = unit.name();
            format!(
                "no figures of {implementation}: {case} {channels} {part} in {unit}, {cpus} vCPU"
            )
        })
    }

    /// A table of instructions per event, and one of times.
    pub(super) fn tables(&self) -> Result<String> {
        ensure!(!self.0.is_empty(), "no figures");
        let mut text = heading(
            "instructions per event (in brackets: divided by those of the first row)",
            COLUMNS.map(|it| it.title.to_owned()),
        );
        for Implementation(implementation, name, _) in IMPLEMENTATIONS {
            let cells = COLUMNS.map(|column| {
                let row = self.row(implementation, Unit::Instructions, 1, column)?;
                Ok(format!("{} ({:.2})", thousands(row.median), row.ratio))
            });
            line(&mut text, name, cells)?;
        }
        let machines = [1, 2].map(|cpus| [PING_PONG, BURST].map(|column| (cpus, column)));
        let machines = machines.as_flattened();
        let titles = machines.iter().map(|(cpus, column)| {
            let plural = if *cpus == 1 { "" } else { "s" };
            format!("{}, {cpus} vCPU{plural}", column.title)
        });
        text += "\n";
        text += &heading("time per event, divided by that of the first row", titles);
        for Implementation(implementation, name, _) in IMPLEMENTATIONS {
            let cells = machines.iter().map(|(cpus, column)| {
                let row = self.row(implementation, Unit::Nanoseconds, *cpus, *column)?;
                Ok(format!("{:.1}", row.ratio))
            });
            line(&mut text, name, cells)?;
        }
        Ok(text)
    }

    /// The bars of the chart: for each implementation the instructions of a round trip, and in a burst those of a notify
    /// and of the rest.
    pub(super) fn bars(&self) -> Result<Vec<Bar>> {
        let notify = Column {
            part: "notify",
            ..BURST
        };
        let bar = |Implementation(implementation, name, _)| {
            let cost = |column| -> Result<f64> {
                let row = self.row(implementation, Unit::Instructions, 1, column)?;
                Ok(row.median)
            };
            Ok(Bar {
                name: name.replace('`', ""),
                is_ours: implementation.starts_with("evtchn"),
                round_trip: cost(PING_PONG)?,
                notify: cost(notify)?,
                drain: cost(DRAIN)?,
            })
        };
        let drawn = IMPLEMENTATIONS.into_iter().filter(|it| it.2);
        drawn.map(bar).collect()
    }
}

/// One implementation in the chart, in instructions per event.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) is_ours: bool,
    pub(super) round_trip: f64,
    pub(super) notify: f64,
    pub(super) drain: f64,
}

fn heading(title: &str, columns: impl IntoIterator<Item = String>) -> String {
    let columns: Vec<String> = columns.into_iter().collect();
    let rule = " ---: |".repeat(columns.len());
    format!("| {title} | {} |\n| --- |{rule}\n", columns.join(" | "))
}

fn line(
    text: &mut String,
    name: &str,
    cells: impl IntoIterator<Item = Result<String>>,
) -> Result<()> {
    let cells = cells.into_iter().collect::<Result<Vec<_>>>()?;
    writeln!(text, "| {name} | {} |", cells.join(" | "))?;
    Ok(())
}

/// A rounded number with commas.
pub(super) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated_by_commas() {
        let numbers = [0.4, 999.0, 1000.4, 46_012.0, 1_234_567.0].map(thousands);
        assert_eq!(numbers, ["0", "999", "1,000", "46,012", "1,234,567"]);
    }

    #[test]
    fn a_figure_that_was_not_measured_is_named() {
        let mut figures = Figures::read().unwrap();
        figures.0.retain(|row| row.implementation != "krata");
        let error = figures.tables().unwrap_err().to_string();
        assert_eq!(
            error,
            "no figures of krata: pingpong 1 total in insn, 1 vCPU"
        );
    }
}
