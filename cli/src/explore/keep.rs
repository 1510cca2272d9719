//! The file of a run that can be gone on with: written in the end, and now and then before.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Error, Result};
use evtchn_checks::explore::State;

use crate::file;

/// No run that is kept takes as many bytes.
const LIMIT: u64 = 1 << 20;

/// The text of a run that was kept.
///
/// # Errors
/// It cannot be read, or is longer than such a text is.
pub(crate) fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(LIMIT + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        let says = format!("it is longer than {LIMIT} bytes, which no run is that was kept");
        return Err(io::Error::other(says));
    }
    Ok(text)
}

/// See the [module](self).
pub(crate) struct Keeping<'a> {
    file: Option<&'a Path>,
    every: u64,
    /// The step after which it is written next.
    next: AtomicU64,
    /// Why it could not be written.
    pub(crate) failed: OnceLock<Error>,
}

impl<'a> Keeping<'a> {
    /// Of a run that begins after `begun` steps: each `every` steps, if there is a file.
    pub(crate) fn new(file: Option<&'a Path>, every: u64, begun: u64) -> Keeping<'a> {
        Keeping {
            file,
            every,
            next: AtomicU64::new(begun.saturating_add(every)),
            failed: OnceLock::new(),
        }
    }

    /// Writes it if enough was done since. A failure is kept, and ends the run.
    pub(crate) fn go_on(&self, state: &State) {
        if state.steps < self.next.load(Ordering::Relaxed) {
            return;
        }
        let next = state.steps.saturating_add(self.every);
        self.next.store(next, Ordering::Relaxed);
        if let Err(error) = self.write(state) {
            // Only the first one is told.
            let _later = self.failed.set(error);
        }
    }

    /// Writes it in the end.
    ///
    /// # Errors
    /// The first write that failed.
    pub(crate) fn end(self, state: &State) -> Result<()> {
        let written = self.write(state);
        self.failed.into_inner().map_or(written, Err)
    }

    /// Writes the file, which is never half written.
    fn write(&self, state: &State) -> Result<()> {
        let Some(file) = self.file else {
            return Ok(());
        };
        let text = state.to_text()?;
        let parent = file.parent().filter(|parent| *parent != Path::new(""));
        parent
            .map_or(Ok(()), fs::create_dir_all)
            .map_err(Error::from)
            .and_then(|()| file::write(file, None, |out| Ok(out.write_all(text.as_bytes())?)))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}
