//! The simulated machine: a dom0 with one vCPU, of one platform.

use std::cell::RefCell;

use evtchn_core::DomId;
use evtchn_sim::abi::{Access, Arg};
use evtchn_sim::{FileId, Platform, ReaderId, World};
use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::side::{Answer, Side, Signal};

pub(crate) struct Sim(RefCell<World>, Platform);

/// A read, and its end where it was seen.
pub(crate) struct Reader {
    id: ReaderId,
    end: Option<Answer<u32>>,
}

impl Sim {
    pub(crate) fn new(platform: Platform) -> Sim {
        Sim(RefCell::new(World::new(platform.config(1))), platform)
    }

    fn look(&self, reader: &mut Reader) {
        if reader.end.is_none() {
            let answer = self.0.borrow_mut().end_of_read(reader.id);
            reader.end = answer.map(|answer| {
                let bytes = answer.map_err(errno)?;
                Ok(u32::from_ne_bytes(bytes.try_into().unwrap()))
            });
        }
    }
}

fn errno(errno: evtchn_sim::Errno) -> Errno {
    Errno::from_raw_os_error(errno.raw())
}

impl Side for Sim {
    type File = FileId;
    type Reader = Reader;
    type Peer = DomId;

    fn open(&self, access: Access, is_nonblocking: bool) -> FileId {
        let mut world = self.0.borrow_mut();
        let file = world.open_with(DomId::DOM0, access, is_nonblocking);
        file.unwrap()
    }

    fn close(&self, file: FileId) {
        self.0.borrow_mut().close(file).unwrap();
    }

    fn ioctl(&self, file: FileId, request: u32, arg: Arg) -> Answer<u32> {
        let answer = self.0.borrow_mut().ioctl(file, request, arg);
        answer.map_err(errno)
    }

    fn read(&self, file: FileId, bytes: &mut [u8]) -> Answer<usize> {
        self.0.borrow_mut().read(file, bytes).map_err(errno)
    }

    fn read_bad(&self, file: FileId, count: usize) -> Answer<usize> {
        self.0.borrow_mut().read_bad(file, count).map_err(errno)
    }

    fn write(&self, file: FileId, bytes: &[u8]) -> Answer<usize> {
        self.0.borrow_mut().write(file, bytes).map_err(errno)
    }

    fn write_bad(&self, file: FileId, count: usize) -> Answer<usize> {
        self.0.borrow_mut().write_bad(file, count).map_err(errno)
    }

    fn readv(&self, file: FileId, mut segments: [&mut [u8]; 2]) -> Answer<usize> {
        let read = self.0.borrow_mut().readv(file, &mut segments);
        read.map_err(errno)
    }

    fn writev(&self, file: FileId, segments: [&[u8]; 2]) -> Answer<usize> {
        self.0.borrow_mut().writev(file, &segments).map_err(errno)
    }

    fn domid(&self) -> u32 {
        0
    }

    fn platform(&self) -> Platform {
        self.1
    }

    fn static_pair(&self) -> [u32; 2] {
        let (mut world, dom0, own) = (self.0.borrow_mut(), DomId::DOM0, DomId::SELF);
        let one = world.alloc_unbound(dom0, own, own).unwrap();
        [one, world.bind_interdomain(dom0, own, one).unwrap()]
    }

    fn static_port(&self) -> (u32, DomId) {
        const PORT: u32 = 900;
        let mut world = self.0.borrow_mut();
        let peer = world.create_domain(None, &self.1.guest()).unwrap();
        let channel = world.connect_static((DomId::DOM0, PORT), (peer, PORT));
        channel.unwrap();
        (PORT, peer)
    }

    fn lose_peer(&self, peer: DomId) {
        self.0.borrow_mut().destroy_domain(peer).unwrap();
    }

    fn map(&self, file: FileId) -> Answer<()> {
        self.0.borrow().map(file).map(drop).map_err(errno)
    }

    fn poll(&self, file: FileId) -> PollFlags {
        let bits = self.0.borrow().poll(file).unwrap();
        PollFlags::from_bits_retain(bits.raw())
    }

    fn begin_read(&self, file: FileId) -> Reader {
        let id = self.0.borrow_mut().read_blocking(file, 4).unwrap();
        let mut reader = Reader { id, end: None };
        self.expect_asleep(&mut reader);
        reader
    }

    #[track_caller]
    fn expect_asleep(&self, reader: &mut Reader) {
        self.look(reader);
        assert_eq!(reader.end, None);
    }

    fn signal(&self, reader: &mut Reader, signal: Signal) {
        let mut world = self.0.borrow_mut();
        let sent = match signal {
            Signal::Restarts => world.signal_restarting(reader.id),
            Signal::Interrupts => world.signal(reader.id),
        };
        sent.unwrap();
    }

    fn is_over(&self, reader: &mut Reader) -> bool {
        self.look(reader);
        reader.end.is_some()
    }

    #[track_caller]
    fn end(&self, mut reader: Reader) -> Answer<u32> {
        self.look(&mut reader);
        reader.end.unwrap_or_else(|| panic!("it sleeps for ever"))
    }
}
