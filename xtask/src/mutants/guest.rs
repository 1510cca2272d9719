//! Mutants that only a real Xen can tell from the code: all of them are tried in the dom0 of one boot. Where one ends the
//! machine, the next boot goes on behind it.

use std::{collections::BTreeMap, fmt::Write as _, fs, time::Duration};

use anyhow::{Result, ensure};

use super::{build::Binary, list::Mutant, run::Fate};
use crate::{
    binaries::{GuestTest, Program, TESTS},
    boot::{self, Config},
    platform::Bootable,
    shell,
    toolchain::Toolchain,
    vm::{Clock, Line, Setup},
};

/// Seconds after which a test counts as hanging.
const PATIENCE: u64 = 300;

/// What the guest does: it finds out which mutants each test comes by, and runs those tests until one fails.
const SCRIPT: &str = r#"
meet() {
    name=$1
    shift
    EVTCHN_MUTANTS_MET=/tmp/met.$name "/guest/$@" >/tmp/out 2>&1 </dev/null || { echo "=== broken $name"; cat /tmp/out; }
    touch /tmp/met.$name
}
fails() {
    [ -z "$fate" ] && grep -qx "$id" "/tmp/met.$1" || return 0
    met=1
    shift
    EVTCHN_MUTANT=$id timeout -s KILL "$patience" "/guest/$@" >/dev/null 2>&1 </dev/null
    case $? in
        0) ;;
        137) fate=hung ;;
        *) fate=caught ;;
    esac
}
try_out() {
    id=$1 fate= met=
    echo "=== begin $id"
    all
    echo "=== end $id ${fate:-${met:+missed}}"
}
"#;

/// Runs the tests for real Xen with each mutant. Returns what became of those that a test comes by.
pub(super) fn try_out(mutants: &[&Mutant], binaries: &[Binary]) -> Result<BTreeMap<u32, Fate>> {
    let mut fates = BTreeMap::new();
    let tests: Vec<(&GuestTest, &Binary)> = TESTS
        .iter()
        .filter_map(|test| {
            let is_its = |it: &&Binary| it.package == test.package && it.name == test.binary;
            Some((test, binaries.iter().find(is_its)?))
        })
        .filter(|(test, _)| test.examples.is_empty() && test.package != "evtchn-cli")
        .collect();
    if mutants.is_empty() || tests.is_empty() {
        return Ok(fates);
    }
    let dir = boot::work_dir()?;
    fs::create_dir_all(&dir)?;
    let _lock = boot::lock(&dir)?;
    let platform = Bootable::default();
    boot::prepare(&dir, platform)?;
    let mut programs: Vec<Program> = tests
        .iter()
        .map(|(test, binary)| (test.program(), binary.executable.clone()))
        .collect();
    programs.sort();
    programs.dedup();
    let mut left: Vec<u32> = mutants.iter().map(|it| it.id).collect();
    while !left.is_empty() {
        let config = Config {
            dir: dir.clone(),
            platform,
            setup: Setup {
                cpus: 1,
                clock: Clock::Wall,
                has_guests: false,
                timeout: Duration::from_secs(PATIENCE * (2 + left.len() as u64)),
            },
            toolchain: Toolchain::native(false),
            environment: String::new(),
        };
        let archive = config.archive(&programs, &job(&tests, &left)?)?;
        config.boot(archive, &[])?;
        let report = config.recorded(Line::Report)?;
        let broken = report.lines().find(|line| line.starts_with("=== broken "));
        ensure!(broken.is_none(), "without a mutant: {report}");
        let begun = began(&report, &mut fates);
        let before = left.len();
        left.retain(|id| !begun.contains(id));
        ensure!(left.len() < before, "the guest tried none: {report}");
    }
    Ok(fates)
}

fn job(tests: &[(&GuestTest, &Binary)], mutants: &[u32]) -> Result<String> {
    let mut job = format!("{SCRIPT}patience={PATIENCE}\n");
    let calls = |function: &str| -> String {
        let call = |(test, _): &(&GuestTest, &Binary)| {
            let program = test.program();
            let words = [test.name, &program].into_iter();
            shell::call(function, words.chain(test.args.iter().copied()))
        };
        tests.iter().map(call).collect()
    };
    write!(job, "all() {{\n{}}}\n{}", calls("fails"), calls("meet"))?;
    for id in mutants {
        writeln!(job, "try_out {id}")?;
    }
    Ok(job)
}

/// The mutants that were begun. What has no end ended the machine.
fn began(report: &str, fates: &mut BTreeMap<u32, Fate>) -> Vec<u32> {
    let numbers = |line: &str, word: &str| -> Option<(u32, String)> {
        let mut words = line.strip_prefix(word)?.split_whitespace();
        let id = words.next()?.parse().ok()?;
        Some((id, words.next().unwrap_or_default().to_owned()))
    };
    let begun: Vec<u32> = report
        .lines()
        .filter_map(|line| Some(numbers(line, "=== begin ")?.0))
        .collect();
    let ends: BTreeMap<u32, String> = report
        .lines()
        .filter_map(|line| numbers(line, "=== end "))
        .collect();
    for id in &begun {
        let fate = match ends.get(id).map(String::as_str) {
            Some("caught") => Fate::Caught("guest".to_owned()),
            Some("hung") | None => Fate::TimedOut("guest".to_owned()),
            Some("missed") => Fate::Missed,
            Some(_) => continue,
        };
        fates.insert(*id, fate);
    }
    begun
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_that_ends_the_machine_counts_as_one_that_hangs() {
        let mut fates = BTreeMap::new();
        let report = "=== begin 3\n=== end 3 caught\n=== begin 4\n=== end 4 missed\n\
            === begin 5\n=== end 5 \n=== begin 6\n";
        assert_eq!(began(report, &mut fates), [3, 4, 5, 6]);
        let timed_out = Fate::TimedOut("guest".to_owned());
        assert_eq!(fates.remove(&6), Some(timed_out));
        assert_eq!(fates.remove(&4), Some(Fate::Missed));
        assert_eq!(fates.into_keys().collect::<Vec<_>>(), [3]);
    }
}
