//! Two or more looks at the same ports, apart in time: which are stuck, and which only busy.

use std::collections::BTreeMap;

use evtchn::{DomId, Status};

use super::dump::Dump;
use super::table::{Entry, Table};

/// What two looks at a port show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Pending and masked in each: its event was handed out, the next one came, and the port was not
    /// unmasked in between.
    Stuck,
    /// Pending and not masked in each: its vCPU does not take it.
    NotTaken,
    /// Pending in the last look, but otherwise before.
    Busy,
}

impl Verdict {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Verdict::Stuck => "stuck",
            Verdict::NotTaken => "not taken",
            Verdict::Busy => "busy",
        }
    }

    /// The verdict on a port. An IPI is not judged: Linux keeps those of its spinlocks masked, and looks
    /// itself whether they are pending (drivers/xen/events/events_base.c, `xen_poll_irq`).
    fn of(before: Option<&Entry>, now: &Entry) -> Option<Verdict> {
        let is_ipi = now.status.is_some_and(|status| status.state == Status::Ipi);
        let bits = now.bits.as_ref().filter(|bits| bits.pending && !is_ipi)?;
        let before = before.filter(|before| before.status == now.status);
        let before = before.and_then(|before| before.bits.as_ref());
        let is_same = |before: &&super::dump::Bits| before.pending && before.masked == bits.masked;
        Some(match (before.filter(is_same), bits.masked) {
            (None, _) => Verdict::Busy,
            (Some(_), true) => Verdict::Stuck,
            (Some(_), false) => Verdict::NotTaken,
        })
    }
}

/// The last look, with a verdict on each port where there was a look before it.
pub(super) fn judged(before: Option<&Table>, mut now: Dump) -> Dump {
    if let Some(before) = before {
        for (place, entry) in &mut now.ports {
            entry.verdict = Verdict::of(before.get(place), entry);
        }
    }
    now
}

/// How often `--live` looks again while a port seems stuck: one that is notified all the time may be found
/// pending and masked by chance.
pub(super) const AGAIN: u32 = 6;

/// Whether a verdict may be chance, which another look shows.
pub(super) fn is_in_doubt(table: &Table) -> bool {
    let mut verdicts = table.values().filter_map(|entry| entry.verdict);
    verdicts.any(|verdict| verdict != Verdict::Busy)
}

/// Holds the verdicts against one more look: what it finds otherwise is only busy.
pub(super) fn confirm(table: &mut Table, look: &Table) {
    for (place, entry) in table {
        let Some(verdict) = entry.verdict else {
            continue;
        };
        let now = look
            .get(place)
            .and_then(|now| Verdict::of(Some(entry), now));
        if now != Some(verdict) {
            entry.verdict = Some(Verdict::Busy);
        }
    }
}

/// What stands below a list of this dump: vCPUs that poll, and what to make of the verdicts.
pub(super) fn notes(dump: &Dump, has_two_looks: bool, holders: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    for (domid, vcpus) in &dump.polling {
        notes.push(format!("domain {domid}: vCPUs that poll: {vcpus}"));
    }
    let mut counts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (&(domid, port), entry) in &dump.ports {
        if let Some(verdict) = entry.verdict {
            let ports = counts.entry(verdict.name()).or_default();
            ports.push(format!("{domid}:{port}"));
        }
    }
    for (verdict, means) in [
        (
            Verdict::Stuck,
            "pending and masked in every look: the program or kernel that has the port does not unmask it",
        ),
        (
            Verdict::NotTaken,
            "pending and not masked in every look: the vCPU does not take its events",
        ),
    ] {
        if let Some(ports) = counts.get(verdict.name()) {
            let name = verdict.name();
            notes.push(format!("{name}: {} ({means})", ports.join(", ")));
        }
    }
    let is_stuck_here = |(place, entry): (&(DomId, evtchn::Port), &Entry)| {
        place.0 == DomId::DOM0 && entry.verdict == Some(Verdict::Stuck)
    };
    if dump.ports.iter().any(is_stuck_here) {
        notes.extend(holders.iter().cloned());
    }
    if !has_two_looks && dump.ports.values().any(|entry| entry.bits.is_some()) {
        notes.push(
            "one look: a port that is pending and masked may only be busy; take a second dump later"
                .to_owned(),
        );
    }
    notes
}
