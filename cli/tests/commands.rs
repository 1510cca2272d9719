//! What each command prints on the simulator, byte for byte, and on the device from process to
//! process.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;
use support::{DEVICE, evtchn, skipped, stderr};

fn stdout(arguments: &str) -> String {
    let output = evtchn(arguments).output().unwrap();
    let line = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {line}");
    assert_eq!(line, "", "{arguments}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn listen_prints_the_port_and_each_wake() {
    let expected = "\
[    0.000000] bound         port 10     remote 3:?
[    0.012313] wake          port 10     remote 3:?          cause event
[    0.026348] wake          port 10     remote 3:?          cause event
";
    assert_eq!(stdout("listen --backend sim 3 --count 2"), expected);
    assert_eq!(stdout("listen --backend sim 3 --dies-after 2"), expected);
    assert_eq!(stdout("listen --backend sim 3 --echo --count 2"), expected);
    let first = expected.lines().take(2).map(|line| format!("{line}\n"));
    let first: String = first.collect();
    assert_eq!(stdout("listen --backend sim 3 --once"), first);
    assert_eq!(stdout("listen --backend sim 3 --timeout 20ms"), first);
}

#[test]
fn listen_says_it_to_programs() {
    let expected = "\
{\"event\":\"bound\",\"port\":10,\"remote\":\"3:?\",\"time_ns\":0}
{\"cause\":\"event\",\"event\":\"wake\",\"port\":10,\"remote\":\"3:?\",\"time_ns\":12313000}
";
    assert_eq!(stdout("listen --backend sim 3 --once --json"), expected);
}

#[test]
fn notify_wakes_the_guest_as_often_as_it_says() {
    let expected = "\
[    0.000000] bound         port 10     remote 3:17
[    0.000000] notified      port 10     remote 3:17
[    0.001000] notified      port 10     remote 3:17
[    0.001000] heard         events 2    remote 3:17
";
    assert_eq!(
        stdout("notify --backend sim 3:17 --count 2 --interval 1ms"),
        expected
    );
}

#[test]
fn ping_sums_up_its_round_trips() {
    let expected = "\
4 round trips to 3:7
  minimum            5.0 us
  median            12.0 us
  p99               24.0 us
  maximum           24.0 us
         5.0 to        6.9 us        1 ########################################
         6.9 to        8.8 us        0
         8.8 to       10.7 us        0
        10.7 to       12.6 us        1 ########################################
        12.6 to       14.5 us        0
        14.5 to       16.4 us        0
        16.4 to       18.3 us        0
        18.3 to       20.2 us        0
        20.2 to       22.1 us        1 ########################################
        22.1 to       24.0 us        1 ########################################
";
    assert_eq!(stdout("ping --backend sim 3:7 --count 4"), expected);
}

#[test]
fn ping_is_the_same_each_time_and_each_round_trip_is_in_its_histogram() {
    let first = stdout("ping --backend sim --seed 7 --json");
    assert_eq!(stdout("ping --backend sim --seed 7 --json"), first);
    assert_ne!(stdout("ping --backend sim --seed 8 --json"), first);
    let report: Value = serde_json::from_str(&first).unwrap();
    counted(&report, 1000);
}

/// Compares a report of `ping --json` with how many round trips it is about.
fn counted(report: &Value, round_trips: u64) {
    let number = |value: &Value| value.as_u64().unwrap();
    let bars = report["histogram"].as_array().unwrap();
    let counted: u64 = bars.iter().map(|bar| number(&bar["count"])).sum();
    assert_eq!(counted, round_trips, "{report}");
    assert_eq!(report["round_trips"], round_trips, "{report}");
    let figures = ["minimum_ns", "median_ns", "p99_ns", "maximum_ns"];
    assert!(
        figures.map(|it| number(&report[it])).is_sorted(),
        "{report}"
    );
}

#[test]
fn watch_reports_and_counts_only_what_was_asked_for() {
    let expected = "\
[    0.000000] bound         port 11     remote 2:1
[    0.005508] registered
[    0.008505] wake          port 11     remote 2:1          cause event
[    0.008505] deregistered
summary               notifies sent   coalesced   wakes delivered
  2 guests                        4           1                 3
  reads                           3       1.000 per wake
  writes                          2       0.667 per wake
  times registered                1
  idle: nothing registered, nothing open
";
    for only in ["11", "2:", "2:1"] {
        let arguments = format!("watch --guests 2 --seed 1 --once --only {only}");
        assert_eq!(stdout(&arguments), expected);
    }
}

#[test]
fn watch_runs_a_command_for_each_event_and_no_shell() {
    let mut command = evtchn("watch --guests 2 --seed 1 --events 3 --exec");
    command.arg("sh -c 'echo \"$EVTCHN_PORT $EVTCHN_REMOTE $EVTCHN_CAUSE $EVTCHN_WAKES $1;\"' 0 $HOME;false");
    let output = command.output().unwrap();
    let lines = ["10 1:1 event 1", "10 1:1 event 2", "11 2:1 event 1"];
    let lines = lines.map(|line| format!("{line} $HOME;false;\n"));
    assert_eq!(stderr(&output), lines.concat());
    let summary = String::from_utf8(output.stdout).unwrap();
    let ran = "  commands run                    3           0 failed\n";
    assert!(summary.contains(ran), "{summary}");
}

#[test]
fn a_command_that_fails_is_counted() {
    let output = stdout("watch --guests 2 --seed 1 --events 3 --json --exec false");
    let summary: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(
        summary["commands"],
        serde_json::json!({"run": 3, "failed": 3})
    );
}

#[test]
fn a_time_that_is_up_is_the_end_where_no_number_was_asked_for() {
    let lines = stdout("watch --timeout 100ms --guests 1 --json");
    let summary: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(summary["time_ns"], 100_000_000);
    assert_eq!(summary["idle"], true);
}

#[test]
fn the_manual_and_the_completions_know_every_command() {
    let page = stdout("man");
    let help = stdout("--help");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = commands.map_while(|line| line.split_whitespace().next());
    let names: Vec<&str> = names.filter(|name| *name != "help").collect();
    assert!(
        names.contains(&"watch") && names.contains(&"ping"),
        "{names:?}"
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&format!("completions {shell}"));
        for name in &names {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
    for name in names {
        let help = stdout(&format!("{name} --help"));
        assert!(
            help.contains("Exit code") || help.contains("Examples"),
            "{help}"
        );
        assert!(
            page.contains(&format!("evtchn\\-{name}(1)")),
            "{name}: {page}"
        );
    }
}

/// A child that said which port it bound.
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

    /// The lines that followed, once it has ended in order.
    fn rest(mut self) -> Vec<Value> {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{rest}");
        let objects = rest.lines().map(serde_json::from_str);
        objects.collect::<Result<_, _>>().unwrap()
    }
}

/// Whether the device is here; says so where it is not.
fn has_device() -> bool {
    let is_here = Path::new(DEVICE).exists();
    if !is_here {
        skipped("a machine with /dev/xen/evtchn");
    }
    is_here
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
        assert_eq!(lines.lines().count(), 2, "{sent}: {lines}");
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
    counted(&serde_json::from_str(&report).unwrap(), 200);
    assert_eq!(listener.rest().len(), 200);
}

#[test]
fn a_ping_without_a_peer_goes_through_this_domain_and_back() {
    if !has_device() {
        return;
    }
    let report = stdout("ping --count 200 --json");
    counted(&serde_json::from_str(&report).unwrap(), 200);
}

#[test]
fn a_listener_that_is_killed_leaves_a_ping_without_an_answer() {
    if !has_device() {
        return;
    }
    let mut listener = Listener::new("listen self --echo --timeout 10s --json");
    let port = listener.port;
    let ping = format!("ping self:{port} --count 1000000000 --timeout 1s --json");
    let mut ping = evtchn(&ping);
    let ping = ping.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ping = ping.spawn().unwrap();
    // It has answered once, so the ping is under way.
    let mut wake = String::new();
    listener.lines.read_line(&mut wake).unwrap();
    listener.child.kill().unwrap();
    listener.child.wait().unwrap();
    let output = ping.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(stderr(&output).contains("no answer"), "{output:?}");
    // Nothing of either is bound: the number is the lowest free one again.
    let again = Listener::new("listen self --timeout 0 --json");
    assert_eq!(again.port, port);
}

#[test]
fn watch_takes_sources_of_every_kind_at_once() {
    if !has_device() {
        return;
    }
    let other = Listener::new("listen self --json --timeout 10s --count 1");
    let sources = format!(
        "watch --backend xen --virq DOM_EXC --interdomain self:{} --unbound self --loopback 2",
        other.port
    );
    let lines = stdout(&format!("{sources} --events 200 --json"));
    let bound = lines.lines().filter(|line| line.contains("\"bound\""));
    assert_eq!(bound.count(), 5, "{lines}");
    // The bind itself has set the interdomain channel pending.
    let remote = format!("\"remote\":\"self:{}\"", other.port);
    let mut woke = lines.lines().filter(|line| line.contains("\"wake\""));
    assert!(woke.any(|line| line.contains(&remote)), "{lines}");
    stdout(&format!("notify self:{}", other.port));
    assert_eq!(other.rest().len(), 1);
}
