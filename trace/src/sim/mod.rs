//! Traces of simulated machines: records what happens on one, and replays a trace on one.

mod machine;

use evtchn_core::DomId;
use evtchn_sim::Happened;

use crate::header::Source;
use crate::line::{BackendCall, Call, Guest, Record, Sim};
use crate::read::Trace;
use crate::refused::{BadTrace, BadTraceKind};
use crate::replay::{self, Replayed};
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
    for (line, at) in trace.lines.iter().zip(2..) {
        if let Some(why) = obstacle(trace.header.source, &line.record) {
            let why = format!("{why}, which cannot be replayed on the simulator");
            return Err(BadTraceKind::Field(why).at(at));
        }
    }
    let mut lines = trace.lines.iter();
    let first = lines.find(|line| matches!(line.record, Record::Call(_)));
    if first.is_some_and(|line| matches!(line.record, Record::Call(Call::FromParts { .. }))) {
        let why = "the device of another process cannot be replayed on the simulator";
        return Err(BadTraceKind::Field(why.into()).at(1));
    }
    let machine = Simulated::new(&trace.header);
    replay::replay_with(trace, cut, Some(Box::new(machine)))
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
