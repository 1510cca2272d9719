//! The commands on the device, between processes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use super::{assert_round_trips, stdout};
use crate::support::{evtchn, has_device, stderr};

/// A child that printed the port that it bound.
struct Listener {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: u64,
}

impl Listener {
    fn new(arguments: &str) -> Listener {
        let mut child = evtchn(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let bound: Value = serde_json::from_str(&first).unwrap();
        assert_eq!(bound["event"], "bound", "{first}");
        let port = bound["port"].as_u64().unwrap();
        Listener { child, lines, port }
    }

    /// The lines that followed, after it ended with success.
    fn rest(self) -> Vec<Value> {
        let (lines, code) = self.ended();
        assert_eq!(code, Some(0), "{lines:?}");
        lines
    }

    /// The lines that followed, and its exit code, after it ended.
    fn ended(mut self) -> (Vec<Value>, Option<i32>) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        let objects = rest.lines().map(serde_json::from_str);
        let lines = objects.collect::<Result<_, _>>().unwrap();
        (lines, self.child.wait().unwrap().code())
    }
}

#[test]
fn a_notify_wakes_a_listener_in_another_process_one_after_the_other() {
    if !has_device() {
        return;
    }
    let listener = Listener::new("listen self --count 3 --timeout 10s --json");
    let port = listener.port;
    for sent in 1..=3 {
        let lines = stdout(&format!("notify self:{port}"));
        assert_eq!(lines.lines().count(), 3, "{sent}: {lines}");
    }
    let wakes = listener.rest();
    assert_eq!(wakes.len(), 3, "{wakes:?}");
    assert!(
        wakes
            .iter()
            .all(|wake| wake["event"] == "wake" && wake["port"] == port)
    );
}

#[test]
fn a_ping_is_answered_by_a_listener_in_another_process() {
    if !has_device() {
        return;
    }
    let listener = Listener::new("listen self --echo --count 200 --timeout 10s --json");
    let report = stdout(&format!("ping self:{} --count 200 --json", listener.port));
    assert_round_trips(&serde_json::from_str(&report).unwrap(), 200);
    assert_eq!(listener.rest().len(), 200);
}

#[test]
fn a_ping_without_a_peer_goes_through_this_domain_and_back() {
    if !has_device() {
        return;
    }
    let report = stdout("ping --count 200 --json");
    assert_round_trips(&serde_json::from_str(&report).unwrap(), 200);
}

#[test]
fn a_ping_reports_that_its_listener_was_killed() {
    if !has_device() {
        return;
    }
    let mut listener = Listener::new("listen self --echo --timeout 10s --json");
    let port = listener.port;
    let ping = format!("ping self:{port} --count 1000000000 --timeout 1s --json");
    let mut ping = evtchn(&ping);
    let ping = ping.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ping = ping.spawn().unwrap();
    // It has answered once, so the ping is running.
    let mut wake = String::new();
    listener.lines.read_line(&mut wake).unwrap();
    listener.child.kill().unwrap();
    listener.child.wait().unwrap();
    let output = ping.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let line = stderr(&output);
    assert!(line.contains("closed its end or died"), "{output:?}");
    // Nothing is left bound, so the lowest free port is the same again.
    let again = Listener::new("listen self --timeout 0 --json");
    assert_eq!(again.port, port);
}

#[test]
fn a_ping_reports_that_its_listener_is_silent() {
    if !has_device() {
        return;
    }
    // It stays until a second wake.
    let listener = Listener::new("listen self --count 2 --json");
    let ping = format!("ping self:{} --count 1 --timeout 300ms", listener.port);
    let output = evtchn(&ping).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(stderr(&output).contains("there and silent"), "{output:?}");
    stdout(&format!("notify self:{}", listener.port));
    assert_eq!(listener.rest().len(), 2);
}

#[test]
fn watch_ends_when_its_only_peer_is_found_gone() {
    if !has_device() {
        return;
    }
    let mut listener = Listener::new("listen self --json");
    let watch = format!(
        "watch --backend xen --interdomain self:{} --check-peers 50ms --json",
        listener.port
    );
    let watch = Listener::new(&watch);
    listener.child.kill().unwrap();
    listener.child.wait().unwrap();
    let (lines, code) = watch.ended();
    assert_eq!(code, Some(5), "{lines:?}");
    let gone = lines.iter().filter(|line| line["cause"] == "peer_gone");
    assert_eq!(gone.count(), 1, "{lines:?}");
}

#[test]
fn listen_reports_that_its_peer_was_killed_and_waits_for_the_next() {
    if !has_device() {
        return;
    }
    let arguments = "listen self --count 200 --check-peers 50ms --json";
    let mut listener = Listener::new(arguments);
    let notify = format!(
        "notify self:{} --count 1000000 --interval 5ms",
        listener.port
    );
    let mut notify = evtchn(&notify).stdout(Stdio::null()).spawn().unwrap();
    let next = |listener: &mut Listener| -> Value {
        let mut line = String::new();
        listener.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    // A check runs meanwhile, which reports the peer once.
    let causes: Vec<Value> = (0..101)
        .map(|_| next(&mut listener)["cause"].take())
        .collect();
    let connected = causes.iter().filter(|cause| **cause == "peer_connected");
    let events = causes.iter().filter(|cause| **cause == "event");
    assert_eq!((connected.count(), events.count()), (1, 100), "{causes:?}");
    notify.kill().unwrap();
    notify.wait().unwrap();
    while next(&mut listener)["cause"] != "peer_gone" {}
    let next = format!("notify self:{} --count 200 --interval 5ms", listener.port);
    stdout(&next);
    assert!(listener.rest().len() < 200);
}

#[test]
fn watch_takes_sources_of_every_kind_at_once() {
    if !has_device() {
        return;
    }
    let other = Listener::new("listen self --json --timeout 10s --count 1");
    let sources = format!(
        "watch --virq DOM_EXC --interdomain self:{} --unbound self --loopback 2",
        other.port
    );
    let lines = stdout(&format!("{sources} --events 200 --json"));
    let bound = lines.lines().filter(|line| line.contains("\"bound\""));
    assert_eq!(bound.count(), 5, "{lines}");
    // The bind itself set the interdomain channel pending.
    let remote = format!("\"remote\":\"self:{}\"", other.port);
    let mut woke = lines.lines().filter(|line| line.contains("\"wake\""));
    assert!(woke.any(|line| line.contains(&remote)), "{lines}");
    stdout(&format!("notify self:{}", other.port));
    assert_eq!(other.rest().len(), 1);
}

#[test]
fn the_doctor_has_nothing_to_do_in_dom0_and_names_what_is_bound() {
    if !has_device() {
        return;
    }
    let listener = Listener::new("listen self --json --count 1");
    let report = stdout("doctor --json");
    let report: Value = serde_json::from_str(&report).unwrap();
    let lines = report["lines"].as_array().unwrap();
    let says = |topic: &str| {
        let line = lines.iter().find(|line| line["topic"] == topic);
        line.unwrap()["says"].as_str().unwrap().to_owned()
    };
    assert_eq!(says("device"), "it can be opened");
    assert_eq!(says("privcmd"), "Xen answers about this domain");
    assert!(says("VIRQs").contains("TIMER (port "), "{report}");
    assert!(says("hypervisor").contains("a control domain"), "{report}");
    stdout(&format!("notify self:{}", listener.port));
    listener.rest();
}
