//! Every example does on the simulator what it says, and says it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "functions that only tests call"
)]

use std::env;
use std::process::Command;

/// What an example prints, once it is done well. `cargo test` builds them, unless it is told which
/// targets to build.
fn run(name: &str) -> String {
    let tests = env::current_exe().unwrap();
    let built = tests
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples")
        .join(name);
    let ran = Command::new(&built).output();
    let ran = ran.unwrap_or_else(|error| panic!("cannot run {}: {error}", built.display()));
    let said = String::from_utf8(ran.stdout).unwrap();
    let failed = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{name}: {said}{failed}");
    said
}

#[test]
fn suspend() {
    let said = run("suspend");
    let lines: Vec<_> = said.lines().collect();
    let expected = [
        "guest 0 is suspended",
        "guest 1 does not answer",
        "guest 2 is suspended",
    ];
    assert_eq!(lines[..3], expected);
    assert!(lines[3].ends_with("registrations, all ended"), "{said}");
}

#[test]
fn virq() {
    let said = run("virq");
    assert!(said.starts_with("watching VIRQ_DOM_EXC on port "), "{said}");
    assert!(said.ends_with("\na domain died\n"), "{said}");
}

#[test]
fn vchan() {
    assert_eq!(
        run("vchan"),
        "100000 bytes came back, each as it should be\n"
    );
}
