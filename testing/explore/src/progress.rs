//! Shows progress: a line on a terminal that is overwritten, and nothing elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use evtchn_checks::explore::State;

const EVERY: Duration = Duration::from_millis(200);
const WIDTH: usize = 24;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Progress {
    time: Option<Duration>,
    steps: Option<u64>,
    first_step: u64,
    since: Instant,
    /// The time of the last line; none if stderr is not a terminal.
    shown: Option<Mutex<Instant>>,
}

impl Progress {
    /// Progress from `first_step` on, towards a time or a number of steps.
    pub(crate) fn new(time: Option<Duration>, steps: Option<u64>, first_step: u64) -> Progress {
        let since = Instant::now();
        Progress {
            time,
            steps,
            first_step,
            since,
            shown: io::stderr().is_terminal().then(|| Mutex::new(since)),
        }
    }

    /// Shows the line, if it is due.
    pub(crate) fn show(&self, state: &State) {
        let Some(Ok(mut shown)) = self.shown.as_ref().map(Mutex::try_lock) else {
            return;
        };
        if shown.elapsed() < EVERY {
            return;
        }
        *shown = Instant::now();
        let mut line = self.line(self.since.elapsed(), state);
        // A longer line would wrap, and the next one would not overwrite it.
        let (columns, _) = crossterm::terminal::size().unwrap_or((80, 24));
        line.truncate(usize::from(columns).saturating_sub(1));
        // Progress is not worth an error.
        let _ignored = write!(io::stderr(), "\r{line}\x1b[K");
    }

    /// Removes the line.
    pub(crate) fn end(&self) {
        if self.shown.is_some() {
            let _ignored = write!(io::stderr(), "\r\x1b[K");
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a bar, between 0 and its width"
    )]
    fn line(&self, elapsed: Duration, state: &State) -> String {
        let steps = state.steps - self.first_step;
        let of_time = self
            .time
            .map(|time| elapsed.as_secs_f64() / time.as_secs_f64());
        let of_steps = self.steps.map(|most| steps as f64 / most as f64);
        let part = of_time.into_iter().chain(of_steps).fold(0.0, f64::max);
        let full = (part.clamp(0.0, 1.0) * WIDTH as f64) as usize;
        let [port, link] = state.coverage.reached();
        format!(
            "[{:<WIDTH$}] {:>3} s  {} steps  {:.0}/s  cells {}/{} {}/{}",
            "=".repeat(full),
            elapsed.as_secs(),
            steps,
            steps as f64 / elapsed.as_secs_f64(),
            port.0,
            port.1,
            link.0,
            link.1,
        )
    }
}
