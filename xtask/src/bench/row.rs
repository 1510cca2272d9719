//! The results: a row for each case, implementation and part.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::sample::Sample;
use crate::vm::Clock;

/// The unit of a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Instructions of program, kernel and hypervisor.
    Instructions,
    /// Nanoseconds of an emulated machine.
    Nanoseconds,
}

impl Unit {
    pub(super) const fn of(clock: Clock) -> Unit {
        match clock {
            Clock::Instructions => Self::Instructions,
            Clock::Wall => Self::Nanoseconds,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Instructions => "insn",
            Self::Nanoseconds => "ns",
        }
    }
}

/// One line of the result: costs per event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) channels: u32,
    pub(crate) implementation: String,
    pub(crate) part: String,
    pub(crate) unit: Unit,
    pub(crate) cpus: u8,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// The ratio to the cost of `raw`: the median over the repetitions.
    pub(crate) ratio: f64,
}

/// Case, channels, implementation and part.
type Key<'a> = (&'a str, u32, &'a str, &'a str);

fn key(it: &Sample) -> Key<'_> {
    (&it.case, it.channels, &it.implementation, &it.part)
}

/// All rows of a boot, in the order of the first repetition.
pub(super) fn all(
    samples: &[Sample],
    repetitions: usize,
    unit: Unit,
    cpus: u8,
) -> Result<Vec<Row>> {
    let mut costs: BTreeMap<Key<'_>, Vec<f64>> = BTreeMap::new();
    let mut order = Vec::new();
    for sample in samples {
        let known = costs.entry(key(sample)).or_default();
        if known.is_empty() {
            order.push(key(sample));
        }
        known.push(sample.cost);
    }
    let row = |key: Key<'_>| {
        let (case, channels, implementation, part) = key;
        let mine = &costs[&key];
        ensure!(
            mine.len() == repetitions,
            "{implementation} {case} {channels} {part} came {} times",
            mine.len()
        );
        let raw = costs.get(&(case, channels, "raw", part));
        let raw = raw.with_context(|| format!("{case} was not measured for raw"))?;
        let ratios = mine.iter().zip(raw).map(|(mine, raw)| mine / raw).collect();
        let sorted = sorted(mine.clone());
        Ok(Row {
            case: case.to_owned(),
            channels,
            implementation: implementation.to_owned(),
            part: part.to_owned(),
            unit,
            cpus,
            median: median(&sorted),
            min: sorted[0],
            max: sorted[sorted.len() - 1],
            ratio: median(&self::sorted(ratios)),
        })
    };
    order.into_iter().map(row).collect()
}

fn sorted(mut costs: Vec<f64>) -> Vec<f64> {
    costs.sort_by(f64::total_cmp);
    costs
}

/// The median of an odd number of costs.
fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// The result as a file.
pub(super) fn to_json(rows: &[Row]) -> Result<String> {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "case": row.case, "n": row.channels, "impl": row.implementation, "part": row.part,
                "unit": row.unit.name(), "vcpus": row.cpus,
                "median": row.median, "min": row.min, "max": row.max, "ratio": rounded(row.ratio),
            })
        })
        .collect();
    let lines: Result<Vec<String>, _> = rows.iter().map(serde_json::to_string).collect();
    Ok(format!("[\n{}\n]\n", lines?.join(",\n")))
}

/// Rounded to a thousandth, which is as exact as the measurement.
fn rounded(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}

/// The rows of such a file.
pub(crate) fn from_json(text: &str) -> Result<Vec<Row>> {
    let rows: Vec<Value> = serde_json::from_str(text)?;
    let row = |value: &Value| {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let number = |key: &str| value[key].as_f64();
        let whole = |key: &str| value[key].as_u64();
        let units = [Unit::Instructions, Unit::Nanoseconds];
        Some(Row {
            case: text("case")?,
            channels: whole("n")?.try_into().ok()?,
            implementation: text("impl")?,
            part: text("part")?,
            unit: units
                .into_iter()
                .find(|unit| unit.name() == value["unit"])?,
            cpus: whole("vcpus")?.try_into().ok()?,
            median: number("median")?,
            min: number("min")?,
            max: number("max")?,
            ratio: number("ratio")?,
        })
    };
    rows.iter()
        .map(|value| row(value).with_context(|| format!("no row: {value}")))
        .collect()
}

/// The rows as a table for people.
pub(super) fn listing(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<9} {:>5} {:<16} {:<7} {:>5} {:>10} {:>10} {:>10} {:>8}\n",
        "case", "n", "impl", "part", "vcpus", "median", "min", "max", "x raw"
    );
    for row in rows {
        let _written = writeln!(
            text,
            "{:<9} {:>5} {:<16} {:<7} {:>5} {:>10.0} {:>10.0} {:>10.0} {:>8.3} {}",
            row.case,
            row.channels,
            row.implementation,
            row.part,
            row.cpus,
            row.median,
            row.min,
            row.max,
            row.ratio,
            row.unit.name()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, repetitions: usize) -> Result<Vec<Row>> {
        all(&Sample::all(text)?, repetitions, Unit::Instructions, 1)
    }

    const TEXT: &str = "raw burst 2 total 10\nus burst 2 total 30\n\
                        raw burst 2 total 20\nus burst 2 total 20\n\
                        raw burst 2 total 30\nus burst 2 total 60\n";

    #[test]
    fn a_row_has_the_median_of_its_repetitions_and_of_their_ratios() {
        let rows = rows(TEXT, 3).unwrap();
        let [raw, us] = &rows[..] else {
            panic!("{rows:?}");
        };
        assert_eq!(
            (raw.median, raw.min, raw.max, raw.ratio),
            (20.0, 10.0, 30.0, 1.0)
        );
        assert_eq!(
            (us.median, us.min, us.max, us.ratio),
            (30.0, 20.0, 60.0, 2.0)
        );
        assert_eq!((us.implementation.as_str(), us.channels), ("us", 2));
    }

    #[test]
    fn a_repetition_that_is_missing_is_an_error() {
        let error = rows(TEXT, 4).unwrap_err().to_string();
        assert_eq!(error, "raw burst 2 total came 3 times");
        let error = rows("us burst 2 total 30\n", 1).unwrap_err().to_string();
        assert_eq!(error, "burst was not measured for raw");
    }

    #[test]
    fn from_json_returns_the_rows_that_to_json_wrote() {
        let rows = rows(TEXT, 3).unwrap();
        assert_eq!(from_json(&to_json(&rows).unwrap()).unwrap(), rows);
        from_json("[{\"case\": \"burst\"}]").unwrap_err();
    }
}
