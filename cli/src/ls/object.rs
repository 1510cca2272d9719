//! A port of a list as JSON.

use evtchn::{DomId, PortStatus, Status};
use serde_json::{Map, Value, json};

use super::dump::{Bits, Queue};
use super::looks::Verdict;
use super::table::{HIDDEN, Row, name};
use crate::source::Source;

/// A port as an object of the output.
pub(super) fn object(row: &Row<'_>) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("event", json!("port"));
    put("domid", domid(row.domid));
    put("port", json!(row.port.as_raw()));
    let Some(PortStatus { state, vcpu }) = row.entry.status else {
        put("state", json!(HIDDEN));
        return object;
    };
    put("state", json!(name(state)));
    put("vcpu", json!(vcpu));
    match state {
        Status::Pirq { pirq } => {
            put("pirq", json!(pirq));
        }
        Status::Unbound { remote } => Source::Unbound(remote).put(&mut object),
        Status::Interdomain { remote } => Source::Remote(remote).put(&mut object),
        Status::Virq { virq } => Source::Virq(virq).put(&mut object),
        Status::Closed | Status::Ipi | _ => {}
    }
    if let Some(bits) = &row.entry.bits {
        put_bits(bits, row.entry.verdict, &mut object);
    }
    object
}

/// Puts what only a dump has.
fn put_bits(bits: &Bits, verdict: Option<Verdict>, object: &mut Map<String, Value>) {
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("pending", json!(bits.pending));
    put("masked", json!(bits.masked));
    match bits.queue {
        Some(Queue::Fifo { busy, next }) => {
            put("fifo_busy", json!(busy));
            put("fifo_next", json!(next));
        }
        Some(Queue::TwoLevel { selected }) => {
            put("selected", json!(selected));
        }
        Some(Queue::Unmapped) | None => {}
    }
    if let Some(irq) = bits.irq {
        put("irq", json!(irq));
    }
    put("xen_consumer", json!(bits.consumer));
    if let Some(label) = &bits.label {
        put("label", json!(label));
    }
    put("vcpu_polls", json!(bits.polling));
    let verdict = verdict.map(|verdict| verdict.name().replace(' ', "_"));
    put("verdict", json!(verdict));
}

/// The id of a domain; the domain of this program, whose id it need not know, is `"self"`.
fn domid(domid: DomId) -> Value {
    match domid {
        DomId::SELF => json!("self"),
        domid => json!(domid.as_raw()),
    }
}
