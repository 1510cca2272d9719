//! A backend whose ports are all of one domain and one device.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};

use evtchn::{
    DeviceCall, DeviceError, DomId, ErrorKind, EventChannel, Open, Port, PortBuf, RemotePort, Virq,
};
use rustix::event::{EventfdFlags, eventfd};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory;

#[derive(Debug)]
pub(crate) struct MemoryDevice {
    ports: Mutex<Ports>,
    /// Readable while a port has fired.
    readable: OwnedFd,
    process: u32,
}

#[derive(Debug, Default)]
struct Ports {
    bound: BTreeMap<Port, Line>,
    fired: VecDeque<Port>,
}

#[derive(Debug, Default)]
struct Line {
    peer: Option<Port>,
    is_masked: bool,
    is_pending: bool,
}

/// The own error of this backend.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is only memory here")]
pub(crate) struct Refused;

fn refused(kind: ErrorKind, call: DeviceCall) -> DeviceError {
    DeviceError::new(kind, call).with_source(Refused)
}

impl Open for Memory {
    type Device = MemoryDevice;

    fn open(&self) -> Result<MemoryDevice, DeviceError> {
        let readable = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(MemoryDevice {
            ports: Mutex::default(),
            readable: readable.map_err(|_| refused(ErrorKind::NoMemory, DeviceCall::Open))?,
            process: std::process::id(),
        })
    }

    fn process(&self) -> u64 {
        std::process::id().into()
    }
}

impl Ports {
    fn bind(&mut self, peer: Option<Port>) -> Port {
        let last = self.bound.keys().last().map_or(0, |port| port.as_raw());
        let port = Port::new(last + 1).unwrap();
        let line = Line {
            peer,
            ..Line::default()
        };
        self.bound.insert(port, line);
        port
    }

    fn fire(&mut self, port: Port) {
        let Some(line) = self.bound.get_mut(&port) else {
            return;
        };
        line.is_pending = line.is_masked;
        if !line.is_masked {
            line.is_masked = true;
            self.fired.push_back(port);
        }
    }
}

impl MemoryDevice {
    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap()
    }

    pub(crate) fn bound(&self) -> Vec<Port> {
        self.ports().bound.keys().copied().collect()
    }

    /// The descriptor is readable if and only if a port has fired.
    fn show(&self, ports: &Ports) {
        if ports.fired.is_empty() {
            let _not_readable_before = rustix::io::read(&self.readable, &mut [0; 8]);
        } else {
            rustix::io::write(&self.readable, &1_u64.to_ne_bytes()).unwrap();
        }
    }
}

impl EventChannel for MemoryDevice {
    fn bind_unbound_port(&self, _: DomId) -> Result<Port, DeviceError> {
        Ok(self.ports().bind(None))
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        let mut ports = self.ports();
        let is_free = ports.bound.get(&remote.port).map(|it| it.peer.is_none());
        if is_free != Some(true) {
            let call = DeviceCall::BindInterdomain(remote);
            return Err(refused(ErrorKind::Invalid, call));
        }
        let port = ports.bind(Some(remote.port));
        ports.bound.entry(remote.port).or_default().peer = Some(port);
        ports.fire(port);
        self.show(&ports);
        Ok(port)
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        let call = DeviceCall::BindVirq(virq);
        Err(refused(ErrorKind::Unsupported, call))
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        let call = DeviceCall::BindStatic(port);
        Err(refused(ErrorKind::Unsupported, call))
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        let mut ports = self.ports();
        let Some(line) = ports.bound.remove(&port) else {
            return Err(refused(ErrorKind::NotBound, DeviceCall::Unbind(port)));
        };
        if let Some(peer) = line.peer.and_then(|peer| ports.bound.get_mut(&peer)) {
            peer.peer = None;
        }
        Ok(())
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        let mut ports = self.ports();
        let Some(line) = ports.bound.get(&port) else {
            return Err(refused(ErrorKind::NotBound, DeviceCall::Notify(port)));
        };
        if let Some(peer) = line.peer {
            ports.fire(peer);
        }
        self.show(&ports);
        Ok(())
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        let mut ports = self.ports();
        buf.fill(|words| {
            let count = words.len().min(ports.fired.len());
            for (word, port) in words.iter_mut().zip(ports.fired.drain(..count)) {
                *word = port.as_raw();
            }
            self.show(&ports);
            Ok(count)
        })
    }

    fn unmask(&self, enabled: &[Port]) -> Result<usize, DeviceError> {
        let mut ports = self.ports();
        for port in enabled {
            let Some(line) = ports.bound.get_mut(port) else {
                continue;
            };
            line.is_masked = false;
            if line.is_pending {
                ports.fire(*port);
            }
        }
        self.show(&ports);
        Ok(enabled.len())
    }

    fn reset(&self) -> Result<(), DeviceError> {
        let mut ports = self.ports();
        ports.fired.clear();
        self.show(&ports);
        Ok(())
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        let call = DeviceCall::Restrict(domid);
        Err(refused(ErrorKind::Unsupported, call))
    }

    fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        Ok(self.readable.as_fd())
    }
}
