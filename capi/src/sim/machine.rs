//! The machine that is current, and what it remembers of the program.
#![expect(unsafe_code, reason = "a descriptor that C has")]

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::{DomId, Open};
use evtchn_fork::Process;
use evtchn_sim::remote::{Act, RemoteDevice, RemoteSim};
use evtchn_sim::{FileId, Sim, SimOpen};

use super::device::Device;
use super::later::Later;
use super::{errno, errno_of};
use crate::errno::Errno;
use crate::file::Request;
use crate::system;

/// The seed of the machine that a program uses without choosing one.
const SEED: u64 = 1;

/// The variable with the path of a socket, where the machine of a program is served that chooses none.
const SOCKET: &str = "EVTCHN_SIM";
/// The variable with the domain in which such a program opens devices; 0 without it.
const DOMID: &str = "EVTCHN_SIM_DOMID";

static CURRENT: Mutex<Option<Arc<Machine>>> = Mutex::new(None);

/// A simulated machine, and the program on it.
#[derive(Debug)]
pub(crate) struct Machine {
    place: Place,
    made_by: Option<Process>,
    program: Mutex<Program>,
    own_time: AtomicBool,
}

/// Where the machine is.
#[derive(Debug)]
enum Place {
    /// In this process.
    Here(Sim),
    /// In the process of a server.
    Served(RemoteSim),
}

#[derive(Debug)]
struct Program {
    /// The domain in which devices are opened, or why none can be opened.
    domid: Result<DomId, Errno>,
    /// By the inode of its descriptor, what opened a device.
    files: BTreeMap<u64, SimOpen>,
    violations: Vec<String>,
    due: VecDeque<Later>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// The machine on which devices are opened now.
    pub(crate) fn current() -> Arc<Machine> {
        let mut current = lock(&CURRENT);
        Arc::clone(current.get_or_insert_with(Machine::unchosen))
    }

    /// From now on devices are opened on a new machine.
    pub(crate) fn renew(seed: u64) {
        let machine = Machine::new(Place::Here(Sim::new(seed)), Ok(DomId::DOM0));
        let former = lock(&CURRENT).replace(machine);
        drop(former);
    }

    /// The machine of a program that chooses none.
    fn unchosen() -> Arc<Machine> {
        match env::var_os(SOCKET) {
            None => Machine::new(Place::Here(Sim::new(SEED)), Ok(DomId::DOM0)),
            Some(path) => Machine::new(Place::Served(RemoteSim::at(path)), own_domid()),
        }
    }

    fn new(place: Place, domid: Result<DomId, Errno>) -> Arc<Machine> {
        Arc::new(Machine {
            place,
            made_by: Process::current().ok(),
            program: Mutex::new(Program {
                domid,
                files: BTreeMap::new(),
                violations: Vec::new(),
                due: VecDeque::new(),
            }),
            own_time: AtomicBool::new(false),
        })
    }

    pub(crate) fn act(&self, act: Act) -> Result<u64, Errno> {
        let done = match &self.place {
            Place::Here(sim) => act.on(sim),
            Place::Served(machine) => machine.act(act),
        };
        done.map_err(errno)
    }

    pub(crate) fn dump(&self) -> Result<String, Errno> {
        match &self.place {
            Place::Here(sim) => Ok(sim.dump()),
            Place::Served(machine) => machine.dump().map_err(errno),
        }
    }

    pub(crate) fn enter(&self, domid: DomId) {
        lock(&self.program).domid = Ok(domid);
    }

    /// Opens a device.
    pub(crate) fn open(&self) -> Result<Device, Errno> {
        let domid = lock(&self.program).domid?;
        let sim = match &self.place {
            Place::Here(sim) => sim,
            Place::Served(machine) => {
                let device = RemoteDevice::open_raw(machine.path(), domid);
                return device.map(Device::Served).map_err(errno);
            }
        };
        // It opens only this device, so it finds the file again.
        let opener = sim.open(domid).raw();
        let device = opener.open().map_err(|error| {
            let code = error.code();
            code.map_or(Errno::EIO, Errno::new)
        })?;
        let fd = device.try_fd().map_err(|error| errno_of(&error))?;
        if let Some(inode) = inode(fd) {
            lock(&self.program).files.insert(inode, opener);
        }
        Ok(Device::Here(device))
    }

    /// The device whose descriptor this is, or a duplicate of it.
    pub(crate) fn adopt(&self, fd: RawFd) -> Option<Device> {
        let inode = inode_of(fd)?;
        if let Place::Served(machine) = &self.place {
            return adopt_served(machine.path(), fd);
        }
        let opener = lock(&self.program).files.get(&inode).cloned()?;
        let device = opener.dup().ok()?;
        // It has to exist before the first event.
        device.try_fd().ok()?;
        Some(Device::Here(device))
    }

    /// A handle is closed, perhaps not the only one of its file.
    pub(crate) fn closed(&self, fd: RawFd) {
        let (Place::Here(sim), Some(inode)) = (&self.place, inode_of(fd)) else {
            return;
        };
        let is_gone = |opener: &SimOpen| {
            let file = opener.last();
            file.is_none_or(|file| sim.with(|world| world.poll(file).is_err()))
        };
        let mut program = lock(&self.program);
        program
            .files
            .retain(|it, opener| *it == inode || !is_gone(opener));
    }

    // Time.

    pub(crate) fn set_own_time(&self, is_on: bool) {
        self.own_time.store(is_on, Ordering::Relaxed);
    }

    /// The machine, if its time passes while the program sleeps.
    pub(crate) fn in_own_time(&self) -> Option<&Sim> {
        match &self.place {
            Place::Here(sim) if self.own_time.load(Ordering::Relaxed) => Some(sim),
            Place::Here(_) | Place::Served(_) => None,
        }
    }

    /// Does the next thing that happens while the program sleeps. `EDEADLK` where nothing ever would.
    pub(crate) fn pass(&self, sim: &Sim) -> Result<(), Errno> {
        if sim.step() {
            return Ok(());
        }
        let deadline = sim.next_deadline().ok_or(Errno::new(libc::EDEADLK))?;
        self.advance_to(sim, deadline);
        Ok(())
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, by: Duration) -> Result<(), Errno> {
        let Place::Here(sim) = &self.place else {
            return self.act(Act::Advance { by }).map(drop);
        };
        let until = sim.now().saturating_add(by);
        while let Some(deadline) = sim.next_deadline()
            && deadline <= until
        {
            self.advance_to(sim, deadline);
        }
        self.advance_to(sim, until);
        Ok(())
    }

    /// The calls of the program that are due by then are made when no lock is held.
    fn advance_to(&self, sim: &Sim, moment: Duration) {
        let by = moment.saturating_sub(sim.now());
        sim.advance(by);
        while let Some(later) = self.next_due() {
            later.call();
        }
    }

    fn next_due(&self) -> Option<Later> {
        lock(&self.program).due.pop_front()
    }

    /// Makes a call of the program once this much time has passed. `EOPNOTSUPP` where another process has the machine.
    pub(crate) fn after(self: &Arc<Machine>, delay: Duration, later: Later) -> Result<(), Errno> {
        let Place::Here(sim) = &self.place else {
            return Err(Errno::new(libc::EOPNOTSUPP));
        };
        let machine = Arc::downgrade(self);
        sim.after(delay, move |_| {
            if let Some(machine) = machine.upgrade() {
                lock(&machine.program).due.push_back(later);
            }
        });
        Ok(())
    }

    // What the program should not do.

    pub(crate) fn violations(&self) -> Vec<String> {
        let mut violations = lock(&self.program).violations.clone();
        // Those of a machine that is served may be of another process.
        if let Place::Here(sim) = &self.place
            && let count @ 1.. = sim.with(|world| world.old_ports_released())
        {
            violations.push(format!(
                "ports from before a restore that were unbound or closed: {count}, which a kernel need not survive"
            ));
        }
        violations
    }

    fn violated(&self, what: impl Display) {
        let what = what.to_string();
        let violations = &mut lock(&self.program).violations;
        if !violations.contains(&what) {
            violations.push(what);
        }
    }

    /// Notes what is wrong with a request, which is made all the same.
    pub(crate) fn judge_request(&self, request: Request) {
        self.judge_process();
        let (Request::BindUnboundPort(domid) | Request::BindInterdomain(domid, _)) = request else {
            return;
        };
        if domid > u32::from(u16::MAX) {
            let low = domid & u32::from(u16::MAX);
            self.violated(format_args!(
                "bind to domain {domid}, of which Linux sees the low 16 bits: domain {low}"
            ));
        }
    }

    /// Notes what is wrong with an unmask, which is made all the same. What another process simulates is not looked at.
    pub(crate) fn judge_unmask(&self, file: Option<FileId>, port: u32) {
        self.judge_process();
        let (Place::Here(sim), Some(file)) = (&self.place, file) else {
            return;
        };
        let (is_bound, is_unread) = sim.with(|world| {
            let is_bound = world.has_bound(file, port).unwrap_or(true);
            let unread = world.unread(file).unwrap_or_default();
            (is_bound, unread.contains(&port))
        });
        if !is_bound {
            self.violated(format_args!(
                "unmask of port {port}, which the handle has not bound: it has no effect"
            ));
        } else if is_unread {
            self.violated(format_args!(
                "unmask of port {port} before its event was read: the ring can overflow"
            ));
        }
    }

    fn judge_process(&self) {
        if self.made_by.is_some_and(|process| !process.is_current()) {
            self.violated("use of a handle in a forked child, which may only close it");
        }
    }
}

/// The domain that the environment names.
fn own_domid() -> Result<DomId, Errno> {
    let Some(text) = env::var_os(DOMID) else {
        return Ok(DomId::DOM0);
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.map(DomId::new).ok_or(Errno::EINVAL)
}

fn adopt_served(path: &Path, fd: RawFd) -> Option<Device> {
    // SAFETY: fstat(2) has just found it open, and C does not close it before it gets the handle.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    RemoteDevice::adopt_raw(path, fd).ok().map(Device::Served)
}

fn inode(fd: BorrowedFd<'_>) -> Option<u64> {
    Some(rustix::fs::fstat(fd.as_fd()).ok()?.st_ino)
}

fn inode_of(fd: RawFd) -> Option<u64> {
    system::stat(fd).ok().map(|stat| stat.st_ino)
}
