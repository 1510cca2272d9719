//! Processes on a machine that is served, and the server.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

use evtchn::sim::remote::RemoteSim;

use super::{PATH, ROLE};
use crate::installed::{build, prefix};

/// The program, which is built once.
fn served() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("served", &["tests/c/served.c"]))
}

/// A process, which is killed when this is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
    pub(crate) stdin: Option<ChildStdin>,
}

impl Running {
    pub(crate) fn new(command: &mut Command) -> Running {
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
    pub(crate) fn of_this(role: &str, path: &Path, argument: &str) -> Running {
        let mut command = Command::new(env::current_exe().unwrap());
        let test = format!("served::{role}");
        command.args(["--exact", &test, "--nocapture"]);
        command.env(ROLE, argument).env(PATH, path);
        Running::new(&mut command)
    }

    /// Waits for a line that begins like this, and returns the rest of it.
    #[track_caller]
    pub(crate) fn line(&mut self, begins: &str) -> String {
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
    pub(crate) fn done(&mut self) {
        self.line("done");
        assert!(self.child.wait().unwrap().success());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
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
pub(crate) struct Machine {
    pub(crate) path: PathBuf,
    pub(crate) before: String,
    _server: Running,
}

impl Machine {
    pub(crate) fn new() -> Machine {
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

    pub(crate) fn dump(&self) -> String {
        RemoteSim::at(&self.path).dump().unwrap()
    }

    /// What a domain has bound and open, beside its kernel.
    pub(crate) fn of(&self, domid: u16) -> Vec<String> {
        let dump = self.dump();
        let new = dump.lines().filter(|line| !self.before.contains(*line));
        let here = [format!("d{domid}:"), format!("d{domid} ")];
        let lines = new.filter(|line| here.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect()
    }

    /// The program on this machine. It ends by itself if it hangs: `timeout`, which ends others, cannot be killed in its place.
    pub(crate) fn command(&self, domid: u16) -> Command {
        let mut command = Command::new(served());
        command.env("LD_LIBRARY_PATH", prefix().join("lib"));
        command.env(PATH, &self.path);
        command.env("EVTCHN_SIM_DOMID", domid.to_string());
        command
    }

    pub(crate) fn start(&self, domid: u16, arguments: &str) -> Running {
        let mut command = self.command(domid);
        Running::new(command.args(arguments.split(' ')))
    }

    /// A back end in domain 0, a front end in C in domain 1, and one in Rust in domain 2.
    pub(crate) fn start_three(&self, events: u32, every: u32) -> [Running; 3] {
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
