//! Tests of `evtchn ls`: on the simulator line by line, and on a real Xen with ports that this program
//! binds.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use evtchn::xen::{DEVICE_PATH, Device, PRIVCMD_PATH};
use evtchn::{DomId, EventChannel, Port, RemotePort, Virq};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The command that cargo built, or the one beside a copied test binary.
fn command(arguments: &str) -> Command {
    let built = Path::new(env!("CARGO_BIN_EXE_evtchn"));
    let beside = env::current_exe().unwrap().with_file_name("evtchn");
    let mut command = Command::new(if built.exists() { built } else { &beside });
    command.args(arguments.split_whitespace());
    command
}

fn run(arguments: &str) -> Output {
    command(arguments).output().unwrap()
}

#[track_caller]
fn stdout(arguments: &str) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {output:?}");
    assert_eq!(output.stderr, b"", "{arguments}");
    String::from_utf8(output.stdout).unwrap()
}

/// The error line of a run that failed.
#[track_caller]
fn failure(arguments: &str, code: i32) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!((output.stdout.len(), stderr.lines().count()), (0, 1));
    assert!(stderr.starts_with("evtchn: "), "{stderr}");
    stderr
}

#[track_caller]
fn objects(arguments: &str) -> Vec<Value> {
    let lines = stdout(arguments);
    let objects = lines.lines().map(serde_json::from_str);
    objects.collect::<Result<_, _>>().unwrap()
}

const CONNECTED: &str = "\
simulator, seed 0
DOMID    PORT  STATE        BOUND TO    VCPU
    0       1  virq         TIMER          0
    0       2  virq         CONSOLE        0
    0       3  virq         PCPU_STATE     0
    0       4  virq         16             0
    0       5  ipi                         0
    0       6  ipi                         0
    0       7  ipi                         0
    0       8  ipi                         0
    0       9  ipi                         0
    0      10  interdomain  1:1            0
    0      11  interdomain  2:1            0
    1       1  interdomain  0:10           0
    2       1  interdomain  0:11           0
";

fn a_list_on_the_simulator_is_as_expected() {
    assert_eq!(stdout("ls --backend sim --guests 2"), CONNECTED);
}

/// Options for guests that die one after the other.
const DYING: &str = "--guests 2 --seed 1 --dies-after 20";

/// The wakes of that machine in `evtchn watch`.
fn wakes() -> Vec<Value> {
    let watch = format!("watch {DYING} --check-peers 10ms --json");
    let output = String::from_utf8(run(&watch).stdout).unwrap();
    let lines = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["event"] == "wake")
        .collect()
}

fn a_step_is_a_wake_of_watch() {
    let wakes = wakes();
    let gone = |step: usize| {
        let peers_gone = wakes[..step].iter().filter(|it| it["cause"] == "peer_gone");
        peers_gone
            .map(|it| it["port"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let unbound = |step: usize| {
        let objects = objects(&format!("ls --backend sim {DYING} --json --step {step}"));
        let unbound = objects.into_iter().filter(|it| it["state"] == "unbound");
        unbound
            .map(|it| it["port"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let first = wakes
        .iter()
        .position(|it| it["cause"] == "peer_gone")
        .unwrap();
    assert_eq!(gone(first + 1).len(), 1);
    // The port is unbound before a check reports that.
    assert_eq!((first, unbound(32), unbound(33)), (35, vec![], vec![11]));
    assert_eq!(gone(first + 1), [11]);
    assert_eq!(unbound(wakes.len()), [10, 11]);
    for step in [0, 1, 10] {
        let list = stdout(&format!("ls --backend sim {DYING} --step {step}"));
        assert_eq!(list, CONNECTED.replace("seed 0", "seed 1"));
    }
    let beyond = wakes.len() + 3;
    let line = failure(&format!("ls --backend sim {DYING} --step {beyond}"), 1);
    assert!(line.contains("--step is 3 too many"), "{line}");
}

fn the_seed_decides_every_byte() {
    let watched = |seed| {
        let machine = format!("--guests 3 --dies-after 9 --seed {seed}");
        stdout(&format!("ls --backend sim --watch --json {machine}"))
    };
    assert_eq!(watched(7), watched(7));
    assert_ne!(watched(7), watched(8));
}

fn only_named_domains_are_listed() {
    let all = stdout("ls --backend sim --guests 2");
    let header: Vec<&str> = all.lines().take(2).collect();
    let header = header.join("\n");
    let expected = format!("{header}\n    1       1  interdomain  0:10           0\n");
    assert_eq!(stdout("ls 1 --backend sim --guests 2"), expected);
    assert_eq!(stdout("ls 2 0 1 --backend sim --guests 2"), all);
    let gone = failure("ls 0 77 --backend sim", 5);
    assert!(gone.contains("ESRCH (3): no such domain"), "{gone}");
    let own = stdout("ls self --backend sim --guests 2");
    let own: Vec<&str> = own.lines().skip(2).collect();
    assert_eq!(own.len(), 11);
    assert!(own.iter().all(|line| line.starts_with(" self ")), "{own:?}");
    assert_eq!(stdout("ls --all --backend sim --guests 2"), all);
}

fn each_port_is_a_json_object() {
    let objects = objects(&format!("ls --backend sim {DYING} --json --step 33"));
    let expected = [
        json!({"backend": "sim", "event": "port", "domid": 0, "port": 1, "state": "virq", "virq": 0, "virq_name": "TIMER", "vcpu": 0}),
        json!({"backend": "sim", "event": "port", "domid": 0, "port": 4, "state": "virq", "virq": 16, "virq_name": null, "vcpu": 0}),
        json!({"backend": "sim", "event": "port", "domid": 0, "port": 9, "state": "ipi", "vcpu": 0}),
        json!({"backend": "sim", "event": "port", "domid": 0, "port": 10, "state": "interdomain", "remote": "1:1", "vcpu": 0}),
        json!({"backend": "sim", "event": "port", "domid": 0, "port": 11, "state": "unbound", "remote": "2:?",
            "vcpu": 0}),
    ];
    let some = [0, 3, 8, 9, 10].map(|index: usize| objects[index].clone());
    assert_eq!(some, expected);
    assert_eq!(objects.len(), 12);
}

/// The marked lines of each list of a watch.
fn marked(arguments: &str) -> Vec<Vec<String>> {
    let text = stdout(arguments);
    let lists = text.split("\n\n").map(|list| {
        let lines = list.lines().skip(2).filter(|line| !line.starts_with(' '));
        lines.map(str::to_owned).collect()
    });
    lists.collect()
}

fn a_watch_marks_removed_and_changed_ports() {
    let lists = marked(&format!("ls --backend sim {DYING} --watch"));
    assert_eq!(lists.len(), wakes().len() + 1);
    let marked: Vec<_> = lists.concat();
    let expected = [
        "~     0      11  unbound      2              0",
        "-     2       1  interdomain  0:11           0",
        "~     0      10  unbound      1              0",
        "-     1       1  interdomain  0:10           0",
    ];
    assert_eq!(marked, expected);
}

fn a_watch_goes_on_when_a_named_domain_dies() {
    let lists = marked(&format!("ls 1 2 --backend sim {DYING} --watch"));
    let went = lists.iter().flatten().filter(|line| line.starts_with('-'));
    assert_eq!(went.count(), 2);
}

fn a_watch_as_json_prints_the_first_list_and_then_changes() {
    let objects = objects(&format!("ls --backend sim {DYING} --watch --json"));
    let (first, rest): (Vec<_>, Vec<_>) = objects.iter().partition(|it| it["list"] == 0);
    assert_eq!(first.len(), 13);
    assert!(first.iter().all(|it| it["change"].is_null()));
    let changes = rest.iter().map(|it| it["change"].as_str().unwrap());
    let texts = marked(&format!("ls --backend sim {DYING} --watch"));
    let marks = texts.iter().flatten().map(|line| &line[..1]);
    assert_eq!(changes.collect::<Vec<_>>(), marks.collect::<Vec<_>>());
}

fn a_watch_ends_after_the_given_number_of_lists() {
    let lists = |count| marked(&format!("ls --backend sim --watch --count {count}")).len();
    assert_eq!((lists(1), lists(3)), (1, 3));
}

fn a_closed_pipe_and_a_full_disk_end_it() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command("ls --backend sim").stdout(full).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("cannot write the output"), "{stderr}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command("ls --backend sim --watch --guests 4096");
    let output = { output }.stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

fn wrong_arguments_are_exit_code_2() {
    for (arguments, part) in [
        ("ls many", "many"),
        ("ls 70000", "70000"),
        ("ls --backend vmware", "vmware"),
        ("ls --backend xen --seed 1", "--backend sim"),
        ("ls --backend xen --guests 1", "--backend sim"),
        ("ls --backend xen --step 1", "--backend sim"),
        ("ls --backend xen --dies-after 1", "--backend sim"),
        ("ls --backend sim --watch --interval 1s", "--backend xen"),
        ("ls --interval 1s", "--watch"),
        ("ls --count 3", "--watch"),
        ("ls --watch --count 0", "--count"),
        ("ls --backend sim --guests 0", "--guests"),
    ] {
        let output = run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert_eq!(output.stdout, b"", "{arguments}");
        assert!(stderr.contains(part), "{arguments}: {stderr}");
    }
}

fn without_a_device_ls_names_what_is_missing_in_one_line() {
    for arguments in ["ls", "ls 0 --json", "ls --watch"] {
        let line = failure(&format!("{arguments} --backend xen"), 3);
        for part in [PRIVCMD_PATH, "modprobe xen-privcmd", "--backend sim"] {
            assert!(line.contains(part), "{line}");
        }
    }
}

/// Binds every kind of port that a program can have in an ordinary dom0. Returns the ports and what the
/// command must print.
fn bind_every_kind(device: &Device) -> (Vec<Port>, Vec<Value>) {
    let own = |port| {
        let domid = DomId::SELF;
        RemotePort { domid, port }
    };
    let alone = device.bind_unbound_port(DomId::new(77)).unwrap();
    let near = device.bind_unbound_port(DomId::SELF).unwrap();
    let far = device.bind_interdomain(own(near)).unwrap();
    let virq = device.bind_virq(Virq::DEBUG).unwrap();
    let connected = |port: Port, to: Port| {
        json!({"backend": "xen", "event": "port", "domid": 0, "port": port.as_raw(), "state": "interdomain",
            "remote": format!("0:{to}"), "vcpu": 0})
    };
    let expected = vec![
        json!({"backend": "xen", "event": "port", "domid": 0, "port": alone.as_raw(), "state": "unbound",
            "remote": "77:?", "vcpu": 0}),
        connected(near, far),
        connected(far, near),
        json!({"backend": "xen", "event": "port", "domid": 0, "port": virq.as_raw(), "state": "virq", "virq": 1,
            "virq_name": "DEBUG", "vcpu": 0}),
    ];
    (vec![alone, near, far, virq], expected)
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| object["port"].as_u64());
    objects
}

fn ls_lists_the_ports_of_the_kernel_and_of_this_program() {
    let before = objects("ls 0 --json");
    for virq in ["TIMER", "CONSOLE", "PCPU_STATE"] {
        let held = before.iter().filter(|it| it["virq_name"] == virq);
        assert_eq!(held.count(), 1, "{virq}");
    }
    let device = Device::open().unwrap();
    let (_, mine) = bind_every_kind(&device);
    let expected = sorted([before.clone(), mine].concat());
    assert_eq!(objects("ls 0 --json"), expected);
    assert_eq!(objects("ls --json"), expected, "there is no other domain");
    let text = stdout("ls 0");
    assert_eq!(text.lines().count(), expected.len() + 2);
    drop(device);
    assert_eq!(objects("ls 0 --json"), before);
    let gone = failure("ls 77", 5);
    assert!(gone.contains("ESRCH (3): no such domain"), "{gone}");
}

/// A running watch, with its lines.
fn watch() -> (Child, impl Iterator<Item = Value>) {
    let arguments = "ls 0 --watch --json --interval 1s";
    let mut child = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let objects = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    (child, objects)
}

fn a_watch_lists_new_and_removed_ports_and_ends_on_a_signal() {
    let device = Device::open().unwrap();
    let listed = objects("ls 0 --json").len();
    let (mut child, mut lines) = watch();
    for _ in 0..listed {
        assert_eq!(lines.next().unwrap()["list"], 0);
    }
    let port = device.bind_unbound_port(DomId::new(77)).unwrap();
    let came = lines.next().unwrap();
    assert_eq!(
        (&came["change"], &came["port"]),
        (&json!("+"), &json!(port.as_raw()))
    );
    device.unbind(port).unwrap();
    let went = lines.next().unwrap();
    assert_eq!(
        (&went["change"], &went["port"]),
        (&json!("-"), &json!(port.as_raw()))
    );
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(lines.next(), None);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

type Case = (&'static str, fn());

macro_rules! cases {
    ($($name:ident)*) => { &[$((stringify!($name), $name)),*] };
}

const SIM: &[Case] = cases! {
    a_list_on_the_simulator_is_as_expected
    a_step_is_a_wake_of_watch
    the_seed_decides_every_byte
    only_named_domains_are_listed
    each_port_is_a_json_object
    a_watch_marks_removed_and_changed_ports
    a_watch_goes_on_when_a_named_domain_dies
    a_watch_as_json_prints_the_first_list_and_then_changes
    a_watch_ends_after_the_given_number_of_lists
    a_closed_pipe_and_a_full_disk_end_it
    wrong_arguments_are_exit_code_2
};

const WITHOUT_XEN: &[Case] = cases! {
    without_a_device_ls_names_what_is_missing_in_one_line
};

const XEN: &[Case] = cases! {
    ls_lists_the_ports_of_the_kernel_and_of_this_program
    a_watch_lists_new_and_removed_ports_and_ends_on_a_signal
};

/// The cases, on the simulator, on a machine without Xen, and on a real Xen.
pub(crate) fn trials() -> Vec<Trial> {
    let has_xen = fs::exists(DEVICE_PATH).unwrap_or(true);
    let is_left_out = crate::is_left_out();
    let trials = |side: &'static str, cases: &'static [Case], is_ignored: bool| {
        let trial = move |&(name, case): &Case| {
            let run = move || {
                case();
                Ok(())
            };
            Trial::test(format!("ls::{side}::{name}"), run).with_ignored_flag(is_ignored)
        };
        cases.iter().map(trial)
    };
    trials("sim", SIM, false)
        .chain(trials("without", WITHOUT_XEN, has_xen))
        .chain(trials("xen", XEN, is_left_out))
        .collect()
}
