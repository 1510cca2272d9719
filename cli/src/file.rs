//! The files that the command writes: whole or not at all, and never over the file that it reads.
//!
//! A regular file is written beside the one of before, as a file without a name where the file
//! system has such, and takes its place once it is whole. Whatever ends the command before leaves
//! the old file as it was. What is no regular file, as a pipe or a device, is written as it goes.

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
pub(crate) struct Whole {
    out: File,
    place: Place,
}

/// Where what is written is.
#[derive(Debug)]
enum Place {
    /// In a file without a name, in the directory of the one that it becomes.
    Unnamed(PathBuf),
    /// In the first file, which becomes the second one.
    Beside(PathBuf, PathBuf),
    /// Where it belongs.
    Here,
}

impl Whole {
    /// Begins to write `path`, from what was `read`. A link is followed and stays; the mode of a
    /// file that is there stays, and its owner where this user may set it.
    ///
    /// # Errors
    /// It is the file that is read, may not be written, or no file can be created beside it.
    pub(crate) fn create(path: &Path, read: Option<&Metadata>) -> Result<Whole> {
        Whole::begin(path, read).context("cannot be created")
    }

    fn begin(path: &Path, read: Option<&Metadata>) -> Result<Whole> {
        let Some(path) = followed(path)? else {
            return Whole::stream(path, read);
        };
        let old = match fs::symlink_metadata(&path) {
            Ok(old) if old.is_file() => Some(old),
            Ok(_) => return Whole::stream(&path, read),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(old) = &old {
            check(old, read)?;
            // A file that may not be written is not replaced either.
            File::options().write(true).open(&path)?;
        }
        let (out, place) = match unnamed(&path)? {
            Some(out) => (out, Place::Unnamed(path)),
            None => named(path)?,
        };
        if let Some(old) = old {
            let (owner, group) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
            // Only root may give a file away. Its mode comes after, which this can change.
            let _kept = rustix::fs::fchown(&out, Some(owner), Some(group));
            let mode = fs::Permissions::from_mode(old.permissions().mode() & 0o777);
            out.set_permissions(mode)?;
        }
        Ok(Whole { out, place })
    }

    /// What is no regular file, or was opened by somebody before. What is there stays.
    fn stream(path: &Path, read: Option<&Metadata>) -> Result<Whole> {
        check(&fs::metadata(path)?, read)?;
        let out = File::options().append(true).open(path)?;
        Ok(Whole {
            out,
            place: Place::Here,
        })
    }

    /// What is written to.
    ///
    /// # Errors
    /// The process has too many files open.
    pub(crate) fn out(&self) -> io::Result<File> {
        self.out.try_clone()
    }

    /// Puts it in its place, where it may go on to be written.
    ///
    /// # Errors
    /// Those of the file system; then it is not in its place.
    pub(crate) fn put_in_place(&mut self) -> io::Result<()> {
        if let Place::Unnamed(path) = &self.place {
            let path = path.clone();
            let name = name(&self.out, directory(&path))?;
            self.place = Place::Beside(name, path);
        }
        if let Place::Beside(from, to) = &self.place {
            fs::rename(from, to)?;
            self.place = Place::Here;
        }
        Ok(())
    }

    /// Brings all that was written out to the disk, where it is on one.
    ///
    /// # Errors
    /// Those of the disk, which may come as late as this.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.out.sync_all() {
            // Pipes and devices have nothing to bring out.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Place::Beside(from, _) = &self.place {
            // The failure before is what is told.
            let _left = fs::remove_file(from);
        }
    }
}

/// Writes a file as a whole.
///
/// # Errors
/// Those of `write`, and where it cannot be written; then what was there is as it was.
pub(crate) fn write(
    path: &Path,
    read: Option<&Metadata>,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let mut whole = Whole::create(path, read)?;
    fill(&mut whole, write).context("cannot be written")
}

fn fill(whole: &mut Whole, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, &whole.out);
    write(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    whole.sync()?;
    Ok(whole.put_in_place()?)
}

/// Refuses the file that is read.
fn check(old: &Metadata, read: Option<&Metadata>) -> Result<()> {
    let is_same = |read: &Metadata| (read.dev(), read.ino()) == (old.dev(), old.ino());
    if old.is_file() && read.is_some_and(is_same) {
        bail!("it is the file that is read");
    }
    Ok(())
}

/// Where links lead. None where one is of an open file, as `/dev/stdout` is: that has a name by
/// accident, and who opened it writes there too.
fn followed(path: &Path) -> io::Result<Option<PathBuf>> {
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        // What is no link is looked at by who asks.
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

/// A file without a name in the directory of the one that it is to become, where there can be one.
fn unnamed(path: &Path) -> io::Result<Option<File>> {
    // It gets its name through there.
    if !Path::new("/proc/self/fd").exists() {
        return Ok(None);
    }
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::open(directory(path), flags, Mode::from_raw_mode(0o666)) {
        Ok(out) => Ok(Some(out.into())),
        // What a file system answers that has none.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A file beside the one that it is to become.
fn named(path: PathBuf) -> io::Result<(File, Place)> {
    let (out, name) = free(directory(&path), |name| File::create_new(name))?;
    Ok((out, Place::Beside(name, path)))
}

/// Gives a file without a name one that no other has.
fn name(out: &File, directory: &Path) -> io::Result<PathBuf> {
    let open = format!("/proc/self/fd/{}", out.as_raw_fd());
    let link = |name: &Path| {
        let linked = rustix::fs::linkat(CWD, &open, CWD, name, AtFlags::SYMLINK_FOLLOW);
        linked.map_err(io::Error::from)
    };
    free(directory, link).map(|((), name)| name)
}

/// Tries names until one is free: who was killed may have left some.
fn free<T>(
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

    /// What a directory of this test alone has once `write` was done with a file beside `day.svg`,
    /// and what is in that.
    fn beside(name: &str, write: impl FnOnce(&mut Whole)) -> (usize, String) {
        let directory = std::env::temp_dir().join(format!("evtchn-{name}-{}", process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("day.svg");
        fs::write(&path, "was here").unwrap();
        let (out, place) = named(path.clone()).unwrap();
        let mut whole = Whole { out, place };
        (&whole.out).write_all(b"is here").unwrap();
        write(&mut whole);
        drop(whole);
        let files = fs::read_dir(&directory).unwrap().count();
        let text = fs::read_to_string(path).unwrap();
        fs::remove_dir_all(directory).unwrap();
        (files, text)
    }

    #[test]
    fn where_every_file_has_a_name_it_takes_its_place_and_leaves_nothing() {
        let put = |whole: &mut Whole| {
            whole.put_in_place().unwrap();
            whole.put_in_place().unwrap();
        };
        assert_eq!(beside("placed", put), (1, "is here".to_owned()));
        assert_eq!(beside("dropped", |_| ()), (1, "was here".to_owned()));
    }
}
