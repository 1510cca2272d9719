//! What the types rule out does not compile.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::process::Command;

use evtchn_core::{Context, DomId, Error};
use evtchn_sim::{Sim, SimLoop};

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

/// That compiles: an unbind that fails leaves the channel to its owner.
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
    // Its number is another channel's now, and dropping it does nothing to that.
    let next = ctx.bind_unbound_port(DomId::SELF).unwrap();
    assert_eq!(next.port(), id.port());
    drop(channel);
    next.notify().unwrap();
}
