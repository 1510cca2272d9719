//! Clients of a server, which runs in a thread of the test.

mod hostile;

use std::io::{PipeWriter, pipe};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::{env, fs, io, process};

use evtchn_core::{DomId, ErrorKind, EventChannel, Open, Port, PortBuf, RemotePort, Status, Virq};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::protocol::{OnDevice, Request};
use super::*;
use crate::abi;
use crate::errno::Errno;
use crate::sim::Sim;

/// A server, which ends when this is dropped.
struct Serving {
    sim: Sim,
    path: PathBuf,
    stopper: Option<PipeWriter>,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl Serving {
    fn new() -> Serving {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("evtchn-remote-{}-{count}", process::id());
        let path = env::temp_dir().join(name);
        let sim = Sim::new(1);
        let mut server = Server::bind(&path, &sim).unwrap();
        let (stop, stopper) = pipe().unwrap();
        let server = thread::spawn(move || server.run(stop));
        Serving {
            sim,
            path,
            stopper: Some(stopper),
            server: Some(server),
        }
    }

    fn machine(&self) -> RemoteSim {
        RemoteSim::at(&self.path)
    }

    fn open(&self) -> RemoteDevice {
        let opener = RemoteOpen::at(&self.path, DomId::DOM0);
        opener.open().unwrap()
    }

    fn open_raw(&self) -> RemoteDevice {
        RemoteDevice::open_raw(&self.path, DomId::DOM0).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stopper.take());
        let ended = self.server.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap().unwrap();
            assert!(!self.path.exists());
        }
    }
}

fn pair(device: &RemoteDevice) -> (Port, Port) {
    let waiting = device.bind_unbound_port(DomId::SELF).unwrap();
    let domid = DomId::SELF;
    let bound = device.bind_interdomain(RemotePort {
        domid,
        port: waiting,
    });
    (waiting, bound.unwrap())
}

fn read(device: &RemoteDevice) -> Vec<u32> {
    let mut buf = PortBuf::with_capacity(PortBuf::MAX);
    device.pending(&mut buf).unwrap();
    buf.words().to_vec()
}

fn revents(device: &RemoteDevice) -> PollFlags {
    let fd = device.fd().unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap();
    fds[0].revents()
}

#[test]
fn a_device_is_polled_read_unmasked_and_notified_as_one_of_this_process() {
    let serving = Serving::new();
    let device = serving.open();
    let (waiting, bound) = pair(&device);
    assert_eq!(revents(&device), PollFlags::IN);
    assert_eq!(read(&device), [bound.as_raw()]);
    assert_eq!(
        (revents(&device), read(&device)),
        (PollFlags::empty(), vec![])
    );

    device.notify(waiting).unwrap();
    assert_eq!(revents(&device), PollFlags::empty()); // it is masked
    assert_eq!(device.unmask(&[waiting, bound]).unwrap(), 2);
    assert_eq!(revents(&device), PollFlags::IN);
    device.reset().unwrap();
    assert_eq!(revents(&device), PollFlags::empty());

    device.overflow().unwrap();
    assert_eq!(revents(&device), PollFlags::ERR);
    let mut buf = PortBuf::with_capacity(1);
    let error = device.pending(&mut buf).unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Overflow, Some(27))
    );
    device.reset().unwrap();
    assert_eq!(revents(&device), PollFlags::empty());
    device.unbind(bound).unwrap();
    let error = device.notify(bound).unwrap_err();
    assert_eq!(Errno::of(&error), Some(Errno::ENOTCONN));
}

#[test]
fn a_dropped_device_is_closed_before_the_drop_returns() {
    let serving = Serving::new();
    let before = serving.sim.dump();
    let device = serving.open();
    let (waiting, _) = pair(&device);
    let other = serving.open();
    let remote = RemotePort {
        domid: DomId::SELF,
        port: other.bind_unbound_port(DomId::SELF).unwrap(),
    };
    let across = device.bind_interdomain(remote).unwrap();
    drop(device);
    assert_eq!(serving.sim.open_files(), 1);
    // Its peer waits again.
    let statuses = RemoteOpen::at(&serving.path, DomId::DOM0)
        .statuses()
        .unwrap();
    let of = |port| statuses.status(DomId::SELF, port).unwrap().state;
    let remote_domid = DomId::DOM0;
    assert_eq!(
        of(remote.port),
        Status::Unbound {
            remote: remote_domid
        }
    );
    assert_eq!([of(waiting), of(across)], [Status::Closed; 2]);
    drop(other);
    assert_eq!(serving.sim.dump(), before);
}

#[test]
fn a_descriptor_keeps_the_device_open_and_shows_it_without_a_connection() {
    let serving = Serving::new();
    let device = serving.open_raw();
    let (waiting, bound) = pair(&device);
    assert_eq!(device.read_raw(), Ok(bound.as_raw()));
    device.write_raw(bound.as_raw()).unwrap();
    let inherited = device.as_fd().try_clone_to_owned().unwrap();
    drop(device);
    assert_eq!(serving.machine().act(Act::OpenFiles), Ok(1));

    // An event comes while no client is connected.
    let port = waiting.as_raw();
    let device = serving.sim.open(DomId::DOM0).open().unwrap();
    let foreign = device.ioctl_raw(abi::NOTIFY, [port, 0]);
    assert_eq!(foreign, Err(Errno::ENOTCONN));
    serving.sim.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
    let device = RemoteDevice::adopt_raw(&serving.path, &inherited).unwrap();
    device.ioctl_raw(abi::NOTIFY, [port, 0]).unwrap();
    drop(device);
    let device = RemoteDevice::adopt_raw(&serving.path, &inherited).unwrap();
    assert_eq!(revents(&device), PollFlags::IN);
    assert_eq!(device.read_raw(), Ok(bound.as_raw()));
    assert_eq!(revents(&device), PollFlags::empty());

    drop(device);
    drop(inherited);
    assert_eq!(serving.machine().act(Act::OpenFiles), Ok(1)); // the one of this process
}

#[test]
fn what_happens_while_no_client_is_connected_is_shown_at_once_or_at_the_next_connection() {
    let serving = Serving::new();
    let device = serving.open_raw();
    let ours = device.ioctl_raw(abi::BIND_UNBOUND_PORT, [1, 0]).unwrap();
    let act = |act| serving.machine().act(act).unwrap();
    assert_eq!(act(Act::CreateDomain), 1);
    let bound = act(Act::BindInterdomain {
        domid: 1,
        remote: 0,
        port: ours,
    });
    let port = u32::try_from(bound).unwrap();
    let inherited = device.as_fd().try_clone_to_owned().unwrap();
    drop(device);

    act(Act::Send { domid: 1, port });
    let mut fds = [PollFd::new(&inherited, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap();
    assert_eq!(fds[0].revents(), PollFlags::IN);

    // 64 entries fill the ring, and one more comes.
    let device = RemoteDevice::adopt_raw(&serving.path, &inherited).unwrap();
    assert_eq!(device.read_raw(), Ok(ours));
    device.write_raw(ours).unwrap();
    let own = DomId::SELF.as_raw().into();
    let waiting = device.ioctl_raw(abi::BIND_UNBOUND_PORT, [own, 0]).unwrap();
    for _ in 0..64 {
        let bound = device.ioctl_raw(abi::BIND_INTERDOMAIN, [own, waiting]);
        device.ioctl_raw(abi::UNBIND, [bound.unwrap(), 0]).unwrap();
    }
    assert_eq!(revents(&device), PollFlags::IN);
    drop(device);
    act(Act::Send { domid: 1, port });
    let device = RemoteDevice::adopt_raw(&serving.path, &inherited).unwrap();
    assert_eq!(revents(&device), PollFlags::ERR);
    assert_eq!(device.read_raw(), Err(Errno::EFBIG));
    device.ioctl_raw(abi::RESET, [0, 0]).unwrap();
    assert_eq!(revents(&device), PollFlags::empty());
}

#[test]
fn a_descriptor_of_something_else_is_no_device() {
    let serving = Serving::new();
    let (pipe, _other_end) = pipe().unwrap();
    let other = Serving::new();
    let device = other.open_raw();
    for fd in [pipe.as_fd(), device.as_fd()] {
        let adopted = RemoteDevice::adopt_raw(&serving.path, fd);
        assert_eq!(adopted.err(), Some(Errno::EBADF));
    }
}

#[test]
fn a_device_notices_a_restore_and_a_raw_one_does_not() {
    let serving = Serving::new();
    let act = |act| serving.machine().act(act);
    act(Act::CreateDomain).unwrap();
    let domid = DomId::new(1);
    let device = RemoteOpen::at(&serving.path, domid).open().unwrap();
    let raw = RemoteDevice::open_raw(&serving.path, domid).unwrap();
    let port = device.bind_unbound_port(DomId::DOM0).unwrap();
    raw.ioctl_raw(abi::BIND_UNBOUND_PORT, [0, 0]).unwrap();
    act(Act::Checkpoint { domid: 1 }).unwrap();
    assert!(!device.is_resumed());
    act(Act::SaveRestore { domid: 1 }).unwrap();
    assert!(device.is_resumed() && !raw.is_resumed());
    assert_eq!(device.unbind(port).unwrap_err().kind(), ErrorKind::Resumed);
    raw.ioctl_raw(abi::BIND_UNBOUND_PORT, [0, 0]).unwrap();

    act(Act::Advance {
        by: std::time::Duration::from_secs(1),
    })
    .unwrap();
    assert_eq!(
        (revents(&device), revents(&raw)),
        (PollFlags::IN, PollFlags::empty())
    );
    drop(device);
    assert_eq!(act(Act::OldPortsReleased), Ok(0));
    drop(raw);
    assert_eq!(act(Act::OldPortsReleased), Ok(1));
}

#[test]
fn the_end_of_a_process_closes_a_device_from_before_a_restore() {
    let serving = Serving::new();
    let act = |act| serving.machine().act(act);
    act(Act::CreateDomain).unwrap();
    let mut connection = client::Connection::new(&serving.path).unwrap();
    let (domid, raw) = (1, false);
    let (_, shown) = connection
        .call(&Request::Open { domid, raw }, None)
        .unwrap();
    let (request, words) = (abi::BIND_UNBOUND_PORT, [0, 0]);
    let bind = Request::OnDevice(OnDevice::Ioctl { request, words });
    connection.call(&bind, None).unwrap();
    act(Act::SaveRestore { domid }).unwrap();
    assert_eq!(act(Act::OpenFiles), Ok(1));
    drop((connection, shown));
    assert_eq!(
        (act(Act::OpenFiles), act(Act::OldPortsReleased)),
        (Ok(0), Ok(1))
    );
}

#[test]
fn a_call_fails_with_eio_once_the_server_is_gone() {
    let serving = Serving::new();
    let (device, machine) = (serving.open(), serving.machine());
    drop(serving);
    assert_eq!(revents(&device), PollFlags::ERR); // so whoever sleeps looks
    let error = device.bind_virq(Virq::DOM_EXC).unwrap_err();
    assert_eq!(
        (error.kind(), Errno::of(&error)),
        (ErrorKind::Gone, Some(Errno::EIO))
    );
    assert_eq!(machine.act(Act::Step), Err(Errno::ENOENT));
    assert_eq!(machine.dump(), Err(Errno::ENOENT));
}

#[test]
fn a_server_replaces_a_socket_that_is_left_and_nothing_else() {
    let taken = |path: &Path| {
        let bound = Server::bind(path, &Sim::new(1));
        bound.map(drop).unwrap_err().kind()
    };
    let serving = Serving::new();
    assert_eq!(taken(&serving.path), io::ErrorKind::AddrInUse);
    let file = serving.path.with_extension("file");
    fs::write(&file, "text").unwrap();
    assert_eq!(taken(&file), io::ErrorKind::AddrInUse);
    assert_eq!(fs::read(&file).unwrap(), b"text");
    fs::remove_file(&file).unwrap();

    let left = serving.path.with_extension("left");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    let left_by_a_server = serving.path.with_extension("server");
    drop(socket::listen(&left_by_a_server).unwrap());
    let server = Server::bind(&left_by_a_server, &Sim::new(1)).unwrap();
    drop(server);
    assert!(!left_by_a_server.exists());
    fs::remove_file(left).unwrap();
}
