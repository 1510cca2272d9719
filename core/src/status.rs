//! What a port is, as Xen reports it (xen/include/public/event_channel.h, `EVTCHNOP_status`).

use alloc::format;
use core::fmt;

use crate::hal::{DeviceError, ErrorKind, PortStatuses};
use crate::ids::{DomId, Port, RemotePort, Virq};

/// What a port is right now, and which vCPU gets its events.
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::{DomId, PortStatuses, Status};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let guest = sim.guest(sim.create_domain()?);
/// let port = guest.alloc_unbound(DomId::DOM0)?;
/// let status = sim.privcmd(DomId::DOM0).status(guest.domid(), port)?;
/// assert_eq!(status.state, Status::Unbound { remote: DomId::DOM0 });
/// assert_eq!(status.vcpu, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortStatus {
    /// What it is.
    pub state: Status,
    /// The vCPU that gets its events. It means nothing if the port is closed.
    pub vcpu: u32,
}

/// What a port is (`EVTCHNSTAT_*`).
///
/// ```
/// use evtchn::{DomId, Status};
///
/// let waits = Status::Unbound { remote: DomId::DOM0 };
/// assert_eq!(waits.to_string(), "unbound for d0");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Free, or reserved.
    Closed,
    /// Not connected: it never was, or its peer closed its end or died.
    Unbound {
        /// The domain that may bind to it, which need not exist.
        remote: DomId,
    },
    /// Connected. If the peer's domain crashed or was shut down and the toolstack keeps it
    /// (`preserve`), its ports stay connected until it is destroyed.
    Interdomain {
        /// The other end.
        remote: RemotePort,
    },
    /// Bound to a physical interrupt.
    Pirq {
        /// The number.
        pirq: u32,
    },
    /// Bound to a virtual interrupt.
    Virq {
        /// Which.
        virq: Virq,
    },
    /// Bound between the vCPUs of the domain.
    Ipi,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Status::Closed => f.pad("closed"),
            Status::Unbound { remote } => f.pad(&format!("unbound for d{remote}")),
            Status::Interdomain { remote } => f.pad(&format!("interdomain d{remote}")),
            Status::Pirq { pirq } => f.pad(&format!("pirq {pirq}")),
            Status::Virq { virq } => f.pad(&format!("virq {virq}")),
            Status::Ipi => f.pad("ipi"),
        }
    }
}

/// The ports of a domain that are not closed, lowest first: [`PortStatuses::ports`].
///
/// ```
/// use evtchn::sim::Sim;
/// use evtchn::{DomId, PortStatuses};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let guest = sim.guest(sim.create_domain()?);
/// let port = guest.alloc_unbound(DomId::DOM0)?;
/// let privcmd = sim.privcmd(DomId::DOM0);
/// let ports: Vec<_> = privcmd.ports(guest.domid()).map(|(port, _)| port).collect();
/// assert!(ports.contains(&port));
/// # Ok(())
/// # }
/// ```
pub struct Ports<'a> {
    statuses: &'a dyn PortStatuses,
    domid: DomId,
    next: Option<Port>,
}

/// As many ports as a domain can have (Xen, FIFO event channels); 0 is reserved.
pub(crate) const PORTS: u32 = 1 << 17;

impl<'a> Ports<'a> {
    /// The ports of a domain, as `statuses` reports them.
    #[must_use]
    pub fn new(statuses: &'a dyn PortStatuses, domid: DomId) -> Ports<'a> {
        Ports {
            statuses,
            domid,
            next: Port::new(1),
        }
    }
}

impl fmt::Debug for Ports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("domid", &self.domid)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Iterator for Ports<'_> {
    type Item = (Port, Result<PortStatus, DeviceError>);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(port) = self.next.take() {
            let after = port.as_raw() + 1;
            let after = Port::new(after).filter(|_| after < PORTS);
            match self.statuses.status(self.domid, port) {
                Ok(PortStatus {
                    state: Status::Closed,
                    ..
                }) => self.next = after,
                Ok(status) => {
                    self.next = after;
                    return Some((port, Ok(status)));
                }
                // The end of the table.
                Err(error) if error.kind() == ErrorKind::Invalid => {}
                Err(error) => {
                    // Xen may still answer for the ports behind a hidden one.
                    self.next = after.filter(|_| error.kind() == ErrorKind::Hidden);
                    return Some((port, Err(error)));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::hal::DeviceCall;

    /// A domain with so many valid ports, of which the odd ones are in use and one fails.
    struct Table {
        valid: u32,
        fails: Option<(u32, ErrorKind)>,
    }

    fn failed(kind: ErrorKind) -> DeviceError {
        DeviceError::new(kind, DeviceCall::Other("ask"))
    }

    impl PortStatuses for Table {
        fn status(&self, _: DomId, port: Port) -> Result<PortStatus, DeviceError> {
            let raw = port.as_raw();
            match self.fails {
                _ if raw >= self.valid => Err(failed(ErrorKind::Invalid)),
                Some((number, kind)) if number == raw => Err(failed(kind)),
                Some(_) | None => Ok(PortStatus {
                    state: if raw % 2 == 1 {
                        Status::Ipi
                    } else {
                        Status::Closed
                    },
                    vcpu: 0,
                }),
            }
        }
    }

    fn answers(table: &Table) -> Vec<(u32, Option<ErrorKind>)> {
        let ports = table.ports(DomId::SELF);
        ports
            .map(|(port, status)| (port.as_raw(), status.err().map(|error| error.kind())))
            .collect()
    }

    #[test]
    fn the_table_ends_at_the_first_port_that_is_invalid() {
        let fails = None;
        assert_eq!(answers(&Table { valid: 1, fails }), []);
        let all = Table { valid: 7, fails };
        assert_eq!(answers(&all), [(1, None), (3, None), (5, None)]);
    }

    #[test]
    fn a_table_without_an_end_has_as_many_ports_as_there_can_be() {
        let valid = u32::MAX;
        assert_eq!(answers(&Table { valid, fails: None }).len(), 65_536);
    }

    #[test]
    fn no_port_is_asked_for_beyond_the_last_that_there_can_be() {
        struct Asked(AtomicU32);
        impl PortStatuses for Asked {
            fn status(&self, _: DomId, port: Port) -> Result<PortStatus, DeviceError> {
                self.0.store(port.as_raw(), Ordering::Relaxed);
                let state = Status::Closed;
                Ok(PortStatus { state, vcpu: 0 })
            }
        }
        let asked = Asked(AtomicU32::new(0));
        assert!(asked.ports(DomId::SELF).next().is_none());
        assert_eq!(asked.0.into_inner(), 0x1_ffff);
    }

    #[test]
    fn a_status_says_to_what_a_port_is_bound() {
        let port = Port::new(17).unwrap();
        let domid = DomId::new(5);
        let said = [
            (Status::Closed, "closed"),
            (Status::Unbound { remote: domid }, "unbound for d5"),
            (
                Status::Interdomain {
                    remote: RemotePort { domid, port },
                },
                "interdomain d5:17",
            ),
            (Status::Pirq { pirq: 9 }, "pirq 9"),
            (
                Status::Virq {
                    virq: Virq::new(99),
                },
                "virq 99",
            ),
            (Status::Ipi, "ipi"),
        ];
        for (status, words) in said {
            assert_eq!(format!("{status}"), words);
        }
        let valid = 7;
        let ports = format!("{:?}", Table { valid, fails: None }.ports(DomId::new(5)));
        assert_eq!(ports, "Ports { domid: DomId(5), next: Some(Port(1)), .. }");
    }

    #[test]
    fn a_hidden_port_is_an_error_and_the_others_follow() {
        let fails = Some((3, ErrorKind::Hidden));
        let hidden = (3, Some(ErrorKind::Hidden));
        assert_eq!(
            answers(&Table { valid: 6, fails }),
            [(1, None), hidden, (5, None)]
        );
    }

    #[test]
    fn any_other_failure_is_the_last_answer() {
        let fails = Some((3, ErrorKind::NotPermitted));
        let refused = (3, Some(ErrorKind::NotPermitted));
        assert_eq!(answers(&Table { valid: 6, fails }), [(1, None), refused]);
    }
}
