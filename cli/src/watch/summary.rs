//! The summary of a job.

use std::fmt;
use std::time::Duration;

use evtchn::Stats;
use serde_json::{Value, json};

use super::exec::Runs;
use crate::options::Place;
use crate::output::nanoseconds;

/// The counts of one group of notifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The name of the group.
    pub(crate) name: String,
    /// How many notifies they sent; `None` if the notifier is not ours.
    pub(crate) notifies: Option<u64>,
    /// How many wakes were delivered.
    pub(crate) wakes: u64,
}

impl Tally {
    /// How many notifies caused no wake of their own.
    fn coalesced(&self) -> Option<u64> {
        self.notifies.map(|sent| sent.saturating_sub(self.wakes))
    }
}

/// The summary of a job.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    /// Where the channels are.
    pub(crate) place: Place,
    /// The columns of the terminal, if it is one.
    pub(crate) columns: Option<usize>,
    /// One for each group of notifiers.
    pub(crate) tallies: Vec<Tally>,
    /// How often the command of `--exec` ran, if there is one.
    pub(crate) runs: Option<Runs>,
    /// The counts of the context.
    pub(crate) stats: Stats,
    /// Whether the context closed its device.
    pub(crate) is_closed: bool,
}

impl Summary {
    fn wakes(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.wakes).sum()
    }

    /// All reads. Those that found nothing cost a system call too.
    const fn reads(&self) -> u64 {
        self.stats.reads + self.stats.empty_reads
    }

    const fn is_idle(&self) -> bool {
        self.is_closed && self.stats.registers == self.stats.deregisters
    }

    /// Calls for each wake of any channel, selected or not.
    fn per_wake(&self, calls: u64) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        (self.stats.wakes > 0).then(|| calls as f64 / self.stats.wakes as f64)
    }

    /// The summary as a JSON object.
    pub(crate) fn object(&self, now: Duration) -> Value {
        let tallies = self.tallies.iter().map(|tally| {
            json!({
                "name": tally.name,
                "notifies": tally.notifies,
                "coalesced": tally.coalesced(),
                "wakes": tally.wakes,
            })
        });
        let mut object = json!({
            "event": "summary",
            "time_ns": nanoseconds(now),
            "notifiers": tallies.collect::<Vec<_>>(),
            "wakes": self.wakes(),
            "reads": self.reads(),
            "reads_per_wake": self.per_wake(self.reads()),
            "writes": self.stats.writes,
            "writes_per_wake": self.per_wake(self.stats.writes),
            "registered": self.stats.registers,
            "deregistered": self.stats.deregisters,
            "idle": self.is_idle(),
        });
        if let Some(Runs { total, failed }) = self.runs {
            object["commands"] = json!({"run": total, "failed": failed});
        }
        object
    }
}

impl Summary {
    /// The columns that it needs; on a narrower terminal each count has a line.
    const WIDTH: usize = 66;

    fn is_narrow(&self) -> bool {
        self.columns.is_some_and(|columns| columns < Summary::WIDTH)
    }

    fn tallies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_narrow = self.is_narrow();
        match is_narrow {
            true => writeln!(f, "summary")?,
            false => writeln!(
                f,
                "summary               notifies sent   coalesced   wakes delivered"
            )?,
        }
        for tally in &self.tallies {
            let sent = number(tally.notifies);
            let coalesced = number(tally.coalesced());
            let (name, wakes) = (&tally.name, tally.wakes);
            if is_narrow {
                writeln!(f, "  {name}")?;
                writeln!(f, "    notifies sent {sent:>17}")?;
                writeln!(f, "    coalesced     {coalesced:>17}")?;
                writeln!(f, "    wakes delivered {wakes:>15}")?;
            } else {
                writeln!(f, "  {name:<19} {sent:>13} {coalesced:>11} {wakes:>17}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tallies(f)?;
        let (name, count, more) = match self.is_narrow() {
            true => (16, 6, 5),
            false => (19, 13, 11),
        };
        for (of, calls) in [("reads", self.reads()), ("writes", self.stats.writes)] {
            let per_wake = match self.per_wake(calls) {
                Some(ratio) => format!("{ratio:.3}"),
                None => "-".into(),
            };
            writeln!(
                f,
                "  {of:<name$} {calls:>count$} {per_wake:>more$} per wake"
            )?;
        }
        if let Some(Runs { total, failed }) = self.runs {
            let of = "commands run";
            writeln!(f, "  {of:<name$} {total:>count$} {failed:>more$} failed")?;
        }
        let (of, registered) = ("times registered", self.stats.registers);
        writeln!(f, "  {of:<name$} {registered:>count$}")?;
        writeln!(f, "  {:<name$} {}", "backend", self.place)?;
        if self.is_idle() {
            writeln!(f, "  idle: nothing registered, nothing open")
        } else {
            writeln!(f, "  not idle: something is still registered or open")
        }
    }
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".into(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_a_narrow_terminal_with_all_its_counts() {
        let summary = |columns| {
            let summary = Summary {
                place: Place::Sim(7),
                columns,
                tallies: vec![Tally {
                    name: "8 guests".to_owned(),
                    notifies: Some(1_234_567),
                    wakes: 1_230_000,
                }],
                runs: Some(Runs::default()),
                stats: Stats::default(),
                is_closed: true,
            };
            summary.to_string()
        };
        let wide = summary(None);
        assert_eq!(summary(Some(66)), wide);
        for columns in [40, 50, 60] {
            let narrow = summary(Some(columns));
            assert!(narrow.lines().all(|line| line.len() <= columns), "{narrow}");
            for part in [
                "1234567",
                "4567",
                "1230000",
                "simulator, seed 7",
                "0 failed",
            ] {
                assert!(
                    narrow.contains(part) && wide.contains(part),
                    "{part}: {narrow}"
                );
            }
        }
    }
}
