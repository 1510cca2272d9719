//! Debian packages for this machine: installs what is missing, and unpacks what need not be installed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Installs a program if it is missing; only root can.
pub(crate) fn require(program: &str, package: &str) -> Result<()> {
    let is_installed = || {
        Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if is_installed() {
        return Ok(());
    }
    install(package)?;
    ensure!(
        is_installed(),
        "{package} is installed, but {program} does not run"
    );
    Ok(())
}

/// Installs a package; only root can.
pub(crate) fn install(package: &str) -> Result<()> {
    ensure!(
        is_root(),
        "{package} is missing; as root: apt-get install {package}"
    );
    eprintln!("xtask: installing {package}");
    with_package_lists(|| {
        apt_get(
            Path::new("/"),
            &["install", "--yes", "--no-install-recommends", package],
        )
    })
}

/// Downloads a package once and unpacks it under `dir` without installing it. Returns its root.
pub(crate) fn unpacked(dir: &Path, package: &str) -> Result<PathBuf> {
    let root = dir.join(package);
    if root.is_dir() {
        return Ok(root);
    }
    let scratch = dir.join(format!("{package}.partial"));
    remove(&scratch)?;
    let downloads = scratch.join("packages");
    fs::create_dir_all(&downloads)?;
    eprintln!("xtask: downloading {package}");
    with_package_lists(|| apt_get(&downloads, &["download", package]))?;
    let partial = scratch.join("root");
    unpack(&downloads, &partial)?;
    fs::rename(&partial, &root)?;
    remove(&scratch)?;
    Ok(root)
}

/// Unpacks every package of a directory into one root.
pub(crate) fn unpack(packages: &Path, root: &Path) -> Result<()> {
    for package in fs::read_dir(packages)? {
        let mut unpack = Command::new("dpkg");
        run(unpack.arg("--extract").arg(package?.path()).arg(root))?;
    }
    Ok(())
}

/// Updates the package lists and tries again if the attempt fails: they may be missing or too old.
fn with_package_lists(attempt: impl Fn() -> Result<()>) -> Result<()> {
    let Err(error) = attempt() else { return Ok(()) };
    if !is_root() {
        return Err(error.context("apt failed; as root: apt-get update, then try again"));
    }
    eprintln!("xtask: {error:#}; updating the package lists");
    apt_get(Path::new("/"), &["update"])?;
    attempt()
}

fn apt_get(dir: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["--quiet", "--option", "APT::Sandbox::User=root"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .current_dir(dir);
    run(&mut command)
}

/// Runs a program to success, its output on standard error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_owned();
    let name = name.display();
    let status = command
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}

pub(crate) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
