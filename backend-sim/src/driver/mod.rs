//! The Linux kernel of one domain, as far as event channels go: the device `/dev/xen/evtchn`
//! (drivers/xen/evtchn.c) and the port table beneath it (drivers/xen/events/).
//!
//! Everything comes in as a C program would pass it: request numbers, words, byte counts.
//! Checks are made in the driver's order. Not modelled: blocking reads (every file is
//! non-blocking), access modes, memory exhaustion, suspend and resume, and the back-off of
//! spurious interrupts, which the driver never reports.

pub(crate) mod abi;
mod file;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::{fmt, io};

use evtchn_core::{DomId, Virq};

use crate::config::{Abi, DomainConfig};
use crate::errno::Errno;
use crate::hypervisor::{Hypervisor, Upcall};
use crate::pollable::Pollable;
use abi::{Arg, PAGE, PollBits};
use file::File;

/// Ports per page of the FIFO event array.
const PORTS_PER_PAGE: u32 = 1024;

/// One binding of the port table, or none.
#[derive(Debug, Clone, Copy)]
struct Binding {
    owner: Owner,
    /// The driver's own flag: cleared by an event, set by a write (`struct user_evtchn`).
    enabled: bool,
    /// Never closed towards Xen.
    is_static: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    /// The kernel itself, which has handled this many events.
    Kernel {
        events: u32,
    },
    /// The open file with this index.
    File(usize),
}

impl Binding {
    const NONE: Binding = Binding {
        owner: Owner::Nobody,
        enabled: false,
        is_static: false,
    };
}

#[derive(Debug)]
pub(crate) struct Driver {
    domid: DomId,
    abi: Abi,
    knows_static: bool,
    /// With one vCPU an upcall runs on the spot, even in the middle of a write.
    pub(crate) one_vcpu: bool,
    /// By port.
    bindings: Vec<Binding>,
    /// Pages of the FIFO event array; never shrinks.
    pages: u32,
    /// By index, which is never given again.
    files: Vec<Option<Box<File>>>,
}

impl Driver {
    /// Boots the kernel of a domain: it takes the VIRQs and IPIs of its configuration.
    pub(crate) fn boot(domid: DomId, config: &DomainConfig, xen: &mut Hypervisor) -> Driver {
        let mut driver = Driver {
            domid,
            abi: config.abi,
            knows_static: config.bind_static,
            one_vcpu: true,
            bindings: Vec::new(),
            pages: 1,
            files: Vec::new(),
        };
        // A kernel that cannot have one of them boots without it.
        for virq in config.kernel_virqs.iter().copied().map(Virq::as_raw) {
            let _ = driver.kernel_bind(xen, |xen| xen.bind_virq(domid, virq, 0));
        }
        for _ in 0..config.kernel_ipis {
            let _ = driver.kernel_bind(xen, |xen| xen.bind_ipi(domid, 0));
        }
        driver
    }

    // The device.

    /// Opens the device. The answer names the file.
    pub(crate) fn open(&mut self) -> usize {
        self.files.push(Some(Box::new(File::new())));
        self.files.len() - 1
    }

    /// One more descriptor of an open file.
    pub(crate) fn dup(&mut self, file: usize) -> Result<(), Errno> {
        self.file(file)?.descriptors += 1;
        Ok(())
    }

    /// Closes a descriptor; the last one unbinds every port (`evtchn_release`).
    pub(crate) fn close(&mut self, xen: &mut Hypervisor, file: usize) -> Result<(), Errno> {
        let open = self.file(file)?;
        open.descriptors -= 1;
        if open.descriptors > 0 {
            return Ok(());
        }
        let owner = Owner::File(file);
        for port in 0..self.bindings.len() {
            if self.bindings[port].owner == owner {
                self.unbind(xen, port);
            }
        }
        self.files[file] = None;
        Ok(())
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
                let port = self.bound_by(file, port).ok_or(Errno::ENOTCONN)?;
                self.unbind(xen, port);
                self.file(file)?.bound -= 1;
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
                if self.bound_by(file, port).is_some() {
                    return Err(Errno::EISCONN);
                }
                self.take_static(xen, file, port)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Sets the other end pending. What Xen answers is dropped.
    #[inline]
    pub(crate) fn notify(
        &mut self,
        xen: &mut Hypervisor,
        file: usize,
        port: u32,
    ) -> Result<u32, Errno> {
        self.bound_by(file, port).ok_or(Errno::ENOTCONN)?;
        let _ = xen.send(self.domid, port);
        Ok(0)
    }

    /// Reads `count` bytes; without `put` into bad memory.
    #[inline]
    pub(crate) fn read(
        &mut self,
        file: usize,
        count: usize,
        put: Option<impl FnMut(usize, u32)>,
    ) -> Result<usize, Errno> {
        self.file(file)?.read(count, put)
    }

    /// Writes `count` bytes, `word` giving each port; without it from bad memory
    /// (`evtchn_write`).
    #[inline]
    pub(crate) fn write(
        &mut self,
        xen: &mut Hypervisor,
        file: usize,
        count: usize,
        word: Option<impl FnMut(usize) -> u32>,
    ) -> Result<usize, Errno> {
        self.file(file)?;
        let words = count.min(PAGE) / size_of::<u32>();
        if words == 0 {
            return Ok(0);
        }
        let mut word = word.ok_or(Errno::EFAULT)?;
        for index in 0..words {
            let port = word(index);
            if let Some(index) = self.bound_by(file, port)
                && !self.bindings[index].enabled
            {
                self.bindings[index].enabled = true;
                self.unmask(xen, port);
            }
        }
        Ok(words * size_of::<u32>())
    }

    /// What poll(2) says of a file.
    pub(crate) fn poll(&self, file: usize) -> Result<PollBits, Errno> {
        Ok(self.peek(file)?.poll())
    }

    /// How often sleepers on a file were woken so far.
    pub(crate) fn wakes(&self, file: usize) -> Result<u64, Errno> {
        Ok(self.peek(file)?.wakes())
    }

    /// A descriptor that a real event loop can poll instead of the file.
    pub(crate) fn pollable(&mut self, file: usize) -> io::Result<OwnedFd> {
        let file = self
            .file(file)
            .map_err(|errno| io::Error::from_raw_os_error(errno.raw()))?;
        let bits = file.poll();
        let pollable = match &mut file.pollable {
            Some(pollable) => pollable,
            none => none.insert(Pollable::new()?),
        };
        pollable.show(bits);
        pollable.descriptor()
    }

    // The kernel itself.

    /// Handles an event: into the ring of the file that bound the port (`evtchn_interrupt`), or
    /// by the kernel, which enables its port again at once. A port of nobody stays masked.
    #[inline]
    pub(crate) fn upcall(&mut self, xen: &mut Hypervisor, upcall: Upcall) {
        if !xen.handle(upcall) {
            return;
        }
        let Some(binding) = self.bindings.get_mut(upcall.port as usize) else {
            return;
        };
        binding.enabled = false;
        match &mut binding.owner {
            Owner::Nobody => {}
            Owner::Kernel { events } => {
                *events = events.saturating_add(1);
                self.unmask(xen, upcall.port);
            }
            &mut Owner::File(file) => {
                if let Ok(file) = self.file(file) {
                    file.push(upcall.port);
                }
            }
        }
    }

    /// Binds a port to the kernel itself, as its own drivers do.
    pub(crate) fn kernel_bind(
        &mut self,
        xen: &mut Hypervisor,
        bind: impl FnOnce(&mut Hypervisor) -> Result<u32, Errno>,
    ) -> Result<u32, Errno> {
        let port = bind(xen)?;
        self.bind(xen, port, Owner::Kernel { events: 0 }, false);
        Ok(port)
    }

    /// Closes a port that the kernel itself has bound.
    pub(crate) fn kernel_unbind(&mut self, xen: &mut Hypervisor, port: u32) -> Result<(), Errno> {
        self.kernel_events(port)?;
        self.unbind(xen, port as usize);
        Ok(())
    }

    /// How many events of a port the kernel itself has handled.
    pub(crate) fn kernel_events(&self, port: u32) -> Result<u32, Errno> {
        match self.bindings.get(port as usize).map(|b| b.owner) {
            Some(Owner::Kernel { events }) => Ok(events),
            Some(Owner::Nobody | Owner::File(_)) | None => Err(Errno::ENOTCONN),
        }
    }

    /// How many port numbers the kernel has room for: all of them under the two-level ABI, those
    /// of the pages added so far under FIFO (`xen_evtchn_nr_channels`).
    pub(crate) fn channels(&self) -> u32 {
        match self.abi {
            Abi::TwoLevel => self.abi.ports(),
            Abi::Fifo => self.pages * PORTS_PER_PAGE,
        }
    }

    // Inside.

    /// Gives a port that Xen just allocated to a file (`evtchn_bind_to_user`). Where the table
    /// has it already (a static port that Xen does not know), the port is closed again.
    fn bind_to_file(&mut self, xen: &mut Hypervisor, file: usize, port: u32) -> Result<u32, Errno> {
        if self.owner(port) != Owner::Nobody {
            let _ = xen.close(self.domid, port);
            return Err(Errno::EBUSY);
        }
        self.file(file)?.bound_one();
        self.bind(xen, port, Owner::File(file), false);
        Ok(port)
    }

    /// Gives a static port to a file. No hypercall is made: whether the port exists is not asked.
    fn take_static(&mut self, xen: &mut Hypervisor, file: usize, port: u32) -> Result<u32, Errno> {
        if port >= self.abi.ports() {
            return Err(Errno::ENOMEM);
        }
        if self.owner(port) != Owner::Nobody {
            return Err(Errno::EBUSY);
        }
        self.file(file)?.bound_one();
        self.bind(xen, port, Owner::File(file), true);
        Ok(0)
    }

    /// Enters a binding, enabled, and unmasks the port: what is pending is delivered.
    fn bind(&mut self, xen: &mut Hypervisor, port: u32, owner: Owner, is_static: bool) {
        let index = port as usize;
        if index >= self.bindings.len() {
            self.bindings.resize(index + 1, Binding::NONE);
        }
        self.pages = self.pages.max(port / PORTS_PER_PAGE + 1);
        self.bindings[index] = Binding {
            owner,
            enabled: true,
            is_static,
        };
        self.unmask(xen, port);
    }

    /// Forgets a binding. Its entries stay in the ring. Xen closes the port, unless it is static.
    fn unbind(&mut self, xen: &mut Hypervisor, index: usize) {
        let binding = std::mem::replace(&mut self.bindings[index], Binding::NONE);
        // The table has no more than 2^17 entries.
        let Ok(port) = u32::try_from(index) else {
            return;
        };
        xen.mask(self.domid, port);
        if !binding.is_static {
            let _ = xen.close(self.domid, port);
        }
    }

    /// Clears the mask of a port; with one vCPU what is pending is handled before this returns.
    #[inline]
    fn unmask(&mut self, xen: &mut Hypervisor, port: u32) {
        let before = xen.upcalls();
        xen.unmask(self.domid, port);
        if self.one_vcpu
            && let Some(upcall) = xen.take_upcall(before)
        {
            self.upcall(xen, upcall);
        }
    }

    fn owner(&self, port: u32) -> Owner {
        self.bindings
            .get(port as usize)
            .map_or(Owner::Nobody, |binding| binding.owner)
    }

    /// The place of a port in the table, where this file has bound it (`find_evtchn`).
    #[inline]
    fn bound_by(&self, file: usize, port: u32) -> Option<usize> {
        (self.owner(port) == Owner::File(file)).then_some(port as usize)
    }

    #[inline]
    fn file(&mut self, file: usize) -> Result<&mut File, Errno> {
        let file = self.files.get_mut(file).and_then(Option::as_deref_mut);
        file.ok_or(Errno::EBADF)
    }

    fn peek(&self, file: usize) -> Result<&File, Errno> {
        let file = self.files.get(file).and_then(Option::as_deref);
        file.ok_or(Errno::EBADF)
    }

    pub(crate) fn open_files(&self) -> usize {
        self.files.iter().flatten().count()
    }

    /// Who has bound a port, for a dump.
    pub(crate) fn describe(&self, port: u32) -> impl fmt::Display + use<> {
        let binding = self.bindings.get(port as usize).copied();
        fmt::from_fn(move |f| match binding {
            None => Ok(()),
            Some(binding) => match binding.owner {
                Owner::Nobody => Ok(()),
                Owner::Kernel { events } => write!(f, " kernel events={events}"),
                Owner::File(file) => {
                    let enabled = if binding.enabled {
                        "enabled"
                    } else {
                        "disabled"
                    };
                    write!(f, " file={file} {enabled}")
                }
            },
        })
    }

    /// One line per open file, for a dump.
    pub(crate) fn describe_files(&self, out: &mut String) -> fmt::Result {
        use fmt::Write;
        for (index, file) in self.files.iter().enumerate() {
            let Some(file) = file else { continue };
            let bits = file.poll().raw();
            let (size, bound) = (file.ring_size(), file.bound);
            write!(
                out,
                "d{} file={index} bound={bound} poll={bits:#05x}",
                self.domid
            )?;
            write!(out, " ring={}/{size}", file.ring().len())?;
            writeln!(out, " {:?}", file.ring().take(16).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

fn unrestricted(restricted_to: Option<u16>) -> Result<(), Errno> {
    match restricted_to {
        None => Ok(()),
        Some(_) => Err(Errno::EACCES),
    }
}

/// The low 16 bits, which are all that a hypercall has room for.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the driver stores a u32 into a domid_t, and so do we"
)]
fn domid_of(word: u32) -> DomId {
    DomId::new(word as u16)
}
