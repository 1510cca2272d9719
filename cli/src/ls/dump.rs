//! Dumps of Xen's debug key `e`, which has what no hypercall says: whether a port is pending and masked.
//!
//! The text is that of `domain_dump_evtchn_info` in Xen's xen/common/event_channel.c and of the functions
//! that print the state of a port in event_fifo.c and event_2l.c, from Xen 4.2 on. What stands before a
//! line does not matter: the name of the console, a time, or the marks of a quoted mail.

use std::collections::BTreeMap;

use evtchn::{DomId, Port, PortStatus, RemotePort, Status, Virq};

use super::table::{Entry, Table};

/// What Xen says of one port besides its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) pending: bool,
    pub(super) masked: bool,
    /// How it is queued; none in dumps of Xen 4.2, which do not say.
    pub(super) queue: Option<Queue>,
    /// The interrupt of a port bound to a PIRQ; 0 if there is none.
    pub(super) irq: Option<i32>,
    /// The number of the function of Xen that gets the events, if that is not the domain.
    pub(super) consumer: u32,
    /// The label of the security module.
    pub(super) label: Option<String>,
    /// Whether its vCPU polls (`SCHEDOP_poll`), which is not woken by an upcall.
    pub(super) polling: bool,
}

/// How a port is queued for its vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// FIFO: whether a change of the queue is under way, and the next port, if it is in a queue.
    Fifo { busy: bool, next: Option<u32> },
    /// FIFO, and the domain has given no memory for this port.
    Unmapped,
    /// Two levels: whether the word of the port is selected.
    TwoLevel { selected: bool },
}

/// One dump.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Dump {
    pub(super) ports: Table,
    /// The vCPUs of each domain that poll, as Xen prints them; only if there are any.
    pub(super) polling: BTreeMap<DomId, String>,
}

/// The dumps of a text, and how many of its lines could not be read.
#[derive(Debug, Default)]
pub(super) struct Dumps {
    pub(super) dumps: Vec<Dump>,
    pub(super) unreadable: usize,
}

impl Dumps {
    /// Reads a text: a log of Xen's console, or a part of it.
    pub(super) fn parse(text: &str) -> Dumps {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        reader.end()
    }

    /// The last dump, and the one before it. A domain that the last one does not have is left out.
    pub(super) fn last(mut self) -> Option<(Option<Dump>, Dump)> {
        let last = self.dumps.pop()?;
        Some((self.dumps.pop(), last))
    }
}

#[derive(Debug, Default)]
struct Reader {
    done: Dumps,
    dump: Dump,
    /// The domains that the dump has so far, in order.
    domains: Vec<DomId>,
    /// Whether the lines are those of the last of these domains.
    is_inside: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if line.contains("pressed -> dumping event-channel info") {
            self.finish_dump();
        } else if let Some(domid) = number_after(line, "Event channel information for domain ") {
            self.begin_domain(domid);
        } else if let Some((_, vcpus)) = line.split_once("Polling vCPUs: {") {
            let vcpus = vcpus.split('}').next().unwrap_or_default();
            if let Some(domid) = self.domain() {
                if !vcpus.is_empty() {
                    self.dump.polling.insert(domid, vcpus.to_owned());
                }
            }
        } else if line.contains("]: s=") {
            match (self.domain(), port(line)) {
                (Some(domid), Some((port, mut entry))) => {
                    if let (Some(bits), Some(status)) = (&mut entry.bits, entry.status) {
                        let polling = self.dump.polling.get(&domid);
                        bits.polling = polling.is_some_and(|vcpus| has(vcpus, status.vcpu));
                    }
                    self.dump.ports.insert((domid, port), entry);
                }
                // The beginning of the log is lost, or a line was mixed with another.
                _ => self.done.unreadable += 1,
            }
        }
    }

    /// The domain that the next port belongs to.
    fn domain(&self) -> Option<DomId> {
        self.domains.last().copied().filter(|_| self.is_inside)
    }

    fn begin_domain(&mut self, domid: u32) {
        let Ok(domid) = DomId::try_from(domid) else {
            self.is_inside = false;
            self.done.unreadable += 1;
            return;
        };
        // Without the line of the key, the first domain that comes again begins another dump.
        if self.domains.contains(&domid) {
            self.finish_dump();
        }
        self.domains.push(domid);
        self.is_inside = true;
    }

    fn finish_dump(&mut self) {
        if !self.domains.is_empty() {
            self.done.dumps.push(std::mem::take(&mut self.dump));
        }
        self.domains.clear();
        self.is_inside = false;
    }

    fn end(mut self) -> Dumps {
        self.finish_dump();
        self.done
    }
}

/// Whether a list such as `1-2,5` has this number.
fn has(list: &str, number: u32) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<u32>(), last.trim().parse::<u32>());
        matches!((first, last), (Ok(first), Ok(last)) if (first..=last).contains(&number))
    })
}

/// The number directly after these words.
fn number_after(line: &str, words: &str) -> Option<u32> {
    let (_, rest) = line.split_once(words)?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// The port of a line such as `(XEN)   19 [1/1/  -   ]: s=3 n=0 x=0 d=0 p=20`.
fn port(line: &str) -> Option<(Port, Entry)> {
    let (before, bits) = line.split_once("]: s=")?.0.rsplit_once('[')?;
    let fields = &line[before.len() + bits.len() + "[]: ".len()..];
    let before = before.trim_end();
    let number = before
        .rsplit(|letter: char| !letter.is_ascii_digit())
        .next()?;
    let port = Port::new(number.parse().ok()?)?;

    let (fields, label) = match fields.split_once(" Z=") {
        Some((fields, label)) => (fields, Some(label.trim_end().to_owned())),
        None => (fields, None),
    };
    let fields = Fields::of(fields)?;
    let mut bits = bits.splitn(3, '/');
    let mut bit = || match bits.next()? {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    let (pending, masked) = (bit()?, bit()?);
    let queue = bits.next().map(queue);
    let (state, irq) = fields.state()?;
    let bits = Bits {
        pending,
        masked,
        queue: match queue {
            Some(queue) => Some(queue?),
            None => None,
        },
        irq,
        consumer: fields.get("x").unwrap_or(0),
        label,
        polling: false,
    };
    let vcpu = fields.get("n")?;
    let entry = Entry {
        status: Some(PortStatus { state, vcpu }),
        bits: Some(bits),
        verdict: None,
    };
    Some((port, entry))
}

/// The third part of the brackets: `B 12  `, `  -   ` or `?     ` with FIFO, `0` or `1` with two levels.
fn queue(text: &str) -> Option<Queue> {
    match text.trim_end() {
        "0" => return Some(Queue::TwoLevel { selected: false }),
        "1" => return Some(Queue::TwoLevel { selected: true }),
        "?" => return Some(Queue::Unmapped),
        _ => {}
    }
    let (busy, rest) = match text.strip_prefix('B') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let next = match rest.trim() {
        "-" => None,
        next => Some(next.parse().ok()?),
    };
    Some(Queue::Fifo { busy, next })
}

/// Fields such as `s=3 n=0 x=0 d=0 p=20`.
#[derive(Debug, Default)]
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Option<Fields<'a>> {
        let fields = text.split_whitespace().map(|field| field.split_once('='));
        fields.collect::<Option<_>>().map(Fields)
    }

    fn get<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        let found = self.0.iter().find(|(found, _)| *found == name)?;
        found.1.parse().ok()
    }

    /// The state (`ECS_*` of xen/include/xen/sched.h), and the interrupt of a PIRQ.
    fn state(&self) -> Option<(Status, Option<i32>)> {
        let domid = || self.get("d").map(DomId::new);
        let state = match self.get::<u32>("s")? {
            2 => Status::Unbound { remote: domid()? },
            3 => {
                let port = Port::new(self.get("p")?)?;
                let domid = domid()?;
                Status::Interdomain {
                    remote: RemotePort { domid, port },
                }
            }
            4 => {
                let pirq = self.get("p")?;
                return Some((Status::Pirq { pirq }, self.get("i")));
            }
            5 => {
                let virq = Virq::new(self.get("v")?);
                Status::Virq { virq }
            }
            6 => Status::Ipi,
            // Reserved; a free port is not in the dump.
            1 => Status::Closed,
            _ => return None,
        };
        Some((state, None))
    }
}

#[cfg(test)]
mod tests;
