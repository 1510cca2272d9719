//! How programs for a platform's guest are compiled: for another architecture than this machine's, statically, with
//! Debian's Rust unless the installed one can.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    debian::Debian,
    packages,
    platform::{Architecture, BOOKWORM},
};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// In the names of variables.
const VARIABLE: &str = "AARCH64_UNKNOWN_LINUX_GNU";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const STRIP: &str = "aarch64-linux-gnu-strip";

/// How the programs of a guest are built.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// In the release profile.
    pub(crate) is_release: bool,
    cross: Option<Cross>,
}

/// For another architecture.
#[derive(Clone, Debug)]
struct Cross {
    target_dir: PathBuf,
    /// The compiler, if it is not the installed one.
    compiler: Option<PathBuf>,
}

impl Toolchain {
    /// Installs or downloads what is missing for an architecture.
    pub(crate) fn new(dir: &Path, architecture: Architecture, is_release: bool) -> Result<Self> {
        let cross = match architecture {
            Architecture::Amd64 => None,
            Architecture::Arm64 => Some(Cross::new(dir)?),
        };
        Ok(Self { is_release, cross })
    }

    /// The one for this machine.
    pub(crate) const fn native(is_release: bool) -> Self {
        Self {
            is_release,
            cross: None,
        }
    }

    /// `cargo test --no-run` of these packages. For this machine it is of the whole workspace, so that nothing is built
    /// again after `cargo test --workspace`.
    pub(crate) fn cargo_test<'a>(&self, packages: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(cargo());
        command.args(["test", "--no-run"]);
        command.args(self.is_release.then_some("--release"));
        let Some(cross) = &self.cross else {
            command.arg("--workspace");
            return command;
        };
        for package in packages {
            command.args(["--package", package]);
        }
        command
            .args(["--target", TARGET, "--target-dir"])
            .arg(&cross.target_dir)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS")
            .env(format!("CARGO_TARGET_{VARIABLE}_LINKER"), LINKER)
            .env(
                format!("CARGO_TARGET_{VARIABLE}_RUSTFLAGS"),
                "-C target-feature=+crt-static",
            )
            // They are taken away for the guest, and take long to make.
            .env("CARGO_PROFILE_DEV_DEBUG", "false");
        if let Some(compiler) = &cross.compiler {
            command.env("RUSTC", compiler);
        }
        command
    }

    /// The program that takes debug sections away.
    pub(crate) const fn strip(&self) -> &'static str {
        match self.cross {
            None => "strip",
            Some(_) => STRIP,
        }
    }
}

impl Cross {
    fn new(dir: &Path) -> Result<Self> {
        packages::require(LINKER, "gcc-aarch64-linux-gnu")?;
        if !Path::new("/usr/aarch64-linux-gnu/lib/libc.a").is_file() {
            packages::install("libc6-dev-arm64-cross")?;
        }
        let compiler = match has_installed() {
            true => None,
            false => Some(compiler(dir)?),
        };
        Ok(Self {
            target_dir: dir.join("cross"),
            compiler,
        })
    }
}

pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Whether the installed compiler has a standard library for the target.
fn has_installed() -> bool {
    let mut ask = Command::new("rustc");
    let output = ask
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    output.is_ok_and(|output| {
        let path = String::from_utf8_lossy(&output.stdout);
        output.status.success() && Path::new(path.trim()).is_dir()
    })
}

/// Debian's compiler, unpacked under `dir` with the standard libraries of both architectures.
fn compiler(dir: &Path) -> Result<PathBuf> {
    const HOST: [&str; 2] = ["rustc-web", "libstd-rust-web-dev"];
    let root = dir.join("rust");
    let compiler = root.join("compiler");
    if compiler.is_file() {
        return Ok(compiler);
    }
    let scratch = dir.join("rust.partial");
    packages::remove(&scratch)?;
    packages::remove(&root)?;
    let downloads = scratch.join("packages");
    let host = Debian::new(dir, &BOOKWORM, Architecture::Amd64)?;
    let library = named(
        host.dependencies("libstd-rust-web-dev")?,
        "libstd-rust-web-",
    )?;
    let backend = named(host.dependencies(&library)?, "libllvm")?;
    let mut names = HOST.map(str::to_owned).to_vec();
    names.extend([library.clone(), backend]);
    host.download(&names, &downloads)?;
    let target = Debian::new(dir, &BOOKWORM, Architecture::Arm64)?;
    target.download(&[library, "libstd-rust-web-dev".to_owned()], &downloads)?;
    let unpacked = scratch.join("root");
    packages::unpack(&downloads, &unpacked)?;
    let usr = root.join("usr");
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{usr}/lib/x86_64-linux-gnu' exec '{usr}/bin/rustc' \"$@\"\n",
        usr = usr.display()
    );
    let file = unpacked.join("compiler");
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    fs::rename(&unpacked, &root)?;
    packages::remove(&scratch)?;
    Ok(compiler)
}

/// The package with this prefix.
fn named(packages: Vec<String>, prefix: &str) -> Result<String> {
    let mut packages = packages.into_iter();
    let found = packages.find(|name| name.starts_with(prefix));
    found.with_context(|| format!("Debian's Rust needs no {prefix}*"))
}
