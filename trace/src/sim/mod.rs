//! Traces and the simulator: what happens on a simulated machine as lines, and replays on one.

mod machine;

use evtchn_core::DomId;
use evtchn_sim::Happened;

use crate::header::Source;
use crate::line::{Call, Guest, Seam, Sim, What};
use crate::read::Trace;
use crate::refused::{BadTrace, Why};
use crate::replay::{self, Replayed};
use crate::salvage::Cut;
use crate::tape::Tape;
use machine::Simulated;

/// Writes down what happens on a machine from now on: what guests do, what faults fail, in which
/// order events arrive, and each decision of its `Choice`.
pub fn observe(sim: &evtchn_sim::Sim, tape: &Tape) {
    if !tape.is_on() {
        return;
    }
    let (told, chosen) = (tape.clone(), tape.clone());
    sim.with(|world| {
        let choice = world.choice();
        let tell = move |way, of| chosen.put(|| What::Sim(Sim::Choice { way, of }));
        *choice = choice.clone().observed(tell);
        world.observe(move |happened| told.put(|| line(happened)));
    });
}

fn line(happened: Happened) -> What {
    let fault = |call: evtchn_sim::Call, errno, ports| {
        let call = call.name().to_owned();
        What::Sim(Sim::Fault { call, errno, ports })
    };
    What::Guest(match happened {
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
        Happened::Overflow => return What::Sim(Sim::Overflow),
        Happened::Deliver {
            domid,
            port,
            within,
        } => {
            return What::Sim(Sim::Deliver {
                domid,
                port,
                within,
            });
        }
        Happened::Fail(call, errno) => return fault(call, Some(errno.raw()), None),
        Happened::Shorten(call, ports) => return fault(call, None, Some(ports)),
        Happened::Held => return What::Sim(Sim::Held),
        Happened::Other(what) => Guest::Other { what: what.into() },
        _ => Guest::Other {
            what: "unknown".into(),
        },
    })
}

/// [`replay`](crate::replay()), and every call at the seam is made on the simulator too, whose
/// answers must be the recorded ones. What guests and other holders of the device did is done
/// there as the trace says. Ports may have other numbers there.
///
/// Of the real device, a trace is replayed so where all its channels lead from its domain to
/// itself.
///
/// # Errors
/// Those of [`replay`](crate::replay), and where something happened that the trace does not tell enough of.
pub fn replay_on_sim(trace: &Trace) -> Result<Replayed, BadTrace> {
    replay_cut(trace, None)
}

/// The same of a trace that may have been cut off.
pub(crate) fn replay_cut(trace: &Trace, cut: Option<Cut>) -> Result<Replayed, BadTrace> {
    for (line, at) in trace.lines.iter().zip(2..) {
        if let Some(why) = obstacle(trace.header.source, &line.what) {
            let why = format!("{why}, which cannot be replayed on the simulator");
            return Err(Why::Field(why).at(at));
        }
    }
    let mut lines = trace.lines.iter();
    let first = lines.find(|line| matches!(line.what, What::Call(_)));
    if first.is_some_and(|line| matches!(line.what, What::Call(Call::FromParts { .. }))) {
        let why = "the device of another process cannot be replayed on the simulator";
        return Err(Why::Field(why.into()).at(1));
    }
    let machine = Simulated::new(&trace.header);
    replay::replay_with(trace, cut, Some(Box::new(machine)))
}

/// What of a line the trace tells too little of.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of all others it tells enough"
)]
fn obstacle(source: Source, what: &What) -> Option<String> {
    if let What::Guest(Guest::Other { what }) = what {
        return Some(format!("here a guest did {what}"));
    }
    let What::Seam(at) = what else {
        return None;
    };
    if source != Source::Xen || at.failed.is_some() {
        return None;
    }
    let own = |domid: DomId| domid == DomId::SELF || domid == DomId::DOM0;
    match at.call {
        Seam::BindVirq { virq } => Some(format!("virtual interrupt {virq} is bound here")),
        Seam::BindUnboundPort { remote: domid } | Seam::BindInterdomain { domid, .. }
            if !own(domid) =>
        {
            Some(format!("a channel to domain {domid} is bound here"))
        }
        Seam::BindStatic { port } => Some(format!("static port {port} is bound here")),
        _ => None,
    }
}
