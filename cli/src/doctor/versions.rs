//! What this library can do on the versions of Xen and Linux of a machine.

use super::Line;
use super::machine::Machine;

/// The lines about what depends on versions.
pub(super) fn lines(machine: &Machine) -> Vec<Line> {
    let mut lines = vec![static_binds(machine), virq_rule(machine), batches(machine)];
    if machine.is_control() == Some(false) {
        lines.push(Line::note(
            "restore",
            "after a restore or a migration of this guest every port of an open device is dead: waits \
             end, and a program has to bind again",
        ));
    }
    if machine.linux().is_some_and(|linux| linux < (4, 18)) {
        lines.push(Line::note(
            "hypercalls",
            "this Linux has no /dev/xen/hypercall, so Xen cannot be asked: that needs 4.18",
        ));
    }
    lines
}

fn static_binds(machine: &Machine) -> Line {
    const TOPIC: &str = "static ports";
    match machine.linux() {
        Some(linux) if linux >= (6, 6) => Line::ok(TOPIC, "the driver can bind them"),
        Some(_) => Line::note(TOPIC, "cannot be bound: that needs Linux 6.6"),
        None => Line::note(TOPIC, "need Linux 6.6"),
    }
}

fn virq_rule(machine: &Machine) -> Line {
    const TOPIC: &str = "VIRQ rule";
    match machine.xen() {
        Some(xen) if xen >= (4, 21) => Line::ok(
            TOPIC,
            "Xen refuses the bind of a VIRQ that it sends to another domain (EBUSY)",
        ),
        Some(_) => Line::note(
            TOPIC,
            "the bind of a VIRQ that Xen sends to another domain succeeds and never wakes: Xen \
             refuses it from 4.21 on",
        ),
        None => Line::note(TOPIC, "depends on the version of Xen, which is not known"),
    }
}

fn batches(machine: &Machine) -> Line {
    const TOPIC: &str = "batches";
    match (machine.is_control(), machine.guest_type().as_deref()) {
        (Some(true), Some("PV")) => Line::ok(TOPIC, "one hypercall can make many notifies"),
        (Some(true), _) => Line::note(
            TOPIC,
            "each notify is an ioctl: one hypercall for many costs more in such a domain",
        ),
        (Some(false) | None, _) => Line::note(
            TOPIC,
            "each notify is an ioctl: only a control domain may make other hypercalls",
        ),
    }
}
