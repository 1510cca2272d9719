//! `cargo xtask mutants`: every change that cargo-mutants knows of a function, and whether a test fails with it.
//!
//! All mutants are compiled at once, each as a branch that an environment variable selects; so a mutant costs a run of
//! the tests and no build. Those that cannot be a branch are left to cargo-mutants, which builds each.

mod build;
mod guest;
mod list;
mod plain;
mod run;
mod table;
mod weave;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Mutex,
    time::Instant,
};

use anyhow::{Result, ensure};

use build::{Built, Tree, output};
use list::Mutant;
use run::Fate;
use table::{Row, Table};

/// The folders whose mutants are held against the tests.
const FOLDERS: [&str; 5] = [
    "core/src",
    "loops/src",
    "backend-xen/src",
    "backend-sim/src/driver",
    "backend-sim/src/hypervisor",
];
const TABLE: &str = "testing/mutations/mutants.txt";
/// Mutants that no test has to notice, each with the reason.
const SURVIVORS: &str = "testing/mutations/survivors.txt";

/// Change functions in every way that cargo-mutants knows, and run the tests, which must fail.
///
/// What is in HEAD is measured, file by file, and each file is a row of testing/mutations/mutants.txt with the hash of
/// what was measured. So one run can do some files and another run the rest.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Files, or folders with all files in them; what --stale lists where none is named
    paths: Vec<String>,
    /// List the files that changed since they were measured or never were, and the mutants that no test fails with and
    /// no line of testing/mutations/survivors.txt accounts for; run nothing
    #[arg(long)]
    stale: bool,
    /// How many mutants are tried at the same time
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Have a first look: run the tests of the packages with mutants and no others, leave out mutants that need a build
    /// of their own or a real Xen, and keep a row only of files of which nothing is left open
    #[arg(long)]
    look: bool,
    /// In a first look, run the tests of this package too (may be repeated)
    #[arg(long, value_name = "PACKAGE", requires = "look")]
    beside: Vec<String>,
}

/// Runs `cargo xtask mutants`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut table = Table::read(PathBuf::from(TABLE))?;
    let all = sources(&FOLDERS.map(str::to_owned))?;
    let mut stale = Vec::new();
    for file in &all {
        if table.rows.get(file).map(|row| &row.content) != Some(&content(file)?) {
            stale.push(file.clone());
        }
    }
    if options.stale {
        let unlisted = table.unlisted(&fs::read_to_string(SURVIVORS)?);
        say(stale.iter().map(|file| format!("not measured: {file}")))?;
        say(unlisted.iter().map(|name| format!("missed: {name}")))?;
        let is_whole = stale.is_empty() && unlisted.is_empty();
        return Ok(ExitCode::from(u8::from(!is_whole)));
    }
    let chosen = match options.paths.is_empty() {
        true => stale,
        false => sources(&options.paths)?,
    };
    ensure!(!chosen.is_empty(), "no files");
    let known: BTreeSet<&String> = all.iter().collect();
    table.rows.retain(|file, _| known.contains(file));

    let work = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), Into::into);
    let work = std::path::absolute(work.join("mutants"))?;
    fs::create_dir_all(&work)?;
    // A commit beside this run changes nothing of what it measures.
    let contents = chosen.iter().map(|file| Ok((file, content(file)?)));
    let contents: BTreeMap<&String, String> = contents.collect::<Result<_>>()?;
    let mut tree = Tree::check_out(&work)?;
    let mutants = list::list(&tree.path, &chosen)?;
    eprintln!("{} mutants in {} files", mutants.len(), chosen.len());
    let packages = mutants.iter().map(|it| &it.package);
    let packages: BTreeSet<&str> = packages.chain(&options.beside).map(|it| &**it).collect();
    let packages = options.look.then_some(packages);
    let built = tree.build(&mutants, packages.as_ref())?;
    eprintln!("{} are compiled one by one", built.single.len());
    let suites = run::suites(&built.binaries, &work, options.look)?;
    for file in &chosen {
        let of_file: Vec<&Mutant> = mutants.iter().filter(|it| it.file == *file).collect();
        let began = Instant::now();
        let row = measure(options, &work, &of_file, &built, &suites)?;
        eprintln!("{file}: {:?}, {row:?}", began.elapsed());
        if let Some(row) = row {
            let content = contents[file].clone();
            table.rows.insert(file.clone(), Row { content, ..row });
            table.write()?;
        }
    }
    let unlisted = table.unlisted(&fs::read_to_string(SURVIVORS)?);
    say(unlisted.iter().map(|name| format!("missed: {name}")))?;
    Ok(ExitCode::from(u8::from(!unlisted.is_empty())))
}

fn say(lines: impl Iterator<Item = String>) -> io::Result<()> {
    let text: String = lines.flat_map(|line| [line, "\n".to_owned()]).collect();
    io::stdout().write_all(text.as_bytes())
}

/// Tries the mutants of a file. After a first look there is a row only if that leaves nothing open.
fn measure(
    options: &Options,
    work: &Path,
    mutants: &[&Mutant],
    built: &Built,
    suites: &[run::Suite],
) -> Result<Option<Row>> {
    let fates = Mutex::new(BTreeMap::new());
    let has_branch =
        |it: &&Mutant| !built.single.contains(&it.id) && !built.unviable.contains(&it.id);
    let branches: Vec<&Mutant> = mutants.iter().copied().filter(has_branch).collect();
    run::all(&branches, options.jobs, |mutant| {
        let fate = run::try_out(mutant, suites)?;
        if !matches!(fate, Fate::Caught(_)) {
            let met = match run::is_met(mutant, suites) {
                true => "",
                false => ", by which no test comes",
            };
            eprintln!("{}: {fate:?}{met}", mutant.name);
        }
        if let Ok(mut fates) = fates.lock() {
            fates.insert(mutant.id, fate);
        }
        Ok(())
    })?;
    let mut fates = fates.into_inner().unwrap_or_default();
    let is_single = |it: &&Mutant| built.single.contains(&it.id);
    let single: Vec<&Mutant> = mutants.iter().copied().filter(is_single).collect();
    if !options.look {
        go_on(work, &branches, single, built, suites, &mut fates)?;
    } else if !single.is_empty() || fates.values().any(|fate| *fate == Fate::Missed) {
        return Ok(None);
    }
    let count = |is: fn(&Fate) -> bool| fates.values().filter(|fate| is(fate)).count();
    let missed = mutants.iter();
    let missed = missed.filter(|it| fates.get(&it.id) == Some(&Fate::Missed));
    Ok(Some(Row {
        content: String::new(),
        mutants: mutants.len(),
        caught: count(|fate| matches!(fate, Fate::Caught(_))),
        unviable: mutants.len() - fates.len(),
        timeout: count(|fate| matches!(fate, Fate::TimedOut(_))),
        missed: missed.map(|it| it.title()).collect(),
    }))
}

/// Tries what is left in a guest, then with a build for each.
fn go_on<'a>(
    work: &Path,
    branches: &[&'a Mutant],
    mut single: Vec<&'a Mutant>,
    built: &Built,
    suites: &[run::Suite],
    fates: &mut BTreeMap<u32, Fate>,
) -> Result<()> {
    let mut left = branches.to_vec();
    left.retain(|it| fates.get(&it.id) == Some(&Fate::Missed));
    // The device itself is in the guest alone.
    let needs_xen = left.iter().copied().filter(|it| it.package == "evtchn-xen");
    let in_guest = guest::try_out(&needs_xen.collect::<Vec<_>>(), &built.binaries)?;
    // A branch in what the compiler computes is never taken.
    left.retain(|it| !run::is_met(it, suites) && !in_guest.contains_key(&it.id));
    fates.extend(in_guest);
    single.append(&mut left);
    let tried = plain::try_out(work, &single, false)?;
    single.retain(|it| tried.get(&it.id) == Some(&Fate::Missed));
    fates.extend(tried);
    fates.extend(plain::try_out(work, &single, true)?);
    Ok(())
}

/// The sources of some files and folders, in this order, without tests.
fn sources(paths: &[String]) -> Result<Vec<String>> {
    let mut sources = Vec::new();
    for path in paths {
        let listed = output(Command::new("git").args(["ls-files", "--", path]))?;
        let is_source = |file: &&str| {
            file.ends_with(".rs") && !file.ends_with("/tests.rs") && !file.contains("/tests/")
        };
        sources.extend(listed.lines().filter(is_source).map(str::to_owned));
    }
    Ok(sources)
}

/// What git has of a file.
fn content(file: &str) -> Result<String> {
    let head = format!("HEAD:{file}");
    let hash = output(Command::new("git").args(["rev-parse", "--short=12", &head]))?;
    Ok(hash.trim().to_owned())
}
