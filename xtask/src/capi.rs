//! `cargo xtask capi`: the C libraries, linked and installed; and the same C programs on ours and on Debian's, on a real Xen.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    binaries::c_compiler,
    boot::{self, Config, OUTPUT},
    guest,
    initramfs::Archive,
    packages,
    platform::Bootable,
    shell,
    toolchain::{self, Toolchain},
    vm::{Clock, Setup},
    workspace,
};

/// The package.
const PACKAGE: &str = "evtchn-capi";
/// A library, and the feature that its archive is built with.
const LIBRARIES: [(&str, Option<&str>); 2] = [("xenevtchn", None), ("xenevtchn-sim", Some("sim"))];
/// Debian's libraries, by package.
const DEBIAN: [&str; 3] = ["libxenevtchn1", "libxentoolcore1", "libxentoollog1"];
/// The C programs that run in the guest, by the names of their sources.
const PROGRAMS: [&str; 3] = ["conformance", "overflow", "restrict_all"];
/// The folder for all of it in the guest.
const FOLDER: &str = "capi";

/// Link and install the C libraries, or hold them against Debian's on a real Xen.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Install libxenevtchn.so.1 and libxenevtchn-sim.so.1 there, with headers and pkg-config files
    #[arg(long, value_name = "DIR", required_unless_present_any = ["xen", "cost", "guest"])]
    prefix: Option<PathBuf>,
    /// Boot a real Xen under qemu, and run the C programs there with our library and with Debian's
    #[arg(long)]
    xen: bool,
    /// Count there what calls cost in instructions, and fail if ours cost more than 1.02 times as many as Debian's
    #[arg(long)]
    cost: bool,
    /// Boot a real Xen with the toolstack, and let xenstored (over a live update), xenconsoled and xl use our library;
    /// and once more where they would survive an overflow
    #[arg(long)]
    guest: bool,
}

/// Runs `cargo xtask capi`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(prefix) = &options.prefix {
        for (library, feature) in LIBRARIES {
            install(library, feature, prefix)?;
        }
    }
    let mut code = ExitCode::SUCCESS;
    let boots: [(bool, Boot); 3] = [
        (options.xen, compare),
        (options.cost, cost),
        (options.guest, daemons),
    ];
    for (is_wanted, boot) in boots {
        if is_wanted && code == ExitCode::SUCCESS {
            code = boot()?;
        }
    }
    Ok(code)
}

type Boot = fn() -> Result<ExitCode>;

/// Builds an archive, and links and installs the library.
fn install(library: &str, feature: Option<&str>, prefix: &Path) -> Result<()> {
    // An archive of its own for each, because cargo would overwrite it.
    let target = workspace::target_dir().join("capi-build").join(library);
    let mut cargo = Command::new(toolchain::cargo());
    cargo
        .args(["build", "--quiet", "--lib", "--package", PACKAGE])
        .args(["--profile", "capi", "--target-dir"])
        .arg(&target)
        .args(feature.map(|feature| format!("--features={feature}")))
        .current_dir(workspace::root());
    packages::run(&mut cargo)?;
    let archive = target.join("capi/libevtchn_capi.a");
    let mut install = Command::new(workspace::root().join("capi/install"));
    install.arg(library).arg(&archive).arg(prefix);
    // The optimized library for the device has no code that unwinds, so it needs nothing but the C library.
    let flags = match feature {
        None => [
            ("LDFLAGS", "-Wl,-s -nodefaultlibs"),
            ("LDLIBS", "-l:libc.so.6"),
        ]
        .as_slice(),
        Some(_) => &[("LDFLAGS", "-Wl,-s")],
    };
    packages::run(install.envs(flags.iter().copied()))?;
    describe(&prefix.join("lib").join(format!("lib{library}.so.1")))
}

/// Prints the size of a library, and what it needs.
fn describe(library: &Path) -> Result<()> {
    let size = fs::metadata(library)?.len();
    let output = Command::new("readelf")
        .arg("--dynamic")
        .arg(library)
        .output();
    let text = output.context("cannot run readelf")?.stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    let needed = text.lines().filter(|line| line.contains("(NEEDED)"));
    let needed: Vec<&str> = needed
        .filter_map(|line| line.split(['[', ']']).nth(1))
        .collect();
    eprintln!(
        "xtask: {}: {size} bytes, needs {}",
        library.display(),
        needed.join(" ")
    );
    Ok(())
}

/// What both boots need: the lock of the directory, the boot, and where our library is installed.
fn prepare(clock: Clock, has_guests: bool) -> Result<(File, Config, PathBuf)> {
    let dir = boot::work_dir()?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let lock = boot::lock(&dir)?;
    let platform = Bootable::default();
    boot::prepare(&dir, platform)?;
    let prefix = dir.join("capi");
    install("xenevtchn", None, &prefix)?;
    let config = Config {
        dir,
        platform,
        setup: Setup {
            cpus: 1,
            clock,
            has_guests,
            timeout: Duration::from_secs(900),
        },
        toolchain: Toolchain::native(false),
        environment: String::new(),
    };
    Ok((lock, config, prefix))
}

/// Starts the toolstack with our library in place of Debian's, and a guest; then once more with the switch.
fn daemons() -> Result<ExitCode> {
    match daemons_with("")? {
        ExitCode::SUCCESS => daemons_with("export EVTCHN_SURVIVE_OVERFLOW=1\n"),
        code => Ok(code),
    }
}

fn daemons_with(switch: &str) -> Result<ExitCode> {
    let (_lock, config, prefix) = prepare(Clock::Wall, true)?;
    let source = workspace::root().join("capi/tests/c/conformance.c");
    // The archive keeps the library that a program brings, so the toolstack gets ours.
    let programs = [("conformance".to_owned(), compile(&source, &prefix)?)];
    let job = shell::call("run_command", ["sh", "/daemons"]);
    let mut archive = guest::archive(&config, &programs, &job)?;
    // The later file of a name replaces the earlier one.
    let toolstack = switch.to_owned() + include_str!("../guest/toolstack");
    archive.data("toolstack", toolstack.as_bytes())?;
    archive.data("daemons", include_bytes!("../guest/daemons"))?;
    archive.file("ours", &prefix.join("lib/libxenevtchn.so.1"))?;
    archive.file("guest/xenstore-control", &xenstore_control(&config)?)?;
    config.run_archive(archive, &OUTPUT)
}

/// The program that lets xenstored update itself.
fn xenstore_control(config: &Config) -> Result<PathBuf> {
    let version = config.platform.platform.xen;
    let dir = config.dir.join("packages");
    let root = packages::unpacked(&dir, &format!("xen-utils-{version}"))?;
    Ok(root.join(format!("usr/lib/xen-{version}/bin/xenstore-control")))
}

/// Runs the C programs in dom0, with our library and with Debian's.
fn compare() -> Result<ExitCode> {
    let (_lock, config, prefix) = prepare(Clock::Wall, false)?;
    let mut archive = both(&config, &prefix, &PROGRAMS, include_bytes!("../guest/capi"))?;
    for expected in fs::read_dir(workspace::root().join("capi/tests"))? {
        let path = expected?.path();
        if path.extension().is_some_and(|it| it == "txt") {
            let name = path.file_name().context("a file without a name")?;
            archive.data(&format!("{FOLDER}/{}", name.display()), &fs::read(&path)?)?;
        }
    }
    config.run_archive(archive, &OUTPUT)
}

/// Counts the instructions of calls, with our library and with Debian's.
fn cost() -> Result<ExitCode> {
    let (_lock, config, prefix) = prepare(Clock::Instructions, false)?;
    let archive = both(&config, &prefix, &["cost"], include_bytes!("../guest/cost"))?;
    config.run_archive(archive, &OUTPUT)
}

/// An archive with C programs, our library, Debian's, and the job that uses them.
fn both(config: &Config, prefix: &Path, programs: &[&str], job: &[u8]) -> Result<Archive> {
    let call = shell::call("run_command", ["sh", &format!("/{FOLDER}/job")]);
    let mut archive = config.archive(&[], &call)?;
    for folder in ["", "/ours", "/debian"] {
        archive.directory(&format!("{FOLDER}{folder}"))?;
    }
    archive.data(&format!("{FOLDER}/job"), job)?;
    for name in programs {
        let source = workspace::root().join(format!("capi/tests/c/{name}.c"));
        archive.program(name, &compile(&source, prefix)?)?;
    }
    archive.library(&unwinder()?)?;
    let ours = prefix.join("lib/libxenevtchn.so.1");
    archive.file(&format!("{FOLDER}/ours/libxenevtchn.so.1"), &ours)?;
    for package in DEBIAN {
        let root = packages::unpacked(&config.dir.join("packages"), package)?;
        let name = package.replace('1', ".so.1");
        let library = root.join("usr/lib/x86_64-linux-gnu").join(&name);
        archive.file(&format!("{FOLDER}/debian/{name}"), &library)?;
        if package != DEBIAN[0] {
            archive.file(&format!("{FOLDER}/ours/{name}"), &library)?;
        }
    }
    Ok(archive)
}

/// The library that the C library loads when a thread is cancelled.
fn unwinder() -> Result<PathBuf> {
    let mut compiler = Command::new("cc");
    let output = compiler.arg("-print-file-name=libgcc_s.so.1").output();
    let path = String::from_utf8(output.context("cannot run cc")?.stdout)?;
    Ok(PathBuf::from(path.trim()))
}

/// Compiles a C program against the installed library.
fn compile(source: &Path, prefix: &Path) -> Result<PathBuf> {
    let name = source.file_stem().context("a source without a name")?;
    let program = prefix.join(name);
    let (include, libraries) = (prefix.join("include"), prefix.join("lib"));
    let mut compiler = c_compiler(source, &include, &libraries, &program);
    compiler
        .args(["-pthread", "-lxenevtchn"])
        // So the library is found here too, to see what it needs; in the guest another folder comes first.
        .arg(format!(
            "-Wl,--enable-new-dtags,-rpath,{}/lib",
            prefix.display()
        ));
    packages::run(&mut compiler)?;
    ensure!(
        program.exists(),
        "the compiler made no {}",
        program.display()
    );
    Ok(program)
}
