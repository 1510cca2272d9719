//! Files that are written complete or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process;

use anyhow::{Result, bail};

/// Writes a file beside the old one, and replaces the old one once the new one is complete.
///
/// # Errors
/// If it is the file `read`, or cannot be written; then the old file is kept.
pub(crate) fn write(
    path: &Path,
    read: Option<&Path>,
    write: impl FnOnce(File) -> io::Result<()>,
) -> Result<()> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let old = identity(path);
    if old.is_some() && old == read.and_then(identity) {
        bail!("it is the file that is read");
    }
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    let name = format!(".evtchn-explore-{}", process::id());
    let new = directory.unwrap_or(Path::new(".")).join(name);
    let written = File::create(&new).and_then(|out| {
        write(out.try_clone()?)?;
        out.sync_all()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        // The error of the write is the one to report.
        let _may_be_missing = fs::remove_file(&new);
    }
    Ok(written?)
}
