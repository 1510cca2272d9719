//! The times of the round trips.

use std::fmt;
use std::time::Duration;

use evtchn::RemotePort;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::options::Place;
use crate::output::nanoseconds;

/// See the [module](self).
pub(crate) struct Report {
    /// The port that answered.
    pub(crate) remote: RemotePort,
    /// Where the channels are.
    pub(crate) place: Place,
    /// The columns of the terminal, if it is one.
    pub(crate) columns: Option<usize>,
    /// The times, in nanoseconds.
    pub(crate) times: Histogram<u64>,
}

/// The number of round trips that took from `from` to below `to`.
#[derive(Debug, PartialEq, Eq)]
struct Bar {
    from: u64,
    to: u64,
    count: u64,
}

impl Report {
    /// The number of bars up to the 99th percentile.
    const BARS: u64 = 10;
    /// The length of the longest bar, in characters.
    const WIDTH: u64 = 40;

    /// Bars of the same width up to the 99th percentile, and one for longer round trips.
    fn bars(&self) -> Vec<Bar> {
        if self.times.is_empty() {
            return Vec::new();
        }
        let (least, most) = (self.times.min(), self.times.max());
        let high = self.times.value_at_quantile(0.99).min(most);
        let width = ((high - least) / Report::BARS + 1).max(1);
        let mut bars = Vec::new();
        let mut from = least;
        while from <= high {
            let to = from + width;
            bars.push(Bar { from, to, count: 0 });
            from = to;
        }
        if from <= most {
            let to = most + 1;
            bars.push(Bar { from, to, count: 0 });
        }
        for value in self.times.iter_recorded() {
            let time = value.value_iterated_to().clamp(least, most);
            if let Some(bar) = bars.iter_mut().find(|bar| time < bar.to) {
                bar.count += value.count_since_last_iteration();
            }
        }
        bars
    }

    /// The room for bars on a terminal of so many columns.
    fn room(columns: usize) -> u64 {
        const BEFORE: usize = 40;
        let room = columns.saturating_sub(BEFORE);
        u64::try_from(room).map_or(Report::WIDTH, |room| room.min(Report::WIDTH))
    }

    /// The statistics, in nanoseconds.
    fn figures(&self) -> [(&'static str, u64); 4] {
        [
            ("minimum", self.times.min()),
            ("median", self.times.value_at_quantile(0.5)),
            ("p99", self.times.value_at_quantile(0.99)),
            ("maximum", self.times.max()),
        ]
    }

    /// The report as a JSON object.
    pub(crate) fn object(&self, now: Duration) -> Value {
        let bars = self.bars();
        let bars = bars.iter().map(
            |Bar { from, to, count }| json!({"from_ns": from, "below_ns": to, "count": count}),
        );
        let mut object = json!({
            "event": "ping",
            "time_ns": nanoseconds(now),
            "remote": self.remote.to_string(),
            "round_trips": self.times.len(),
            "histogram": bars.collect::<Vec<_>>(),
        });
        for (name, time) in self.figures() {
            object[format!("{name}_ns")] = match self.times.len() {
                0 => Value::Null,
                _ => time.into(),
            };
        }
        object
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trips = match self.times.len() {
            1 => "1 round trip".to_owned(),
            trips => format!("{trips} round trips"),
        };
        let title = format!("{trips} to {} ({})", self.remote, self.place);
        match self
            .columns
            .is_some_and(|columns| columns < title.chars().count())
        {
            true => writeln!(f, "{trips} to {}\n{}", self.remote, self.place)?,
            false => writeln!(f, "{title}")?,
        }
        if self.times.is_empty() {
            return Ok(());
        }
        for (name, time) in self.figures() {
            writeln!(f, "  {name:<9} {:>12} us", Us(time))?;
        }
        let bars = self.bars();
        let most = bars.iter().map(|bar| bar.count).max().unwrap_or(1);
        let room = self.columns.map_or(Report::WIDTH, Report::room);
        for Bar { from, to, count } in bars {
            let length = (count * room).div_ceil(most);
            let bar = "#".repeat(usize::try_from(length).unwrap_or_default());
            let line = format!("  {:>10} to {:>10} us {count:>8} {bar}", Us(from), Us(to));
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Nanoseconds, displayed in microseconds.
struct Us(u64);

impl fmt::Display for Us {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.0 / 1000, self.0 % 1000 / 100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report_of(times: &[u64]) -> Report {
        let mut histogram = Histogram::new(3).unwrap();
        for &time in times {
            histogram.record(time).unwrap();
        }
        Report {
            remote: "3:7".parse().unwrap(),
            place: Place::Sim(7),
            columns: None,
            times: histogram,
        }
    }

    fn counted(times: &[u64]) -> u64 {
        report_of(times).bars().iter().map(|bar| bar.count).sum()
    }

    #[test]
    fn each_round_trip_is_in_one_bar_and_the_report_fits_a_terminal() {
        let mut times = vec![1_000; 500];
        times.extend((0..499).map(|it| 2_000 + 13 * it));
        assert_eq!(counted(&times), 999);
        times.push(987_654_321_000);
        assert_eq!(counted(&times), 1000);
        let report = report_of(&times);
        // The slowest one percent.
        assert_eq!(report.bars().last().unwrap().count, 10);
        let text = report.to_string();
        assert!(text.lines().all(|line| line.len() < 80), "{text}");
        assert!(text.lines().count() < 24, "{text}");
        for columns in [40, 50, 60] {
            let narrow = Report {
                columns: Some(columns),
                ..report_of(&[1_000, 2_000, 2_500, 98_765_432_100])
            };
            let text = narrow.to_string();
            assert!(text.lines().all(|line| line.len() <= columns), "{text}");
        }
    }

    #[test]
    fn one_round_trip_is_one_bar_and_without_any_there_is_no_bar() {
        assert_eq!(
            report_of(&[0]).bars(),
            [Bar {
                from: 0,
                to: 1,
                count: 1
            }]
        );
        assert_eq!(
            report_of(&[]).to_string(),
            "0 round trips to 3:7 (simulator, seed 7)\n"
        );
        assert!(report_of(&[]).object(Duration::ZERO)["median_ns"].is_null());
    }
}
