//! The guest's root file system: a cpio archive in the `newc` format, which the kernel unpacks into memory.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    binaries,
    image::{BUSYBOX, MODULES},
};

/// The archive's name under `target/xen`.
pub(crate) const FILE: &str = "initramfs.cpio";

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DATA: u32 = 0o100_644;

/// The archive under construction.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    /// The program that takes debug sections away.
    strip: &'static str,
    bytes: Vec<u8>,
    /// The names of its libraries.
    libraries: BTreeSet<String>,
}

/// What the files of an archive depend on.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    /// The directory of the kernel's modules and the shell.
    pub(crate) image: &'a Path,
    /// The program that takes debug sections away.
    pub(crate) strip: &'static str,
}

/// The loader of dynamic programs, which the kernel looks for in `lib64`.
const LOADER: &str = "ld-linux-x86-64.so.2";

impl Archive {
    /// Starts with everything that dom0 needs to boot and then run `job`, a shell script made of
    /// [`call`](crate::shell::call)s.
    pub(crate) fn new(dir: &Path, files: &Files<'_>, job: &str) -> Result<Self> {
        let mut archive = Self::bootable(dir, FILE, files, include_bytes!("../guest/init"))?;
        archive.data("job", job.as_bytes())?;
        Ok(archive)
    }

    /// Starts with a kernel's modules, a shell, and a first process.
    pub(crate) fn bootable(dir: &Path, file: &str, files: &Files<'_>, init: &[u8]) -> Result<Self> {
        let mut archive = Self {
            path: dir.join(file),
            strip: files.strip,
            bytes: Vec::new(),
            libraries: BTreeSet::new(),
        };
        for directory in [
            "bin", "dev", "guest", "lib", "lib64", "modules", "proc", "sys", "tmp",
        ] {
            archive.directory(directory)?;
        }
        archive.entry("init", PROGRAM, init)?;
        let busybox = read(&files.image.join(BUSYBOX))?;
        archive.entry("bin/busybox", PROGRAM, &busybox)?;
        let mut order = String::new();
        for module in MODULES {
            let bytes = read(&files.image.join(module))?;
            archive.entry(&format!("modules/{module}"), DATA, &bytes)?;
            writeln!(order, "{module}")?;
        }
        archive.entry("modules/order", DATA, order.as_bytes())?;
        Ok(archive)
    }

    /// Adds a script to the guest's search path.
    pub(crate) fn script(&mut self, name: &str, path: &Path) -> Result<()> {
        self.entry(&format!("guest/{name}"), PROGRAM, &read(path)?)
    }

    /// Adds a program to the guest's search path, with the libraries of this machine that it needs.
    pub(crate) fn program(&mut self, name: &str, path: &Path) -> Result<()> {
        for library in binaries::libraries(path)? {
            self.library(&library)?;
        }
        let bytes = stripped(self.strip, path, &self.path.with_file_name("stripped"))?;
        self.entry(&format!("guest/{name}"), PROGRAM, &bytes)
    }

    /// Adds a library, or the loader, once.
    pub(crate) fn library(&mut self, path: &Path) -> Result<()> {
        let name = file_name(path)?;
        if !self.libraries.insert(name.clone()) {
            return Ok(());
        }
        let folder = if name == LOADER { "lib64" } else { "lib" };
        self.entry(&format!("{folder}/{name}"), PROGRAM, &read(path)?)
    }

    /// Adds a program under its whole path.
    pub(crate) fn file(&mut self, name: &str, path: &Path) -> Result<()> {
        self.entry(name, PROGRAM, &read(path)?)
    }

    /// Adds a file that is not a program.
    pub(crate) fn data(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.entry(name, DATA, bytes)
    }

    /// Adds a directory, whose parent has been added.
    pub(crate) fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, DIRECTORY, &[])
    }

    /// Ends the archive and writes it where the virtual machine expects it.
    pub(crate) fn write(mut self) -> Result<()> {
        self.entry("TRAILER!!!", 0, &[])?;
        fs::write(&self.path, &self.bytes)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        let size = u32::try_from(data.len()).context("too big for an initramfs")?;
        let name_size = u32::try_from(name.len() + 1)?;
        self.bytes.extend_from_slice(b"070701");
        let (inode, uid, gid, links, mtime, device, checksum) = (0, 0, 0, 1, 0, [0; 4], 0);
        let [major, minor, special_major, special_minor] = device;
        for field in [
            inode,
            mode,
            uid,
            gid,
            links,
            mtime,
            size,
            major,
            minor,
            special_major,
            special_minor,
            name_size,
            checksum,
        ] {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The last part of a path.
pub(crate) fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} has no name", path.display()))?;
    Ok(name.to_owned())
}

/// A program without its debug sections, which would only take the guest's memory. The scratch file is overwritten.
fn stripped(strip: &str, path: &Path, scratch: &Path) -> Result<Vec<u8>> {
    let mut strip = Command::new(strip);
    strip.args(["--strip-debug", "-o"]).arg(scratch).arg(path);
    let status = strip.status().context("cannot run strip")?;
    ensure!(status.success(), "{strip:?} failed");
    read(scratch)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_header_a_name_and_data_each_padded_to_four_bytes() {
        let mut archive = Archive {
            path: PathBuf::new(),
            strip: "strip",
            bytes: Vec::new(),
            libraries: BTreeSet::new(),
        };
        archive.entry("ab", DATA, b"hello").unwrap();
        let header = concat!(
            "070701", "00000000", "000081a4", "00000000", "00000000", "00000001", "00000000",
            "00000005", "00000000", "00000000", "00000000", "00000000", "00000003", "00000000",
        );
        let expected = format!("{header}ab\0\0\0\0hello\0\0\0");
        assert_eq!(String::from_utf8(archive.bytes).unwrap(), expected);
    }
}
