//! The least that a program can do: read, look up, write, written by hand.

use std::{os::fd::AsFd, sync::Arc};

use anyhow::Result;
use evtchn::{DomId, EventChannel, Port, RemotePort, xen::Device};
use rustix::{
    event::{PollFd, PollFlags},
    fs::OFlags,
    io::Errno,
};

use crate::{play::Scene, tally::Tally};

/// As many ports as one read or write takes.
const MANY: usize = 1024;

/// The loop by hand. The device only binds and notifies, which is one ioctl and a check each.
#[derive(Debug)]
pub(crate) struct Raw {
    device: Device,
    theirs: Vec<Port>,
    tally: Arc<Tally>,
    words: [u32; MANY],
    polls: bool,
}

impl Raw {
    /// Where it `polls`, it does not block in the read but in a poll before it.
    pub(crate) fn new(channels: usize, polls: bool) -> Result<(Raw, Arc<Tally>)> {
        let device = Device::open()?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..channels {
            let port = device.bind_unbound_port(DomId::DOM0)?;
            let domid = DomId::DOM0;
            theirs.push(device.bind_interdomain(RemotePort { domid, port })?);
            ours.push(port);
        }
        let tally = Arc::new(Tally::new(ours));
        let mut scene = Raw {
            device,
            theirs,
            tally: Arc::clone(&tally),
            words: [0; MANY],
            polls,
        };
        scene.swallow()?;
        Ok((scene, tally))
    }

    /// Reads the initial event of each B, then makes reads block.
    fn swallow(&mut self) -> Result<()> {
        let mut left = self.theirs.len();
        while left > 0 {
            match self.read() {
                Ok(count) => left -= count,
                Err(Errno::AGAIN) => self.poll()?,
                Err(errno) => return Err(errno.into()),
            }
        }
        let flags = rustix::fs::fcntl_getfl(&self.device)?;
        rustix::fs::fcntl_setfl(&self.device, flags - OFlags::NONBLOCK)?;
        Ok(())
    }

    fn poll(&self) -> Result<()> {
        let mut fds = [PollFd::from_borrowed_fd(self.device.as_fd(), PollFlags::IN)];
        rustix::event::poll(&mut fds, None)?;
        Ok(())
    }

    fn read(&mut self) -> Result<usize, Errno> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        Ok(rustix::io::read(&self.device, bytes)? / size_of::<u32>())
    }
}

impl Scene for Raw {
    fn notify(&self, index: usize) -> Result<()> {
        Ok(self.device.notify(self.theirs[index])?)
    }

    async fn handle(&mut self, total: usize) -> Result<()> {
        while self.tally.total() < total {
            if self.polls {
                self.poll()?;
            }
            let count = self.read()?;
            let ports = &self.words[..count];
            for port in ports {
                self.tally.count(*port);
            }
            rustix::io::write(&self.device, bytemuck::cast_slice(ports))?;
        }
        Ok(())
    }
}
