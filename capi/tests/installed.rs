//! Links and installs the libraries once for all tests, and builds C programs with it.
//!
//! Cargo has built the archive together with this test, with the feature `sim`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{env, fs};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// A file of this package.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(FOLDER).join(path)
}

/// Where the libraries are installed.
pub(crate) fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi");
        // What an earlier run left. The first run finds nothing.
        drop(fs::remove_dir_all(&prefix));
        // The second one is of the same archive, so it is on the simulator as well. It is here for its names, and to link.
        for name in ["xenevtchn-sim", "xenevtchn"] {
            let mut install = Command::new(source("install"));
            run(install.arg(name).arg(archive()).arg(&prefix));
        }
        prefix
    })
}

/// The archive that was built last.
fn archive() -> PathBuf {
    let tests = env::current_exe().unwrap();
    let built = fs::read_dir(tests.parent().unwrap()).unwrap();
    let archives = built.map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libevtchn_capi-") && name.ends_with(".a")
    });
    let age = |path: &PathBuf| path.metadata().unwrap().modified().unwrap();
    archives.max_by_key(age).unwrap()
}

/// An installed library.
pub(crate) fn library(name: &str) -> PathBuf {
    prefix().join("lib").join(format!("lib{name}.so.1"))
}

/// Builds a program on the simulator from sources of this package.
pub(crate) fn build(name: &str, sources: &[&str]) -> PathBuf {
    build_with("xenevtchn-sim", name, sources)
}

/// Builds a program with one of the libraries.
pub(crate) fn build_with(library: &str, name: &str, sources: &[&str]) -> PathBuf {
    let program = prefix().join(name);
    let mut compiler = Command::new("cc");
    compiler.args([
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-g",
        "-pthread",
        "-I",
    ]);
    compiler.arg(prefix().join("include"));
    compiler.arg("-o").arg(&program);
    compiler.args(sources.iter().map(|path| source(path)));
    compiler.arg("-L").arg(prefix().join("lib"));
    run(compiler.arg(format!("-l{library}")));
    program
}

/// A command for a program, which finds the library. One that hangs is ended.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg("600").arg(program);
    command.env("LD_LIBRARY_PATH", prefix().join("lib"));
    command
}

/// Runs a command to success, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(
        status.success(),
        "{command:?} ended with {status}\n{stdout}{stderr}"
    );
    stdout
}
