//! The lines of a trace through the tables of the core: what a trace does not say of states, they
//! do. Where an answer says otherwise, the answer is right.

mod others;
mod program;
mod seam;
mod steps;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::BufRead;

use evtchn::{DomId, Link};
use evtchn_core::machine::link::LinkInput;
use evtchn_core::machine::port::{Cause, PortEffect, PortInput, PortState};
use evtchn_trace::{Call, Header, Lines, LoadError, What};

use super::lanes::{Kind, State};
use super::summary::Summary;
use steps::Slots;

/// What is told of each change, in the order of the lines.
pub(crate) trait Listen {
    /// What is at the other end of a lane.
    fn about(&mut self, lane: Whose, about: &str);
    /// From here on it is in this state, or in none.
    fn enter(&mut self, lane: Whose, at: At, state: Option<State>);
    fn mark(&mut self, lane: Whose, at: At, kind: Kind, text: &str);
    /// A line is over, and the trace has so many bytes up to its end. Whether to go on.
    fn goes_on(&mut self, _bytes: u64) -> bool {
        true
    }
}

/// Whose lane it is. The lanes stand in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    Device,
    Port(u32),
}

/// When it was: the line, counted from 1, and its step, which counts the lines that something is
/// told of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) step: u32,
    pub(crate) line: u32,
}

impl Whose {
    /// How its lane is called.
    pub(crate) fn name(self) -> String {
        match self {
            Whose::Device => "device".to_owned(),
            Whose::Port(port) => format!("port {port}"),
        }
    }
}

/// Tells of the lines of a trace, one by one.
///
/// # Errors
/// [`LoadError`] where a line is refused.
pub(crate) fn drive(
    trace: &mut Lines<impl BufRead>,
    out: &mut dyn Listen,
) -> Result<Summary, LoadError> {
    let mut driver = Driver::new(trace.header(), out);
    driver.out.about(Whose::Device, "fd, event loop");
    while let Some(line) = trace.next() {
        let line = line?;
        driver.line = driver.line.saturating_add(1);
        match &line.what {
            What::Call(call) => driver.call(line.thread, call),
            What::Answer(answer) => driver.answer(line.thread, answer),
            What::Seam(at) => driver.seam(line.thread, at),
            What::Guest(guest) => driver.guest(guest),
            What::Sim(sim) => driver.sim(sim),
            What::Op(op) => driver.op(op),
            What::Verdict(verdict) => driver.verdict(verdict),
            // Neither says of any port what becomes of it.
            What::Input(_) | What::Schedule(_) => {}
        }
        if !driver.out.goes_on(trace.bytes()) {
            break;
        }
    }
    Ok(driver.end(trace.cut().is_some()))
}

/// Who has the other end of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Other {
    Guest(u32, u32),
    /// Another holder of the device, in the domain of the program.
    Peer(u32),
    Virq(u32),
}

impl Other {
    /// The program runs in domain 0, as all that record do.
    fn of(domid: DomId, port: u32) -> Other {
        if domid == DomId::SELF || domid == DomId::DOM0 {
            Other::Peer(port)
        } else {
            Other::Guest(domid.as_raw().into(), port)
        }
    }
}

/// How many bytes of a text are shown: as many as a recording keeps of an error's.
const LETTERS: usize = 1 << 16;

struct Driver<'a> {
    out: &'a mut dyn Listen,
    summary: Summary,
    /// The line that is read, and the last one that was told of.
    line: u32,
    told: u32,
    /// How many lines were told of.
    steps: u32,
    link: Link,
    /// All that were ever bound; those that are not have no state.
    ports: BTreeMap<u32, Option<PortState>>,
    /// The port of each channel.
    channels: Vec<u32>,
    /// Our port at the end of others.
    ours: BTreeMap<Other, u32>,
    /// The calls that are under way, by thread.
    calls: HashMap<u32, Call>,
    /// Ports whose wait is for each wake.
    standing: BTreeSet<u32>,
    /// Words of the last read that no wake was made of yet.
    unread: VecDeque<u32>,
    /// The device failed and is still to be closed.
    broken: bool,
    slots: Slots,
}

impl<'a> Driver<'a> {
    fn new(header: &Header, out: &'a mut dyn Listen) -> Driver<'a> {
        Driver {
            out,
            summary: Summary::new(header),
            line: 1,
            told: 0,
            steps: 0,
            link: Link::Closed,
            ports: BTreeMap::new(),
            channels: Vec::new(),
            ours: BTreeMap::new(),
            calls: HashMap::new(),
            standing: BTreeSet::new(),
            unread: VecDeque::new(),
            broken: false,
            slots: Slots::new(header.slots),
        }
    }

    /// Something is told of this line.
    const fn now(&mut self) -> At {
        if self.told != self.line {
            self.told = self.line;
            self.steps += 1;
        }
        At {
            step: self.steps - 1,
            line: self.line,
        }
    }

    /// A mark on the lane of a port, if there is such a lane, else on that of the device.
    fn mark(&mut self, port: impl Into<Option<u32>>, kind: Kind, text: &str) {
        let text = &text[..text.floor_char_boundary(LETTERS)];
        let port = port.into().filter(|port| self.ports.contains_key(port));
        let at = self.now();
        self.summary.add(kind);
        self.out
            .mark(port.map_or(Whose::Device, Whose::Port), at, kind, text);
    }

    // ---- The device.

    fn follow(&mut self, input: LinkInput) {
        let (next, _effects) = self.link.plan(input);
        if next != self.link {
            self.link = next;
            let at = self.now();
            let state = (next != Link::Closed).then_some(State::Link(next));
            self.out.enter(Whose::Device, at, state);
        }
    }

    // ---- Ports.

    fn state(&self, port: u32) -> Option<PortState> {
        self.ports.get(&port).copied().flatten()
    }

    fn force(&mut self, port: u32, state: impl Into<Option<PortState>>) {
        let state = state.into();
        let before = self.ports.get_mut(&port);
        if let Some(before) = before.filter(|before| **before != state) {
            *before = state;
            let at = self.now();
            self.out
                .enter(Whose::Port(port), at, state.map(State::Port));
        }
    }

    fn step(&mut self, port: u32, input: PortInput) -> PortEffect {
        let Some(before) = self.state(port) else {
            return PortEffect::Nothing;
        };
        let (next, effect) = before.step(input);
        if next != before {
            self.force(port, next);
            if is_latched(next) && !is_latched(before) {
                self.mark(port, Kind::Latch, cause_of(next));
            }
        }
        effect
    }

    fn bind(&mut self, port: u32, about: &str, how: &str) {
        self.ports.entry(port).or_default();
        if !about.is_empty() {
            self.out.about(Whose::Port(port), about);
        }
        self.force(port, PortState::Live);
        self.mark(port, Kind::Bind, how);
    }

    /// Its channel is gone, and so is what its other end was connected with.
    fn unbind(&mut self, port: u32, kind: Kind, why: &str) {
        if self.state(port).is_some() {
            self.leave(port, kind, why);
            self.ours.retain(|_, ours| *ours != port);
        }
    }

    /// Its channel is gone.
    fn leave(&mut self, port: u32, kind: Kind, why: &str) {
        self.mark(port, kind, why);
        self.force(port, None);
    }

    fn bound(&self) -> Vec<u32> {
        let bound = self.ports.iter().filter(|(_, state)| state.is_some());
        bound.map(|(port, _)| *port).collect()
    }

    // ---- Events.

    /// Takes all that was read through the table.
    fn absorb(&mut self) {
        while let Some(word) = self.unread.pop_front() {
            self.step(word, PortInput::Event);
        }
    }

    /// A wake was handed out. Words are taken in the order in which they were read.
    fn wake(&mut self, port: u32, cause: Cause) {
        if cause == Cause::Gone {
            return self.mark(port, Kind::Alarm, "gone");
        }
        while !self.state(port).is_some_and(is_ready)
            && let Some(word) = self.unread.pop_front()
        {
            self.step(word, PortInput::Event);
        }
        if !self.state(port).is_some_and(is_ready) {
            self.force(port, PortState::Ready(cause));
        }
        self.step(port, PortInput::Deliver);
        self.woke(port, cause);
        if self.standing.contains(&port) {
            self.step(port, PortInput::Wait);
        }
    }

    fn woke(&mut self, port: u32, cause: Cause) {
        match cause {
            Cause::Event => self.mark(port, Kind::Wake, ""),
            Cause::Overflow => self.mark(port, Kind::Alarm, "overflow"),
            Cause::PeerGone => self.mark(port, Kind::Alarm, "peer gone"),
            Cause::PeerConnected => self.mark(port, Kind::Alarm, "peer connected"),
            Cause::Adopted => self.mark(port, Kind::Alarm, "adopted"),
            Cause::Gone => self.mark(port, Kind::Alarm, "gone"),
            _ => self.mark(port, Kind::Alarm, "other"),
        }
    }

    /// Whatever has a state has it until here.
    fn end(mut self, is_cut: bool) -> Summary {
        let at = At {
            step: self.steps,
            line: self.told,
        };
        if self.link != Link::Closed {
            self.out.enter(Whose::Device, at, None);
        }
        for port in self.bound() {
            self.out.enter(Whose::Port(port), at, None);
        }
        // The last line of a trace is not told of.
        self.summary.lines = self.line as usize + usize::from(!is_cut);
        self.summary.is_cut = is_cut;
        self.summary.ports = self.ports.len();
        self.summary
    }
}

const fn is_ready(state: PortState) -> bool {
    matches!(state, PortState::Ready(_))
}

const fn is_latched(state: PortState) -> bool {
    matches!(state, PortState::Latched(_))
}

fn cause_of(state: PortState) -> &'static str {
    match state {
        PortState::Latched(Cause::Overflow) => "overflow",
        PortState::Latched(Cause::PeerGone) => "peer gone",
        PortState::Latched(Cause::PeerConnected) => "peer connected",
        PortState::Latched(Cause::Adopted) => "adopted",
        PortState::Latched(_)
        | PortState::Live
        | PortState::Waiting
        | PortState::Delivered
        | PortState::Masked
        | PortState::Unmasking
        | PortState::Ready(_) => "",
    }
}
