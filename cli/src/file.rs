//! The files that the command writes: complete or not at all, and never over the file that it reads.
//!
//! A new regular file is written beside the old one, without a name if the file system supports that,
//! and replaces it once it is complete. If the command ends before, the old file is kept. A pipe, a
//! device or any other file is written directly.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, PROC_SUPER_MAGIC, Uid};
use rustix::io::Errno;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    out: File,
    location: Location,
}

/// The place of the new content.
#[derive(Debug)]
enum Location {
    /// In a file without a name, in the directory of this path.
    Unnamed(PathBuf),
    /// In the first path, which will be renamed to the second.
    Temporary(PathBuf, PathBuf),
    /// In the file itself.
    Final,
}

impl AtomicFile {
    /// Begins to write `path`, with content made from the file `read`. Follows and keeps links. Keeps
    /// the mode of an existing file, and its owner if this user may set that.
    ///
    /// # Errors
    /// If it is the file that is read, may not be written, or no file can be created beside it.
    pub(crate) fn create(path: &Path, read: Option<&Metadata>) -> Result<AtomicFile> {
        AtomicFile::begin(path, read).context("cannot be created")
    }

    fn begin(path: &Path, read: Option<&Metadata>) -> Result<AtomicFile> {
        let Some(path) = resolve_links(path)? else {
            return AtomicFile::stream(path, read);
        };
        let old = match fs::symlink_metadata(&path) {
            Ok(old) if old.is_file() => Some(old),
            Ok(_) => return AtomicFile::stream(&path, read),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(old) = &old {
            check(old, read)?;
            // Replacing needs no right to write the file, so that is checked here.
            File::options().write(true).open(&path)?;
        }
        let (out, location) = match unnamed(&path)? {
            Some(out) => (out, Location::Unnamed(path)),
            None => temporary(path)?,
        };
        if let Some(old) = old {
            let (owner, group) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
            // Only root may change the owner. This can change the mode, which is set after it.
            let _kept = rustix::fs::fchown(&out, Some(owner), Some(group));
            let mode = fs::Permissions::from_mode(old.permissions().mode() & 0o777);
            out.set_permissions(mode)?;
        }
        Ok(AtomicFile { out, location })
    }

    /// Appends to a file that is not regular, or that another process opened.
    fn stream(path: &Path, read: Option<&Metadata>) -> Result<AtomicFile> {
        check(&fs::metadata(path)?, read)?;
        let out = File::options().append(true).open(path)?;
        Ok(AtomicFile {
            out,
            location: Location::Final,
        })
    }

    /// The file to write to.
    ///
    /// # Errors
    /// If the process has too many open files.
    pub(crate) fn out(&self) -> io::Result<File> {
        self.out.try_clone()
    }

    /// Replaces the old file. It may be written further.
    ///
    /// # Errors
    /// Those of the file system; then the old file is kept.
    pub(crate) fn put_in_place(&mut self) -> io::Result<()> {
        if let Location::Unnamed(path) = &self.location {
            let path = path.clone();
            let name = link_to_unused_name(&self.out, directory(&path))?;
            self.location = Location::Temporary(name, path);
        }
        if let Location::Temporary(from, to) = &self.location {
            fs::rename(from, to)?;
            self.location = Location::Final;
        }
        Ok(())
    }

    /// Writes all content to the disk, if the file is on one.
    ///
    /// # Errors
    /// Those of the disk, some of which are reported only here.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.out.sync_all() {
            // Pipes and devices cannot be synced.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Location::Temporary(from, _) = &self.location {
            // An earlier error is reported already.
            let _ignored = fs::remove_file(from);
        }
    }
}

/// Writes a complete file.
///
/// # Errors
/// Those of `write`, and if the file cannot be written; then the old file is kept.
pub(crate) fn write(
    path: &Path,
    read: Option<&Metadata>,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let mut file = AtomicFile::create(path, read)?;
    fill(&mut file, write).context("cannot be written")
}

fn fill(file: &mut AtomicFile, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, &file.out);
    write(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync()?;
    Ok(file.put_in_place()?)
}

/// A new file to write and read again, without a name, on the file system of `path`.
///
/// # Errors
/// If no file can be created beside `path`.
pub(crate) fn scratch(path: &Path) -> io::Result<File> {
    if let Some(file) = unnamed(path)? {
        return Ok(file);
    }
    let (file, location) = temporary(path.to_owned())?;
    if let Location::Temporary(name, _) = location {
        fs::remove_file(name)?;
    }
    Ok(file)
}

/// Fails if `old` is the file that is read.
fn check(old: &Metadata, read: Option<&Metadata>) -> Result<()> {
    let is_same = |read: &Metadata| (read.dev(), read.ino()) == (old.dev(), old.ino());
    if old.is_file() && read.is_some_and(is_same) {
        bail!("it is the file that is read");
    }
    Ok(())
}

/// The path behind symbolic links. None if a link is to an open file, as `/dev/stdout` is: another
/// process opened that file and may write to it too.
fn resolve_links(path: &Path) -> io::Result<Option<PathBuf>> {
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        // The caller reports an error of a path that is not a link.
        let Ok(link) = fs::read_link(&path) else {
            return Ok(Some(path));
        };
        let directory = directory(&path);
        if rustix::fs::statfs(directory)?.f_type == PROC_SUPER_MAGIC {
            return Ok(None);
        }
        path = directory.join(link);
    }
    Err(Errno::LOOP.into())
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}

/// A file without a name in the directory of `path`, if the file system supports that.
fn unnamed(path: &Path) -> io::Result<Option<File>> {
    // `link_to_unused_name` needs it.
    if !Path::new("/proc/self/fd").exists() {
        return Ok(None);
    }
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::open(directory(path), flags, Mode::from_raw_mode(0o666)) {
        Ok(out) => Ok(Some(out.into())),
        // The errors of file systems without such files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A file with a temporary name beside `path`.
fn temporary(path: PathBuf) -> io::Result<(File, Location)> {
    let create = |name: &Path| {
        let mut options = File::options();
        options.read(true).write(true).create_new(true).open(name)
    };
    let (out, name) = with_unused_name(directory(&path), create)?;
    Ok((out, Location::Temporary(name, path)))
}

/// Links a file without a name to an unused name.
fn link_to_unused_name(out: &File, directory: &Path) -> io::Result<PathBuf> {
    let open = format!("/proc/self/fd/{}", out.as_raw_fd());
    let link = |name: &Path| {
        let linked = rustix::fs::linkat(CWD, &open, CWD, name, AtFlags::SYMLINK_FOLLOW);
        linked.map_err(io::Error::from)
    };
    with_unused_name(directory, link).map(|((), name)| name)
}

/// Tries names until one is unused: a run that was killed may have left some.
fn with_unused_name<T>(
    directory: &Path,
    mut take: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<(T, PathBuf)> {
    let mut number = 0_u32;
    loop {
        let name = directory.join(format!(".evtchn-{}-{number}", process::id()));
        match take(&name) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            taken => return Ok((taken?, name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins to replace `day.svg` in a new directory and calls `write`. Returns the number of files
    /// there and the content of `day.svg`.
    fn replaced(name: &str, write: impl FnOnce(&mut AtomicFile)) -> (usize, String) {
        let directory = std::env::temp_dir().join(format!("evtchn-{name}-{}", process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("day.svg");
        fs::write(&path, "was here").unwrap();
        let (out, location) = temporary(path.clone()).unwrap();
        let mut file = AtomicFile { out, location };
        (&file.out).write_all(b"is here").unwrap();
        write(&mut file);
        drop(file);
        let files = fs::read_dir(&directory).unwrap().count();
        let text = fs::read_to_string(path).unwrap();
        fs::remove_dir_all(directory).unwrap();
        (files, text)
    }

    #[test]
    fn a_temporary_file_replaces_the_old_one_or_is_removed() {
        let put_in_place = |file: &mut AtomicFile| {
            file.put_in_place().unwrap();
            file.put_in_place().unwrap();
        };
        assert_eq!(replaced("placed", put_in_place), (1, "is here".to_owned()));
        assert_eq!(replaced("dropped", |_| ()), (1, "was here".to_owned()));
    }
}
