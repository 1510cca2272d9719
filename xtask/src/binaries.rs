//! The guest's own binaries, built static because the guest has no libraries.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::packages;

/// A test binary that runs in the guest.
#[derive(Debug)]
pub(crate) struct GuestTest {
    /// What cargo and `--test` call it.
    pub(crate) name: &'static str,
    /// The package that has it.
    pub(crate) package: &'static str,
    /// Its arguments in the guest.
    pub(crate) args: &'static [&'static str],
    /// The examples of that package that it runs there.
    pub(crate) examples: &'static [&'static str],
}

/// Every test binary for real Xen.
pub(crate) const TESTS: &[GuestTest] = &[
    GuestTest {
        name: "smoke",
        package: "evtchn-xen",
        args: &["--test-threads=1"],
        examples: &[],
    },
    GuestTest {
        name: "contract",
        package: "evtchn",
        args: &["--test-threads=1", "xen::"],
        examples: &[],
    },
    GuestTest {
        name: "raw",
        package: "evtchn-xen",
        args: &["xen::"],
        examples: &[],
    },
    GuestTest {
        name: "process",
        package: "evtchn-xen",
        args: &["--test-threads=1"],
        examples: &[],
    },
    GuestTest {
        name: "examples",
        package: "evtchn",
        args: &["--test-threads=1", "xen::"],
        examples: &["suspend", "virq", "vchan", "server", "backend"],
    },
    GuestTest {
        name: "loops",
        package: "evtchn-loops",
        args: &["--test-threads=1", "xen::"],
        examples: &[],
    },
    GuestTest {
        name: "traces",
        package: "evtchn-trace",
        args: &["--test-threads=1"],
        examples: &[],
    },
    GuestTest {
        name: "commands",
        package: "evtchn-cli",
        args: &["--test-threads=1", "xen::"],
        examples: &[],
    },
    GuestTest {
        name: "documents",
        package: "evtchn-cli",
        args: &["--test-threads=1", "xen::"],
        examples: &[],
    },
    GuestTest {
        name: "wrong",
        package: "evtchn-cli",
        args: &["--test-threads=1", "xen::"],
        examples: &[],
    },
    GuestTest {
        name: "evtchn_ls",
        package: "evtchn-cli",
        args: &["--test-threads=1", "xen::"],
        examples: &[],
    },
    GuestTest {
        name: "endurance",
        package: "evtchn",
        args: &["xen::"],
        examples: &[],
    },
];

/// The cases between two domains. They need the toolstack of dom0, and the same binary answers in the guest.
pub(crate) const DOMAINS: GuestTest = GuestTest {
    name: "domains",
    package: "evtchn",
    args: &["xen::"],
    examples: &[],
};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds for the guest in a target directory of its own: other flags in the main one would rebuild everything.
#[derive(Debug)]
pub(crate) struct Builder {
    target_dir: PathBuf,
    is_release: bool,
}

impl Builder {
    pub(crate) fn new(dir: &Path, is_release: bool) -> Self {
        Self {
            target_dir: dir.join("build"),
            is_release,
        }
    }

    /// Builds the `evtchn` command.
    pub(crate) fn command(&self) -> Result<PathBuf> {
        let arguments = ["build", "--package", "evtchn-cli", "--bin", "evtchn"];
        self.build(&arguments, "evtchn")
    }

    /// Builds the benchmark.
    pub(crate) fn benchmark(&self) -> Result<PathBuf> {
        let arguments = ["build", "--package", "xenbench"];
        self.build(&arguments, "xenbench")
    }

    /// Builds a program of `peers`, which is no package of the workspace.
    pub(crate) fn peer(&self, name: &str) -> Result<PathBuf> {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../peers/Cargo.toml");
        let arguments = ["build", "--manifest-path", manifest, "--bin", name];
        self.build(&arguments, name)
    }

    /// Compiles a C program against libraries of Debian that are unpacked under `root`.
    pub(crate) fn c_program(
        &self,
        source: &Path,
        root: &Path,
        libraries: &[&str],
    ) -> Result<PathBuf> {
        fs::create_dir_all(&self.target_dir)?;
        let name = source.file_stem().context("a source without a name")?;
        let program = self.target_dir.join(name);
        let mut compiler = Command::new("cc");
        compiler
            .args([
                "-std=gnu11",
                "-O2",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-static",
                "-I",
            ])
            .arg(root.join("usr/include"))
            .arg("-o")
            .arg(&program)
            .arg(source)
            .arg("-L")
            .arg(root.join("usr/lib/x86_64-linux-gnu"))
            .args(libraries.iter().map(|library| format!("-l{library}")));
        packages::run(&mut compiler)?;
        Ok(program)
    }

    /// Builds a test binary.
    pub(crate) fn test(&self, test: &GuestTest) -> Result<PathBuf> {
        let arguments = ["build", "--package", test.package, "--test", test.name];
        self.build(&arguments, test.name)
    }

    /// Builds the `evtchn` command, and test binaries with the examples that they run, in one go: what they share is
    /// built once.
    pub(crate) fn tests(
        &self,
        tests: &[&'static GuestTest],
    ) -> Result<Vec<(&'static str, PathBuf)>> {
        let mut arguments = vec!["build", "--package", "evtchn-cli", "--bin", "evtchn"];
        let mut names = vec!["evtchn"];
        for test in tests {
            arguments.extend(["--package", test.package, "--test", test.name]);
            names.push(test.name);
            for example in test.examples {
                arguments.extend(["--example", example]);
                names.push(example);
            }
        }
        let messages = self.cargo(&arguments)?;
        let found = |name| Ok((name, executable(&messages, name)?));
        names.into_iter().map(found).collect()
    }

    /// Runs cargo and returns the executable that it made for the target called `name`.
    fn build(&self, arguments: &[&str], name: &str) -> Result<PathBuf> {
        executable(&self.cargo(arguments)?, name)
    }

    /// Runs cargo and returns its messages.
    fn cargo(&self, arguments: &[&str]) -> Result<String> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(arguments)
            .args(self.is_release.then_some("--release"))
            .args(["--quiet", "--message-format", "json-render-diagnostics"])
            .args(["--target", TRIPLE, "--target-dir"])
            .arg(&self.target_dir)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        let what = arguments.join(" ");
        ensure!(
            output.status.success(),
            "`cargo {what}` for the guest failed"
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Finds the executable of a target in cargo's JSON messages.
fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo made no executable {name}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::executable;

    #[test]
    fn the_executable_of_the_named_target_is_found() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"smoke"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"xtask"},"executable":"/t/xtask"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"smoke"},"executable":"/t/smoke"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(
            executable(messages, "smoke").unwrap(),
            Path::new("/t/smoke")
        );
        assert!(executable(messages, "contract").is_err());
    }
}
