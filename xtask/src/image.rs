//! What a platform boots from: the hypervisor, the kernel with its modules, and a shell, out of Debian packages.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    debian::Debian,
    packages,
    platform::{Architecture, Bootable},
};

/// The hypervisor, as qemu can load it.
pub(crate) const HYPERVISOR: &str = "xen";
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

/// The packages that newer kernels are split into.
const KERNEL_PARTS: [&str; 2] = ["linux-binary-", "linux-modules-"];

/// Makes the image of a platform under `dir` complete, and downloads packages only if it is not.
pub(crate) fn prepare(dir: &Path, platform: &Bootable) -> Result<()> {
    let image = dir.join(platform.image());
    let mut files = [HYPERVISOR, KERNEL, BUSYBOX].iter().chain(&MODULES);
    if files.all(|file| image.join(file).is_file()) {
        return Ok(());
    }
    let scratch = dir.join("image.partial");
    packages::remove(&scratch)?;
    packages::remove(&image)?;
    let downloads = scratch.join("packages");
    download(dir, platform, &downloads)?;

    let root = scratch.join("root");
    packages::unpack(&downloads, &root)?;
    let finished = scratch.join("finished");
    fs::create_dir_all(&finished)?;
    collect(&root, &finished, platform.architecture)?;
    fs::rename(&finished, &image)?;
    packages::remove(&scratch)
}

/// Downloads the packages whose files make up the image.
fn download(dir: &Path, platform: &Bootable, to: &Path) -> Result<()> {
    let architecture = platform.architecture;
    let xen = Debian::new(dir, &platform.xen, architecture)?;
    let hypervisor = hypervisor(&xen, platform)?;
    let kernels = Debian::new(dir, &platform.linux, architecture)?;
    let version = format!("{}.", platform.platform.linux);
    let kernel = kernels.versioned("linux-image", "linux-image-", &version)?;
    let parts = kernels.dependencies(&kernel)?;
    let is_part = |name: &String| KERNEL_PARTS.iter().any(|part| name.starts_with(part));
    let mut kernel = vec![kernel];
    kernel.extend(parts.into_iter().filter(is_part));
    xen.download(&[hypervisor, "busybox-static".to_owned()], to)?;
    kernels.download(&kernel, to)
}

/// The package of the hypervisor.
pub(crate) fn hypervisor(xen: &Debian, platform: &Bootable) -> Result<String> {
    let version = format!("{}-", platform.platform.xen);
    xen.versioned("xen-system", "xen-hypervisor-", &version)
}

/// Copies the files of the image from the unpacked packages.
fn collect(root: &Path, image: &Path, architecture: Architecture) -> Result<()> {
    let ending = match architecture {
        Architecture::Amd64 => "-amd64.gz",
        Architecture::Arm64 => "-arm64",
    };
    let is_hypervisor = |name: &str| name.starts_with("xen-") && name.ends_with(ending);
    let is_kernel = |name: &str| name == KERNEL || name.starts_with("vmlinuz-");
    let boot = root.join("boot");
    place(
        &find(&boot, &is_hypervisor, "a hypervisor")?,
        &image.join(HYPERVISOR),
    )?;
    place(&find(root, &is_kernel, "a kernel")?, &image.join(KERNEL))?;
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| root.join(path));
    let busybox = busybox.iter().find(|path| path.is_file());
    let busybox = busybox.context("the packages hold no busybox")?;
    place(busybox, &image.join(BUSYBOX))?;
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
