//! What a case can do on either side, and the few moves that all cases share.

use evtchn_sim::Platform;
use evtchn_sim::abi::{self, Access, Arg};
use rustix::event::PollFlags;
use rustix::io::Errno;

pub(crate) type Answer<T> = Result<T, Errno>;

/// A new signal has a handler that restarts calls (`SA_RESTART`), or one that does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Restarts,
    Interrupts,
}

/// The simulator, or the real device.
pub(crate) trait Side {
    /// One descriptor.
    type File: Copy;
    /// A thread in a read.
    type Reader;
    /// The other end of a static channel.
    type Peer;

    fn open(&self, access: Access, is_nonblocking: bool) -> Self::File;
    fn close(&self, file: Self::File);
    fn ioctl(&self, file: Self::File, request: u32, arg: Arg) -> Answer<u32>;
    fn read(&self, file: Self::File, bytes: &mut [u8]) -> Answer<usize>;
    /// `read` into memory that is not there.
    fn read_bad(&self, file: Self::File, count: usize) -> Answer<usize>;
    fn write(&self, file: Self::File, bytes: &[u8]) -> Answer<usize>;
    /// `write` from memory that is not there.
    fn write_bad(&self, file: Self::File, count: usize) -> Answer<usize>;
    /// `readv` of two segments.
    fn readv(&self, file: Self::File, segments: [&mut [u8]; 2]) -> Answer<usize>;
    /// `writev` of two segments.
    fn writev(&self, file: Self::File, segments: [&[u8]; 2]) -> Answer<usize>;
    /// The domain that the files are opened in.
    fn domid(&self) -> u32;

    /// The pair of Xen and Linux that it is.
    fn platform(&self) -> Platform;

    /// Both ends of a static channel in this domain. The second has an event.
    fn static_pair(&self) -> [u32; 2];
    /// A static port whose peer no file of this domain has, and that peer.
    fn static_port(&self) -> (u32, Self::Peer);
    /// The peer closes its port or dies.
    fn lose_peer(&self, peer: Self::Peer);

    fn map(&self, file: Self::File) -> Answer<()>;
    fn poll(&self, file: Self::File) -> PollFlags;

    /// A thread calls `read` for one port. Returns when it sleeps, and fails where it does not.
    fn begin_read(&self, file: Self::File) -> Self::Reader;
    /// Demands that the thread sleeps on.
    fn expect_asleep(&self, reader: &mut Self::Reader);
    fn signal(&self, reader: &mut Self::Reader, signal: Signal);
    /// Whether the thread has come back.
    fn is_over(&self, reader: &mut Self::Reader) -> bool;
    /// What the thread came back with. Fails where it sleeps on.
    fn end(&self, reader: Self::Reader) -> Answer<u32>;

    /// Whether the kernel has static ports (Linux 6.6).
    fn knows_static(&self) -> bool {
        self.platform().bind_static.value
    }

    fn open_nonblocking(&self) -> Self::File {
        self.open(Access::ReadWrite, true)
    }
}

pub(crate) const SELF: u32 = 0x7ff0;
pub(crate) const FIONREAD: u32 = 0x541b;
pub(crate) const TCGETS: u32 = 0x5401;
pub(crate) const FIOQSIZE: u32 = 0x5460;
pub(crate) const FIGETBSZ: u32 = 0x2;
pub(crate) const FIFREEZE: u32 = 0xc004_5877;
pub(crate) const FITHAW: u32 = 0xc004_5878;
pub(crate) const FIEMAP: u32 = 0xc020_660b;

/// What `poll` says where there is nothing to read.
pub(crate) const OUT: PollFlags = PollFlags::OUT.union(PollFlags::WRNORM);
/// What `poll` says where there are events to read.
pub(crate) const IN_OUT: PollFlags = OUT.union(PollFlags::IN).union(PollFlags::RDNORM);

/// A connected pair of two files, of which the first has no event.
pub(crate) struct Pair<S: Side> {
    pub(crate) near: S::File,
    pub(crate) far: S::File,
    pub(crate) port: u32,
    pub(crate) peer: u32,
}

impl<S: Side> Pair<S> {
    pub(crate) fn new(side: &S, near: S::File) -> Self {
        let far = side.open_nonblocking();
        let port = side.ioctl(near, abi::BIND_UNBOUND_PORT, SELF.into());
        let port = port.unwrap();
        let peer = side.ioctl(far, abi::BIND_INTERDOMAIN, [SELF, port].into());
        Pair {
            near,
            far,
            port,
            peer: peer.unwrap(),
        }
    }

    pub(crate) fn fire(&self, side: &S) {
        assert_eq!(side.ioctl(self.far, abi::NOTIFY, self.peer.into()), Ok(0));
    }

    pub(crate) fn enable(&self, side: &S) -> Answer<usize> {
        side.write(self.near, &self.port.to_ne_bytes())
    }
}

/// Reads one port without sleeping.
pub(crate) fn read_one<S: Side>(side: &S, file: S::File) -> Answer<u32> {
    let mut bytes = [0; 4];
    assert_eq!(side.read(file, &mut bytes)?, 4);
    Ok(u32::from_ne_bytes(bytes))
}
