//! Traces of simulated machines: records what happens on one, and replays a trace on one.

mod machine;

use evtchn_core::DomId;
use evtchn_sim::Happened;

use crate::header::{Header, Source};
use crate::line::{BackendCall, BackendRecord, Call, Guest, Line, Record, Sim};
use crate::read::Trace;
use crate::refused::{BadTrace, BadTraceKind};
use crate::replay::{self, Machine, Replayed};
use crate::salvage::Cut;
use crate::tape::Tape;
use machine::Simulated;

/// Records what happens on a machine from now on: what its guests do, which calls its faults fail, the
/// order in which events arrive, and each decision of its `Choice`.
pub fn observe(sim: &evtchn_sim::Sim, tape: &Tape) {
    if !tape.is_on() {
        return;
    }
    let (events, choices) = (tape.clone(), tape.clone());
    sim.with(|world| {
        let choice = world.choice();
        let observer = move |way, of| choices.put(|| Record::Sim(Sim::Choice { way, of }));
        *choice = choice.clone().observed(observer);
        world.observe(move |happened| events.put(|| line(happened)));
    });
}

fn line(happened: Happened) -> Record {
    let fault = |call: evtchn_sim::Call, errno, ports| {
        let call = call.name().to_owned();
        Record::Sim(Sim::Fault { call, errno, ports })
    };
    Record::Guest(match happened {
        Happened::Create(domid, max_port) => Guest::Create { domid, max_port },
        Happened::Kill(domid) => Guest::Kill { domid },
        Happened::Remove(domid) => Guest::Remove { domid },
        Happened::Alloc(domid, remote, port) => Guest::AllocUnbound {
            domid,
            remote,
            port,
        },
        Happened::Bind(domid, remote, remote_port, port) => Guest::BindInterdomain {
            domid,
            remote,
            remote_port,
            port,
        },
        Happened::Send(domid, port) => Guest::Send { domid, port },
        Happened::Close(domid, port) => Guest::Close { domid, port },
        Happened::Raise(domid, virq) => Guest::Raise { domid, virq },
        Happened::Overflow => return Record::Sim(Sim::Overflow),
        Happened::Deliver {
            domid,
            port,
            within,
        } => {
            return Record::Sim(Sim::Deliver {
                domid,
                port,
                within,
            });
        }
        Happened::Fail(call, errno) => return fault(call, Some(errno.raw()), None),
        Happened::Shorten(call, ports) => return fault(call, None, Some(ports)),
        Happened::Held => return Record::Sim(Sim::Held),
        Happened::Other(what) => Guest::Other { what: what.into() },
        _ => Guest::Other {
            what: "unknown".into(),
        },
    })
}

/// [`replay`](crate::replay()), with every backend call made on the simulator too, whose answers must
/// be the recorded ones. What guests and other holders of the device did is done there as the trace
/// says. Ports may have other numbers there.
///
/// A trace of the real device can be replayed so if all its channels lead from its domain to itself.
///
/// # Errors
/// [`BadTrace`] if the trace cannot be replayed, or if it does not say enough to replay it on the
/// simulator; then nothing was played.
pub fn replay_on_sim(trace: &Trace) -> Result<Replayed, BadTrace> {
    replay_cut(trace, None)
}

/// [`replay_on_sim`] for a trace that may have been cut off.
pub(crate) fn replay_cut(trace: &Trace, cut: Option<Cut>) -> Result<Replayed, BadTrace> {
    let mut check = SimCheck::new(trace.header.source);
    trace.lines.iter().for_each(|line| check.line(line));
    check.end()?;
    replay::replay_with(trace, cut, Some(machine(&trace.header)))
}

/// A machine for a trace with this first line.
pub(crate) fn machine(header: &Header) -> Box<dyn Machine> {
    Box::new(Simulated::new(header))
}

/// Checks whether a trace that can be replayed can also be replayed on the simulator.
pub(crate) struct SimCheck {
    source: Source,
    /// The next line, counted from 1.
    at: usize,
    /// The first line that cannot be replayed.
    bad: Option<BadTrace>,
    /// Whether the first call adopts the device of another process. `None` before the first call.
    adopts: Option<bool>,
    /// How many guests there are.
    guests: usize,
}

/// The most guests of a trace.
const GUESTS: usize = 4096;
/// The most other holders of the device.
const HOLDERS: u32 = 1024;

impl SimCheck {
    pub(crate) const fn new(source: Source) -> SimCheck {
        SimCheck {
            source,
            at: 2,
            bad: None,
            adopts: None,
            guests: 0,
        }
    }

    /// Checks the next line.
    pub(crate) fn line(&mut self, line: &Line) {
        if self.bad.is_none() {
            if let Some(why) = obstacle(self.source, &line.record) {
                let why = format!("{why}, which cannot be replayed on the simulator");
                self.bad = Some(BadTraceKind::Field(why).at(self.at));
            }
        }
        if self.bad.is_none() {
            if let Err(why) = self.count(&line.record) {
                self.bad = Some(BadTraceKind::Field(why).at(self.at));
            }
        }
        if let Record::Call(call) = &line.record {
            let adopts = matches!(call, Call::FromParts { .. });
            self.adopts.get_or_insert(adopts);
        }
        self.at += 1;
    }

    /// Counts the guests, and checks that the simulator has room for them and for the holders.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "no other line makes a guest or a holder"
    )]
    fn count(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Guest(Guest::Create { .. }) => self.guests += 1,
            Record::Guest(Guest::Remove { .. }) => self.guests = self.guests.saturating_sub(1),
            Record::Backend(BackendRecord {
                peer: Some(peer), ..
            }) if *peer >= HOLDERS => {
                return Err(format!("holder {peer} of the device, of at most {HOLDERS}"));
            }
            _ => {}
        }
        match self.guests > GUESTS {
            true => Err(format!("more than {GUESTS} guests")),
            false => Ok(()),
        }
    }

    /// Returns whether the trace can be replayed.
    ///
    /// # Errors
    /// The first line that cannot be replayed.
    pub(crate) fn end(self) -> Result<(), BadTrace> {
        let adopts = "the device of another process cannot be replayed on the simulator";
        match self.bad {
            Some(bad) => Err(bad),
            None if self.adopts == Some(true) => Err(BadTraceKind::Field(adopts.into()).at(1)),
            None => Ok(()),
        }
    }
}

/// What this line leaves out that the simulator would need, if anything.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other lines say enough")]
fn obstacle(source: Source, record: &Record) -> Option<String> {
    if let Record::Guest(Guest::Other { what }) = record {
        return Some(format!("here a guest did {what}"));
    }
    let Record::Backend(backend) = record else {
        return None;
    };
    if source != Source::Xen || backend.failed.is_some() {
        return None;
    }
    let own = |domid: DomId| domid == DomId::SELF || domid == DomId::DOM0;
    match backend.call {
        BackendCall::BindVirq { virq } => Some(format!("virtual interrupt {virq} is bound here")),
        BackendCall::BindUnboundPort { remote: domid }
        | BackendCall::BindInterdomain { domid, .. }
            if !own(domid) =>
        {
            Some(format!("a channel to domain {domid} is bound here"))
        }
        BackendCall::BindStatic { port } => Some(format!("static port {port} is bound here")),
        _ => None,
    }
}
