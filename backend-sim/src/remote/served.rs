//! What the server has: open devices, and the connections that use them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use evtchn_core::{DomId, EventChannel, Open, PortStatuses};
use rustix::fs::MemfdFlags;
use rustix::net::{RecvFlags, SendFlags};

use super::protocol::{Answer, LARGEST, MOST_PORTS, OnDevice, RESUMED, Request, VERSION};
use super::socket::{self, Received};
use crate::device::SimDevice;
use crate::driver::abi::{self, PollBits};
use crate::errno::Errno;
use crate::sim::Sim;

/// The devices that clients have open, by the inode of their descriptors.
#[derive(Debug)]
pub(super) struct Devices {
    sim: Sim,
    open: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    device: SimDevice,
    /// How many connections use it.
    connections: usize,
}

impl Devices {
    pub(super) fn new(sim: &Sim) -> Devices {
        Devices {
            sim: sim.clone(),
            open: BTreeMap::new(),
        }
    }

    fn open(&mut self, domid: u16, raw: bool) -> Result<(u64, OwnedFd), Errno> {
        let opener = self.sim.open(DomId::new(domid));
        let opener = if raw { opener.raw() } else { opener };
        let device = opener.open().map_err(|error| errno_of(error.code()))?;
        let shown = self.sim.lock().pollable(device.file());
        let shown = shown.map_err(|error| errno_of(error.raw_os_error()))?;
        let key = socket::inode(&shown).map_err(errno)?;
        let connections = 1;
        self.open.insert(
            key,
            Held {
                device,
                connections,
            },
        );
        Ok((key, shown))
    }

    /// Finds the device of a descriptor.
    fn attach(&mut self, shown: OwnedFd) -> Result<u64, Errno> {
        let key = socket::inode(&shown).map_err(errno)?;
        let held = self.open.get_mut(&key).ok_or(Errno::EBADF)?;
        held.connections += 1;
        if held.connections == 1 {
            let file = held.device.file();
            let mut world = self.sim.lock();
            if let Some(pollable) = world.shown(file) {
                pollable.keep(shown);
            }
            // It shows what has happened meanwhile.
            drop(world.pollable(file));
        }
        Ok(key)
    }

    /// A connection uses a device no longer. Its descriptor may still be open in some process.
    pub(super) fn detach(&mut self, key: u64) {
        let Some(held) = self.open.get_mut(&key) else {
            return;
        };
        held.connections -= 1;
        if held.connections == 0 {
            if let Some(pollable) = self.sim.lock().shown(held.device.file()) {
                pollable.release();
            }
            self.close_unused();
        }
    }

    /// Closes the devices whose descriptors are open nowhere, which unbinds their ports.
    pub(super) fn close_unused(&mut self) {
        let sim = &self.sim;
        self.open.retain(|_, held| {
            let mut world = sim.lock();
            let file = held.device.file();
            let is_used =
                held.connections > 0 || world.shown(file).is_some_and(|shown| shown.is_open());
            if !is_used {
                // The end of a process closes one from before a restore too. It fails where the domain is gone.
                let _ = world.close(file);
            }
            is_used
        });
    }
}

impl Drop for Devices {
    /// Whoever sleeps for a device wakes, and finds that the server is gone.
    fn drop(&mut self) {
        for held in self.open.values() {
            if let Some(pollable) = self.sim.lock().shown(held.device.file()) {
                pollable.show(PollBits::ERROR);
            }
        }
    }
}

/// A client that is connected.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    is_greeted: bool,
    device: Option<u64>,
    /// When it made its last request, counted in rounds of the server.
    pub(super) last: u64,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// A request was answered.
    Answered,
    /// There was none.
    Nothing,
    /// It is over.
    Ended,
}

/// The answer to a request, and a descriptor that goes with it.
type Answered = Result<(Answer, Option<OwnedFd>), Errno>;

fn number(number: impl Into<u64>) -> Answered {
    Ok((Answer::Number(number.into()), None))
}

impl Connection {
    pub(super) const fn new(socket: OwnedFd, now: u64) -> Connection {
        Connection {
            socket,
            is_greeted: false,
            device: None,
            last: now,
        }
    }

    /// Whether it uses a device.
    pub(super) const fn has_device(&self) -> bool {
        self.device.is_some()
    }

    /// Answers the next request, if there is one.
    pub(super) fn serve(&mut self, devices: &mut Devices, buf: &mut [u8; LARGEST]) -> Turn {
        let (request, passed) = match socket::receive(self.as_fd(), buf, RecvFlags::DONTWAIT) {
            Ok(Received::Message(request, passed)) => (request, passed),
            Ok(Received::Bad) => {
                self.send(
                    &Answer::Refused(rustix::io::Errno::BADMSG.raw_os_error()),
                    None,
                );
                return Turn::Ended;
            }
            Err(rustix::io::Errno::AGAIN) => return Turn::Nothing,
            Ok(Received::End) | Err(_) => return Turn::Ended,
        };
        let is_welcome = self.is_greeted || request == Request::Hello { version: VERSION };
        if !is_welcome {
            self.send(
                &Answer::Refused(rustix::io::Errno::PROTO.raw_os_error()),
                None,
            );
            return Turn::Ended;
        }
        self.is_greeted = true;
        let answered = self.answer(request, passed, devices);
        let (answer, passed) =
            answered.unwrap_or_else(|errno| (Answer::Refused(errno.raw()), None));
        // A client that does not take its answers does not hold up the others.
        match self.send(&answer, passed.as_ref()) {
            true => Turn::Answered,
            false => Turn::Ended,
        }
    }

    fn send(&self, answer: &Answer, passed: Option<&OwnedFd>) -> bool {
        let passed = passed.map(AsFd::as_fd);
        socket::send(self.as_fd(), answer, passed, SendFlags::DONTWAIT).is_ok()
    }

    fn answer(
        &mut self,
        request: Request,
        passed: Option<OwnedFd>,
        devices: &mut Devices,
    ) -> Answered {
        match request {
            Request::Hello { .. } => number(0_u32),
            Request::Open { .. } | Request::Attach if self.has_device() => Err(Errno::EBUSY),
            Request::Open { domid, raw } => {
                let (key, shown) = devices.open(domid, raw)?;
                self.device = Some(key);
                Ok((Answer::Number(0), Some(shown)))
            }
            Request::Attach => {
                self.device = Some(devices.attach(passed.ok_or(Errno::EBADF)?)?);
                number(0_u32)
            }
            Request::Close => {
                self.detach(devices);
                number(0_u32)
            }
            Request::Status {
                caller,
                domid,
                port,
            } => {
                let privcmd = devices.sim.privcmd(DomId::new(caller));
                let port = evtchn_core::Port::new(port).ok_or(Errno::EINVAL)?;
                let status = privcmd.status(DomId::new(domid), port);
                let status = status.map_err(|error| errno_of(error.code()))?;
                Ok((Answer::status(status), None))
            }
            Request::Act(act) => number(act.on(&devices.sim)?),
            Request::Dump => dump(&devices.sim),
            Request::OnDevice(call) => {
                let held = self.device.and_then(|key| devices.open.get(&key));
                on_device(&held.ok_or(Errno::EBADF)?.device, call)
            }
        }
    }

    /// Uses no device from now on.
    pub(super) fn detach(&mut self, devices: &mut Devices) {
        if let Some(key) = self.device.take() {
            devices.detach(key);
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A call of an open device.
fn on_device(device: &SimDevice, call: OnDevice) -> Answered {
    let is_resumed = device.is_resumed();
    match call {
        OnDevice::Ioctl { request, .. } if is_resumed && needs_current_device(request) => {
            Err(RESUMED)
        }
        OnDevice::Read { .. } if is_resumed => Err(RESUMED),
        OnDevice::Ioctl { request, words } => number(device.ioctl_raw(request, words)?),
        OnDevice::Read { most } => {
            let ports = device.read_many(most.min(MOST_PORTS))?;
            Ok((Answer::Ports(ports), None))
        }
        OnDevice::Write { ports } => number(device.write_many(&ports)? as u64),
        OnDevice::Overflow => {
            device.sim().with(|world| world.overflow(device.file()))?;
            number(0_u32)
        }
        OnDevice::IsResumed => number(is_resumed),
    }
}

/// Whether a device from before a restore refuses a request by itself.
const fn needs_current_device(request: u32) -> bool {
    !matches!(request, abi::NOTIFY | abi::RESET | abi::RESTRICT_DOMID)
}

/// A file with the text, because it need not fit into a message.
fn dump(sim: &Sim) -> Answered {
    let text = sim.dump();
    let file = rustix::fs::memfd_create("dump", MemfdFlags::CLOEXEC).map_err(errno)?;
    let mut file = File::from(file);
    let written = file.write_all(text.as_bytes());
    written.map_err(|error| errno_of(error.raw_os_error()))?;
    Ok((Answer::Number(text.len() as u64), Some(file.into())))
}

pub(super) fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::new(errno.raw_os_error())
}

/// The errno of an error, which always has one here.
pub(super) fn errno_of(code: Option<i32>) -> Errno {
    code.map_or(Errno::EIO, Errno::new)
}
