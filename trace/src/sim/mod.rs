//! Traces and the simulator: what happens on a simulated machine as lines, and replays on one.

mod machine;

use evtchn_core::DomId;
use evtchn_sim::Happened;

use crate::header::{Header, Source};
use crate::line::{AtSeam, Call, Guest, Line, Seam, Sim, What};
use crate::read::Trace;
use crate::refused::{BadTrace, Why};
use crate::replay::{self, Machine, Replayed};
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
    let mut check = SimCheck::new(trace.header.source);
    trace.lines.iter().for_each(|line| check.line(line));
    check.end()?;
    replay::replay_with(trace, cut, Some(machine(&trace.header)))
}

/// A machine for a trace with this first line.
pub(crate) fn machine(header: &Header) -> Box<dyn Machine> {
    Box::new(Simulated::new(header))
}

/// Whether a trace can be replayed on the simulator, where it can be replayed at all.
pub(crate) struct SimCheck {
    source: Source,
    /// The line that comes next, counted from 1.
    at: usize,
    /// The first line that tells too little.
    bad: Option<BadTrace>,
    /// The first call goes on with the device of another process; none before it.
    adopts: Option<bool>,
    /// How many guests there are.
    guests: usize,
}

/// As many guests, and as many other holders of the device, as a trace can have.
const GUESTS: usize = 4096;
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

    /// Looks at the next line.
    pub(crate) fn line(&mut self, line: &Line) {
        if self.bad.is_none()
            && let Some(why) = obstacle(self.source, &line.what)
        {
            let why = format!("{why}, which cannot be replayed on the simulator");
            self.bad = Some(Why::Field(why).at(self.at));
        }
        if self.bad.is_none()
            && let Err(why) = self.counts(&line.what)
        {
            self.bad = Some(Why::Field(why).at(self.at));
        }
        if let What::Call(call) = &line.what {
            let adopts = matches!(call, Call::FromParts { .. });
            self.adopts.get_or_insert(adopts);
        }
        self.at += 1;
    }

    /// Counts what the simulator would have room for.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "nothing else makes a guest or a holder"
    )]
    fn counts(&mut self, what: &What) -> Result<(), String> {
        match what {
            What::Guest(Guest::Create { .. }) => self.guests += 1,
            What::Guest(Guest::Remove { .. }) => self.guests = self.guests.saturating_sub(1),
            What::Seam(AtSeam {
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

    /// # Errors
    /// What cannot be replayed.
    pub(crate) fn end(self) -> Result<(), BadTrace> {
        let adopts = "the device of another process cannot be replayed on the simulator";
        match self.bad {
            Some(bad) => Err(bad),
            None if self.adopts == Some(true) => Err(Why::Field(adopts.into()).at(1)),
            None => Ok(()),
        }
    }
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
