//! The processes of a soak: real ones on the real device, threads on the simulator.

use std::env;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, Child, Command};
use std::ptr;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::board::{Board, PATIENCE, PROCESSES};
use crate::place::Place;
use crate::process as one;
use crate::side::{Side, Xen};
use crate::supervisor::{Group, Plan};

/// The variables through which a process gets its board, its number and its seed.
const BOARD: &str = "EVTCHN_SOAK_BOARD";
const PROCESS: &str = "EVTCHN_SOAK_PROCESS";
const SEED: &str = "EVTCHN_SOAK_SEED";

/// Threads of this process.
pub(crate) struct Threads<S: Side> {
    side: S,
    board: &'static Board,
    seed: u64,
    patience: Duration,
    complain: fn(&str),
    running: [Option<JoinHandle<Result<()>>>; PROCESSES],
}

impl<S: Side> Threads<S> {
    pub(crate) fn new(side: &S, board: &'static Board, plan: Plan, complain: fn(&str)) -> Self {
        Threads {
            side: side.clone(),
            board,
            seed: plan.seed,
            patience: plan.patience,
            complain,
            running: Default::default(),
        }
    }

    fn end(&mut self, process: usize) -> Result<()> {
        let running = self.running[process].take();
        let ended = running.context("it does not run")?.join();
        ended.unwrap_or_else(|_| Err(anyhow!("process {process} panicked")))
    }
}

impl<S: Side> Drop for Threads<S> {
    fn drop(&mut self) {
        // After a failure they all stop by themselves.
        for running in self.running.iter_mut().filter_map(Option::take) {
            let _ended = running.join();
        }
    }
}

impl<S: Side> Group for Threads<S> {
    fn start(&mut self, process: usize) -> Result<()> {
        let place = Place {
            board: self.board,
            process,
            patience: self.patience,
            complain: self.complain,
        };
        let (side, seed) = (self.side.clone(), self.seed);
        self.running[process] = Some(thread::spawn(move || one::run(&side, place, seed)));
        Ok(())
    }

    fn kill(&mut self, process: usize) -> Result<()> {
        let crashes = &self.board.processes[process].crashes;
        crashes.store(1, Ordering::SeqCst);
        self.end(process)?;
        crashes.store(0, Ordering::SeqCst);
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        Ok(())
    }

    fn join(&mut self) -> Result<()> {
        (0..PROCESSES).try_for_each(|process| self.end(process))
    }

    fn bound(&self) -> Result<usize> {
        self.side.bound()
    }
}

/// Processes, which share the board and nothing else.
pub(crate) struct Processes {
    memory: OwnedFd,
    seed: u64,
    running: [Option<Child>; PROCESSES],
}

impl Processes {
    /// None of them yet, and the board.
    pub(crate) fn new(seed: u64) -> Result<(Processes, &'static Board)> {
        let memory = memfd_create("evtchn-soak", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, size_of::<Board>() as u64)?;
        let board = map(&memory)?;
        let processes = Processes {
            memory,
            seed,
            running: Default::default(),
        };
        Ok((processes, board))
    }
}

impl Group for Processes {
    fn start(&mut self, process: usize) -> Result<()> {
        let board = format!("/proc/{}/fd/{}", process::id(), self.memory.as_raw_fd());
        let child = Command::new(env::current_exe()?)
            .env(BOARD, board)
            .env(PROCESS, process.to_string())
            .env(SEED, self.seed.to_string())
            // So that its forked children are killed with it.
            .process_group(0)
            .spawn()?;
        self.running[process] = Some(child);
        Ok(())
    }

    fn kill(&mut self, process: usize) -> Result<()> {
        let child = self.running[process].take();
        let mut child = child.context("it does not run")?;
        kill_process_group(Pid::from_child(&child), Signal::KILL)?;
        let status = child.wait()?;
        ensure!(status.signal() == Some(9), "process {process}: {status}");
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        for (process, child) in self.running.iter_mut().enumerate() {
            let Some(child) = child else { continue };
            if let Some(status) = child.try_wait()? {
                bail!("process {process} has ended: {status}");
            }
        }
        Ok(())
    }

    fn join(&mut self) -> Result<()> {
        for (process, child) in self.running.iter_mut().enumerate() {
            let mut child = child.take().context("it does not run")?;
            let status = child.wait()?;
            ensure!(status.success(), "process {process}: {status}");
        }
        Ok(())
    }

    fn bound(&self) -> Result<usize> {
        Xen.bound()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _gone_already = kill_process_group(Pid::from_child(child), Signal::KILL);
            let _reaped = child.wait();
        }
    }
}

/// Runs one of the processes, where that is what this one is.
pub(crate) fn process() -> Option<Result<()>> {
    let board = env::var_os(BOARD)?;
    let run = || {
        let memory = File::options().read(true).write(true).open(&board)?;
        let place = Place {
            board: map(&memory)?,
            process: env::var(PROCESS)?.parse()?,
            patience: PATIENCE,
            complain: |complaint| eprintln!("soak: {complaint}"),
        };
        one::run(&Xen, place, env::var(SEED)?.parse()?)
    };
    Some(run())
}

/// The board in memory that processes share. It is never unmapped.
fn map(memory: impl AsFd) -> Result<&'static Board> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let length = size_of::<Board>();
    // SAFETY: a null address lets the kernel choose one that nothing uses.
    let start = unsafe { mmap(ptr::null_mut(), length, access, MapFlags::SHARED, memory, 0) }?;
    // SAFETY: the mapping is as long as a board, aligned to a page, and stays. A board is made of
    // atomics, for which every bit pattern is a value and which others may change.
    Ok(unsafe { &*start.cast::<Board>() })
}
