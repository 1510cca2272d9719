//! Processes on one machine that a server has: programs in C, and one in Rust.
//!
//! The server is a process too: this test binary, or the command that `EVTCHN` names, as `sim --listen`. `EVTCHN_EVENTS` says how
//! many events go each way.

mod rig;

use std::ffi::OsStr;
use std::io::pipe;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use evtchn::poll::Context;
use evtchn::sim::Sim;
use evtchn::sim::remote::{Act, RemoteOpen, RemoteSim, Server};
use evtchn::{DomId, Port, RemotePort};

use crate::installed::{build, command, prefix, run, source};
use crate::programs::{SEVERAL_PROCESSES, check, example, is_missing, lines_of};
use rig::{Machine, Running};

/// The variables of a process that is this binary: what it is, and where the machine is served.
const ROLE: &str = "EVTCHN_TEST_ROLE";
const PATH: &str = "EVTCHN_SIM";

/// More events than any test waits for.
const ENDLESS: u32 = 1_000_000_000;

/// How many events go each way.
fn events() -> u32 {
    let events = env::var("EVTCHN_EVENTS");
    events.map_or(1000, |events| events.parse().unwrap())
}

/// The server, in a process of its own.
#[test]
fn a_server() {
    if env::var_os(ROLE).is_none() {
        return;
    }
    let sim = Sim::new(0);
    for _ in 0..3 {
        sim.create_domain().unwrap();
    }
    let path = env::var_os(PATH).unwrap();
    let mut server = Server::bind(&path, &sim).unwrap();
    println!("\nlistening at {}", path.display());
    // Until it is killed.
    let (stop, _stopper) = pipe().unwrap();
    server.run(stop).unwrap();
}

/// The front end, in a process of its own.
#[test]
fn a_front_end_in_rust() {
    let Ok(arguments) = env::var(ROLE) else {
        return;
    };
    let numbers = arguments.split(' ').map(|number| number.parse().unwrap());
    let [port, events]: [u32; 2] = numbers.collect::<Vec<_>>().try_into().unwrap();
    let opener = RemoteOpen::at(env::var_os(PATH).unwrap(), DomId::new(2));
    let ctx: Context = Context::new(opener).unwrap();
    let remote = RemotePort {
        domid: DomId::DOM0,
        port: Port::new(port).unwrap(),
    };
    let channel = ctx.bind_interdomain(remote).unwrap();
    let wait = || {
        let woken = channel.block_for(Duration::from_secs(100)).unwrap();
        assert!(woken.is_some(), "no answer");
    };
    // Binding brings an event.
    wait();
    println!();
    for event in 1..=events {
        channel.notify().unwrap();
        wait();
        if event % 100 == 0 {
            println!("goes on");
        }
    }
    drop(channel);
    ctx.teardown().unwrap();
    println!("done");
}

#[test]
fn a_program_on_a_served_machine_sees_what_it_would_see_on_the_device() {
    let machine = Machine::new();
    for (name, argument, expected) in [
        ("conformance", None, "conformance"),
        ("overflow", None, "overflow"),
        // It survives its overflow over an exec too.
        ("overflow", Some("exec"), "overflow-exec"),
    ] {
        let program = build(
            &format!("served-{expected}"),
            &[&format!("tests/c/{name}.c")],
        );
        let mut served = command(&program);
        served.args(argument).env(PATH, &machine.path);
        if name == "overflow" {
            served.env("EVTCHN_SURVIVE_OVERFLOW", "1");
        }
        let expected = fs::read_to_string(source(&format!("tests/{expected}.txt"))).unwrap();
        assert_eq!(run(&mut served), expected);
    }
    assert_eq!(machine.dump(), machine.before);
}

#[test]
fn two_programs_in_c_and_one_in_rust_send_one_another_events() {
    let machine = Machine::new();
    for mut process in machine.start_three(events(), 0) {
        process.done();
    }
    assert_eq!(machine.dump(), machine.before);
}

#[test]
fn a_live_update_loses_no_event_that_is_under_way() {
    let machine = Machine::new();
    for mut process in machine.start_three(events(), 7) {
        process.done();
    }
    assert_eq!(machine.dump(), machine.before);
}

#[test]
fn what_a_killed_process_had_bound_is_unbound_and_the_others_go_on() {
    let machine = Machine::new();
    for victim in 0..3 {
        let mut three = machine.start_three(ENDLESS, 0);
        // They are under way.
        three[1].line("goes on");
        three[2].line("goes on");
        assert!(!machine.of(victim).is_empty());
        three[usize::from(victim)].kill();
        assert_eq!(machine.of(victim), Vec::<String>::new());
        if victim == 0 {
            for front in [1, 2] {
                let left = machine.of(front).join("\n");
                assert!(left.contains("unbound for d0"), "{left}");
            }
        } else {
            let left = machine.of(0).join("\n");
            assert!(left.contains(&format!("unbound for d{victim}")), "{left}");
            for _ in 0..3 {
                three[usize::from(3 - victim)].line("goes on");
            }
        }
        drop(three);
        assert_eq!(machine.dump(), machine.before);
    }
}

#[test]
fn a_domain_can_be_destroyed_under_a_process_and_the_others_go_on() {
    let machine = Machine::new();
    let mut three = machine.start_three(ENDLESS, 0);
    three[1].line("goes on");
    let act = |act| RemoteSim::at(&machine.path).act(act).unwrap();
    act(Act::DestroyDomain { domid: 1 });
    for _ in 0..3 {
        three[2].line("goes on");
    }
    assert!(machine.of(0).join("\n").contains("unbound for d1"));
}

#[test]
fn a_forked_child_shares_the_open_device_as_on_xen() {
    let machine = Machine::new();
    let mut parent = machine.start(0, "fork");
    assert_eq!(parent.line("the parent gets what the child sent: "), "yes");
    assert_eq!(parent.line("and not what the child took: "), "EAGAIN");
    assert!(parent.child.wait().unwrap().success());
    parent.line("done");
    // The child lives on, and the device is open.
    assert!(!machine.of(0).is_empty());
    drop(parent.stdin.take());
    // The end of the output is the end of the child.
    assert!(parent.lines.next().is_none());
    assert_eq!(machine.dump(), machine.before);
}

#[test]
fn a_program_without_a_server_or_a_domain_cannot_open_a_device() {
    let machine = Machine::new();
    for (path, domid, error) in [
        (machine.path.as_os_str(), "9", "ENOENT"),
        (machine.path.as_os_str(), "one", "EINVAL"),
        (machine.path.as_os_str(), "65536", "EINVAL"),
        (OsStr::new("/nowhere"), "0", "ENOENT"),
    ] {
        let mut refused = machine.command(0);
        refused.env(PATH, path).env("EVTCHN_SIM_DOMID", domid);
        let output = refused.args(["front", "0", "1", "1"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, format!("open: {error}\n"));
    }
}

#[test]
fn the_commands_of_the_document_run_a_front_and_a_back_end_in_two_domains() {
    if is_missing("pkg-config") {
        return;
    }
    let lines = lines_of(SEVERAL_PROCESSES);
    let [listen, compile, export, back, front, dump]: &[String; 6] =
        lines.as_slice().try_into().unwrap();
    assert!(
        listen.starts_with("evtchn sim --listen /tmp/machine "),
        "{listen}"
    );
    assert!(
        dump.starts_with("evtchn sim --dump /tmp/machine "),
        "{dump}"
    );
    let machine = Machine::new();
    let folder = example("example-served");
    let shell = |commands: &[&str]| {
        let mut shell = Command::new("sh");
        let path = machine.path.to_str().unwrap();
        shell.args(["-euc", &commands.join("\n").replace("/tmp/machine", path)]);
        shell.current_dir(&folder).env("PREFIX", prefix());
        shell.env("LD_LIBRARY_PATH", prefix().join("lib"));
        shell.env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"));
        shell
    };
    run(&mut shell(&[compile]));
    let build = "cc -o backend backend.c backend_main.c $(pkg-config --cflags --libs xenevtchn)";
    run(&mut shell(&[build]));

    let mut back = Running::new(&mut shell(&[export, &back.replace("./", "exec ./")]));
    let port = back.line("port ");
    let front = front.replace(" 10 ", &format!(" {port} "));
    assert_eq!(run(&mut shell(&[export, &front])), "1000 answers\n");
    assert!(
        machine
            .dump()
            .contains(&format!("d0:{port} unbound for d1"))
    );
    back.kill();
    assert_eq!(machine.dump(), machine.before);
}

#[test]
fn valgrind_finds_no_error_and_no_leak_on_a_served_machine() {
    if is_missing("valgrind") {
        return;
    }
    let machine = Machine::new();
    for name in ["conformance", "overflow"] {
        let program = build(
            &format!("checked-served-{name}"),
            &[&format!("tests/c/{name}.c")],
        );
        check(&program, |checked| {
            checked.env(PATH, &machine.path);
        });
    }
    assert_eq!(machine.dump(), machine.before);
}
