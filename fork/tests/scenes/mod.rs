//! Scenes with a real fork. A process that forks must have one thread that matters, and one that
//! enters a PID namespace cannot leave it, so each scene is the test program once more. An
//! environment variable says what to play.

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process::{self, Command};

use libtest_mimic::{Arguments, Failed, Trial};

const SCENE: &str = "EVTCHN_SCENE";
const NAMESPACES: &str = "_in_pid_namespaces";
const PROBE: &str = "probe";
/// Seconds that a process may take. Only a failure ever takes so long.
const PATIENCE: u32 = 10;

/// A name, which is that of its test, and what is played.
pub(crate) type Scene = (&'static str, fn(&Forks));

/// How a scene forks.
pub(crate) struct Forks {
    namespaces: bool,
}

/// Plays the scene that the environment names, or else runs each scene as two tests: with a fork,
/// and with process 1 of a PID namespace that forks process 1 of another, so that parent and child
/// have the same process id.
pub(crate) fn main(scenes: &[Scene]) {
    if let Ok(asked) = env::var(SCENE) {
        return play(scenes, &asked);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let has_namespaces = spawn(PROBE).is_ok();
    if !has_namespaces {
        eprintln!("SKIPPED: forks in PID namespaces, because unshare(2) is refused (run as root)");
    }
    let mut trials = Vec::new();
    for (name, _) in scenes {
        trials.push(Trial::test(*name, || spawn(name)));
        let namespaced = format!("{name}{NAMESPACES}");
        let scene = namespaced.clone();
        let trial = Trial::test(namespaced, move || spawn(&scene));
        trials.push(trial.with_ignored_flag(!has_namespaces));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn spawn(scene: &str) -> Result<(), Failed> {
    let program = env::current_exe()?;
    let status = Command::new(program).env(SCENE, scene).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the scene ended with {status}").into()),
    }
}

fn play(scenes: &[Scene], asked: &str) {
    if asked == PROBE {
        return unshare();
    }
    let (name, namespaces) = match asked.strip_suffix(NAMESPACES) {
        Some(name) => (name, true),
        None => (asked, false),
    };
    let (_, scene) = scenes.iter().find(|(it, _)| *it == name).unwrap();
    let forks = Forks { namespaces };
    end_in_time();
    match namespaces {
        true => forks.in_child((), |()| scene(&forks)),
        false => scene(&forks),
    }
}

/// Makes the children of this process processes of a new PID namespace, the first one process 1.
fn unshare() {
    // SAFETY: it concerns the children of this process alone.
    let done = unsafe { libc::unshare(libc::CLONE_NEWPID) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Ends this process where it takes too long.
fn end_in_time() {
    // Process 1 of a namespace ignores a signal that it has no handler for.
    let handler: extern "C" fn(libc::c_int) = too_late;
    // SAFETY: the handler does nothing that a handler may not do.
    unsafe { libc::signal(libc::SIGALRM, handler as libc::sighandler_t) };
    // SAFETY: it has no other condition.
    unsafe { libc::alarm(PATIENCE) };
}

extern "C" fn too_late(_: libc::c_int) {
    // SAFETY: it may be called in a handler, and does not return.
    unsafe { libc::_exit(124) }
}

impl Forks {
    /// Runs `act` in a forked child, which ends with it, and waits for a good end. What the child
    /// takes, the parent keeps. A process does this once, and starts no thread afterwards: the
    /// kernel allows neither a second namespace nor a thread beside one (unshare(2)).
    pub(crate) fn in_child<T>(&self, kept: T, act: impl FnOnce(T)) -> T {
        if self.namespaces {
            unshare();
        }
        // SAFETY: no lock that the child needs is held by another thread.
        let child = unsafe { libc::fork() };
        assert!(
            child >= 0,
            "cannot fork: {}",
            std::io::Error::last_os_error()
        );
        if child > 0 {
            expect(child);
            return kept;
        }
        end_in_time();
        let ended = panic::catch_unwind(AssertUnwindSafe(|| {
            assert_eq!(process::id() == 1, self.namespaces);
            act(kept);
        }));
        // SAFETY: it does not return, and runs none of the exit handlers of the parent.
        unsafe { libc::_exit(i32::from(ended.is_err())) }
    }
}

fn expect(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the status is written, and nothing else.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(ended, child, "{}", std::io::Error::last_os_error());
    assert_eq!(
        status, 0,
        "the child ended with {status:#x}, 0x7c00 is out of time"
    );
}
