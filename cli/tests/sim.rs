//! Tests of `evtchn sim`.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};

use evtchn::sim::remote::{Act, RemoteOpen, RemoteSim};
use evtchn::{DomId, EventChannel, Open};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{evtchn, stderr};

/// A path for a socket, which may have 107 bytes at most.
fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("evtchn-cli-{}-{name}", process::id()))
}

/// A machine that is served.
struct Served(Child);

impl Served {
    fn new(path: &Path, more: &str) -> Served {
        let mut command = evtchn(&format!("sim {more} --listen"));
        let mut child = command.arg(path).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, format!("listening at {}\n", path.display()));
        Served(child)
    }

    /// Ends it with a signal, and returns its exit code.
    fn end(mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn dump(path: &Path) -> String {
    let output = evtchn("sim --dump").arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_machine_is_served_until_a_signal_and_its_socket_is_removed() {
    for signal in [Signal::TERM, Signal::INT] {
        let path = path("signal");
        let served = Served::new(&path, "");
        let before = dump(&path);
        let opener = RemoteOpen::at(&path, DomId::new(3));
        let device = opener.open().unwrap();
        let port = device.bind_unbound_port(DomId::DOM0).unwrap();
        let new = format!("d3:{port} unbound for d0");
        let line = dump(&path);
        assert!(line.contains(&new) && !before.contains(&new), "{line}");
        drop(device);
        assert_eq!(dump(&path), before);
        assert_eq!(served.end(signal), Some(0));
        assert!(!path.exists());
    }
}

#[test]
fn guests_are_the_domains_from_1_on_and_more_can_be_created() {
    let path = path("guests");
    let _served = Served::new(&path, "--guests 1");
    let is_there = |domid| RemoteOpen::at(&path, DomId::new(domid)).open().is_ok();
    assert_eq!([0, 1, 2].map(is_there), [true, true, false]);
    assert_eq!(RemoteSim::at(&path).act(Act::CreateDomain), Ok(2));
    assert!(is_there(2));
}

#[test]
fn a_machine_with_the_same_seed_does_the_same() {
    let digest = |seed| {
        let path = path(&format!("seed-{seed}"));
        let _served = Served::new(&path, &format!("--seed {seed}"));
        let machine = RemoteSim::at(&path);
        let act = |act| machine.act(act).unwrap();
        let delivery = evtchn::sim::Delivery::Held;
        act(Act::SetDelivery { delivery });
        for _ in 0..20 {
            let (domid, remote) = (1, 1);
            let port = act(Act::AllocUnbound { domid, remote });
            let port = u32::try_from(port).unwrap();
            act(Act::BindInterdomain {
                domid,
                remote,
                port,
            });
        }
        while act(Act::Step) == 1 {}
        act(Act::Digest)
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn a_socket_that_a_killed_server_left_is_replaced_and_one_in_use_is_not() {
    let path = path("left");
    assert_eq!(Served::new(&path, "").end(Signal::KILL), None);
    assert!(path.exists());
    let output = evtchn("sim --dump").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no machine is served at"));

    let served = Served::new(&path, "");
    let output = evtchn("sim --listen").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = stderr(&output);
    assert!(
        line.contains("cannot listen at") && line.lines().count() == 1,
        "{line}"
    );
    dump(&path);
    assert_eq!(served.end(Signal::TERM), Some(0));
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let path = path("file");
    fs::write(&path, "text").unwrap();
    let output = evtchn("sim --listen").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(fs::read(&path).unwrap(), b"text");
    fs::remove_file(&path).unwrap();
}
