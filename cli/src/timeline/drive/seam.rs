//! What the context asked of the device and the event loop.

use evtchn::{DomId, ErrorKind};
use evtchn_core::machine::link::LinkInput;
use evtchn_core::machine::port::PortInput;
use evtchn_trace::{AtSeam, Call, Failed, Got, Seam};

use super::super::lanes::Kind;
use super::super::summary::many;
use super::{Driver, Other};

/// As many ports as a domain can have.
const PORTS: usize = 1 << 17;

impl Driver<'_> {
    pub(super) fn seam(&mut self, thread: u32, at: &AtSeam) {
        match (at.peer, &at.failed) {
            (Some(_), None) => self.peer(at),
            (Some(_), Some(_)) => {}
            (None, Some(failed)) => self.failed(&at.call, failed),
            (None, None) => self.done(thread, &at.call, at.got.as_ref()),
        }
    }

    fn done(&mut self, thread: u32, call: &Seam, got: Option<&Got>) {
        match (call, got) {
            (Seam::Open, _) => self.follow(LinkInput::Bind),
            (Seam::Register, _) => self.follow(LinkInput::Wanted),
            (Seam::Deregister, _) => self.follow(LinkInput::Unwanted),
            (Seam::Close, _) => self.closed(),
            (Seam::Unbind { port }, _) => {
                self.slots.unbound(port.as_raw());
                self.unbind(port.as_raw(), Kind::Unbind, "");
            }
            (Seam::Notify { port }, _) => self.mark(port.as_raw(), Kind::Notify, ""),
            (Seam::Pending { .. }, Some(Got::Ports(words))) => self.read(thread, words),
            (Seam::Unmask { ports }, Some(Got::Number(written))) => {
                self.mark(None, Kind::WriteBack, &many(*written as usize, "port"));
                for port in ports.iter().take(*written as usize) {
                    self.step(port.as_raw(), PortInput::Unmasked);
                }
            }
            (Seam::Reset, _) => {
                for port in self.bound() {
                    self.step(port, PortInput::Overflow);
                }
                self.take_for_script();
            }
            (call, got) => self.bound_at_seam(call, got),
        }
    }

    fn bound_at_seam(&mut self, call: &Seam, got: Option<&Got>) {
        let number = match got {
            Some(Got::Number(port)) => Some(*port),
            Some(Got::Ports(_) | Got::Slept(_) | Got::Is(_)) | None => None,
        };
        let (port, about, how, other) = match (call, number) {
            (Seam::BindUnboundPort { remote }, Some(port)) => {
                let how = format!("new, for domain {}", remote.as_raw());
                (port, domain(*remote, None), how, None)
            }
            (
                Seam::BindInterdomain {
                    domid,
                    port: remote,
                },
                Some(port),
            ) => {
                let about = domain(*domid, Some(remote.as_raw()));
                let other = Other::of(*domid, remote.as_raw());
                (port, about.clone(), format!("to {about}"), Some(other))
            }
            (Seam::BindVirq { virq }, Some(port)) => {
                let other = Other::Virq(virq.as_raw());
                (
                    port,
                    format!("VIRQ {virq}"),
                    format!("VIRQ {virq}"),
                    Some(other),
                )
            }
            (Seam::BindStatic { port }, _) => (
                port.as_raw(),
                "static".to_owned(),
                "static".to_owned(),
                None,
            ),
            _ => return,
        };
        if let Some(other) = other {
            self.ours.insert(other, port);
        }
        self.slots.bound(port);
        self.bind(port, &about, &how);
    }

    fn read(&mut self, thread: u32, words: &[u32]) {
        self.mark(None, Kind::Read, &many(words.len(), "port"));
        if self.unread.len() + words.len() > PORTS {
            // More than a device that was read into a trace ever has.
            self.absorb();
            for word in words {
                self.step(*word, PortInput::Event);
            }
        } else {
            self.unread.extend(words);
        }
        let is_in_round = matches!(
            self.calls.get(&thread),
            Some(
                Call::Next
                    | Call::Fill { .. }
                    | Call::Call
                    | Call::DispatchCallbacks
                    | Call::Return { .. }
            )
        );
        if !is_in_round {
            self.absorb();
        }
        self.take_for_script();
    }

    fn closed(&mut self) {
        let (input, why) = if self.broken {
            (LinkInput::Fault, "the device failed")
        } else {
            (LinkInput::Close, "the device was closed")
        };
        self.broken = false;
        for port in self.bound() {
            self.unbind(port, Kind::Unbind, why);
        }
        self.follow(input);
    }

    fn failed(&mut self, call: &Seam, failed: &Failed) {
        let is_read = matches!(call, Seam::Pending { .. });
        if is_read && failed.kind == ErrorKind::Overflow {
            return self.mark(
                None,
                Kind::Overflow,
                "the ring is reset, every waiter wakes",
            );
        }
        if bind_failed(call) {
            self.slots.not_bound();
        }
        let port = if let Seam::Unbind { port } | Seam::Notify { port } = call {
            Some(port.as_raw())
        } else if let Seam::Unmask { ports } = call
            && let [port] = ports.as_slice()
        {
            Some(port.as_raw())
        } else {
            failed.port
        };
        self.mark(port, Kind::Fault, &failed.text);
        let is_signal = failed.kind == ErrorKind::Interrupted;
        if (is_read && !is_signal) || matches!(call, Seam::Reset) {
            self.broken = true;
            self.unread.clear();
            for port in self.bound() {
                self.unbind(port, Kind::Gone, "the device failed");
            }
        }
    }
}

const fn bind_failed(call: &Seam) -> bool {
    matches!(
        call,
        Seam::BindUnboundPort { .. }
            | Seam::BindInterdomain { .. }
            | Seam::BindVirq { .. }
            | Seam::BindStatic { .. }
    )
}

/// The other end, as a lane names it.
pub(super) fn domain(domid: DomId, port: Option<u32>) -> String {
    let whose = if domid == DomId::SELF {
        "this domain".to_owned()
    } else {
        format!("domain {}", domid.as_raw())
    };
    match port {
        Some(port) => format!("{whose}, port {port}"),
        None => whose,
    }
}
