//! `cargo xtask xen --guest`: dom0 with the toolstack, which starts other domains under the same Xen.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    binaries::{self, DOMAINS, GuestTest, Program, TESTS},
    boot::Config,
    debian::Debian,
    image::KERNEL,
    initramfs::{Archive, file_name},
    packages,
    platform::Bootable,
    report::Verdict,
    shell,
    vm::{End, Line},
    workspace,
};

/// Whether there are other domains.
#[derive(Debug, clap::Args)]
pub(crate) struct Guest {
    /// Boot a dom0 with the toolstack and a guest image, and run the cases between two domains, or the command, there.
    /// In dom0 the command `domain` starts guests and runs programs in them
    #[arg(long, conflicts_with_all = ["bench", "differential", "tests", "syscalls"])]
    pub(crate) guest: bool,
    /// Run the contract and the raw cases inside of a paravirtualized and of a PVH guest, whose privcmd makes hypercalls
    #[arg(long, conflicts_with_all = ["bench", "differential", "tests", "syscalls", "guest", "command"])]
    pub(crate) inside: bool,
}

/// The kinds of guests.
pub(crate) const KINDS: [&str; 2] = ["pv", "pvh"];
/// The tests that run inside of guests.
pub(crate) const INSIDE: [&str; 2] = ["contract", "raw"];

impl Guest {
    /// Seconds that it may take beyond the usual.
    pub(crate) fn extra_seconds(&self) -> u64 {
        if self.has_guests() { 480 } else { 0 }
    }

    pub(crate) fn has_guests(&self) -> bool {
        self.guest || self.inside
    }
}

/// The guest's archive, under `target/xen`.
const DOMU: &str = "domu.cpio";
const DIRECTORIES: [&str; 2] = ["domu", "etc"];
const LOADER: &str = "ld-linux-x86-64.so.2";

/// The packages of the programs and of their libraries, without those whose names have Xen's version.
const PACKAGES: [&str; 17] = [
    "xenstore-utils",
    "libc6",
    "libgcc-s1",
    "liblzma5",
    "libuuid1",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "libzstd1",
    "zlib1g",
];

/// The path of each program in the unpacked packages; `*` is Xen's version.
const PROGRAMS: [&str; 7] = [
    "usr/lib/xen-*/bin/libxl-save-helper",
    "usr/lib/xen-*/bin/xl",
    "usr/lib/xen-*/bin/xenstored",
    "usr/lib/xen-*/bin/xenconsoled",
    "usr/bin/xenstore-read",
    "usr/bin/xenstore-write",
    "usr/bin/xenstore-ls",
];

/// Runs the cases between two domains on real Xen, and then on the simulator.
pub(crate) fn run(config: &Config) -> Result<ExitCode> {
    let mut programs = binaries::tests(&[&DOMAINS], &config.toolchain)?;
    let (_, cases) = programs.first().context("no cases were built")?;
    let cases = cases.clone();
    programs.push(config.command()?);
    let job = config.environment.clone() + &DOMAINS.call(config.platform.left_out);
    let archive = archive(config, &programs, &job)?;

    let end = config.boot(archive, &[Line::Report])?;
    let report = config.recorded(Line::Report)?;
    let console = config.recorded(Line::Console)?;
    let real = Verdict::new(&[DOMAINS.name], &report, &console, end);
    if !real.is_success() {
        config.show_console()?;
    }
    let simulated = on_the_simulator(&cases)?;
    println(&format!(
        "two domains: {real} on real Xen; {simulated} on the simulator"
    ))?;
    let is_success = real.is_success() && simulated.is_success();
    Ok(ExitCode::from(u8::from(!is_success)))
}

/// Runs tests of dom0 inside of guests of each kind, all in one boot.
pub(crate) fn run_inside(config: &Config) -> Result<ExitCode> {
    let tests = TESTS.iter().filter(|test| INSIDE.contains(&test.name));
    let tests: Vec<&GuestTest> = tests.collect();
    let programs = binaries::tests(&tests, &config.toolchain)?;
    let mut job = config.environment.clone();
    let mut names = Vec::new();
    for kind in KINDS {
        for test in &tests {
            let program = test.program();
            // The guest's console is a terminal.
            let words = [kind, test.name, &program, "--color=never"].into_iter();
            job += &shell::call("run_inside", words.chain(test.args.iter().copied()));
            names.push(format!("{} in {kind}", test.name));
        }
    }
    let archive = archive(config, &programs, &job)?;
    let end = config.boot(archive, &[Line::Report])?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    config.verdict(&names, end)
}

/// Runs the cases on the simulator, on this machine.
fn on_the_simulator(cases: &Path) -> Result<Verdict> {
    let output = Command::new(cases).arg("domains::sim::").output();
    let output = output.with_context(|| format!("cannot run {}", cases.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    println(&text)?;
    let code = output.status.code().unwrap_or(1);
    let report = format!("=== run {}\n{text}\n=== exit {code}\n", DOMAINS.name);
    Ok(Verdict::new(&[DOMAINS.name], &report, "", End::PoweredOff))
}

fn println(text: &str) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "\n{text}")?)
}

/// The archive that a dom0 with the toolstack boots from. It contains the archive that a guest boots from; both have
/// the programs.
pub(crate) fn archive(config: &Config, programs: &[Program], job: &str) -> Result<Archive> {
    let dir = &config.dir;
    let toolstack = prepare(dir, config.platform)?;
    let image = config.image();
    let init = include_bytes!("../guest/domu-init");
    let mut guest = Archive::bootable(dir, DOMU, &config.files(&image), init)?;
    for (name, path) in programs {
        guest.program(name, path)?;
    }
    guest.write()?;

    let job = format!(". /toolstack\n{job}\nshow_guests\n");
    let mut archive = config.archive(programs, &job)?;
    for directory in DIRECTORIES {
        archive.directory(directory)?;
    }
    archive.data("toolstack", include_bytes!("../guest/toolstack"))?;
    archive.file("domu/initramfs", &dir.join(DOMU))?;
    archive.file("domu/vmlinuz", &image.join(KERNEL))?;
    let helper = workspace::root().join("xtask/guest/domain");
    archive.script("domain", &helper)?;
    for place in ["guest", "lib", "lib64"] {
        let mut files: Vec<PathBuf> = fs::read_dir(toolstack.join(place))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.sort();
        for file in files {
            match place {
                "guest" => archive.file(&format!("guest/{}", file_name(&file)?), &file)?,
                // If the programs brought a library of this machine, the archive keeps that one.
                _ => archive.library(&file)?,
            }
        }
    }
    Ok(archive)
}

/// Downloads the toolstack if needed, and returns its directory: its programs, their libraries, their loader.
fn prepare(dir: &Path, platform: &Bootable) -> Result<PathBuf> {
    let toolstack = dir.join(format!("toolstack-{}", platform.xen.name));
    if is_complete(&toolstack)? {
        return Ok(toolstack);
    }
    let scratch = dir.join("toolstack.partial");
    packages::remove(&scratch)?;
    let downloads = scratch.join("packages");
    download(dir, platform, &downloads)?;
    let root = scratch.join("root");
    packages::unpack(&downloads, &root)?;
    let version = version(&root)?;

    let finished = scratch.join("finished");
    for place in ["guest", "lib", "lib64"] {
        fs::create_dir_all(finished.join(place))?;
    }
    for program in PROGRAMS {
        let program = root.join(program.replace('*', &version));
        fs::copy(&program, finished.join("guest").join(file_name(&program)?))?;
        for library in libraries(&root, &program)? {
            let name = file_name(&library)?;
            let place = if name == LOADER { "lib64" } else { "lib" };
            fs::copy(&library, finished.join(place).join(name))?;
        }
    }
    // The C library loads it when a thread ends.
    let unwinder = root.join("lib/x86_64-linux-gnu/libgcc_s.so.1");
    fs::copy(&unwinder, finished.join("lib/libgcc_s.so.1"))?;
    packages::remove(&toolstack)?;
    fs::rename(&finished, &toolstack)?;
    packages::remove(&scratch)?;
    Ok(toolstack)
}

/// Whether every program is there.
fn is_complete(toolstack: &Path) -> Result<bool> {
    for program in PROGRAMS {
        let name = file_name(Path::new(program))?;
        if !toolstack.join("guest").join(name).is_file() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The version of Xen, from the name of the folder of its programs.
fn version(root: &Path) -> Result<String> {
    for entry in fs::read_dir(root.join("usr/lib"))? {
        let name = entry?.file_name();
        if let Some(version) = name.to_str().and_then(|name| name.strip_prefix("xen-")) {
            return Ok(version.to_owned());
        }
    }
    bail!("the packages hold no toolstack")
}

/// Downloads the packages.
fn download(dir: &Path, platform: &Bootable, to: &Path) -> Result<()> {
    let debian = Debian::new(dir, &platform.xen, platform.architecture)?;
    let version = platform.platform.xen;
    let of_version = [
        format!("xen-utils-{version}"),
        format!("libxenmisc{version}"),
    ];
    let names = of_version.into_iter().chain(PACKAGES.map(str::to_owned));
    debian.download(&names.collect::<Vec<_>>(), to)
}

/// The libraries of a program, from the unpacked packages.
fn libraries(root: &Path, program: &Path) -> Result<Vec<PathBuf>> {
    let places = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
    let path: Vec<String> = places
        .iter()
        .map(|place| root.join(place).display().to_string())
        .collect();
    let mut ldd = Command::new("ldd");
    let output = ldd.env("LD_LIBRARY_PATH", path.join(":")).arg(program);
    let output = output.output().context("cannot run ldd")?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success() && !text.contains("not found"),
        "ldd on {}: {text}",
        program.display()
    );
    Ok(binaries::files(&text))
}
