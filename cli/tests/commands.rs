//! The output of each command on the simulator, byte for byte, and on the device between processes.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod xen;

use crate::support::{evtchn, stderr};
use serde_json::Value;

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
[    0.000000] backend       simulator, seed 0
[    0.000000] bound         port 10     remote 3:?
[    0.012313] wake          port 10     remote 3:?          cause event
[    0.026348] wake          port 10     remote 3:?          cause event
";
    assert_eq!(stdout("listen --backend sim 3 --count 2"), expected);
    assert_eq!(stdout("listen --backend sim 3 --dies-after 2"), expected);
    assert_eq!(stdout("listen --backend sim 3 --echo --count 2"), expected);
    let first = expected.lines().take(3).map(|line| format!("{line}\n"));
    let first: String = first.collect();
    assert_eq!(stdout("listen --backend sim 3 --once"), first);
    assert_eq!(stdout("listen --backend sim 3 --timeout 20ms"), first);
}

#[test]
fn listen_with_check_peers_reports_that_a_peer_connected_and_died() {
    let expected = "\
[    0.000000] backend       simulator, seed 0
[    0.000000] bound         port 10     remote 3:?
[    0.010000] wake          port 10     remote 3:?          cause peer_connected
[    0.012313] wake          port 10     remote 3:?          cause event
[    0.026348] wake          port 10     remote 3:?          cause event
[    0.050000] wake          port 10     remote 3:?          cause peer_gone
";
    let listen = "listen --backend sim 3 --dies-after 2 --check-peers 10ms";
    assert_eq!(stdout(listen), expected);
    assert_eq!(stdout(&format!("{listen} --echo")), expected);
    let first = expected.lines().take(4).map(|line| format!("{line}\n"));
    assert_eq!(
        stdout(&format!("{listen} --once")),
        first.collect::<String>()
    );
}

#[test]
fn watch_with_check_peers_reports_each_dead_guest_and_ends_after_the_last() {
    let watch = "watch --guests 2 --seed 1 --dies-after 20 --check-peers 10ms --json";
    let output = evtchn(watch).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let gone = lines.iter().filter(|line| line["cause"] == "peer_gone");
    let mut remotes: Vec<&str> = gone.map(|line| line["remote"].as_str().unwrap()).collect();
    remotes.sort_unstable();
    assert_eq!(remotes, ["1:1", "2:1"]);
    let summary = lines.last().unwrap();
    assert_eq!(summary["idle"], true, "{summary}");
}

#[test]
fn listen_prints_json() {
    let expected = "\
{\"backend\":\"sim\",\"event\":\"bound\",\"port\":10,\"remote\":\"3:?\",\"time_ns\":0}
{\"backend\":\"sim\",\"cause\":\"event\",\"event\":\"wake\",\"port\":10,\"remote\":\"3:?\",\"time_ns\":12313000}
";
    assert_eq!(stdout("listen --backend sim 3 --once --json"), expected);
}

#[test]
fn notify_sends_the_number_of_notifies_that_it_prints() {
    let expected = "\
[    0.000000] backend       simulator, seed 0
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
fn ping_prints_statistics_and_a_histogram() {
    let expected = "\
4 round trips to 3:7 (simulator, seed 0)
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
fn ping_is_reproducible_and_counts_each_round_trip_in_its_histogram() {
    let first = stdout("ping --backend sim --seed 7 --json");
    assert_eq!(stdout("ping --backend sim --seed 7 --json"), first);
    assert_ne!(stdout("ping --backend sim --seed 8 --json"), first);
    let report: Value = serde_json::from_str(&first).unwrap();
    assert_round_trips(&report, 1000);
}

/// Checks that a report of `ping --json` has this number of round trips.
fn assert_round_trips(report: &Value, round_trips: u64) {
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
fn watch_reports_and_counts_only_selected_channels() {
    let expected = "\
[    0.000000] backend       simulator, seed 1
[    0.000000] bound         port 11     remote 2:1
[    0.005508] registered
[    0.008505] wake          port 11     remote 2:1          cause event
[    0.008505] deregistered
summary               notifies sent   coalesced   wakes delivered
  1 of 2 guests                   2           1                 1
  reads                           3       1.000 per wake
  writes                          2       0.667 per wake
  times registered                1
  backend             simulator, seed 1
  idle: nothing registered, nothing open
";
    for only in ["11", "2:", "2:1"] {
        let arguments = format!("watch --guests 2 --seed 1 --once --only {only}");
        assert_eq!(stdout(&arguments), expected);
    }
}

#[test]
fn watch_runs_a_command_for_each_event_without_a_shell() {
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
fn a_timeout_without_a_number_of_events_is_a_success() {
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
    let mut asked = evtchn("-- evtchn");
    asked.arg("").env("EVTCHN_COMPLETE", "fish");
    let offered = String::from_utf8(asked.output().unwrap().stdout).unwrap();
    for name in &names {
        assert!(
            offered.contains(&format!("\n{name}\t")) || offered.starts_with(name),
            "{name}: {offered}"
        );
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

#[test]
fn the_help_lists_apart_what_needs_xen_and_what_only_the_simulator_has() {
    let part = |help: &str, heading: &str| {
        let (_, rest) = help.split_once(heading).unwrap();
        let options = rest
            .lines()
            .skip(1)
            .take_while(|line| line.is_empty() || line.starts_with(' '));
        options.collect::<Vec<_>>().join("\n")
    };
    for (command, on_xen, on_sim) in [
        ("watch", "--virq", "--guests"),
        ("listen", "--device", "--seed"),
        ("notify", "--device", "--seed"),
        ("ping", "--device", "--seed"),
        ("ls", "--live", "--step"),
    ] {
        let help = stdout(&format!("{command} --help"));
        assert!(
            part(&help, "Options that need Xen:").contains(on_xen),
            "{help}"
        );
        assert!(
            part(&help, "Options of the simulator:").contains(on_sim),
            "{help}"
        );
    }
}
