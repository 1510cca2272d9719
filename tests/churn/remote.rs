//! Pairs on a machine that a server has.

use std::env;
use std::io::{PipeWriter, pipe};
use std::path::PathBuf;
use std::process;
use std::thread::{self, JoinHandle};

use evtchn::sim::Sim;
use evtchn::sim::remote::{Act, RemoteDevice, RemoteOpen, RemoteSim, Server};
use evtchn::{Backend, DomId};

use super::rig::{Pair, Rig, flat_with_threads, nearly_flat};

pub(super) const PAIRS: &[Pair] = &[
    (
        "servers_that_begin_and_end",
        &["sim::remote::Server::bind", "sim::remote::Server::run"],
        servers,
    ),
    (
        "devices_that_are_opened_over_a_socket_and_dropped",
        &[
            "sim::remote::RemoteDevice::open_raw",
            "sim::remote::RemoteDevice::adopt_raw",
            "sim::remote::RemoteOpen::at",
        ],
        devices,
    ),
    (
        "ports_that_are_bound_over_a_socket_and_closed",
        &[
            "sim::remote::RemoteSim::at",
            "sim::remote::RemoteSim::act",
            "sim::remote::RemoteSim::dump",
        ],
        ports,
    ),
];

/// A server in a thread.
struct Serving {
    path: PathBuf,
    thread: JoinHandle<()>,
    stopper: PipeWriter,
}

impl Serving {
    fn new() -> Serving {
        let path = env::temp_dir().join(format!("evtchn-churn-{}", process::id()));
        let mut server = Server::bind(&path, &Sim::new(0)).unwrap();
        let (stop, stopper) = pipe().unwrap();
        let thread = thread::spawn(move || server.run(stop).unwrap());
        Serving {
            path,
            thread,
            stopper,
        }
    }

    fn end(self) {
        drop(self.stopper);
        self.thread.join().unwrap();
    }
}

fn servers(_: &Rig) {
    flat_with_threads(|| Serving::new().end());
}

fn devices(_: &Rig) {
    let serving = Serving::new();
    let backend = Backend::from(RemoteOpen::at(&serving.path, DomId::DOM0));
    nearly_flat(|| {
        let device = backend.open().unwrap();
        device.bind_unbound_port(DomId::SELF).unwrap();
        let raw = RemoteDevice::open_raw(&serving.path, DomId::DOM0).unwrap();
        let adopted = RemoteDevice::adopt_raw(&serving.path, &raw);
        drop((adopted.unwrap(), raw, device));
    });
    serving.end();
}

fn ports(_: &Rig) {
    let serving = Serving::new();
    let machine = RemoteSim::at(&serving.path);
    nearly_flat(|| {
        let (domid, remote) = (0, 0);
        let port = machine.act(Act::AllocUnbound { domid, remote }).unwrap();
        machine.dump().unwrap();
        let port = u32::try_from(port).unwrap();
        machine.act(Act::Close { domid, port }).unwrap();
    });
    serving.end();
}
