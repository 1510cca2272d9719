//! Loops that this project does not have: one that watches descriptors through hooks, and a
//! program's own array for poll(2).

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evtchn_core::Registrar;
use evtchn_loops::{Cookie, HookRegistrar, Hooks, Interest, PollArray, PollFd};
use rustix::event::{EventfdFlags, PollFlags, Timespec, eventfd};

use super::device::Backend;
use super::rig::{Attached, AttachedOf, ContextOf, Each, Rig, Taste, dispatch, sleep_of};

/// poll(2).
fn poll(fds: &mut [PollFd], timeout: Duration) -> io::Result<()> {
    let borrow = |it: &PollFd| {
        // SAFETY: what is registered stays open until it is deregistered, and no case lets a loop
        // poll while another thread closes the device.
        let fd = unsafe { BorrowedFd::borrow_raw(it.fd) };
        let events = PollFlags::from_bits_retain(it.events.cast_unsigned());
        rustix::event::PollFd::from_borrowed_fd(fd, events)
    };
    let mut polled: Vec<_> = fds.iter().map(borrow).collect();
    rustix::event::poll(&mut polled, Some(&Timespec::try_from(timeout).unwrap()))?;
    for (fd, polled) in fds.iter_mut().zip(&polled) {
        fd.revents = polled.revents().bits().cast_signed();
    }
    Ok(())
}

/// A loop on poll(2) that takes what it watches from hooks.
pub(crate) struct Foreign {
    watched: Mutex<BTreeMap<RawFd, (Interest, Cookie)>>,
    bell: OwnedFd,
}

impl Foreign {
    fn new() -> Foreign {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Foreign {
            watched: Mutex::default(),
            bell: eventfd(0, flags).unwrap(),
        }
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<RawFd, (Interest, Cookie)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps once and says which registrations are reported.
    fn sleep(&self, timeout: Duration) -> io::Result<BTreeSet<Cookie>> {
        let entry = |fd, events| PollFd {
            fd,
            events,
            revents: 0,
        };
        let watched = self.watched().clone();
        let mut fds = vec![entry(self.bell.as_raw_fd(), Interest::Read.events())];
        fds.extend(watched.iter().map(|(fd, (it, _))| entry(*fd, it.events())));
        poll(&mut fds, timeout)?;
        let _silent_before = rustix::io::read(&self.bell, &mut [0_u8; 8]);
        let reported = fds.iter().filter(|it| it.revents != 0);
        let cookies = reported.filter_map(|it| watched.get(&it.fd));
        Ok(cookies.map(|(_, cookie)| *cookie).collect())
    }
}

impl Hooks for Foreign {
    fn register(&self, fd: RawFd, interest: Interest, cookie: Cookie) -> io::Result<()> {
        let other = self.watched().insert(fd, (interest, cookie));
        self.wake();
        match other {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn modify(&self, fd: RawFd, interest: Interest, cookie: Cookie) -> io::Result<()> {
        self.watched().insert(fd, (interest, cookie));
        self.wake();
        Ok(())
    }

    fn deregister(&self, fd: RawFd, cookie: Cookie) -> io::Result<()> {
        let removed = self.watched().remove(&fd);
        self.wake();
        match removed {
            Some((_, its)) if its == cookie => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn wake(&self) {
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).unwrap();
    }
}

/// A loop with hooks.
pub(crate) struct OnHooks<B: Backend> {
    foreign: Arc<Foreign>,
    attached: Vec<AttachedOf<B, Self>>,
}

impl<B: Backend> Rig<B> for OnHooks<B> {
    type Adapter = HookRegistrar;

    const NAME: &'static str = "hooks";

    fn new() -> Self {
        OnHooks {
            foreign: Arc::new(Foreign::new()),
            attached: Vec::new(),
        }
    }

    fn adapter(&mut self) -> HookRegistrar {
        let foreign = Arc::clone(&self.foreign);
        HookRegistrar::new(foreign)
    }

    fn attach(&mut self, context: &Arc<ContextOf<B, Self>>, taste: Taste) {
        self.attached
            .push(AttachedOf::<B, Self>::new(context, taste));
    }

    fn detach(&mut self) {
        self.attached.clear();
    }

    fn turn(
        &mut self,
        timeout: Duration,
        each: &mut Each<B, Self>,
    ) -> Result<bool, Box<dyn Error>> {
        let cookies = self.foreign.sleep(sleep_of(&self.attached, timeout))?;
        let is_ready = |it: &HookRegistrar| cookies.iter().any(|cookie| it.occurred(*cookie));
        dispatch::<B, Self>(&self.attached, is_ready, each)
    }

    fn watches(&self, fd: RawFd) -> bool {
        self.foreign.watched().contains_key(&fd)
    }
}

/// A program with an array for poll(2).
pub(crate) struct OnArray<B: Backend> {
    attached: Vec<AttachedOf<B, Self>>,
}

impl<B: Backend> Rig<B> for OnArray<B> {
    type Adapter = PollArray;

    const NAME: &'static str = "poll_array";

    fn new() -> Self {
        OnArray {
            attached: Vec::new(),
        }
    }

    fn adapter(&mut self) -> PollArray {
        PollArray::new().unwrap()
    }

    fn attach(&mut self, context: &Arc<ContextOf<B, Self>>, taste: Taste) {
        self.attached
            .push(AttachedOf::<B, Self>::new(context, taste));
    }

    fn detach(&mut self) {
        self.attached.clear();
    }

    fn turn(
        &mut self,
        timeout: Duration,
        each: &mut Each<B, Self>,
    ) -> Result<bool, Box<dyn Error>> {
        let mut fds = Vec::new();
        let mut timeout = timeout;
        let contexts: Vec<_> = self.attached.iter().filter_map(Attached::context).collect();
        for context in &contexts {
            let at_most = context.registrar().adapter.before_poll(&mut fds);
            timeout = at_most.map_or(timeout, |at_most| at_most.min(timeout));
        }
        drop(contexts);
        poll(&mut fds, timeout)?;
        dispatch::<B, Self>(&self.attached, |it| it.after_poll(&fds), each)
    }

    fn watches(&self, fd: RawFd) -> bool {
        let contexts = self.attached.iter().filter_map(Attached::context);
        let mut fds = Vec::new();
        for context in contexts {
            let adapter = &context.registrar().adapter;
            let _timeout = adapter.before_poll(&mut fds);
            if adapter.after_poll(&[]) {
                Registrar::wake(adapter);
            }
        }
        fds.iter().any(|it| it.fd == fd)
    }
}
