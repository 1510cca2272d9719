//! Processes on one machine that a server has: programs in C, and one in Rust.
//!
//! The server is a process too: this test binary, or the command that `EVTCHN` names, as `sim --listen`. `EVTCHN_EVENTS` says how
//! many events go each way.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, fs, process};

use evtchn::poll::Context;
use evtchn::sim::Sim;
use evtchn::sim::remote::{Act, RemoteOpen, RemoteSim, Server};
use evtchn::{DomId, Port, RemotePort};

use crate::installed::{build, command, prefix, run, source};
use crate::programs::{SEVERAL_PROCESSES, check, example, is_missing, lines_of};

/// The variables of a process that is this binary: what it is, and where the machine is served.
const ROLE: &str = "EVTCHN_TEST_ROLE";
const PATH: &str = "EVTCHN_SIM";

/// More events than any test waits for.
const ENDLESS: u32 = 1_000_000_000;

/// The program, which is built once.
fn served() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("served", &["tests/c/served.c"]))
}

/// How many events go each way.
fn events() -> u32 {
    let events = env::var("EVTCHN_EVENTS");
    events.map_or(1000, |events| events.parse().unwrap())
}

/// A process, which is killed when this is dropped.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdin: Option<ChildStdin>,
}

impl Running {
    fn new(command: &mut Command) -> Running {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdin = child.stdin.take();
        Running {
            child,
            lines,
            stdin,
        }
    }

    /// This test binary, which calls one of the functions below.
    fn of_this(role: &str, path: &Path, argument: &str) -> Running {
        let mut command = Command::new(env::current_exe().unwrap());
        let test = format!("served::{role}");
        command.args(["--exact", &test, "--nocapture"]);
        command.env(ROLE, argument).env(PATH, path);
        Running::new(&mut command)
    }

    /// Waits for a line that begins like this, and returns the rest of it.
    #[track_caller]
    fn line(&mut self, begins: &str) -> String {
        for line in self.lines.by_ref() {
            if let Some(rest) = line.unwrap().strip_prefix(begins) {
                return rest.to_owned();
            }
        }
        panic!(
            "it ended without a line {begins:?}: {:?}",
            self.child.wait()
        );
    }

    #[track_caller]
    fn done(&mut self) {
        self.line("done");
        assert!(self.child.wait().unwrap().success());
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It fails where the process has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A machine with domain 0 and three guests.
struct Machine {
    path: PathBuf,
    before: String,
    _server: Running,
}

impl Machine {
    fn new() -> Machine {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The path of a socket has 108 bytes at most.
        let path = env::temp_dir().join(format!("evtchn-capi-{}-{count}", process::id()));
        let mut server = match env::var_os("EVTCHN") {
            None => Running::of_this("a_server", &path, "server"),
            Some(evtchn) => {
                let mut command = Command::new(evtchn);
                Running::new(command.args(["sim", "--listen"]).arg(&path))
            }
        };
        server.line("listening at ");
        let before = RemoteSim::at(&path).dump().unwrap();
        Machine {
            path,
            before,
            _server: server,
        }
    }

    fn dump(&self) -> String {
        RemoteSim::at(&self.path).dump().unwrap()
    }

    /// What a domain has bound and open, beside its kernel.
    fn of(&self, domid: u16) -> Vec<String> {
        let dump = self.dump();
        let new = dump.lines().filter(|line| !self.before.contains(*line));
        let here = [format!("d{domid}:"), format!("d{domid} ")];
        let lines = new.filter(|line| here.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect()
    }

    /// The program on this machine. It ends by itself if it hangs: `timeout`, which ends others, cannot be killed in its place.
    fn command(&self, domid: u16) -> Command {
        let mut command = Command::new(served());
        command.env("LD_LIBRARY_PATH", prefix().join("lib"));
        command.env(PATH, &self.path);
        command.env("EVTCHN_SIM_DOMID", domid.to_string());
        command
    }

    fn start(&self, domid: u16, arguments: &str) -> Running {
        let mut command = self.command(domid);
        Running::new(command.args(arguments.split(' ')))
    }

    /// A back end in domain 0, a front end in C in domain 1, and one in Rust in domain 2.
    fn start_three(&self, events: u32, every: u32) -> [Running; 3] {
        let mut back = self.start(0, &format!("back {events} {every} 1 2"));
        let ports = back.line("");
        let [one, two]: [&str; 2] = ports
            .split_whitespace()
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let in_c = self.start(1, &format!("front 0 {one} {events}"));
        let in_rust = Running::of_this(
            "a_front_end_in_rust",
            &self.path,
            &format!("{two} {events}"),
        );
        [back, in_c, in_rust]
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A server that was killed has left it.
        drop(fs::remove_file(&self.path));
    }
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
    for (name, expected, survives) in [
        ("conformance", "conformance", false),
        ("overflow", "overflow", true),
    ] {
        let program = build(&format!("served-{name}"), &[&format!("tests/c/{name}.c")]);
        let mut served = command(&program);
        served.env(PATH, &machine.path);
        if survives {
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
