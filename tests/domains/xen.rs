//! The machine that this runs on: dom0, and guests that its toolstack makes.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use evtchn_core::DomId;
use evtchn_xen::{DEVICE_PATH, Privcmd, XenOpen};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::agent::ANSWER;
use super::backend::PATIENCE;
use super::side::{Guest, Side};

/// The guest of the cases that leave it alive.
static SHARED: Mutex<Option<Arc<XenGuest>>> = Mutex::new(None);
/// Names of guests.
static NAMES: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Xen;

pub(crate) struct XenGuest {
    name: String,
    domid: DomId,
    console: Mutex<Console>,
}

struct Console {
    file: File,
    unread: Vec<u8>,
}

/// Runs a program of the toolstack and says what it printed.
#[track_caller]
fn toolstack(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The domain of this name, if there is one.
fn domid(name: &str) -> Option<DomId> {
    let output = Command::new("xl").args(["domid", name]).output().unwrap();
    let domid = String::from_utf8(output.stdout).unwrap();
    domid.trim().parse().ok()
}

fn is_there(domid: DomId) -> bool {
    let domid = domid.to_string();
    let output = Command::new("xl").args(["list", &domid]).output();
    output.unwrap().status.success()
}

/// Asks until it is true; only a failing test asks until the machine is stopped.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
    }
}

impl Xen {
    pub(crate) fn new() -> Xen {
        Xen
    }

    /// Why this side is left out here, if so.
    ///
    /// # Errors
    /// Not a dom0 with a toolstack, where it has to be one.
    pub(crate) fn excuse() -> Result<Option<String>, String> {
        let has_toolstack = fs::exists("/domu/vmlinuz").unwrap_or(false);
        if has_toolstack && fs::exists(DEVICE_PATH).unwrap_or(false) {
            return Ok(None);
        }
        let reason = "not a dom0 with guests to start".to_owned();
        match env::var_os("EVTCHN_REQUIRE_XEN").is_some_and(|value| value == "1") {
            true => Err(reason),
            false => Ok(Some(reason)),
        }
    }
}

impl XenGuest {
    fn start() -> XenGuest {
        let name = format!("case-{}", NAMES.fetch_add(1, Ordering::Relaxed));
        toolstack("domain", &["start", &name]);
        XenGuest::named(name, None)
    }

    /// The guest of this name that is not `old`, once its program answers.
    fn named(name: String, old: Option<DomId>) -> XenGuest {
        let domid = until(|| domid(&name).filter(|domid| Some(*domid) != old));
        let path = format!("/local/domain/{domid}/console/tty");
        let tty = until(|| {
            let output = Command::new("xenstore-read").arg(&path).output().unwrap();
            let tty = String::from_utf8(output.stdout).unwrap().trim().to_owned();
            (!tty.is_empty()).then_some(tty)
        });
        toolstack("stty", &["-F", &tty, "raw", "-echo"]);
        let file = File::options().read(true).write(true).open(tty).unwrap();
        let mut console = Console {
            file,
            unread: Vec::new(),
        };
        console.read_until("=== up");
        console.write("evtchn-sides agent");
        XenGuest {
            name,
            domid,
            console: Mutex::new(console),
        }
    }

    /// Ends the program, and lets the shell that started it do something.
    fn shell(&self, line: &str) {
        let mut console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        console.write("exit");
        console.read_until("=== exit");
        console.write(line);
    }
}

impl Console {
    fn write(&mut self, line: &str) {
        self.file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Reads to a line that starts like this, and gives the rest of it.
    #[track_caller]
    fn read_until(&mut self, start: &str) -> String {
        let mut seen = String::new();
        loop {
            while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if let Some(rest) = line.strip_prefix(start) {
                    return rest.to_owned();
                }
                seen += &line;
                seen.push('\n');
            }
            // A guest that boots takes its time under an emulator.
            let patience = Timespec::try_from(PATIENCE * 6).unwrap();
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&patience)).unwrap();
            assert_eq!(ready, 1, "the guest says no {start:?} but: {seen}");
            let mut bytes = [0; 4096];
            match self.file.read(&mut bytes) {
                Ok(read @ 1..) => self.unread.extend_from_slice(&bytes[..read]),
                ended => panic!("the console ended ({ended:?}) after: {seen}"),
            }
        }
    }
}

impl Side for Xen {
    type Open = XenOpen;
    type Guest = Arc<XenGuest>;
    type Statuses = Privcmd;

    fn statuses(&self) -> Privcmd {
        Privcmd::open().unwrap()
    }

    fn opener(&self) -> XenOpen {
        XenOpen::default()
    }

    fn guest(&self) -> Arc<XenGuest> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shared.get_or_insert_with(|| Arc::new(XenGuest::start())))
    }

    fn own_guest(&self) -> Arc<XenGuest> {
        let guest = self.guest();
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        *shared = None;
        guest
    }

    fn create_empty(&self) -> DomId {
        let name = format!("empty-{}", NAMES.fetch_add(1, Ordering::Relaxed));
        toolstack("domain", &["empty", &name]);
        domid(&name).unwrap()
    }

    fn destroy(&self, domid: DomId) {
        toolstack("xl", &["destroy", &domid.to_string()]);
        until(|| (!is_there(domid)).then_some(()));
    }

    fn power_off(&self, guest: Arc<XenGuest>) {
        guest.shell("poweroff -f");
        until(|| (!is_there(guest.domid)).then_some(()));
    }

    fn reboot(&self, guest: Arc<XenGuest>) -> Arc<XenGuest> {
        guest.shell("reboot -f");
        until(|| (!is_there(guest.domid)).then_some(()));
        let new = XenGuest::named(guest.name.clone(), Some(guest.domid));
        let new = Arc::new(new);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        *shared = Some(Arc::clone(&new));
        new
    }

    fn pause(&self, domid: DomId) {
        toolstack("xl", &["pause", &domid.to_string()]);
    }

    fn unpause(&self, domid: DomId) {
        toolstack("xl", &["unpause", &domid.to_string()]);
    }
}

impl Guest for Arc<XenGuest> {
    fn domid(&self) -> DomId {
        self.domid
    }

    fn answer(&self, request: &str) -> String {
        let mut console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        console.write(request);
        console.read_until(ANSWER)
    }
}
