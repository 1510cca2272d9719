//! The requests of the device (include/uapi/xen/evtchn.h).

const fn request(number: u32, size: u32) -> u32 {
    size << 16 | (b'E' as u32) << 8 | number
}

/// Bind a virtual interrupt: `virq`. Returns the port.
pub const BIND_VIRQ: u32 = request(0, 4);
/// Bind to a port of another domain: `remote_domain`, `remote_port`. Returns the local port.
pub const BIND_INTERDOMAIN: u32 = request(1, 8);
/// Allocate a port for another domain: `remote_domain`. Returns the port.
pub const BIND_UNBOUND_PORT: u32 = request(2, 4);
/// Close a port: `port`.
pub const UNBIND: u32 = request(3, 4);
/// Set the other end pending: `port`.
pub const NOTIFY: u32 = request(4, 4);
/// Empty the ring and end an overflow.
pub const RESET: u32 = request(5, 0);
/// Restrict the file to one domain: `domid`, 16 bits.
pub const RESTRICT_DOMID: u32 = request(6, 2);
/// Take over a static port: `port`. Returns 0. Since Linux 6.6.
pub const BIND_STATIC: u32 = request(7, 4);

/// `O_NONBLOCK` on or off: an `int`. The kernel answers it for every device.
pub const FIONBIO: u32 = 0x5421;
/// `O_ASYNC` on or off: an `int`. The kernel answers it for every device that can send `SIGIO`.
pub const FIOASYNC: u32 = 0x5452;
/// Not close-on-exec, which no call within one process shows.
pub(crate) const FIONCLEX: u32 = 0x5450;
/// Close-on-exec.
pub(crate) const FIOCLEX: u32 = 0x5451;
/// The block size of the file system that the device node is on: an `int`.
pub(crate) const FIGETBSZ: u32 = 0x2;
/// Freeze the file system.
pub(crate) const FIFREEZE: u32 = 0xc004_5877;
/// Thaw it.
pub(crate) const FITHAW: u32 = 0xc004_5878;
/// Where a file is on the disk.
pub(crate) const FIEMAP: u32 = 0xc020_660b;
/// Share the blocks of the file whose descriptor is the argument.
pub(crate) const FICLONE: u32 = 0x4004_9409;
/// Share a part of them.
pub(crate) const FICLONERANGE: u32 = 0x4020_940d;
/// The size of a file, which a device does not have.
pub(crate) const FIOQSIZE: u32 = 0x5460;

/// The most bytes that one read or write moves: a page, with pages of the usual size
/// ([`DomainConfig::page_size`](crate::DomainConfig::page_size)).
pub const PAGE: usize = 4096;

/// What a file was opened for. Only read and write check it; an ioctl works in every mode.
///
/// ```
/// use evtchn::DomId;
/// use evtchn::sim::abi::Access;
/// use evtchn::sim::{Config, Errno, World};
///
/// let mut world = World::new(Config::seeded(1));
/// let file = world.open_with(DomId::DOM0, Access::WriteOnly, true)?;
/// assert_eq!(world.read(file, &mut [0; 4]), Err(Errno::EBADF));
/// # Ok::<_, Errno>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`.
    ReadOnly,
    /// `O_WRONLY`.
    WriteOnly,
    /// `O_RDWR`.
    ReadWrite,
}

/// The argument of an ioctl: what its pointer points to.
///
/// ```
/// use evtchn::DomId;
/// use evtchn::sim::abi::{Arg, BIND_VIRQ};
/// use evtchn::sim::{Config, Errno, World};
///
/// let mut world = World::new(Config::seeded(1));
/// let file = world.open(DomId::DOM0)?;
/// assert_eq!(world.ioctl(file, BIND_VIRQ, Arg::Bad), Err(Errno::EFAULT));
/// world.ioctl(file, BIND_VIRQ, 3)?; // VIRQ_DOM_EXC
/// # Ok::<_, Errno>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// Memory that the kernel cannot read.
    Bad,
    /// Words, as many as the request takes.
    Words([u32; 2]),
}

impl Arg {
    pub(crate) const fn words(self) -> Option<[u32; 2]> {
        match self {
            Arg::Bad => None,
            Arg::Words(words) => Some(words),
        }
    }
}

impl From<u32> for Arg {
    fn from(word: u32) -> Arg {
        Arg::Words([word, 0])
    }
}

impl From<[u32; 2]> for Arg {
    fn from(words: [u32; 2]) -> Arg {
        Arg::Words(words)
    }
}

/// What poll(2) reports for the device.
///
/// ```
/// use evtchn::sim::abi::PollBits;
///
/// assert!(PollBits::READABLE.wakes_reader() && PollBits::ERROR.wakes_reader());
/// assert!(!PollBits::WRITABLE.wakes_reader());
/// assert_eq!(PollBits::ERROR.raw(), 0x008); // POLLERR alone
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PollBits(u16);

impl PollBits {
    /// Nothing to read: `OUT | WRNORM`.
    pub const WRITABLE: PollBits = PollBits(0x104);
    /// Something to read: `IN | RDNORM | OUT | WRNORM`.
    pub const READABLE: PollBits = PollBits(0x145);
    /// The ring overflowed: `ERR` and nothing else.
    pub const ERROR: PollBits = PollBits(0x008);

    /// The bits, as in `revents`.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// Whether a loop that waits for reading wakes: `IN` or `ERR`.
    #[must_use]
    pub const fn wakes_reader(self) -> bool {
        self.0 & 0x009 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_numbers_of_the_header() {
        let all = [
            (BIND_VIRQ, 0x0004_4500),
            (BIND_INTERDOMAIN, 0x0008_4501),
            (BIND_UNBOUND_PORT, 0x0004_4502),
            (UNBIND, 0x0004_4503),
            (NOTIFY, 0x0004_4504),
            (RESET, 0x0000_4505),
            (RESTRICT_DOMID, 0x0002_4506),
            (BIND_STATIC, 0x0004_4507),
        ];
        for (request, number) in all {
            assert_eq!(request, number);
        }
    }
}
