//! What others did: guests, other handles of the device, and the simulator.

use crate::{BackendAnswer, BackendCall, BackendRecord, Guest, Sim};
use evtchn_core::DomId;

use super::super::lanes::Kind;
use super::super::summary::many;
use super::backend::domain;
use super::{Driver, LaneId, RemoteEnd};

impl Driver<'_> {
    pub(super) fn guest(&mut self, guest: &Guest) {
        match guest {
            Guest::BindInterdomain {
                domid,
                remote: DomId::DOM0,
                remote_port,
                port,
            } => {
                let about = domain(*domid, Some(*port));
                self.connect(RemoteEnd::of(*domid, *port), *remote_port, &about);
            }
            Guest::Send { domid, port } => {
                self.mark_for(RemoteEnd::of(*domid, *port), Kind::Sent, "");
            }
            Guest::Close { domid, port } => {
                let other = RemoteEnd::of(*domid, *port);
                self.mark_for(other, Kind::Gone, "it closed its port");
                self.local_ports.remove(&other);
            }
            Guest::Raise {
                domid: DomId::DOM0,
                virq,
            } => self.mark_for(RemoteEnd::Virq(virq.as_raw()), Kind::Sent, ""),
            Guest::Kill { domid } => self.domain_died(domid.as_raw().into()),
            Guest::Create { .. }
            | Guest::Remove { .. }
            | Guest::AllocUnbound { .. }
            | Guest::BindInterdomain { .. }
            | Guest::Raise { .. }
            | Guest::Other { .. } => {}
        }
    }

    /// A call of another handle of the device.
    pub(super) fn peer_call(&mut self, at: &BackendRecord) {
        match (&at.call, &at.answer) {
            (BackendCall::BindInterdomain { port, .. }, Some(BackendAnswer::Number(got))) => {
                let about = format!("this domain, port {got}");
                self.connect(RemoteEnd::Peer(*got), port.as_raw(), &about);
            }
            (BackendCall::Notify { port }, _) => {
                self.mark_for(RemoteEnd::Peer(port.as_raw()), Kind::Sent, "");
            }
            (BackendCall::Unbind { port }, _) => {
                let other = RemoteEnd::Peer(port.as_raw());
                self.mark_for(other, Kind::Gone, "it closed its port");
                self.local_ports.remove(&other);
            }
            _ => {}
        }
    }

    pub(super) fn sim(&mut self, sim: &Sim) {
        // A call that fails has a line of its own.
        if let Sim::Fault {
            call,
            ports: Some(ports),
            ..
        } = sim
        {
            let cut = format!("{call} cut to {}", many(*ports, "port"));
            self.mark(None, Kind::Fault, &cut);
        }
    }

    /// Connects a remote end with a local port.
    fn connect(&mut self, other: RemoteEnd, port: u32, about: &str) {
        if self.ports.contains_key(&port) {
            self.out.about(LaneId::Port(port), about);
            self.local_ports.insert(other, port);
        }
    }

    /// A mark on the lane of the local port of a remote end.
    fn mark_for(&mut self, other: RemoteEnd, kind: Kind, text: &str) {
        let port = self.local_ports.get(&other).copied();
        if let Some(port) = port {
            self.mark(port, kind, text);
        }
    }

    fn domain_died(&mut self, dead: u32) {
        let theirs = |(other, _): (&RemoteEnd, &u32)| match other {
            RemoteEnd::Guest(domid, _) if *domid == dead => Some(*other),
            RemoteEnd::Guest(..) | RemoteEnd::Peer(_) | RemoteEnd::Virq(_) => None,
        };
        let theirs: Vec<_> = self.local_ports.iter().filter_map(theirs).collect();
        for other in theirs {
            self.mark_for(other, Kind::Gone, "its domain died");
        }
    }
}
