//! A machine with domains, files and ports, and what a bad call on it returns.

use std::error::Error;

use evtchn_core::{Device, DomId, Open, Port};
use evtchn_sim::{
    DomainConfig, Errno, FileId, Guest, ReaderId, Sim, SimDevice, SimLoop, SimOpen, World,
};

/// A domain that does not exist.
pub(crate) const UNKNOWN: DomId = DomId::new(1234);
/// An id that no domain can have.
pub(crate) const RESERVED: DomId = DomId::new(0x7ff1);
pub(crate) const DOM0: DomId = DomId::DOM0;
pub(crate) const SELF: DomId = DomId::SELF;
/// Valid in no domain of these tests.
pub(crate) const BEYOND: u32 = 60_000;

pub(crate) struct Rig {
    pub(crate) sim: Sim,
    pub(crate) guest: Guest,
    pub(crate) opener: SimOpen,
    pub(crate) device: Device,
    pub(crate) event_loop: SimLoop,
    /// Files that no call reaches: closed, of a dead domain, of another machine.
    pub(crate) gone: [FileId; 3],
    /// A read that is over and whose result was returned.
    pub(crate) finished: ReaderId,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        let sim = Sim::new(1);
        let dead = sim.create_domain().unwrap();
        let guest = sim.guest(sim.create_domain().unwrap());
        let other = Sim::new(1).with(|world| world.open(DOM0).unwrap());
        let (gone, finished) = sim.with(|world| {
            let closed = world.open(DOM0).unwrap();
            let finished = world.read_blocking(closed, 0).unwrap();
            assert_eq!(world.end_of_read(finished), Some(Ok(vec![])));
            world.close(closed).unwrap();
            let of_dead = world.open(dead).unwrap();
            world.destroy_domain(dead).unwrap();
            ([closed, of_dead, other], finished)
        });
        let opener = sim.open(DOM0);
        let device = Device::new(opener.open().unwrap());
        Rig {
            guest,
            opener,
            device,
            event_loop: SimLoop::level(),
            gone,
            finished,
            sim,
        }
    }

    /// The file of the device.
    pub(crate) fn file(&self) -> FileId {
        self.device.downcast_ref::<SimDevice>().unwrap().file()
    }

    pub(crate) fn world<T>(&self, act: impl FnOnce(&mut World) -> Result<T, Errno>) -> Answer {
        say(self.sim.with(act))
    }

    /// The answer of a call on each of the files that are gone, which must be the same.
    pub(crate) fn gone<T>(
        &self,
        mut act: impl FnMut(&mut World, FileId) -> Result<T, Errno>,
    ) -> Answer {
        let answers = self
            .gone
            .map(|file| say(self.sim.with(|world| act(world, file))));
        assert_eq!(answers, [answers[0]; 3]);
        answers[0]
    }
}

/// The errno of a refusal, or `None`.
pub(crate) type Answer = Option<Errno>;

pub(crate) fn say<T>(answer: Result<T, Errno>) -> Answer {
    answer.err()
}

/// The same for a call of the device or of the event loop. Each refusal has an errno.
pub(crate) fn of_device<T>(answer: Result<T, impl Error + 'static>) -> Answer {
    answer.err().map(|error| Errno::of(&error).unwrap())
}

pub(crate) fn port(raw: u32) -> Port {
    Port::new(raw).unwrap()
}

/// The call with its bad value, the errno it must give, and the call itself.
pub(crate) type Row = (&'static str, Errno, fn(&Rig) -> Answer);

pub(crate) fn create(rig: &Rig, change: impl FnOnce(&mut DomainConfig)) -> Answer {
    let mut config = DomainConfig::guest();
    change(&mut config);
    say(rig.sim.create_domain_with(None, &config))
}

pub(crate) fn unknown_guest(rig: &Rig) -> Guest {
    rig.sim.guest(UNKNOWN)
}

/// A device whose domain is gone.
pub(crate) fn orphan(rig: &Rig) -> SimDevice {
    let domid = rig.sim.create_domain().unwrap();
    let device = rig.sim.open(domid).open().unwrap();
    rig.sim.destroy_domain(domid).unwrap();
    device
}
