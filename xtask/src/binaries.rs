//! The guest's programs: test binaries and the command, as `cargo test` builds them, and the programs that are measured.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    packages,
    platform::LeftOut,
    shell,
    toolchain::{Toolchain, cargo as cargo_program},
    workspace,
};

/// Tests that run in the guest: a test binary or part of one.
#[derive(Debug)]
pub(crate) struct GuestTest {
    /// Their name for `--test` and in the report.
    pub(crate) name: &'static str,
    /// Their package.
    pub(crate) package: &'static str,
    /// The test binary of that package, by its name for cargo.
    pub(crate) binary: &'static str,
    /// The arguments that select them.
    pub(crate) args: &'static [&'static str],
    /// The examples of that package which they run.
    pub(crate) examples: &'static [&'static str],
}

impl GuestTest {
    /// The name of the binary in the guest, which keeps all programs in one folder.
    pub(crate) fn program(&self) -> String {
        format!("{}-{}", self.package, self.binary)
    }

    /// The line of the guest's job which runs them.
    pub(crate) fn call(&self, left_out: &[LeftOut]) -> String {
        let program = self.program();
        let mut words = vec![self.name, &program];
        words.extend(self.args);
        for case in left_out.iter().filter(|it| it.test == self.name) {
            words.extend(["--skip", case.case]);
        }
        shell::call("run_test", words)
    }
}

/// All tests for real Xen.
pub(crate) const TESTS: &[GuestTest] = &[
    GuestTest {
        name: "smoke",
        package: "evtchn-xen",
        binary: "tests",
        args: &["--test-threads=1", "smoke::"],
        examples: &[],
    },
    GuestTest {
        name: "contract",
        package: "evtchn",
        binary: "sides",
        args: &["--test-threads=1", "contract::xen::"],
        examples: &[],
    },
    GuestTest {
        name: "raw",
        package: "evtchn-xen",
        binary: "raw",
        args: &["xen::"],
        examples: &[],
    },
    GuestTest {
        name: "process",
        package: "evtchn-xen",
        binary: "process",
        args: &["--test-threads=1"],
        examples: &[],
    },
    GuestTest {
        name: "examples",
        package: "evtchn",
        binary: "sides",
        args: &["--test-threads=1", "examples::xen::"],
        examples: &["suspend", "virq", "vchan", "server", "backend"],
    },
    GuestTest {
        name: "loops",
        package: "evtchn-loops",
        binary: "loops",
        args: &["--test-threads=1", "xen::"],
        examples: &[],
    },
    GuestTest {
        name: "traces",
        package: "evtchn-trace",
        binary: "traces",
        args: &["--test-threads=1"],
        examples: &[],
    },
    GuestTest {
        name: "commands",
        package: "evtchn-cli",
        binary: "tests",
        args: &["--test-threads=1", "commands::xen::"],
        examples: &[],
    },
    GuestTest {
        name: "documents",
        package: "evtchn-cli",
        binary: "sides",
        args: &["--test-threads=1", "documents::xen::"],
        examples: &[],
    },
    GuestTest {
        name: "wrong",
        package: "evtchn-cli",
        binary: "tests",
        args: &["--test-threads=1", "wrong::xen::"],
        examples: &[],
    },
    GuestTest {
        name: "ls",
        package: "evtchn-cli",
        binary: "sides",
        args: &["--test-threads=1", "ls::xen::"],
        examples: &[],
    },
    GuestTest {
        name: "endurance",
        package: "evtchn",
        binary: "alone",
        args: &["endurance::xen::"],
        examples: &[],
    },
];

/// The cases between two domains. They need the toolstack in dom0. The same binary runs in the other domain as peer.
pub(crate) const DOMAINS: GuestTest = GuestTest {
    name: "domains",
    package: "evtchn",
    binary: "sides",
    args: &["--test-threads=1", "domains::xen::"],
    examples: &[],
};

/// A program for the guest, by its name there.
pub(crate) type Program = (String, PathBuf);

/// Builds test binaries, the command and the benchmark as `cargo test --workspace` does, so that nothing is built
/// again after that.
pub(crate) fn tests(tests: &[&GuestTest], toolchain: &Toolchain) -> Result<Vec<Program>> {
    let mut command = toolchain.cargo_test(tests.iter().map(|test| test.package));
    // Cargo builds an example that is named on its command line as a test.
    if tests.iter().all(|test| test.examples.is_empty()) {
        command.args(tests.iter().flat_map(|test| ["--test", test.binary]));
    }
    let messages = cargo(&mut command)?;
    let mut programs = Vec::new();
    for test in tests {
        let path = executable(&messages, test.package, test.binary)?;
        programs.push((test.program(), path));
        for example in test.examples {
            let path = executable(&messages, test.package, example)?;
            programs.push(((*example).to_owned(), path));
        }
    }
    programs.sort();
    programs.dedup();
    Ok(programs)
}

/// Builds a program of a package in the same way: cargo builds it with the package's tests.
pub(crate) fn program(package: &str, name: &str, toolchain: &Toolchain) -> Result<Program> {
    build(package, "tests", name, toolchain)
}

/// Builds a test binary that runs as a program.
pub(crate) fn test(package: &str, name: &str, toolchain: &Toolchain) -> Result<Program> {
    build(package, name, name, toolchain)
}

/// Builds a test binary, and returns an executable of its package.
fn build(package: &str, binary: &str, name: &str, toolchain: &Toolchain) -> Result<Program> {
    let mut command = toolchain.cargo_test([package]);
    let messages = cargo(command.args(["--test", binary]))?;
    Ok((name.to_owned(), executable(&messages, package, name)?))
}

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds the programs that are measured, static and optimized, in a target directory of their own: with these flags in
/// the main one, cargo would rebuild everything.
#[derive(Debug)]
pub(crate) struct Builder {
    target_dir: PathBuf,
}

impl Builder {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            target_dir: dir.join("build"),
        }
    }

    /// Builds the benchmark.
    pub(crate) fn benchmark(&self) -> Result<PathBuf> {
        let arguments = ["build", "--package", "xenbench", "--bin", "xenbench"];
        self.build(&arguments, "xenbench")
    }

    /// Builds a program of `testing/bench-others`, which is not in the workspace.
    pub(crate) fn other(&self, name: &str) -> Result<PathBuf> {
        const MANIFEST: &str = "testing/bench-others/Cargo.toml";
        let arguments = ["build", "--manifest-path", MANIFEST, "--bin", name];
        self.build(&arguments, "bench-others")
    }

    /// Compiles a C program against Debian's libraries, which are unpacked under `root`.
    pub(crate) fn c_program(
        &self,
        source: &Path,
        root: &Path,
        libraries: &[&str],
    ) -> Result<PathBuf> {
        fs::create_dir_all(&self.target_dir)?;
        let name = source.file_stem().context("a source without a name")?;
        let program = self.target_dir.join(name);
        let libraries_of = root.join("usr/lib/x86_64-linux-gnu");
        let mut compiler = c_compiler(source, &root.join("usr/include"), &libraries_of, &program);
        compiler
            .arg("-static")
            .args(libraries.iter().map(|library| format!("-l{library}")));
        packages::run(&mut compiler)?;
        Ok(program)
    }

    /// Builds a program of a package.
    fn build(&self, arguments: &[&str], package: &str) -> Result<PathBuf> {
        let mut command = Command::new(cargo_program());
        command
            .args(arguments)
            .args(["--release", "--target", TRIPLE, "--target-dir"])
            .arg(&self.target_dir)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-C target-feature=+crt-static");
        let name = arguments.last().context("nothing to build")?;
        executable(&cargo(&mut command)?, package, name)
    }
}

/// The files that a program is linked against, with the loader; none for a static program. The kernel's own library
/// (the vDSO) is not a file.
pub(crate) fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if text.contains("not a dynamic executable") || text.contains("statically linked") {
        return Ok(Vec::new());
    }
    ensure!(
        output.status.success() && !text.contains("not found"),
        "ldd on {}: {text}",
        program.display()
    );
    Ok(files(&text))
}

/// The files that ldd names.
pub(crate) fn files(text: &str) -> Vec<PathBuf> {
    let words = text.lines().flat_map(str::split_whitespace);
    let paths = words.filter(|word| word.starts_with('/'));
    paths
        .map(|path| path.trim_end_matches(':').into())
        .collect()
}

/// Runs cargo in the workspace and returns its messages.
fn cargo(command: &mut Command) -> Result<String> {
    let output = command
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .current_dir(workspace::root())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?)
}

/// Finds the executable of a package's target in cargo's JSON messages.
fn executable(messages: &str, package: &str, name: &str) -> Result<PathBuf> {
    let is_of = |id: &str| {
        // `path+file:///folder#package@version`; without the package if the folder has the same name.
        let named = format!("#{package}@");
        id.contains(&named)
            || id
                .rsplit_once('#')
                .is_some_and(|(path, _)| path.ends_with(&format!("/{package}")))
    };
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["package_id"].as_str().is_some_and(is_of))
        .filter(|message| message["target"]["name"] == name)
        // The unit tests of a program have the same name as the program.
        .filter(|message| {
            message["profile"]["test"] != true || message["target"]["kind"][0] == "test"
        })
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo made no executable {name} of {package}"))
}

/// Compiles a C program of one source, with every warning an error. The caller adds libraries and runs it.
pub(crate) fn c_compiler(source: &Path, include: &Path, libraries: &Path, to: &Path) -> Command {
    let mut compiler = Command::new("cc");
    compiler
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(include)
        .arg("-o")
        .arg(to)
        .arg(source)
        .arg("-L")
        .arg(libraries);
    compiler
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{executable, files};

    #[test]
    fn executable_returns_that_of_the_named_package_and_target() {
        let messages = concat!(
            r#"{"package_id":"path+file:///w/cli#evtchn-cli@0.1.0","target":{"kind":["bin"],"name":"evtchn"},"profile":{"test":true},"executable":"/t/unit"}"#,
            "\n",
            r#"{"package_id":"path+file:///w/cli#evtchn-cli@0.1.0","target":{"kind":["bin"],"name":"evtchn"},"profile":{"test":false},"executable":"/t/evtchn"}"#,
            "\n",
            r#"{"package_id":"path+file:///w/evtchn#0.1.0","target":{"kind":["test"],"name":"tests"},"profile":{"test":true},"executable":"/t/root"}"#,
            "\n",
            r#"{"package_id":"path+file:///w/core#evtchn-core@0.1.0","target":{"kind":["test"],"name":"tests"},"profile":{"test":true},"executable":"/t/core"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        for (package, name, path) in [
            ("evtchn-cli", "evtchn", "/t/evtchn"),
            ("evtchn", "tests", "/t/root"),
            ("evtchn-core", "tests", "/t/core"),
        ] {
            let found = executable(messages, package, name);
            assert_eq!(found.unwrap(), Path::new(path));
        }
        assert!(executable(messages, "evtchn-cli", "tests").is_err());
    }

    #[test]
    fn libraries_are_the_files_that_ldd_names() {
        let text = "\tlinux-vdso.so.1 (0x7f44)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f61)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f4d)\n";
        let named = ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(files(text), named.map(PathBuf::from));
    }
}
