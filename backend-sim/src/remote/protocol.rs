//! The messages: see the [module](super) for what they mean.

use evtchn_core::{DomId, Port, PortStatus, RemotePort, Status, Virq};
use serde::{Deserialize, Serialize};

use super::Act;
use crate::errno::Errno;

/// The version that `hello` has.
pub(super) const VERSION: u32 = 1;
/// The most bytes of a message.
pub(super) const LARGEST: usize = 64 << 10;
/// The most ports in a message: what one read or write of the device moves with usual pages.
pub(super) const MOST_PORTS: usize = crate::driver::abi::PAGE / size_of::<u32>();

/// In place of an errno, which is smaller: the device is from before a restore.
pub(super) const RESUMED: Errno = Errno::new(4096);

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    Hello { version: u32 },
    Open { domid: u16, raw: bool },
    Attach,
    OnDevice(OnDevice),
    Close,
    Status { caller: u16, domid: u16, port: u32 },
    Act(Act),
    Dump,
}

/// A call on the device of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum OnDevice {
    Ioctl { request: u32, words: [u32; 2] },
    Read { most: usize },
    Write { ports: Vec<u32> },
    Overflow,
    IsResumed,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Answer {
    Number(u64),
    Ports(Vec<u32>),
    Status { state: State, vcpu: u32 },
    Refused(i32),
}

/// What a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum State {
    Closed,
    Unbound { remote: u16 },
    Interdomain { remote: u16, port: u32 },
    Pirq { pirq: u32 },
    Virq { virq: u32 },
    Ipi,
}

impl Answer {
    /// The number of an answer that is one. `EIO` if it is not.
    pub(super) fn number(self) -> Result<u64, Errno> {
        match self {
            Answer::Number(number) => Ok(number),
            Answer::Ports(_) | Answer::Status { .. } | Answer::Refused(_) => Err(Errno::EIO),
        }
    }

    pub(super) fn status(status: PortStatus) -> Answer {
        let state = match status.state {
            Status::Unbound { remote } => State::Unbound {
                remote: remote.as_raw(),
            },
            Status::Interdomain { remote } => State::Interdomain {
                remote: remote.domid.as_raw(),
                port: remote.port.as_raw(),
            },
            Status::Pirq { pirq } => State::Pirq { pirq },
            Status::Virq { virq } => State::Virq {
                virq: virq.as_raw(),
            },
            Status::Ipi => State::Ipi,
            // The simulator has no others.
            Status::Closed | _ => State::Closed,
        };
        Answer::Status {
            state,
            vcpu: status.vcpu,
        }
    }
}

impl State {
    /// The state as the core has it. None for a port that no domain can have.
    pub(super) fn status(self) -> Option<Status> {
        Some(match self {
            State::Closed => Status::Closed,
            State::Unbound { remote } => Status::Unbound {
                remote: DomId::new(remote),
            },
            State::Interdomain { remote, port } => Status::Interdomain {
                remote: RemotePort {
                    domid: DomId::new(remote),
                    port: Port::new(port)?,
                },
            },
            State::Pirq { pirq } => Status::Pirq { pirq },
            State::Virq { virq } => Status::Virq {
                virq: Virq::new(virq),
            },
            State::Ipi => Status::Ipi,
        })
    }
}
