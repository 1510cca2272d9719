//! The calls that the context made of the device and the event loop.

use std::slice;

use crate::{BackendAnswer, BackendCall, BackendRecord, Call, Failed};
use evtchn_core::machine::link::LinkInput;
use evtchn_core::machine::port::PortInput;
use evtchn_core::{DomId, ErrorKind};

use super::super::lanes::Kind;
use super::super::summary::many;
use super::{Driver, RemoteEnd};

/// How many ports a domain can have.
const PORTS: usize = 1 << 17;

impl Driver<'_> {
    pub(super) fn backend_call(&mut self, thread: u32, at: &BackendRecord) {
        match (at.peer, &at.failed) {
            (Some(_), None) => self.peer_call(at),
            (Some(_), Some(_)) => {}
            (None, Some(failed)) => self.backend_call_failed(&at.call, failed),
            (None, None) => self.backend_call_done(thread, &at.call, at.answer.as_ref()),
        }
    }

    fn backend_call_done(
        &mut self,
        thread: u32,
        call: &BackendCall,
        answer: Option<&BackendAnswer>,
    ) {
        match (call, answer) {
            (BackendCall::Open, _) => self.apply_link_input(LinkInput::Bind),
            (BackendCall::Register, _) => self.apply_link_input(LinkInput::Wanted),
            (BackendCall::Deregister, _) => self.apply_link_input(LinkInput::Unwanted),
            (BackendCall::Close, _) => self.closed(),
            (BackendCall::Unbind { port }, _) => {
                self.slots.unbound(port.as_raw());
                self.unbind(port.as_raw(), Kind::Unbind, "");
            }
            (BackendCall::Notify { port }, _) => self.mark(port.as_raw(), Kind::Notify, ""),
            (BackendCall::Pending { .. }, Some(BackendAnswer::Ports(words))) => {
                self.read(thread, words);
            }
            (BackendCall::Unmask { ports }, Some(BackendAnswer::Number(unmasked))) => {
                self.mark(None, Kind::Unmask, &many(*unmasked as usize, "port"));
                for port in ports.iter().take(*unmasked as usize) {
                    self.step(port.as_raw(), PortInput::Unmasked);
                }
            }
            (BackendCall::Reset, _) => {
                for port in self.bound() {
                    self.step(port, PortInput::Overflow);
                }
                self.deliver_for_script();
            }
            (call, answer) => self.bound_by_call(call, answer),
        }
    }

    fn bound_by_call(&mut self, call: &BackendCall, answer: Option<&BackendAnswer>) {
        let number = match answer {
            Some(BackendAnswer::Number(port)) => Some(*port),
            Some(BackendAnswer::Ports(_) | BackendAnswer::Sleep(_) | BackendAnswer::Status(_))
            | None => None,
        };
        let (port, about, how, other) = match (call, number) {
            (BackendCall::BindUnboundPort { remote }, Some(port)) => {
                let how = format!("new, for domain {}", remote.as_raw());
                (port, domain(*remote, None), how, None)
            }
            (
                BackendCall::BindInterdomain {
                    domid,
                    port: remote,
                },
                Some(port),
            ) => {
                let about = domain(*domid, Some(remote.as_raw()));
                let other = RemoteEnd::of(*domid, remote.as_raw());
                (port, about.clone(), format!("to {about}"), Some(other))
            }
            (BackendCall::BindVirq { virq }, Some(port)) => {
                let other = RemoteEnd::Virq(virq.as_raw());
                (
                    port,
                    format!("VIRQ {virq}"),
                    format!("VIRQ {virq}"),
                    Some(other),
                )
            }
            (BackendCall::BindStatic { port }, _) => (
                port.as_raw(),
                "static".to_owned(),
                "static".to_owned(),
                None,
            ),
            _ => return,
        };
        if let Some(other) = other {
            self.local_ports.insert(other, port);
        }
        self.slots.bound(port);
        self.bind(port, &about, &how);
    }

    fn read(&mut self, thread: u32, words: &[u32]) {
        self.mark(None, Kind::Read, &many(words.len(), "port"));
        if self.unread.len() + words.len() > PORTS {
            // No recorded device has so many unread ports.
            self.handle_unread();
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
            self.handle_unread();
        }
        self.deliver_for_script();
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
        self.apply_link_input(input);
    }

    fn backend_call_failed(&mut self, call: &BackendCall, failed: &Failed) {
        let is_read = matches!(call, BackendCall::Pending { .. });
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
        let ports = if let BackendCall::Unbind { port } | BackendCall::Notify { port } = call {
            slice::from_ref(port)
        } else if let BackendCall::Unmask { ports } = call {
            ports.as_slice()
        } else {
            &[]
        };
        let port = match ports {
            [port] => Some(port.as_raw()),
            _ => failed.port,
        };
        self.mark(port, Kind::Fault, &failed.text);
        let is_signal = failed.kind == ErrorKind::Interrupted;
        if (is_read && !is_signal) || matches!(call, BackendCall::Reset) {
            self.broken = true;
            self.unread.clear();
            for port in self.bound() {
                self.unbind(port, Kind::Gone, "the device failed");
            }
        }
    }
}

const fn bind_failed(call: &BackendCall) -> bool {
    matches!(
        call,
        BackendCall::BindUnboundPort { .. }
            | BackendCall::BindInterdomain { .. }
            | BackendCall::BindVirq { .. }
            | BackendCall::BindStatic { .. }
    )
}

/// The other end, as text for a lane.
pub(super) fn domain(domid: DomId, port: Option<u32>) -> String {
    let name = if domid == DomId::SELF {
        "this domain".to_owned()
    } else {
        format!("domain {}", domid.as_raw())
    };
    match port {
        Some(port) => format!("{name}, port {port}"),
        None => name,
    }
}
