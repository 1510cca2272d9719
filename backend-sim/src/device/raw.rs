//! The calls of a C program on a simulated device, which faults hit like those of a context.

use super::SimDevice;
use crate::driver::abi;
use crate::errno::Errno;
use crate::error::Call;

impl SimDevice {
    /// ioctl(2) with any number and any words: [`World::ioctl`](crate::World::ioctl), with the faults
    /// for the call that the number means.
    ///
    /// ```
    /// use evtchn::sim::{Call, Errno, Fault, Sim, abi};
    /// use evtchn::{DomId, Open};
    ///
    /// let sim = Sim::new(1);
    /// let device = sim.open(DomId::DOM0).open()?;
    /// assert_eq!(device.ioctl_raw(abi::NOTIFY, [0, 0]), Err(Errno::ENOTCONN));
    /// sim.install(Fault::fail(Call::Notify, Errno::EIO));
    /// assert_eq!(device.ioctl_raw(abi::NOTIFY, [0, 0]), Err(Errno::EIO));
    /// # Ok::<_, evtchn::DeviceError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`World::ioctl`](crate::World::ioctl), and those of faults.
    pub fn ioctl_raw(&self, request: u32, words: [u32; 2]) -> Result<u32, Errno> {
        let mut world = self.sim().lock();
        if let Some(call) = call_of(request) {
            world.judge(&self.opener.opener, call, Some(self.file))?;
        }
        world.ioctl(self.file, request, words)
    }

    /// read(2) of four bytes: the oldest unread port. It never sleeps.
    ///
    /// # Errors
    /// `EAGAIN` where no port is unread, `EFBIG` after an overflow, `EBADF` where the domain is gone,
    /// and those of faults.
    pub fn read_raw(&self) -> Result<u32, Errno> {
        let mut world = self.sim().lock();
        world.judge(&self.opener.opener, Call::Pending, Some(self.file))?;
        let mut word = [0];
        match world.read_words(self.file, &mut word)? {
            0 => Err(Errno::EAGAIN),
            _ => Ok(word[0]),
        }
    }

    /// read(2) of that many ports at most. It never sleeps.
    #[cfg(feature = "remote")]
    pub(crate) fn read_many(&self, most: usize) -> Result<Vec<u32>, Errno> {
        let mut world = self.sim().lock();
        let allowed = world.judge(&self.opener.opener, Call::Pending, Some(self.file))?;
        let mut words = vec![0; most.min(allowed)];
        let count = world.read_words(self.file, &mut words)?;
        words.truncate(count);
        Ok(words)
    }

    /// write(2) of ports. Returns how many it took.
    #[cfg(feature = "remote")]
    pub(crate) fn write_many(&self, ports: &[u32]) -> Result<usize, Errno> {
        let mut world = self.sim().lock();
        let allowed = world.judge(&self.opener.opener, Call::Unmask, Some(self.file))?;
        let ports = &ports[..ports.len().min(allowed)];
        let bytes = size_of_val(ports);
        let port = |index: usize| ports.get(index).copied().unwrap_or(0);
        Ok(world.write_with(self.file, bytes, bytes, port)? / size_of::<u32>())
    }

    /// write(2) of four bytes: unmasks a port if this file has bound it.
    ///
    /// # Errors
    /// `EBADF` where the domain is gone, and those of faults.
    pub fn write_raw(&self, port: u32) -> Result<(), Errno> {
        let mut world = self.sim().lock();
        world.judge(&self.opener.opener, Call::Unmask, Some(self.file))?;
        world.write(self.file, &port.to_ne_bytes())?;
        Ok(())
    }
}

const fn call_of(request: u32) -> Option<Call> {
    match request {
        abi::BIND_VIRQ => Some(Call::BindVirq),
        abi::BIND_INTERDOMAIN => Some(Call::BindInterdomain),
        abi::BIND_UNBOUND_PORT => Some(Call::BindUnboundPort),
        abi::UNBIND => Some(Call::Unbind),
        abi::NOTIFY => Some(Call::Notify),
        abi::RESET => Some(Call::Reset),
        abi::RESTRICT_DOMID => Some(Call::Restrict),
        abi::BIND_STATIC => Some(Call::BindStatic),
        _ => None,
    }
}
