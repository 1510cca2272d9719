//! The machine that is current, and what it remembers of the program.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::DomId;
use evtchn_fork::Process;
use evtchn_sim::{FileId, Sim, SimOpen};

use super::later::Later;
use crate::errno::Errno;
use crate::file::Request;
use crate::system;

/// The seed of the machine that a program uses without choosing one.
const SEED: u64 = 1;

static CURRENT: Mutex<Option<Arc<Machine>>> = Mutex::new(None);

/// A simulated machine, and the program on it.
#[derive(Debug)]
pub(crate) struct Machine {
    sim: Sim,
    made_by: Option<Process>,
    program: Mutex<Program>,
    own_time: AtomicBool,
}

#[derive(Debug)]
struct Program {
    /// The domain in which devices are opened.
    domid: DomId,
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
        Arc::clone(current.get_or_insert_with(|| Machine::new(SEED)))
    }

    /// From now on devices are opened on a new machine.
    pub(crate) fn renew(seed: u64) {
        let machine = Machine::new(seed);
        let former = lock(&CURRENT).replace(machine);
        drop(former);
    }

    fn new(seed: u64) -> Arc<Machine> {
        Arc::new(Machine {
            sim: Sim::new(seed),
            made_by: Process::current().ok(),
            program: Mutex::new(Program {
                domid: DomId::DOM0,
                files: BTreeMap::new(),
                violations: Vec::new(),
                due: VecDeque::new(),
            }),
            own_time: AtomicBool::new(false),
        })
    }

    pub(crate) const fn sim(&self) -> &Sim {
        &self.sim
    }

    pub(crate) fn enter(&self, domid: DomId) {
        lock(&self.program).domid = domid;
    }

    /// Opens one device, of which it is the only opener, so that it finds the file again.
    pub(crate) fn opener(&self) -> SimOpen {
        self.sim.open(lock(&self.program).domid)
    }

    pub(crate) fn opened(&self, fd: BorrowedFd<'_>, opener: SimOpen) {
        if let Some(inode) = inode(fd) {
            lock(&self.program).files.insert(inode, opener);
        }
    }

    /// What opened the device whose descriptor this is, or a duplicate of it.
    pub(crate) fn opener_of(&self, fd: RawFd) -> Option<SimOpen> {
        let inode = inode_of(fd)?;
        lock(&self.program).files.get(&inode).cloned()
    }

    /// A handle is closed, perhaps not the only one of its file.
    pub(crate) fn closed(&self, fd: RawFd) {
        let Some(inode) = inode_of(fd) else { return };
        let mut program = lock(&self.program);
        let is_gone = |opener: &mut SimOpen| {
            opener
                .last()
                .is_none_or(|file| self.sim.with(|world| world.poll(file).is_err()))
        };
        program
            .files
            .retain(|it, opener| *it == inode || !is_gone(opener));
    }

    // Time.

    pub(crate) fn set_own_time(&self, is_on: bool) {
        self.own_time.store(is_on, Ordering::Relaxed);
    }

    pub(crate) fn is_in_own_time(&self) -> bool {
        self.own_time.load(Ordering::Relaxed)
    }

    /// Does the next thing that happens while the program sleeps. `EDEADLK` where nothing ever would.
    pub(crate) fn pass(&self) -> Result<(), Errno> {
        if self.sim.step() {
            return Ok(());
        }
        let deadline = self.sim.next_deadline().ok_or(Errno::new(libc::EDEADLK))?;
        self.advance_to(deadline);
        Ok(())
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, by: Duration) {
        let until = self.sim.now().saturating_add(by);
        while let Some(deadline) = self.sim.next_deadline()
            && deadline <= until
        {
            self.advance_to(deadline);
        }
        self.advance_to(until);
    }

    /// The calls of the program that are due by then are made when no lock is held.
    fn advance_to(&self, moment: Duration) {
        let by = moment.saturating_sub(self.sim.now());
        self.sim.advance(by);
        while let Some(later) = self.next_due() {
            later.call();
        }
    }

    fn next_due(&self) -> Option<Later> {
        lock(&self.program).due.pop_front()
    }

    /// Makes a call of the program once this much time has passed.
    pub(crate) fn after(self: &Arc<Machine>, delay: Duration, later: Later) {
        let machine = Arc::downgrade(self);
        self.sim.after(delay, move |_| {
            if let Some(machine) = machine.upgrade() {
                lock(&machine.program).due.push_back(later);
            }
        });
    }

    // What the program should not do.

    pub(crate) fn violations(&self) -> Vec<String> {
        lock(&self.program).violations.clone()
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

    /// Notes what is wrong with an unmask, which is made all the same.
    pub(crate) fn judge_unmask(&self, file: FileId, port: u32) {
        self.judge_process();
        let (is_bound, is_unread) = self.sim.with(|world| {
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

fn inode(fd: BorrowedFd<'_>) -> Option<u64> {
    Some(rustix::fs::fstat(fd.as_fd()).ok()?.st_ino)
}

fn inode_of(fd: RawFd) -> Option<u64> {
    system::stat(fd).ok().map(|stat| stat.st_ino)
}
