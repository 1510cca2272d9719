//! Ports that no file has: a toolstack makes them by hypercalls of its own, and so do the tests of
//! static channels.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags};

/// `IOCTL_PRIVCMD_HYPERCALL` (Linux include/uapi/xen/privcmd.h)
const HYPERCALL: u32 = 0x0030_5000;
/// `__HYPERVISOR_event_channel_op` (xen/include/public/xen.h)
const EVENT_CHANNEL_OP: u64 = 32;
/// xen/include/public/event_channel.h
const BIND_INTERDOMAIN: u64 = 0;
const CLOSE: u64 = 3;
const ALLOC_UNBOUND: u64 = 6;

const SELF: u32 = 0x7ff0;
const PAGE: usize = 4096;

/// What hypercalls are made through, and the ports that they have made.
#[derive(Debug)]
pub(crate) struct Statics {
    privcmd: File,
    /// A page that hypercalls can read and write.
    page: *mut u32,
    ports: Vec<u32>,
}

impl Statics {
    pub(crate) fn new() -> io::Result<Statics> {
        let open = |path| OpenOptions::new().read(true).write(true).open(path);
        let memory = open("/dev/xen/hypercall")?;
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping, wherever the kernel likes.
        let page = unsafe { rustix::mm::mmap(ptr::null_mut(), PAGE, prot, flags, &memory, 0) }?;
        Ok(Statics {
            privcmd: open("/dev/xen/privcmd")?,
            page: page.cast(),
            ports: Vec::new(),
        })
    }

    /// Two ports of this domain that are connected. The second has an event.
    pub(crate) fn pair(&mut self) -> io::Result<[u32; 2]> {
        let domains = SELF | SELF << 16;
        let [_, one, _] = self.operation(ALLOC_UNBOUND, [domains, 0, 0])?;
        let [_, _, other] = self.operation(BIND_INTERDOMAIN, [SELF, one, 0])?;
        self.ports.extend([one, other]);
        Ok([one, other])
    }

    /// Closes a port that was made here. No file may have it: the kernel would not know.
    pub(crate) fn close(&mut self, port: u32) -> io::Result<()> {
        let place = self.ports.iter().position(|made| *made == port);
        self.ports
            .swap_remove(place.ok_or(io::ErrorKind::NotFound)?);
        self.operation(CLOSE, [port, 0, 0]).map(drop)
    }

    /// Makes a hypercall and returns its argument, as Xen leaves it.
    fn operation(&self, operation: u64, argument: [u32; 3]) -> io::Result<[u32; 3]> {
        let call: [u64; 6] = [
            EVENT_CHANNEL_OP,
            operation,
            self.page.addr() as u64,
            0,
            0,
            0,
        ];
        let page = self.page.cast::<[u32; 3]>();
        // SAFETY: the page is mapped, writable and used by nothing else.
        unsafe { page.write(argument) };
        let fd = self.privcmd.as_raw_fd();
        // SAFETY: the driver reads the call, and Xen the words of the operation from the page.
        let made = unsafe { libc::ioctl(fd, HYPERCALL.into(), call.as_ptr()) };
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        Ok(unsafe { page.read() })
    }
}

impl Drop for Statics {
    fn drop(&mut self) {
        while let Some(port) = self.ports.last().copied() {
            // The end of the test says more.
            let _closed = self.close(port);
        }
        // SAFETY: the mapping of `new`, to which no pointer is left.
        let _unmapped = unsafe { rustix::mm::munmap(self.page.cast(), PAGE) };
    }
}
