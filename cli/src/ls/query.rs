//! The domains that are asked about, and what Xen answers.

use std::collections::BTreeSet;

use anyhow::Result;
use evtchn::{DomId, ErrorKind, PortStatuses, RemotePort, Status};

use super::table::Table;
use crate::exit::{Exit, query_failed};
use crate::progress;

/// What came of a question about a domain.
enum Asked {
    /// Its ports are in the table.
    Listed,
    /// There is no such domain.
    Missing(anyhow::Error),
    /// This domain, or this program, may not ask about it.
    Refused(anyhow::Error),
}

/// Puts the ports of a domain into the table.
fn ask<S: PortStatuses>(statuses: &S, domid: DomId, table: &mut Table) -> Result<Asked> {
    for (port, answer) in statuses.ports(domid) {
        let status = match answer {
            Ok(status) => Some(status),
            Err(error) => match error.kind() {
                ErrorKind::Hidden => None,
                ErrorKind::NoSuchDomain => {
                    let message =
                        format!("there is no domain {domid}: {error}; `xl list` has the ids");
                    return Ok(Asked::Missing(Exit::NoPeer.because(message)));
                }
                ErrorKind::NotPermitted => return Ok(Asked::Refused(query_failed(error))),
                ErrorKind::NoDevice | _ => return Err(query_failed(error)),
            },
        };
        table.insert((domid, port), status.into());
    }
    Ok(Asked::Listed)
}

/// The ports of these domains.
///
/// # Errors
/// If a domain does not exist, unless it `may_be_gone`; if this domain may not ask about it.
pub(super) fn named<S: PortStatuses>(
    statuses: &S,
    domains: &[DomId],
    may_be_gone: bool,
) -> Result<Table> {
    let mut table = Table::new();
    for &domid in domains {
        match ask(statuses, domid, &mut table)? {
            Asked::Missing(_) if may_be_gone => {}
            Asked::Listed => {}
            Asked::Missing(error) | Asked::Refused(error) => return Err(error),
        }
    }
    Ok(table)
}

/// The ports of domain 0 and of every domain that is connected to it, directly or through others: the
/// toolstack has channels to each guest. A domain that may not ask about domain 0 lists itself.
///
/// # Errors
/// If this domain may not even ask about itself.
pub(crate) fn connected<S: PortStatuses>(statuses: &S) -> Result<Table> {
    let mut table = Table::new();
    if !matches!(ask(statuses, DomId::DOM0, &mut table)?, Asked::Listed) {
        return named(statuses, &[DomId::SELF], false);
    }
    let mut asked = BTreeSet::from([DomId::DOM0]);
    loop {
        let remotes = table
            .values()
            .filter_map(|entry| match entry.status?.state {
                Status::Unbound { remote } => Some(remote),
                Status::Interdomain {
                    remote: RemotePort { domid, .. },
                } => Some(domid),
                Status::Closed | Status::Pirq { .. } | Status::Virq { .. } | Status::Ipi | _ => {
                    None
                }
            });
        let is_new = |domid: &DomId| *domid < DomId::FIRST_RESERVED && !asked.contains(domid);
        let found: BTreeSet<DomId> = remotes.filter(is_new).collect();
        if found.is_empty() {
            return Ok(table);
        }
        for domid in found {
            asked.insert(domid);
            // A port may wait for a domain that does not exist.
            let _asked = ask(statuses, domid, &mut table)?;
        }
    }
}

/// The ports of every domain, found by asking about every id that one can have.
///
/// # Errors
/// If no domain answered and this domain may not ask.
pub(super) fn every<S: PortStatuses>(statuses: &S) -> Result<Table> {
    let last = DomId::FIRST_RESERVED.as_raw();
    let progress = progress::line(Some(last.into()), "domids");
    let mut table = Table::new();
    let mut refused = None;
    let mut is_answered = false;
    for raw in 0..last {
        match ask(statuses, DomId::new(raw), &mut table)? {
            Asked::Listed => is_answered = true,
            Asked::Missing(_) => {}
            Asked::Refused(error) => refused = refused.or(Some(error)),
        }
        progress.inc(1);
    }
    match refused {
        Some(error) if !is_answered => Err(error),
        Some(_) | None => Ok(table),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use evtchn::sim::{DomainConfig, Sim, SimPrivcmd};
    use evtchn::{DeviceError, Port, PortStatus};

    use super::*;
    use crate::exit::line;

    /// Counts the domains that are asked about.
    struct Counted(SimPrivcmd, Mutex<BTreeSet<DomId>>);

    impl PortStatuses for Counted {
        fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError> {
            self.1.lock().unwrap().insert(domid);
            self.0.status(domid, port)
        }
    }

    fn domains(table: &Table) -> Vec<u16> {
        let mut domains: Vec<u16> = table.keys().map(|(domid, _)| domid.as_raw()).collect();
        domains.dedup();
        domains
    }

    /// A machine whose domain 2 is connected to domain 0, 7 to 2, and 9 to none.
    fn machine() -> Sim {
        let sim = Sim::new(1);
        for id in [2, 7, 9] {
            let guest = DomainConfig::linux_guest();
            sim.create_domain_with(Some(DomId::new(id)), &guest)
                .unwrap();
        }
        for (from, to) in [(0, 2), (2, 7)] {
            let (from, to) = (DomId::new(from), DomId::new(to));
            let port = sim.guest(from).alloc_unbound(to).unwrap();
            sim.guest(to).bind_interdomain(from, port).unwrap();
        }
        sim.guest(DomId::DOM0)
            .alloc_unbound(DomId::new(55))
            .unwrap();
        sim
    }

    #[test]
    fn only_domains_that_others_name_are_asked_about() {
        let sim = machine();
        let counted = Counted(sim.privcmd(DomId::DOM0), Mutex::default());
        assert_eq!(domains(&connected(&counted).unwrap()), [0, 2, 7]);
        let asked: Vec<u16> = counted
            .1
            .lock()
            .unwrap()
            .iter()
            .map(|it| it.as_raw())
            .collect();
        assert_eq!(asked, [0, 2, 7, 55]);
    }

    #[test]
    fn every_id_finds_also_a_domain_that_no_other_names() {
        let sim = machine();
        let all = every(&sim.privcmd(DomId::DOM0)).unwrap();
        assert_eq!(domains(&all), [0, 2, 7, 9]);
    }

    #[test]
    fn a_guest_lists_itself() {
        let sim = machine();
        let list = connected(&sim.privcmd(DomId::new(9))).unwrap();
        assert_eq!(domains(&list), [DomId::SELF.as_raw()]);
        assert!(list.len() > 1, "{list:?}");
    }

    /// A domain whose privcmd makes no hypercalls.
    struct Refused;

    impl PortStatuses for Refused {
        fn status(&self, domid: DomId, port: Port) -> Result<PortStatus, DeviceError> {
            let call = evtchn::DeviceCall::Status(RemotePort { domid, port });
            Err(DeviceError::new(ErrorKind::NotPermitted, call))
        }
    }

    #[test]
    fn a_list_without_an_answer_is_an_error() {
        let own = named(&Refused, &[DomId::SELF], false);
        for refused in [connected(&Refused), every(&Refused), own] {
            let error = refused.unwrap_err();
            assert_eq!(Exit::of(&error), Exit::NotPermitted);
            assert!(!line(&error).contains("as root"), "{error}");
        }
    }

    #[test]
    fn a_domain_that_does_not_exist_is_named() {
        let sim = machine();
        let error = named(&sim.privcmd(DomId::DOM0), &[DomId::new(44)], false).unwrap_err();
        assert!(
            line(&error).starts_with("there is no domain 44: "),
            "{error}"
        );
        assert_eq!(Exit::of(&error), Exit::NoPeer);
    }
}
