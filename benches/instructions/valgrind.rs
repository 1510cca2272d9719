//! Counting the instructions of a case.

use std::env;
use std::process::Command;

/// The C library is not to choose its functions by optional instructions of the processor, nor to
/// tidy up its heap now and then.
const PLAIN: &str =
    "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-ERMS,-FSRM:glibc.malloc.tcache_count=65535";

/// How many instructions this program executes for so many rounds of a case.
pub(crate) fn count(case: &str, waiters: usize, rounds: usize) -> u64 {
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().unwrap())
        .args(["--case", case])
        .args([waiters.to_string(), rounds.to_string()])
        .env_clear()
        .env("GLIBC_TUNABLES", PLAIN)
        .output();
    let ran = ran.unwrap_or_else(|error| panic!("cannot run valgrind: {error}"));
    let said = String::from_utf8_lossy(&ran.stderr);
    let count = said
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok());
    count.unwrap_or_else(|| panic!("{case} {waiters}: {}\n{said}", ran.status))
}
