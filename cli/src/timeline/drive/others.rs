//! What others did: guests, other holders of the device, and the simulator.

use evtchn::DomId;
use evtchn_trace::{BackendAnswer, BackendCall, BackendRecord, Guest, Sim};

use super::super::lanes::Kind;
use super::super::summary::many;
use super::backend::domain;
use super::{Driver, Other, Whose};

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
                self.joins(Other::of(*domid, *port), *remote_port, &about);
            }
            Guest::Send { domid, port } => {
                self.by(Other::of(*domid, *port), Kind::Sent, "");
            }
            Guest::Close { domid, port } => {
                let other = Other::of(*domid, *port);
                self.by(other, Kind::Gone, "it closed its port");
                self.ours.remove(&other);
            }
            Guest::Raise {
                domid: DomId::DOM0,
                virq,
            } => self.by(Other::Virq(virq.as_raw()), Kind::Sent, ""),
            Guest::Kill { domid } => self.died(domid.as_raw().into()),
            Guest::Create { .. }
            | Guest::Remove { .. }
            | Guest::AllocUnbound { .. }
            | Guest::BindInterdomain { .. }
            | Guest::Raise { .. }
            | Guest::Other { .. } => {}
        }
    }

    /// What another holder of the device did.
    pub(super) fn peer(&mut self, record: &BackendRecord) {
        match (&record.call, &record.answer) {
            (BackendCall::BindInterdomain { port, .. }, Some(BackendAnswer::Number(got))) => {
                let about = format!("this domain, port {got}");
                self.joins(Other::Peer(*got), port.as_raw(), &about);
            }
            (BackendCall::Notify { port }, _) => {
                self.by(Other::Peer(port.as_raw()), Kind::Sent, "");
            }
            (BackendCall::Unbind { port }, _) => {
                let other = Other::Peer(port.as_raw());
                self.by(other, Kind::Gone, "it closed its port");
                self.ours.remove(&other);
            }
            _ => {}
        }
    }

    pub(super) fn sim(&mut self, sim: &Sim) {
        // That a call fails, its own line says.
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

    /// The other end of one of our ports is theirs.
    fn joins(&mut self, other: Other, port: u32, about: &str) {
        if self.ports.contains_key(&port) {
            self.out.about(Whose::Port(port), about);
            self.ours.insert(other, port);
        }
    }

    fn by(&mut self, other: Other, kind: Kind, text: &str) {
        let port = self.ours.get(&other).copied();
        if let Some(port) = port {
            self.mark(port, kind, text);
        }
    }

    fn died(&mut self, dead: u32) {
        let theirs = |(other, _): (&Other, &u32)| match other {
            Other::Guest(domid, _) if *domid == dead => Some(*other),
            Other::Guest(..) | Other::Peer(_) | Other::Virq(_) => None,
        };
        let theirs: Vec<_> = self.ours.iter().filter_map(theirs).collect();
        for other in theirs {
            self.by(other, Kind::Gone, "its domain died");
        }
    }
}
