//! A file that is written as a whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process;

use anyhow::{Context as _, Result};

/// Writes beside the file, and puts it in its place once all of it is there.
///
/// # Errors
/// Those of `write`, and where it cannot be written; then what was there is as it was.
pub(crate) fn whole(file: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let name = file.file_name().context("it has no name")?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", process::id()));
    let beside = file.with_file_name(beside);
    let out = File::create_new(&beside).context("cannot be created")?;
    let written = fill(out, write).and_then(|()| Ok(fs::rename(&beside, file)?));
    if written.is_err() {
        // The first failure is what is told.
        let _left = fs::remove_file(&beside);
    }
    written.context("cannot be written")
}

fn fill(file: File, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, file);
    write(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}
