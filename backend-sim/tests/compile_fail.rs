//! What the types rule out does not compile.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::process::Command;

/// The words of a compiler differ from version to version, so only one is compared.
const PINNED: &str = env!("CARGO_PKG_RUST_VERSION");

#[test]
fn misuse_of_channels_ports_and_rounds_does_not_compile() {
    let version = Command::new("rustc").arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    if !version.starts_with(&format!("rustc {PINNED}.")) {
        println!("skipped: the expected errors are those of rustc {PINNED}, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
