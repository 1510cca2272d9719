//! The simulated machine: an ordinary dom0 with one vCPU, where events arrive at once.

use std::time::Duration;

use evtchn_core::{Device, DeviceError, DomId, Registrar, Sleep};
use evtchn_sim::abi::FIONBIO;
use evtchn_sim::{SimDevice, SimLoop, SimOpen, SimPrivcmd, World};
use evtchn_xen::PollLoop;
use rustix::event::PollFlags;
use rustix::io::Errno;

use super::platform::Platform;

/// asm-generic/ioctls.h
const FIONREAD: u32 = 0x541b;

/// A machine of its own for each case, and an event loop to go with it.
pub(crate) struct Sim<L> {
    sim: evtchn_sim::Sim,
    pair: evtchn_sim::Platform,
    event_loop: fn() -> L,
    is_ready: fn(&L) -> bool,
}

impl<L> Sim<L> {
    fn new(pair: evtchn_sim::Platform, event_loop: fn() -> L, is_ready: fn(&L) -> bool) -> Sim<L> {
        Sim {
            sim: evtchn_sim::Sim::with_config(pair.config(1)),
            pair,
            event_loop,
            is_ready,
        }
    }
}

impl Sim<SimLoop> {
    pub(crate) fn level(pair: evtchn_sim::Platform) -> Self {
        Sim::new(pair, SimLoop::level, SimLoop::ready)
    }

    pub(crate) fn edge(pair: evtchn_sim::Platform) -> Self {
        Sim::new(pair, SimLoop::edge, SimLoop::ready)
    }
}

impl Sim<PollLoop> {
    /// With a real event loop, on the descriptor of the simulated device.
    pub(crate) fn polled(pair: evtchn_sim::Platform) -> Self {
        Sim::new(
            pair,
            || PollLoop::new().unwrap(),
            |event_loop| event_loop.wait(Some(Duration::ZERO)).unwrap().ready,
        )
    }
}

fn errno(errno: evtchn_sim::Errno) -> Errno {
    Errno::from_raw_os_error(errno.raw())
}

impl<L: Sleep> Platform for Sim<L> {
    type Device = SimDevice;
    type Open = SimOpen;
    type Loop = L;
    type Privcmd = SimPrivcmd;

    fn opener(&self) -> SimOpen {
        self.sim.open(self.domid())
    }

    fn batching(&self) -> SimOpen {
        self.opener().multicall()
    }

    fn has_multicall(&self, device: &SimDevice) -> bool {
        device.has_multicall()
    }

    fn batching_privcmd(&self) -> SimPrivcmd {
        self.privcmd()
    }

    fn event_loop(&self) -> L {
        (self.event_loop)()
    }

    fn privcmd(&self) -> SimPrivcmd {
        self.sim.privcmd(self.domid())
    }

    fn domid(&self) -> DomId {
        DomId::DOM0
    }

    fn pair(&self) -> evtchn_sim::Platform {
        self.pair
    }

    #[track_caller]
    fn expect_ready(&self, device: &SimDevice) {
        let bits = self.poll(device);
        assert!(bits.intersects(PollFlags::IN | PollFlags::ERR), "{bits:?}");
    }

    #[track_caller]
    fn expect_loop_ready(&self, event_loop: &L) {
        assert!(self.is_loop_ready(event_loop), "the loop sleeps for ever");
    }

    fn is_loop_ready(&self, event_loop: &L) -> bool {
        (self.is_ready)(event_loop)
    }

    fn poll(&self, device: &SimDevice) -> PollFlags {
        PollFlags::from_bits_retain(device.poll().unwrap().raw())
    }

    fn errno(error: &DeviceError) -> Errno {
        errno(evtchn_sim::Errno::of(error).unwrap())
    }

    fn raw_read(&self, device: &SimDevice, bytes: &mut [u8]) -> Result<usize, Errno> {
        let read = self.sim.with(|world| world.read(device.file(), bytes));
        read.map_err(errno)
    }

    fn raw_write(&self, device: &SimDevice, bytes: &[u8]) -> Result<usize, Errno> {
        let written = self.sim.with(|world| world.write(device.file(), bytes));
        written.map_err(errno)
    }

    fn dup(&self, device: &SimDevice) -> SimDevice {
        device.dup().unwrap()
    }

    fn set_nonblocking(&self, device: &SimDevice, is_on: bool) -> Result<(), Errno> {
        let request = |world: &mut World| world.ioctl(device.file(), FIONBIO, u32::from(is_on));
        self.sim.with(request).map(drop).map_err(errno)
    }

    fn seek(&self, device: &SimDevice) -> Result<(), Errno> {
        let sought = self.sim.with(|world| world.seek(device.file()));
        sought.map(drop).map_err(errno)
    }

    fn read_at(&self, device: &SimDevice, _: &mut [u8]) -> Result<(), Errno> {
        let read = self.sim.with(|world| world.at_offset(device.file(), 0));
        read.map(drop).map_err(errno)
    }

    fn write_at(&self, device: &SimDevice, _: &[u8]) -> Result<(), Errno> {
        let written = self.sim.with(|world| world.at_offset(device.file(), 0));
        written.map(drop).map_err(errno)
    }

    fn readable_bytes(&self, device: &SimDevice) -> Result<(), Errno> {
        let request = |world: &mut World| world.ioctl(device.file(), FIONREAD, 0);
        self.sim.with(request).map(drop).map_err(errno)
    }

    fn edge_watch(&self, device: &SimDevice) -> Box<dyn Fn() -> bool> {
        let watch = SimLoop::edge();
        let device = Device::new(device.dup().unwrap());
        watch.register(&device).unwrap();
        Box::new(move || {
            let _still_open = &device;
            watch.ready()
        })
    }
}
