//! The terminal while it shows the table: the alternate screen, which is left in the end.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::Print;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, size,
};
use crossterm::{execute, queue};

/// Whether the alternate screen is shown.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Leaves the alternate screen, if it is shown. Every end of the program calls this.
pub(crate) fn restore() {
    if IS_TAKEN.swap(false, Ordering::Relaxed) {
        // A terminal that is gone needs no restoring.
        let _ignored = execute!(io::stdout(), LeaveAlternateScreen, Show);
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Screen {
    drawn: Option<Instant>,
}

impl Screen {
    /// The time between two drawings.
    pub(crate) const EVERY: Duration = Duration::from_millis(200);

    /// Whether it is to be drawn again.
    pub(crate) fn is_due(&self) -> bool {
        self.drawn
            .is_none_or(|drawn| drawn.elapsed() >= Screen::EVERY)
    }

    /// The columns of stdout, if that is a terminal.
    pub(crate) fn columns() -> Option<usize> {
        io::stdout().is_terminal().then(|| Screen::size().0)
    }

    /// Columns and rows. A serial console may report none.
    pub(crate) fn size() -> (usize, usize) {
        match size() {
            Ok((columns @ 1.., rows @ 1..)) => (columns.into(), rows.into()),
            Ok(_) | Err(_) => (80, 24),
        }
    }

    /// Draws over the old lines.
    ///
    /// # Errors
    /// The terminal's.
    pub(crate) fn draw(&mut self, out: &mut BufWriter<Stdout>, lines: &[String]) -> io::Result<()> {
        if !IS_TAKEN.swap(true, Ordering::Relaxed) {
            queue!(out, EnterAlternateScreen, Hide)?;
        }
        queue!(out, BeginSynchronizedUpdate)?;
        for (row, line) in (0..).zip(lines) {
            queue!(
                out,
                MoveTo(0, row),
                Print(line),
                Clear(ClearType::UntilNewLine)
            )?;
        }
        queue!(out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        self.drawn = Some(Instant::now());
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}
