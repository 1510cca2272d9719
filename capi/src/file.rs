//! What a handle has open: the device or a simulated one, and what makes it survive an overflow.

use std::ffi::c_int;

use crate::errno::Errno;
#[cfg(feature = "sim")]
use crate::sim::SimFile;
use crate::survivor::Survivor;
use crate::{device, system};

/// A request of the device, with the arguments as C passes them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    BindVirq(u32),
    BindInterdomain(u32, u32),
    BindUnboundPort(u32),
    Unbind(u32),
    Notify(u32),
    Reset,
    Restrict(u16),
}

/// An open device.
#[derive(Debug)]
pub(crate) enum Base {
    /// Whatever has this number.
    Device(c_int),
    #[cfg(feature = "sim")]
    Simulated(SimFile),
}

impl Base {
    fn open(closes_on_exec: bool) -> Result<Base, Errno> {
        #[cfg(feature = "sim")]
        return SimFile::open(closes_on_exec).map(Base::Simulated);
        #[cfg(not(feature = "sim"))]
        device::open(closes_on_exec).map(Base::Device)
    }

    /// Owns a descriptor from now on.
    pub(crate) fn adopt(fd: c_int) -> Base {
        #[cfg(feature = "sim")]
        if let Some(file) = SimFile::adopt(fd) {
            return Base::Simulated(file);
        }
        Base::Device(fd)
    }

    pub(crate) fn fd(&self) -> c_int {
        match self {
            Base::Device(fd) => *fd,
            #[cfg(feature = "sim")]
            Base::Simulated(file) => file.fd(),
        }
    }

    #[inline(always)]
    pub(crate) fn request(&self, request: Request) -> Result<c_int, Errno> {
        match self {
            Base::Device(fd) => device::request(*fd, request),
            #[cfg(feature = "sim")]
            Base::Simulated(file) => file.request(request),
        }
    }

    /// Reads one port. It sleeps if the descriptor is blocking.
    pub(crate) fn read(&self) -> Result<u32, Errno> {
        match self {
            Base::Device(fd) => device::read(*fd),
            #[cfg(feature = "sim")]
            Base::Simulated(file) => file.read(),
        }
    }

    fn write(&self, port: u32) -> Result<(), Errno> {
        match self {
            Base::Device(fd) => device::write(*fd, port),
            #[cfg(feature = "sim")]
            Base::Simulated(file) => file.write(port),
        }
    }

    pub(crate) fn close(self) -> Result<(), Errno> {
        match self {
            Base::Device(fd) => system::close(fd),
            #[cfg(feature = "sim")]
            Base::Simulated(file) => file.close(),
        }
    }
}

/// An open device, as the functions use it.
#[derive(Debug)]
pub(crate) struct File {
    base: Base,
    survivor: Option<Survivor>,
}

impl File {
    pub(crate) fn open(closes_on_exec: bool) -> Result<File, Errno> {
        let base = Base::open(closes_on_exec)?;
        if !Survivor::is_wanted() {
            let survivor = None;
            return Ok(File { base, survivor });
        }
        match Survivor::new(&base, closes_on_exec, false) {
            Ok(survivor) => Ok(File {
                base,
                survivor: Some(survivor),
            }),
            Err(errno) => {
                // The reason why it cannot survive is worth more than an error of the close.
                let _ = base.close();
                Err(errno)
            }
        }
    }

    /// Owns a descriptor from now on: of the device, or of a survivor.
    pub(crate) fn adopt(fd: c_int) -> Result<File, Errno> {
        if let Some((base, survivor)) = Survivor::adopt(fd)? {
            let survivor = Some(survivor);
            return Ok(File { base, survivor });
        }
        let base = Base::adopt(fd);
        let survivor = match Survivor::is_wanted() {
            true => Some(Survivor::new(&base, true, true)?),
            false => None,
        };
        Ok(File { base, survivor })
    }

    #[cfg(feature = "sim")]
    pub(crate) fn simulated(&self) -> Option<&SimFile> {
        match &self.base {
            Base::Device(_) => None,
            Base::Simulated(file) => Some(file),
        }
    }

    pub(crate) fn fd(&self) -> c_int {
        match &self.survivor {
            None => self.base.fd(),
            Some(survivor) => survivor.fd(),
        }
    }

    #[inline(always)]
    pub(crate) fn request(&self, request: Request) -> Result<c_int, Errno> {
        let answer = self.base.request(request)?;
        if let Some(survivor) = &self.survivor {
            survivor.note(request, answer);
        }
        Ok(answer)
    }

    #[inline]
    pub(crate) fn pending(&self) -> Result<u32, Errno> {
        match &self.survivor {
            None => self.base.read(),
            Some(survivor) => survivor.pending(&self.base),
        }
    }

    #[inline]
    pub(crate) fn unmask(&self, port: u32) -> Result<(), Errno> {
        self.base.write(port)
    }

    pub(crate) fn close(self) -> Result<(), Errno> {
        drop(self.survivor);
        self.base.close()
    }
}
