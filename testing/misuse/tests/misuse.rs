//! Checks that misuse which the types rule out does not compile.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::process::Command;

use evtchn::sim::{Sim, SimLoop};
use evtchn::{Context, DomId, Error};

/// The messages of compilers differ from version to version, so only those of this version are compared.
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

/// The table in `src/lib.rs` has a line for each program.
#[test]
fn the_table_names_each_program() {
    let table = include_str!("../src/lib.rs");
    let listed = table.lines().filter_map(|line| {
        let cells = line.strip_prefix("//! | ")?.strip_suffix("` |")?;
        cells.rsplit_once('`').map(|(_, name)| name.to_owned())
    });
    let listed: Vec<_> = listed.collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compile_fail");
    let files = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap());
    let names = files.filter_map(|it| {
        let name = it.file_name().into_string().unwrap();
        name.strip_suffix(".rs").map(str::to_owned)
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(listed, names);
}

/// This compiles, because after a failed unbind the owner still has the channel.
#[test]
fn a_channel_that_is_used_after_its_unbind_is_not_bound() {
    let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
    let mut channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    let id = channel.id();
    channel.unbind().unwrap();
    let refused = [
        channel.notify(),
        channel.notifier().notify(),
        channel.wait(),
        channel.block().map(drop),
        channel.cancel().map(drop),
    ];
    for answer in refused {
        assert!(matches!(answer, Err(Error::NotBound(it)) if it == id));
    }
    channel.unbind().unwrap();
    // Another channel has its port now, and the drop of this one does not affect it.
    let next = ctx.bind_unbound_port(DomId::SELF).unwrap();
    assert_eq!(next.port(), id.port());
    drop(channel);
    next.notify().unwrap();
}
