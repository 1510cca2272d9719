//! The file from which a run can be resumed: written at the end, and regularly before.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Error, Result};
use evtchn_checks::explore::State;

use crate::file;

/// More bytes than any saved run has.
const LIMIT: u64 = 1 << 20;

/// The text of a saved run.
///
/// # Errors
/// If it cannot be read, or is too long.
pub(crate) fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(LIMIT + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        let message = format!("it is longer than {LIMIT} bytes, so it is not a saved run");
        return Err(io::Error::other(message));
    }
    Ok(text)
}

/// See the [module](self).
pub(crate) struct Checkpoint<'a> {
    file: Option<&'a Path>,
    every: u64,
    /// The step after which it is written next.
    next: AtomicU64,
    /// The first error of a write.
    pub(crate) failed: OnceLock<Error>,
}

impl<'a> Checkpoint<'a> {
    /// Saves a run that begins after `first_step` steps, every `every` steps, if there is a file.
    pub(crate) fn new(file: Option<&'a Path>, every: u64, first_step: u64) -> Checkpoint<'a> {
        Checkpoint {
            file,
            every,
            next: AtomicU64::new(first_step.saturating_add(every)),
            failed: OnceLock::new(),
        }
    }

    /// Writes it if enough steps were done. An error is stored, and ends the run.
    pub(crate) fn write_if_due(&self, state: &State) {
        if state.steps < self.next.load(Ordering::Relaxed) {
            return;
        }
        let next = state.steps.saturating_add(self.every);
        self.next.store(next, Ordering::Relaxed);
        if let Err(error) = self.write(state) {
            // Only the first error is reported.
            let _ignored = self.failed.set(error);
        }
    }

    /// Writes it at the end.
    ///
    /// # Errors
    /// The first error of a write.
    pub(crate) fn finish(self, state: &State) -> Result<()> {
        let written = self.write(state);
        self.failed.into_inner().map_or(written, Err)
    }

    /// Replaces the file by a complete new one.
    fn write(&self, state: &State) -> Result<()> {
        let Some(file) = self.file else {
            return Ok(());
        };
        let text = state.to_text()?;
        let parent = file.parent().filter(|parent| *parent != Path::new(""));
        parent
            .map_or(Ok(()), fs::create_dir_all)
            .map_err(Error::from)
            .and_then(|()| file::write(file, None, |mut out| out.write_all(text.as_bytes())))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}
