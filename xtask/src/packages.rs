//! Debian packages: installs qemu, and takes a few files of others without installing them.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// The directory, under `target/xen`, that holds the unpacked files.
pub(crate) const IMAGE: &str = "image";
/// The hypervisor, as the multiboot ELF that qemu can load.
pub(crate) const HYPERVISOR: &str = "xen.elf";
/// The kernel of dom0.
pub(crate) const KERNEL: &str = "vmlinuz";
/// The shell and tools of dom0.
pub(crate) const BUSYBOX: &str = "busybox";
/// Kernel modules in the order in which they must be loaded.
pub(crate) const MODULES: [&str; 5] = [
    "xen-evtchn.ko",
    "xen-privcmd.ko",
    "xenfs.ko",
    "xen-gntdev.ko",
    "xen-gntalloc.ko",
];

const QEMU: &str = "qemu-system-x86_64";
const QEMU_PACKAGE: &str = "qemu-system-x86";
const BUSYBOX_PACKAGE: &str = "busybox-static";
/// Metapackages, each with the prefix of the versioned package that it depends on.
pub(crate) const XEN: (&str, &str) = ("xen-system-amd64", "xen-hypervisor-");
const METAPACKAGES: [(&str, &str); 2] = [XEN, ("linux-image-amd64", "linux-image-")];

/// Installs qemu if it is missing; only root can.
pub(crate) fn require_qemu() -> Result<()> {
    require(QEMU, QEMU_PACKAGE)
}

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
    ensure!(
        is_root(),
        "{program} is missing; as root: apt-get install {package}"
    );
    eprintln!("xtask: installing {package}");
    let install = || {
        apt_get(
            Path::new("/"),
            &["install", "--yes", "--no-install-recommends", package],
        )
    };
    with_package_lists(install)?;
    ensure!(
        is_installed(),
        "{package} is installed, but {program} does not run"
    );
    Ok(())
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

/// Makes the image in `dir` complete, and downloads packages only if it is not.
pub(crate) fn prepare(dir: &Path) -> Result<()> {
    let image = dir.join(IMAGE);
    let mut files = [HYPERVISOR, KERNEL, BUSYBOX].iter().chain(&MODULES);
    if files.all(|file| image.join(file).is_file()) {
        return Ok(());
    }
    let scratch = dir.join("image.partial");
    remove(&scratch)?;
    remove(&image)?;
    let packages = scratch.join("packages");
    fs::create_dir_all(&packages)?;
    with_package_lists(|| download(&packages))?;

    let root = scratch.join("root");
    unpack(&packages, &root)?;
    let finished = scratch.join(IMAGE);
    fs::create_dir_all(&finished)?;
    collect(&root, &finished)?;
    fs::rename(&finished, &image)?;
    remove(&scratch)
}

/// Copies the files of the image from the unpacked packages.
fn collect(root: &Path, image: &Path) -> Result<()> {
    let is_hypervisor = |name: &str| name.starts_with("xen-") && name.ends_with(".gz");
    place(
        &find(root, &is_hypervisor, "a hypervisor")?,
        &image.join(HYPERVISOR),
    )?;
    let is_kernel = |name: &str| name.starts_with("vmlinuz-");
    place(&find(root, &is_kernel, "a kernel")?, &image.join(KERNEL))?;
    let is_busybox = |name: &str| name == BUSYBOX;
    place(&find(root, &is_busybox, BUSYBOX)?, &image.join(BUSYBOX))?;
    for module in MODULES {
        let is_module = |name: &str| name.strip_suffix(".xz").unwrap_or(name) == module;
        place(&find(root, &is_module, module)?, &image.join(module))?;
    }
    Ok(())
}

/// Copies one file, uncompressed.
fn place(from: &Path, to: &Path) -> Result<()> {
    let program = match from.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => "gzip",
        Some("xz") => "xz",
        _ => "cat",
    };
    let mut unpack = Command::new(program);
    if program != "cat" {
        unpack.arg("--decompress").arg("--stdout");
    }
    let status = unpack.arg(from).stdout(File::create(to)?).status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "{program} failed on {}", from.display());
    Ok(())
}

/// Finds a file by its name, because its path differs between releases of Debian.
fn find(dir: &Path, wanted: &dyn Fn(&str) -> bool, what: &str) -> Result<PathBuf> {
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_str().is_some_and(wanted) {
                return Ok(entry.path());
            }
        }
    }
    bail!("the packages hold no file that could be {what}")
}

/// Downloads the packages whose files make up the image, without installing them.
fn download(dir: &Path) -> Result<()> {
    let mut packages = vec![BUSYBOX_PACKAGE.to_owned()];
    for (metapackage, prefix) in METAPACKAGES {
        packages.push(dependency(metapackage, prefix)?);
    }
    eprintln!("xtask: downloading {}", packages.join(" "));
    let mut arguments = vec!["download"];
    arguments.extend(packages.iter().map(String::as_str));
    apt_get(dir, &arguments)
}

/// The one package with this prefix that a metapackage depends on.
pub(crate) fn dependency(metapackage: &str, prefix: &str) -> Result<String> {
    let output = Command::new("apt-cache")
        .args(["depends", "--important", metapackage])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run apt-cache: a Debian with its package lists is needed")?;
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix) && name.ends_with("-amd64"))
        .map(str::to_owned)
        .with_context(|| format!("{metapackage} names no {prefix}*-amd64"))
}

/// Updates the package lists and tries again if the attempt fails: they may be missing or too old.
pub(crate) fn with_package_lists(attempt: impl Fn() -> Result<()>) -> Result<()> {
    let Err(error) = attempt() else { return Ok(()) };
    if !is_root() {
        return Err(error.context("apt failed; as root: apt-get update, then try again"));
    }
    eprintln!("xtask: {error:#}; updating the package lists");
    apt_get(Path::new("/"), &["update"])?;
    attempt()
}

pub(crate) fn apt_get(dir: &Path, arguments: &[&str]) -> Result<()> {
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
