//! `cargo xtask xen --syscalls`: which system calls the loops of the library make, by strace in dom0.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};

use crate::{binaries::Builder, initramfs, packages, xen};

const TRACER: &str = "strace";

/// Whether to run it.
#[derive(Debug, clap::Args)]
pub(crate) struct Syscalls {
    /// Trace the library's loops, and fail where they make other system calls than they must
    #[arg(long, conflicts_with_all = ["bench", "differential", "tests", "command", "release"])]
    pub(crate) syscalls: bool,
}

/// Runs it. What it prints and its exit code are those of the program in the guest.
pub(crate) fn run(options: &xen::Options, dir: &Path) -> Result<ExitCode> {
    packages::require(TRACER, TRACER)?;
    let mut programs = vec![("xenbench", Builder::new(dir, false).benchmark()?)];
    let tracer = Shared::new(TRACER)?;
    let files = tracer.files()?;
    programs.extend(
        files
            .iter()
            .map(|(name, path)| (name.as_str(), path.clone())),
    );
    let words = ["xenbench", "syscalls"].map(str::to_owned);
    let words = words.into_iter().chain(tracer.command()?);
    let job = initramfs::call("run_command", words);
    xen::run_programs(options.setup(), dir, &programs, &job, &xen::OUTPUT)
}

/// A program of this machine with its libraries. The guest has none, and everything is in one folder there.
struct Shared {
    program: PathBuf,
    libraries: Vec<PathBuf>,
}

impl Shared {
    fn new(name: &str) -> Result<Shared> {
        let program = PathBuf::from("/usr/bin").join(name);
        let output = Command::new("ldd").arg(&program).output();
        let output = output.context("cannot run ldd")?;
        ensure!(
            output.status.success(),
            "ldd failed on {}",
            program.display()
        );
        Ok(Shared {
            program,
            libraries: libraries(&String::from_utf8(output.stdout)?),
        })
    }

    /// What has to be in the guest, by name.
    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let paths = self.libraries.iter().chain([&self.program]);
        paths.map(|path| Ok((name(path)?, path.clone()))).collect()
    }

    /// The words that run it there.
    fn command(&self) -> Result<[String; 4]> {
        let names = self.libraries.iter().map(|path| name(path));
        let names = names.collect::<Result<Vec<_>>>()?;
        let loader = names.iter().find(|name| name.starts_with("ld-linux"));
        let loader = loader.context("ldd names no loader")?;
        let program = name(&self.program)?;
        Ok([
            format!("/guest/{loader}"),
            "--library-path".to_owned(),
            "/guest".to_owned(),
            format!("/guest/{program}"),
        ])
    }
}

pub(crate) fn name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} has no name", path.display()))?;
    Ok(name.to_owned())
}

/// The files that ldd names; the kernel's own is none.
pub(crate) fn libraries(text: &str) -> Vec<PathBuf> {
    text.lines()
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_runs_by_its_loader_with_its_libraries() {
        let text = "\tlinux-vdso.so.1 (0x7f44)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f61)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f4d)\n";
        let shared = Shared {
            program: "/usr/bin/tool".into(),
            libraries: libraries(text),
        };
        let names: Vec<String> = shared.files().unwrap().into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["libc.so.6", "ld-linux-x86-64.so.2", "tool"]);
        assert_eq!(
            shared.command().unwrap(),
            [
                "/guest/ld-linux-x86-64.so.2",
                "--library-path",
                "/guest",
                "/guest/tool"
            ]
        );
    }
}
