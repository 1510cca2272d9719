//! What Xen and the driver answer: whether the device opens, which ports and virtual interrupts are
//! bound, and how events come.

use std::fs::File;
use std::io::Read as _;

use anyhow::Result;
use evtchn::xen::{Device, PRIVCMD_PATH, Privcmd};
use evtchn::{DomId, Port, PortStatuses, Status, Virq};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Line;
use super::machine::Machine;
use crate::exit::{Exit, device_failed, line, query_failed};

/// The lines about what answers; where Xen cannot be asked, what the files say.
pub(super) fn lines(machine: &Machine, is_here: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    match privcmd(machine, is_here) {
        Ok(None) => lines.push(Line::ok("privcmd", format!("{PRIVCMD_PATH} is there"))),
        Ok(Some(ports)) => {
            lines.push(Line::ok("privcmd", "Xen answers about this domain"));
            lines.push(bound(&ports, abi(machine), machine.is_control()));
            lines.push(virqs(&ports));
        }
        Err(line) => lines.push(line),
    }
    lines.push(match abi(machine) {
        Some(Abi::Fifo) => Line::ok("ABI", "FIFO: up to 131,071 ports, none starves another"),
        Some(Abi::TwoLevel) => Line::note(
            "ABI",
            "two levels: up to 4,095 ports; without xen.fifo_events=0 Linux uses FIFO",
        ),
        None => Line::note("ABI", unknown_abi(machine)),
    });
    lines
}

/// Opens the device, whose node is as it should be, and closes it again.
pub(super) fn device() -> Line {
    const TOPIC: &str = "device";
    match Device::open() {
        Ok(_) => Line::ok(TOPIC, "it can be opened"),
        Err(error) => {
            let error = device_failed(error);
            let exit = Exit::of(&error);
            let todo = match exit == Exit::NotPermitted {
                true => "give the device to this container (--device /dev/xen/evtchn)",
                false => "look for the cause in the kernel's log (dmesg)",
            };
            Line::todo(TOPIC, line(&error), exit, todo)
        }
    }
}

type Ports = Vec<(Port, Status)>;

/// The ports of this domain; none if Xen cannot be asked on that machine.
fn privcmd(machine: &Machine, is_here: bool) -> Result<Option<Ports>, Line> {
    if !machine.path(PRIVCMD_PATH).exists() {
        let says = format!("there is no {PRIVCMD_PATH}: ls, --check-peers and ping cannot ask Xen");
        return Err(Line::note(
            "privcmd",
            format!("{says}; modprobe xen-privcmd makes it"),
        ));
    }
    if !is_here {
        return Ok(None);
    }
    let ask = || {
        let privcmd = Privcmd::open()?;
        let ports = privcmd.ports(DomId::SELF);
        let known = ports.filter_map(|(port, answer)| match answer {
            Ok(status) => Some(Ok((port, status.state))),
            // Xen keeps it for itself.
            Err(error) if error.kind() == evtchn::ErrorKind::Hidden => None,
            Err(error) => Some(Err(error)),
        });
        known.collect::<Result<Ports, _>>()
    };
    let refused = |error| {
        let says = format!(
            "ls, --check-peers and ping cannot ask Xen: {}",
            line(&query_failed(error))
        );
        Line::note("privcmd", says)
    };
    ask().map(Some).map_err(refused)
}

fn bound(ports: &Ports, abi: Option<Abi>, is_control: Option<bool>) -> Line {
    let (most, written) = match abi {
        Some(Abi::Fifo) | None => (131_071, "131,071"),
        Some(Abi::TwoLevel) => (4_095, "4,095"),
    };
    let says = format!("{} of {written} are bound", ports.len());
    if ports.len() + 16 >= most {
        let todo = "stop a program that has many; each close of its device frees its ports";
        return Line::todo("ports", says, Exit::Failed, todo);
    }
    if is_control == Some(true) {
        return Line::ok("ports", says);
    }
    let limit = "max_event_channels of this guest may be less, 1,023 if the toolstack sets nothing";
    Line::ok("ports", format!("{says}; {limit}"))
}

fn virqs(ports: &Ports) -> Line {
    let taken = ports.iter().filter_map(|(port, status)| match status {
        Status::Virq { virq } => Some((*virq, *port)),
        Status::Closed
        | Status::Unbound { .. }
        | Status::Interdomain { .. }
        | Status::Pirq { .. }
        | Status::Ipi
        | _ => None,
    });
    let taken: Vec<(Virq, Port)> = taken.collect();
    let all = (0..24).map(Virq::new).filter(|virq| virq.name().is_some());
    let is_free = |virq: &Virq| taken.iter().all(|(other, _)| other != virq);
    let free: Vec<String> = all.filter(is_free).map(|virq| virq.to_string()).collect();
    let taken: Vec<String> = taken
        .iter()
        .map(|(virq, port)| format!("{virq} (port {port})"))
        .collect();
    let list = |list: &[String]| match list {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let says = format!("free: {}; bound: {}", list(&free), list(&taken));
    Line::ok("VIRQs", says)
}

/// How events come to this kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Abi {
    Fifo,
    TwoLevel,
}

/// Why it is not known how events come.
fn unknown_abi(machine: &Machine) -> &'static str {
    match log(machine) {
        Err(Errno::ACCESS | Errno::PERM) => "the kernel's log says which one it is, to root",
        Ok(_) | Err(_) => "the kernel's log does not say (any more) which one it is",
    }
}

fn log(machine: &Machine) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = rustix::fs::open(machine.path("/dev/kmsg"), flags, Mode::empty());
    log.map(File::from)
}

/// What the kernel said at boot, if its log still has it.
fn abi(machine: &Machine) -> Option<Abi> {
    let is_off = |words: String| words.split(' ').any(|word| word == "xen.fifo_events=0");
    if machine.text("/proc/cmdline").is_some_and(is_off) {
        return Some(Abi::TwoLevel);
    }
    let mut log = log(machine).ok()?;
    let mut record = [0; 8192];
    // Each read is one record; a file is read in pieces. The log has an end, where a read would block.
    for _ in 0..1_000_000 {
        match log.read(&mut record) {
            Ok(length @ 1..) => {
                let text = String::from_utf8_lossy(&record[..length]);
                if text.contains("Using FIFO-based ABI") {
                    return Some(Abi::Fifo);
                }
                if text.contains("Using 2-level ABI") {
                    return Some(Abi::TwoLevel);
                }
            }
            // A record that was overwritten meanwhile.
            Err(error) if error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => {}
            Ok(_) | Err(_) => return None,
        }
    }
    None
}
