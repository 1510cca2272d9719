//! The two sides: the simulator, where the processes of a soak are threads, and the real device.

use std::fs;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use evtchn_core::{Channel, Context, DeviceError, DomId, EventChannel, Open, Port, RemotePort};
use evtchn_sim::{FileId, SimDevice, SimOpen};
use evtchn_xen::{Device, PollLoop, XenOpen};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::fork::{self, Inherited};

pub(crate) type ContextOf = Context<PollLoop>;
pub(crate) type ChannelOf = Channel<PollLoop>;

/// One of the two sides. Its clones are the same machine.
pub(crate) trait Side: Clone + Send + Sync + 'static {
    type Device: EventChannel + AsFd;
    type Open: Open<Device = Self::Device>;

    fn opener(&self) -> Self::Open;

    /// A second descriptor of the same open file.
    fn second(&self, device: &Self::Device) -> Result<Self::Device>;

    /// How many ports all processes have bound.
    fn bound(&self) -> Result<usize>;

    /// Makes a child try forbidden calls on what it inherits, drop it, and open a device of its own.
    fn fork(&self, kept: Inherited) -> Result<Inherited>;
}

/// The second descriptor of the device that a context has opened.
pub(crate) struct Second<S: Side>(Arc<Mutex<Option<S::Device>>>);

impl<S: Side> Second<S> {
    pub(crate) fn new() -> Second<S> {
        Second(Arc::default())
    }

    fn lock(&self) -> MutexGuard<'_, Option<S::Device>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn close(&self) {
        drop(self.lock().take());
    }

    /// Acts as another holder of the device. Nothing where none is open.
    pub(crate) fn act<T>(&self, act: impl FnOnce(&S::Device) -> Result<T>) -> Result<Option<T>> {
        self.lock().as_ref().map(act).transpose()
    }
}

/// Opens devices, and may keep a second descriptor of each.
pub(crate) struct SharedOpen<S: Side> {
    side: S,
    opener: S::Open,
    second: Option<Second<S>>,
}

impl<S: Side> SharedOpen<S> {
    pub(crate) fn new(side: &S) -> SharedOpen<S> {
        SharedOpen {
            side: side.clone(),
            opener: side.opener(),
            second: None,
        }
    }

    /// Others get the second descriptor of each device.
    pub(crate) fn shared_with(side: &S, second: &Second<S>) -> SharedOpen<S> {
        SharedOpen {
            second: Some(Second(Arc::clone(&second.0))),
            ..SharedOpen::new(side)
        }
    }
}

impl<S: Side> Open for SharedOpen<S> {
    type Device = S::Device;

    fn open(&self) -> Result<S::Device, DeviceError> {
        let device = self.opener.open()?;
        if let Some(second) = &self.second {
            // Without one there is no overflow, which the run notices.
            let old = std::mem::replace(&mut *second.lock(), self.side.second(&device).ok());
            drop(old);
        }
        Ok(device)
    }

    fn process(&self) -> u64 {
        self.opener.process()
    }
}

/// A port of this domain, as a peer in the same domain names it.
pub(crate) fn local(port: Port) -> RemotePort {
    RemotePort {
        domid: DomId::SELF,
        port,
    }
}

/// Whether the ring of a device has overflowed.
pub(crate) fn is_in_overflow(device: &impl AsFd) -> Result<bool> {
    let mut fds = [PollFd::new(device, PollFlags::empty())];
    rustix::event::poll(&mut fds, Some(&Timespec::default()))?;
    Ok(fds[0].revents().contains(PollFlags::ERR))
}

/// The simulated machine, and how many ports its kernel has.
#[derive(Clone)]
pub(crate) struct Sim {
    pub(crate) sim: evtchn_sim::Sim,
    kernel: usize,
    /// Every file that others hold too.
    pub(crate) shared: Arc<Mutex<Vec<FileId>>>,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Sim {
        let sim = evtchn_sim::Sim::new(seed);
        let kernel = sim.dump().lines().count();
        Sim {
            sim,
            kernel,
            shared: Arc::default(),
        }
    }
}

impl Side for Sim {
    type Device = SimDevice;
    type Open = SimOpen;

    fn opener(&self) -> SimOpen {
        self.sim.open(DomId::DOM0)
    }

    fn second(&self, device: &SimDevice) -> Result<SimDevice> {
        let second = device.dup()?;
        // After the call: a fault locks these while the machine is locked.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.push(device.file());
        Ok(second)
    }

    /// And how many files are open.
    fn bound(&self) -> Result<usize> {
        let lines = self.sim.dump().lines().count();
        ensure!(lines >= self.kernel, "the kernel has lost ports");
        Ok(lines - self.kernel)
    }

    /// A simulated fork affects all that an opener has opened, so what the child inherits comes from
    /// an opener of its own.
    fn fork(&self, kept: Inherited) -> Result<Inherited> {
        let shared = SharedOpen::new(self);
        let opener = shared.opener.clone();
        let ctx = Context::with_registrar(shared, PollLoop::new()?);
        let channel = ctx.bind_unbound_port(DomId::SELF)?;
        let peer = self.opener().open()?;
        let port = peer.bind_interdomain(local(channel.port()))?;
        channel.wait()?;
        opener.fork();
        let parent = opener.dup()?;
        let inherited = Inherited {
            ctx: Some(ctx),
            channels: vec![channel],
        };
        fork::child(self, inherited).map_err(anyhow::Error::msg)?;
        peer.notify(port)?;
        let mut fired = evtchn_core::PortBuf::with_capacity(1);
        parent.pending(&mut fired)?;
        ensure!(
            fired.words().len() == 1,
            "the child took what is its parent's"
        );
        Ok(kept)
    }
}

/// The real device.
#[derive(Clone)]
pub(crate) struct Xen;

impl Side for Xen {
    type Device = Device;
    type Open = XenOpen;

    fn opener(&self) -> XenOpen {
        XenOpen::default()
    }

    fn second(&self, device: &Device) -> Result<Device> {
        Ok(Device::from_fd(device.as_fd().try_clone_to_owned()?)?)
    }

    /// Linux requests an interrupt for each and names it after the device and the program
    /// (`evtchn_bind_to_user`, drivers/xen/evtchn.c).
    fn bound(&self) -> Result<usize> {
        let interrupts = fs::read_to_string("/proc/interrupts")?;
        let lines = interrupts.lines().filter(|line| line.contains(" evtchn:"));
        Ok(lines.count())
    }

    fn fork(&self, kept: Inherited) -> Result<Inherited> {
        fork::in_child(kept, |inherited| fork::child(&Xen, inherited))
    }
}
