//! Facts of Linux drivers/xen/evtchn.c, by name, at the level of ioctl, read and write.

mod events;
mod readers;
mod requests;
mod ring;
mod statics;
mod vfs;

use evtchn_core::{DomId, Port, RemotePort, Status, Virq};

use super::abi::{self, Arg, PollBits};
use crate::config::{Abi, Config, DomainConfig};
use crate::errno::Errno;
use crate::platform::XenVersion;
use crate::world::{FileId, World};

const DOM0: u32 = 0;
const SELF: u32 = 0x7ff0;

/// Domain 0 with two open files: the one under test, and one to notify it from. Domain 1 exists.
struct Bench {
    world: World,
    file: FileId,
    peer: FileId,
    domu: DomId,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(&DomainConfig::dom0())
    }

    fn with(dom0: &DomainConfig) -> Bench {
        let mut config = Config::seeded(0);
        config.dom0 = dom0.clone();
        let mut world = World::new(config);
        let domu = world.create_domain(None, &DomainConfig::guest()).unwrap();
        let mut open = || world.open(DomId::DOM0).unwrap();
        let (file, peer) = (open(), open());
        Bench {
            world,
            file,
            peer,
            domu,
        }
    }

    fn ioctl(&mut self, request: u32, arg: impl Into<Arg>) -> Result<u32, Errno> {
        self.world.ioctl(self.file, request, arg)
    }

    /// A port that waits for its peer.
    fn unbound(&mut self) -> u32 {
        self.ioctl(abi::BIND_UNBOUND_PORT, SELF).unwrap()
    }

    /// A connected pair: our port, and the peer's. The first event of ours is read and its port
    /// unmasked.
    fn pair(&mut self) -> (u32, u32) {
        let ours = self.unbound();
        let args = [SELF, ours];
        let peer = self.peer;
        let theirs = self.world.ioctl(peer, abi::BIND_INTERDOMAIN, args);
        let theirs = theirs.unwrap();
        assert_eq!(read(&mut self.world, peer, 4096), Ok(vec![theirs]));
        self.world.write(peer, &theirs.to_ne_bytes()).unwrap();
        (ours, theirs)
    }

    /// Fires our port of a pair.
    fn fire(&mut self, theirs: u32) {
        let fired = self.world.ioctl(self.peer, abi::NOTIFY, theirs);
        assert_eq!(fired, Ok(0));
    }

    /// As many connected pairs, each fired once.
    fn fired_pairs(&mut self, count: usize) -> Vec<(u32, u32)> {
        let pairs: Vec<_> = (0..count).map(|_| self.pair()).collect();
        for &(_, theirs) in &pairs {
            self.fire(theirs);
        }
        pairs
    }

    /// All that can be read at once.
    fn read(&mut self) -> Result<Vec<u32>, Errno> {
        read(&mut self.world, self.file, 4096)
    }

    fn write(&mut self, ports: &[u32]) -> Result<usize, Errno> {
        let bytes: Vec<u8> = ports.iter().flat_map(|port| port.to_ne_bytes()).collect();
        self.world.write(self.file, &bytes)
    }

    fn poll(&self) -> PollBits {
        self.world.poll(self.file).unwrap()
    }

    fn status(&self, port: u32) -> Status {
        let status = self.world.status(DomId::DOM0, DomId::SELF, port);
        status.unwrap().state
    }
}

fn connected(domid: DomId, port: u32) -> Status {
    let port = Port::new(port).unwrap();
    let remote = RemotePort { domid, port };
    Status::Interdomain { remote }
}

fn read(world: &mut World, file: FileId, count: usize) -> Result<Vec<u32>, Errno> {
    let mut bytes = vec![0; count];
    let read = world.read(file, &mut bytes)?;
    let words = bytes[..read].as_chunks().0;
    Ok(words.iter().map(|&word| u32::from_ne_bytes(word)).collect())
}
