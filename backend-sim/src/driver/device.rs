//! The calls on an open `/dev/xen/evtchn`, with their checks in the driver's order.

use std::io;
use std::os::fd::OwnedFd;

use evtchn_core::DomId;

use super::abi::{self, Arg, PollBits};
use super::file::File;
use super::{Driver, Owner};
use crate::errno::Errno;
use crate::hypervisor::Hypervisor;
use crate::pollable::Pollable;

impl Driver {
    /// Opens the device. Returns the index of the file.
    pub(crate) fn open(&mut self) -> usize {
        let index = self.opened;
        self.opened += 1;
        self.files.insert(index, Box::new(File::new()));
        index
    }

    /// One more descriptor of an open file.
    pub(crate) fn dup(&mut self, file: usize) -> Result<(), Errno> {
        self.file(file)?.descriptors += 1;
        Ok(())
    }

    /// Closes a descriptor. The last one releases the file, unless a thread sleeps in a read of it.
    pub(crate) fn close(&mut self, xen: &mut Hypervisor, file: usize) -> Result<(), Errno> {
        let open = self.file(file)?;
        open.descriptors -= 1;
        if open.descriptors > 0 {
            return Ok(());
        }
        if open.readers > 0 {
            self.closing += 1;
            return Ok(());
        }
        self.release(xen, file);
        Ok(())
    }

    /// Releases a file that nothing refers to: every port is unbound (`evtchn_release`).
    pub(super) fn release(&mut self, xen: &mut Hypervisor, file: usize) {
        let Some(file) = self.files.remove(&file) else {
            return;
        };
        self.old_ports_released += file.old_ports() as u64;
        // From the lowest up, as the driver walks its tree.
        let mut ports = file.ports;
        ports.sort_unstable();
        for port in ports {
            self.unbind(xen, port as usize);
        }
    }

    /// `evtchn_ioctl`.
    pub(crate) fn ioctl(
        &mut self,
        xen: &mut Hypervisor,
        file: usize,
        request: u32,
        arg: Arg,
    ) -> Result<u32, Errno> {
        let restricted_to = self.file(file)?.restricted_to;
        let word = || Ok(arg.words().ok_or(Errno::EFAULT)?[0]);
        match request {
            abi::BIND_VIRQ => {
                unrestricted(restricted_to)?;
                let port = xen.bind_virq(self.domid, word()?, 0)?;
                self.bind_to_file(xen, file, port)
            }
            abi::BIND_INTERDOMAIN => {
                let [remote, port] = arg.words().ok_or(Errno::EFAULT)?;
                if restricted_to.is_some_and(|domid| u32::from(domid) != remote) {
                    return Err(Errno::EACCES);
                }
                let port = xen.bind_interdomain(self.domid, domid_of(remote), port)?;
                self.bind_to_file(xen, file, port)
            }
            abi::BIND_UNBOUND_PORT => {
                unrestricted(restricted_to)?;
                let remote = domid_of(word()?);
                let port = xen.alloc_unbound(self.domid, DomId::SELF, remote)?;
                self.bind_to_file(xen, file, port)
            }
            abi::UNBIND => {
                let port = word()?;
                if port >= self.channels() {
                    return Err(Errno::EINVAL);
                }
                if self.has_old(file, port) {
                    self.file(file)?.forget_old(port);
                    self.old_ports_released += 1;
                    return Ok(0);
                }
                let port = self.bound_by(file, port).ok_or(Errno::ENOTCONN)?;
                self.leave_file(file, port)?;
                self.unbind(xen, port);
                Ok(0)
            }
            abi::NOTIFY => self.notify(xen, file, word()?),
            abi::RESET => {
                self.file(file)?.reset();
                Ok(0)
            }
            abi::RESTRICT_DOMID => {
                unrestricted(restricted_to)?;
                let domid = domid_of(word()?);
                if domid == DomId::DOM0 || domid >= DomId::FIRST_RESERVED {
                    return Err(Errno::EINVAL);
                }
                self.file(file)?.restricted_to = Some(domid.as_raw());
                Ok(0)
            }
            abi::BIND_STATIC if self.knows_static => {
                let port = word()?;
                if self.bound_by(file, port).is_some() || self.has_old(file, port) {
                    return Err(Errno::EISCONN);
                }
                self.take_static(xen, file, port)
            }
            _ => self.file(file)?.vfs_ioctl(request, arg),
        }
    }

    /// Sets the other end pending. Xen's answer is dropped.
    #[inline]
    pub(crate) fn notify(
        &mut self,
        xen: &mut Hypervisor,
        file: usize,
        port: u32,
    ) -> Result<u32, Errno> {
        if self.bound_by(file, port).is_none() && !self.has_old(file, port) {
            return Err(Errno::ENOTCONN);
        }
        let _ = xen.send(self.domid, port);
        Ok(0)
    }

    /// Reads `count` bytes into memory of which the first `there` bytes are mapped.
    #[inline]
    pub(crate) fn read(
        &mut self,
        file: usize,
        count: usize,
        there: usize,
        put: impl FnMut(usize, u32),
    ) -> Result<usize, Errno> {
        let page = self.page_size;
        self.file(file)?.read(page, count, there, put)
    }

    /// Writes `count` bytes from memory of which the first `there` bytes are mapped; `word` returns
    /// each port. The driver copies them all before it looks at any (`evtchn_write`).
    #[inline]
    pub(crate) fn write(
        &mut self,
        xen: &mut Hypervisor,
        file: usize,
        count: usize,
        there: usize,
        mut word: impl FnMut(usize) -> u32,
    ) -> Result<usize, Errno> {
        self.file(file)?;
        let words = count.min(self.page_size) / size_of::<u32>();
        if words == 0 {
            return Ok(0);
        }
        if words * size_of::<u32>() > there {
            return Err(Errno::EFAULT);
        }
        for index in 0..words {
            let port = word(index);
            if let Some(index) = self.bound_by(file, port) {
                if !self.bindings[index].enabled {
                    self.bindings[index].enabled = true;
                    self.unmask(xen, port);
                }
            }
        }
        Ok(words * size_of::<u32>())
    }

    /// What poll(2) reports for a file.
    pub(crate) fn poll(&self, file: usize) -> Result<PollBits, Errno> {
        Ok(self.peek(file)?.poll())
    }

    /// The ports that a file has not read yet.
    pub(crate) fn unread(&self, file: usize) -> Result<Vec<u32>, Errno> {
        Ok(self.peek(file)?.ring().collect())
    }

    /// Whether a file has bound a port.
    pub(crate) fn has_bound(&self, file: usize, port: u32) -> bool {
        self.bound_by(file, port).is_some()
    }

    /// How often sleepers on a file were woken so far.
    pub(crate) fn wakes(&self, file: usize) -> Result<u64, Errno> {
        Ok(self.peek(file)?.wakes())
    }

    /// Makes a file overflow, as an event that finds its ring full.
    pub(crate) fn overflow(&mut self, file: usize) -> Result<(), Errno> {
        self.file(file)?.overflow();
        Ok(())
    }

    /// How many times a file was given a static port that has another owner.
    pub(crate) const fn static_misuses(&self) -> u64 {
        self.static_misuses
    }

    /// How many ports from before a restore were unbound.
    pub(crate) const fn old_ports_released(&self) -> u64 {
        self.old_ports_released
    }

    /// Whether the domain was restored since a file was opened.
    #[inline]
    pub(crate) fn is_old(&self, file: usize) -> bool {
        self.peek(file).is_ok_and(|file| file.is_old)
    }

    /// Whether the watch of the holder of a file fired after a restore.
    #[inline]
    pub(crate) fn has_fired_watch(&self, file: usize) -> bool {
        self.peek(file).is_ok_and(File::has_fired_watch)
    }

    /// The holder of a file does not watch for a restore.
    pub(crate) fn unwatch(&mut self, file: usize) -> Result<(), Errno> {
        self.file(file)?.unwatch();
        Ok(())
    }

    /// The watches fire with which programs notice a restore.
    pub(crate) fn fire_watches(&mut self) {
        for file in self.files.values_mut() {
            file.fire_watch();
        }
    }

    /// A descriptor that a real event loop can poll instead of the file.
    pub(crate) fn pollable(&mut self, file: usize) -> io::Result<OwnedFd> {
        let file = self
            .file(file)
            .map_err(|errno| io::Error::from_raw_os_error(errno.raw()))?;
        let bits = file.poll_with_watch();
        let pollable = match &mut file.pollable {
            Some(pollable) => pollable,
            none => none.insert(Pollable::new()?),
        };
        pollable.show(bits);
        pollable.descriptor()
    }

    /// What shows the state of a file to real event loops, once there is such a descriptor.
    #[cfg(feature = "remote")]
    pub(crate) fn shown(&mut self, file: usize) -> Option<&mut Pollable> {
        self.file(file).ok()?.pollable.as_mut()
    }

    // Inside.

    /// Gives a port that Xen just allocated to a file (`evtchn_bind_to_user`).
    fn bind_to_file(&mut self, xen: &mut Hypervisor, file: usize, port: u32) -> Result<u32, Errno> {
        self.check_new(xen, port)?;
        if self.has_old(file, port) {
            let _ = xen.close(self.domid, port);
            return Err(Errno::EEXIST);
        }
        self.bind(xen, port, Owner::of(file), false);
        Ok(port)
    }

    /// Gives a static port to a file without a hypercall, so whether the port exists is not
    /// checked.
    fn take_static(&mut self, xen: &mut Hypervisor, file: usize, port: u32) -> Result<u32, Errno> {
        if port >= self.abi.ports() {
            return Err(Errno::ENOMEM);
        }
        if self.owner(port) != Owner::Free {
            self.static_misuses += 1;
            return Err(Errno::EBUSY);
        }
        self.bind(xen, port, Owner::of(file), true);
        Ok(0)
    }

    /// Takes a port out of the ports of its file. The last one gets its place.
    fn leave_file(&mut self, file: usize, port: usize) -> Result<(), Errno> {
        let place = self.bindings[port].place;
        let ports = &mut self.file(file)?.ports;
        ports.swap_remove(place as usize);
        if let Some(moved) = ports.get(place as usize).copied() {
            self.bindings[moved as usize].place = place;
        }
        Ok(())
    }

    /// Whether a file had bound this port before a restore.
    #[inline]
    fn has_old(&self, file: usize, port: u32) -> bool {
        self.was_restored && self.peek(file).is_ok_and(|file| file.has_old(port))
    }

    /// The index of a port in the table, if this file has bound it (`find_evtchn`).
    #[inline]
    fn bound_by(&self, file: usize, port: u32) -> Option<usize> {
        (self.owner(port) == Owner::of(file)).then_some(port as usize)
    }

    pub(super) fn peek(&self, file: usize) -> Result<&File, Errno> {
        let file = self.files.get(&file);
        file.map(Box::as_ref).ok_or(Errno::EBADF)
    }
}

fn unrestricted(restricted_to: Option<u16>) -> Result<(), Errno> {
    match restricted_to {
        None => Ok(()),
        Some(_) => Err(Errno::EACCES),
    }
}

/// The low 16 bits, because a hypercall has room for no more.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the driver stores a u32 into a domid_t, and so do we"
)]
fn domid_of(word: u32) -> DomId {
    DomId::new(word as u16)
}
