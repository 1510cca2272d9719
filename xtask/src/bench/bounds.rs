//! The bounds on the figures, in instructions on one virtual CPU.

use std::fmt;

use super::row::{Row, Unit};

/// One bound: a part costs the implementation `of` at most `at_most` times what it costs the implementation `to`.
#[derive(Clone, Copy, Debug)]
struct Bound {
    case: &'static str,
    channels: u32,
    part: &'static str,
    of: &'static str,
    to: &'static str,
    at_most: f64,
}

const fn bound(
    (case, channels, part): (&'static str, u32, &'static str),
    of: &'static str,
    at_most: f64,
    to: &'static str,
) -> Bound {
    Bound {
        case,
        channels,
        part,
        of,
        to,
        at_most,
    }
}

/// The bound on the total where the drain, a tenth of it, may cost 1.4 times the other's.
const TOTAL_OF_CALLBACKS: f64 = 1.045;

const BOUNDS: [Bound; 26] = [
    bound(("pingpong", 1, "total"), "evtchn", 0.92, "rawpoll"),
    bound(("pingpong", 1, "total"), "evtchn-each", 0.92, "rawpoll"),
    bound(("pingpong", 1, "total"), "evtchn-callback", 1.08, "rawpoll"),
    bound(("pingpong", 1, "total"), "evtchn-tokio", 2.0, "rawpoll"),
    bound(
        ("pingpong", 1, "total"),
        "evtchn-tokio-streams",
        1.05,
        "libxl",
    ),
    bound(("burst", 16, "drain"), "evtchn", 1.3, "raw"),
    bound(("burst", 256, "drain"), "evtchn", 1.15, "raw"),
    bound(("burst", 256, "drain"), "evtchn-each", 1.2, "raw"),
    bound(("burst", 256, "drain"), "evtchn-callback", 1.4, "raw"),
    bound(("burst", 256, "drain"), "evtchn-handlers", 1.8, "raw"),
    bound(("burst", 256, "drain"), "evtchn-tokio", 1.8, "raw"),
    bound(("burst", 256, "drain"), "evtchn-tokio-streams", 3.5, "raw"),
    bound(("burst", 256, "drain"), "evtchn-tokio-futures", 4.6, "raw"),
    bound(("burst", 256, "total"), "evtchn", 1.02, "raw"),
    bound(
        ("burst", 256, "total"),
        "evtchn-callback",
        TOTAL_OF_CALLBACKS,
        "raw",
    ),
    bound(("burst", 256, "total"), "evtchn-many", 0.74, "raw"),
    bound(("burst", 1000, "total"), "evtchn-many", 0.74, "raw"),
    bound(("burst", 1000, "drain"), "evtchn", 1.15, "raw"),
    bound(("burst", 1000, "drain"), "evtchn-callback", 1.4, "raw"),
    bound(("burst", 1000, "total"), "evtchn", 1.02, "raw"),
    bound(
        ("burst", 1000, "total"),
        "evtchn-callback",
        TOTAL_OF_CALLBACKS,
        "raw",
    ),
    bound(("burst", 1000, "total"), "evtchn", 1.0 / 4.0, "libxl"),
    bound(("burst", 1000, "total"), "evtchn", 1.0 / 10.0, "krata"),
    bound(("bind", 1000, "bind"), "evtchn", 1.05, "raw"),
    bound(("bind", 1000, "teardown"), "evtchn", 1.15, "raw"),
    bound(("bind", 10_000, "teardown"), "evtchn", 1.15, "raw"),
];

/// The measured ratio for each bound.
#[derive(Debug)]
pub(super) struct Report(Vec<(Bound, Option<f64>)>);

/// Checks the rows against the bounds. A bound without measured rows is left open.
pub(super) fn report(rows: &[Row]) -> Report {
    let cost = |bound: &Bound, implementation: &str| {
        let row = rows.iter().find(|row| {
            row.unit == Unit::Instructions
                && row.cpus == 1
                && row.case == bound.case
                && row.channels == bound.channels
                && row.part == bound.part
                && row.implementation == implementation
        });
        row.map(|row| row.median)
    };
    let ratio = |bound: &Bound| Some(cost(bound, bound.of)? / cost(bound, bound.to)?);
    Report(BOUNDS.map(|bound| (bound, ratio(&bound))).into())
}

impl Report {
    /// Whether something was measured and no bound was missed.
    pub(super) fn is_success(&self) -> bool {
        let mut ratios = self
            .0
            .iter()
            .filter_map(|(bound, ratio)| Some((bound, (*ratio)?)));
        self.0.iter().any(|(_, ratio)| ratio.is_some())
            && ratios.all(|(bound, ratio)| ratio <= bound.at_most)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bound, ratio) in &self.0 {
            let Bound {
                case,
                channels,
                part,
                of,
                to,
                at_most,
            } = bound;
            let verdict = match ratio {
                None => "open  ",
                Some(ratio) if ratio <= at_most => "holds ",
                Some(_) => "MISSED",
            };
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
            writeln!(
                f,
                "{verdict} {case} {channels} {part}: {of} / {to} = {ratio}, at most {at_most:.3}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(implementation: &str, median: f64) -> Row {
        Row {
            case: "burst".to_owned(),
            channels: 16,
            implementation: implementation.to_owned(),
            part: "drain".to_owned(),
            unit: Unit::Instructions,
            cpus: 1,
            median,
            min: median,
            max: median,
            ratio: 1.0,
        }
    }

    #[test]
    fn a_cost_at_its_bound_holds_and_one_over_it_does_not() {
        assert!(report(&[row("raw", 100.0), row("evtchn", 130.0)]).is_success());
        let over = report(&[row("raw", 100.0), row("evtchn", 130.1)]);
        assert!(!over.is_success());
        let line = "MISSED burst 16 drain: evtchn / raw = 1.301, at most 1.300\n";
        assert!(over.to_string().contains(line), "{over}");
    }

    #[test]
    fn a_report_without_measured_instructions_is_no_success() {
        let wall = Row {
            unit: Unit::Nanoseconds,
            ..row("raw", 1.0)
        };
        assert!(!report(&[wall, row("evtchn", 1.0)]).is_success());
        assert!(!report(&[]).is_success());
    }
}
