//! The domains and ports that a shell may offer: what Xen answers at once. Where this user may not ask,
//! or there is no Xen, there are none, and never a message.

use std::collections::BTreeSet;
use std::env;

use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCandidates;
use evtchn::sim::SimPrivcmd;
use evtchn::xen::Privcmd;
use evtchn::{DomId, RemotePort, Status, Virq};

use crate::ls::query::connected;
use crate::ls::table::Table;
use crate::watch::job::Options;
use crate::watch::sim::{self, Setup};

/// Completes a domain.
pub(crate) fn domains() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let known = known_domains(&table().unwrap_or_default());
        let known = known.into_iter().map(|domid| domid.to_string());
        let own = CompletionCandidate::new("self").help(Some("this domain".into()));
        let known = known.map(|id| CompletionCandidate::new(id).help(Some("a domain".into())));
        [own].into_iter().chain(known).collect()
    })
}

/// Completes a port that a domain offers to this one.
pub(crate) fn offers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let offered = offered(&table().unwrap_or_default());
        let says = |remote: RemotePort| format!("port {} waits for a peer", remote.port);
        let candidates = offered.into_iter().map(|remote| {
            CompletionCandidate::new(remote.to_string()).help(Some(says(remote).into()))
        });
        candidates.collect()
    })
}

/// Completes what selects channels: a domain with its colon, or a virtual interrupt.
pub(crate) fn filters() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let domains = known_domains(&table().unwrap_or_default());
        let domains = domains.into_iter().map(|domid| format!("{domid}:"));
        let virqs = (0..24).filter_map(|raw| Virq::new(raw).name());
        let all = domains.chain(virqs.map(str::to_owned));
        all.map(CompletionCandidate::new).collect()
    })
}

/// What `evtchn ls` would list: with `--backend sim` in the line the simulated machine, else Xen's answer.
fn table() -> Option<Table> {
    let words: Vec<String> = env::args().collect();
    let is_sim = words.windows(2).any(|pair| pair == ["--backend", "sim"]);
    if is_sim || words.iter().any(|word| word == "--backend=sim") {
        return simulated();
    }
    connected(&Privcmd::open().ok()?).ok()
}

fn simulated() -> Option<Table> {
    let mut table = None;
    let observe = |privcmd: &SimPrivcmd| {
        table = connected(privcmd).ok();
        Ok(false)
    };
    sim::observe(Setup::default(), Options::default(), observe).ok()?;
    table
}

/// The domains that have a port in the table, or that a port there names.
fn known_domains(table: &Table) -> BTreeSet<DomId> {
    let ends = table.iter().flat_map(|((domid, _), entry)| {
        let remote = match entry.status.map(|status| status.state) {
            Some(Status::Unbound { remote }) => Some(remote),
            Some(Status::Interdomain { remote }) => Some(remote.domid),
            _ => None,
        };
        [Some(*domid), remote]
    });
    ends.flatten()
        .filter(|domid| *domid < DomId::FIRST_RESERVED)
        .collect()
}

/// The ports that wait for domain 0, which is the one that may ask about others.
fn offered(table: &Table) -> Vec<RemotePort> {
    let waits = |state| {
        matches!(
            state,
            Status::Unbound {
                remote: DomId::DOM0
            }
        )
    };
    let offered = table
        .iter()
        .filter(|(_, entry)| entry.status.is_some_and(|status| waits(status.state)));
    let remotes = offered.map(|((domid, port), _)| RemotePort {
        domid: *domid,
        port: *port,
    });
    remotes.collect()
}

#[cfg(test)]
mod tests {
    use evtchn::sim::{DomainConfig, Sim};

    use super::*;

    #[test]
    fn a_port_is_offered_only_while_it_waits_for_domain_0() {
        let sim = Sim::new(1);
        for id in [3, 7] {
            let guest = DomainConfig::linux_guest();
            sim.create_domain_with(Some(DomId::new(id)), &guest)
                .unwrap();
        }
        let (dom0, three, seven) = (DomId::DOM0, DomId::new(3), DomId::new(7));
        let waiting = sim.guest(three).alloc_unbound(dom0).unwrap();
        let bound = sim.guest(three).alloc_unbound(dom0).unwrap();
        sim.guest(dom0).bind_interdomain(three, bound).unwrap();
        sim.guest(dom0).alloc_unbound(seven).unwrap();
        sim.guest(seven).alloc_unbound(three).unwrap();
        let own = sim.guest(dom0).alloc_unbound(dom0).unwrap();

        let table = connected(&sim.privcmd(dom0)).unwrap();
        let offer = |domid, port| RemotePort { domid, port };
        assert_eq!(offered(&table), [offer(dom0, own), offer(three, waiting)]);
        let known = known_domains(&table);
        assert_eq!(known.into_iter().collect::<Vec<_>>(), [dom0, three, seven]);
    }

    #[test]
    fn a_guest_knows_the_other_ends_of_its_own_ports() {
        let sim = Sim::new(1);
        let three = DomId::new(3);
        sim.create_domain_with(Some(three), &DomainConfig::linux_guest())
            .unwrap();
        sim.guest(three).alloc_unbound(DomId::DOM0).unwrap();
        let table = connected(&sim.privcmd(three)).unwrap();
        assert_eq!(known_domains(&table), BTreeSet::from([DomId::DOM0]));
    }
}
