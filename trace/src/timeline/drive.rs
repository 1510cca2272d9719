//! Drives the tables of the core with the lines of a trace, to find the states that the trace does not
//! contain. If an answer in the trace differs from the tables, the answer is right.

mod backend;
mod others;
mod program;
mod steps;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::BufRead;

use crate::text::beginning;
use crate::{Call, Header, Lines, LoadError, Record};
use evtchn_core::machine::link::LinkInput;
use evtchn_core::machine::port::{Cause, PortEffect, PortInput, PortState};
use evtchn_core::{DomId, Link};

use super::lanes::{Kind, State};
use super::summary::Summary;
use steps::Slots;

/// Receives each change, in the order of the lines.
pub(super) trait Visitor {
    /// Describes the other end of a lane.
    fn about(&mut self, lane: LaneId, about: &str);
    /// The lane has this state from here on, or none.
    fn enter(&mut self, lane: LaneId, at: Position, state: Option<State>);
    /// A mark on a lane.
    fn mark(&mut self, lane: LaneId, at: Position, kind: Kind, text: &str);
    /// A line has ended, and the trace up to its end has this many bytes. Returns whether to read on.
    fn goes_on(&mut self, _bytes: u64) -> bool {
        true
    }
}

/// Identifies a lane. Lanes are drawn in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LaneId {
    Device,
    Port(u32),
}

/// A position: the line, counted from 1, and its step, counted from 0. A step is a line with at least
/// one change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) step: u32,
    pub(super) line: u32,
}

impl LaneId {
    /// The name of the lane.
    pub(super) fn name(self) -> String {
        match self {
            LaneId::Device => "device".to_owned(),
            LaneId::Port(port) => format!("port {port}"),
        }
    }
}

/// Reports the changes in a trace to a visitor, line by line.
///
/// # Errors
/// [`LoadError`] if a line is refused.
pub(super) fn drive(
    trace: &mut Lines<impl BufRead>,
    out: &mut dyn Visitor,
) -> Result<Summary, LoadError> {
    let mut driver = Driver::new(trace.header(), out);
    driver.out.about(LaneId::Device, "fd, event loop");
    while let Some(line) = trace.next() {
        let line = line?;
        driver.line = driver.line.saturating_add(1);
        match &line.record {
            Record::Call(call) => driver.call(line.thread, call),
            Record::Answer(answer) => driver.answer(line.thread, answer),
            Record::Backend(at) => driver.backend_call(line.thread, at),
            Record::Guest(guest) => driver.guest(guest),
            Record::Sim(sim) => driver.sim(sim),
            Record::Op(op) => driver.op(op),
            Record::Verdict(verdict) => driver.verdict(verdict),
            // These change no port.
            Record::Input(_) | Record::Schedule(_) => {}
        }
        if !driver.out.goes_on(trace.bytes()) {
            break;
        }
    }
    Ok(driver.end(trace.cut().is_some()))
}

/// The other end of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RemoteEnd {
    Guest(u32, u32),
    /// Another handle of the device, in the domain of the program.
    Peer(u32),
    Virq(u32),
}

impl RemoteEnd {
    /// The program runs in domain 0, as all recorded programs do.
    fn of(domid: DomId, port: u32) -> RemoteEnd {
        if domid == DomId::SELF || domid == DomId::DOM0 {
            RemoteEnd::Peer(port)
        } else {
            RemoteEnd::Guest(domid.as_raw().into(), port)
        }
    }
}

/// How many bytes of a text are shown: as many as a recording keeps of an error's.
const LETTERS: usize = 1 << 16;

struct Driver<'a> {
    out: &'a mut dyn Visitor,
    summary: Summary,
    /// The current line.
    line: u32,
    /// The line of the last step.
    last_step: u32,
    /// The number of steps.
    steps: u32,
    link: Link,
    /// All ports that were ever bound. One that is not bound now has no state.
    ports: BTreeMap<u32, Option<PortState>>,
    /// The port of each channel.
    channels: Vec<u32>,
    /// The local port for each remote end.
    local_ports: BTreeMap<RemoteEnd, u32>,
    /// The current call of each thread.
    calls: HashMap<u32, Call>,
    /// Ports that wait again after each wake (`wait_each`).
    waits_each: BTreeSet<u32>,
    /// Ports of the last read whose events are not handled yet.
    unread: VecDeque<u32>,
    /// Whether the device failed and is not closed yet.
    broken: bool,
    slots: Slots,
}

impl<'a> Driver<'a> {
    fn new(header: &Header, out: &'a mut dyn Visitor) -> Driver<'a> {
        Driver {
            out,
            summary: Summary::new(header),
            line: 1,
            last_step: 0,
            steps: 0,
            link: Link::Closed,
            ports: BTreeMap::new(),
            channels: Vec::new(),
            local_ports: BTreeMap::new(),
            calls: HashMap::new(),
            waits_each: BTreeSet::new(),
            unread: VecDeque::new(),
            broken: false,
            slots: Slots::new(header.slots),
        }
    }

    /// The position of a change in the current line.
    const fn position(&mut self) -> Position {
        if self.last_step != self.line {
            self.last_step = self.line;
            self.steps += 1;
        }
        Position {
            step: self.steps - 1,
            line: self.line,
        }
    }

    /// A mark on the lane of the port, or on that of the device if the port has no lane.
    fn mark(&mut self, port: impl Into<Option<u32>>, kind: Kind, text: &str) {
        let text = beginning(text, LETTERS);
        let port = port.into().filter(|port| self.ports.contains_key(port));
        let at = self.position();
        self.summary.add(kind);
        self.out
            .mark(port.map_or(LaneId::Device, LaneId::Port), at, kind, text);
    }

    // ---- The device.

    fn apply_link_input(&mut self, input: LinkInput) {
        let (next, _effects) = self.link.plan(input);
        if next != self.link {
            self.link = next;
            let at = self.position();
            let state = (next != Link::Closed).then_some(State::Link(next));
            self.out.enter(LaneId::Device, at, state);
        }
    }

    // ---- Ports.

    fn state(&self, port: u32) -> Option<PortState> {
        self.ports.get(&port).copied().flatten()
    }

    fn set_state(&mut self, port: u32, state: impl Into<Option<PortState>>) {
        let state = state.into();
        let before = self.ports.get_mut(&port);
        if let Some(before) = before.filter(|before| **before != state) {
            *before = state;
            let at = self.position();
            self.out
                .enter(LaneId::Port(port), at, state.map(State::Port));
        }
    }

    fn step(&mut self, port: u32, input: PortInput) -> PortEffect {
        let Some(before) = self.state(port) else {
            return PortEffect::Nothing;
        };
        let (next, effect) = before.step(input);
        if next != before {
            self.set_state(port, next);
            if is_latched(next) && !is_latched(before) {
                self.mark(port, Kind::Latch, cause_of(next));
            }
        }
        effect
    }

    fn bind(&mut self, port: u32, about: &str, how: &str) {
        self.ports.entry(port).or_default();
        if !about.is_empty() {
            self.out.about(LaneId::Port(port), about);
        }
        self.set_state(port, PortState::Live);
        self.mark(port, Kind::Bind, how);
    }

    /// Ends the channel of a port, and its connection.
    fn unbind(&mut self, port: u32, kind: Kind, why: &str) {
        if self.state(port).is_some() {
            self.end_channel(port, kind, why);
            self.local_ports.retain(|_, local| *local != port);
        }
    }

    /// Ends the channel of a port. Its remote end stays known.
    fn end_channel(&mut self, port: u32, kind: Kind, why: &str) {
        self.mark(port, kind, why);
        self.set_state(port, None);
    }

    fn bound(&self) -> Vec<u32> {
        let bound = self.ports.iter().filter(|(_, state)| state.is_some());
        bound.map(|(port, _)| *port).collect()
    }

    // ---- Events.

    /// Handles all events that were read.
    fn handle_unread(&mut self) {
        while let Some(unread) = self.unread.pop_front() {
            self.step(unread, PortInput::Event);
        }
    }

    /// A wake was handed out. Events are handled in the order in which they were read.
    fn wake(&mut self, port: u32, cause: Cause) {
        if cause.is_unbound() {
            return self.woke(port, cause);
        }
        while !self.state(port).is_some_and(is_ready) {
            let Some(unread) = self.unread.pop_front() else {
                break;
            };
            self.step(unread, PortInput::Event);
        }
        if !self.state(port).is_some_and(is_ready) {
            self.set_state(port, PortState::Ready(cause));
        }
        self.step(port, PortInput::Deliver);
        self.woke(port, cause);
        if self.waits_each.contains(&port) {
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
            Cause::Resumed => self.mark(port, Kind::Alarm, "restored"),
            _ => self.mark(port, Kind::Alarm, "other"),
        }
    }

    /// Ends the state of every lane.
    fn end(mut self, is_cut: bool) -> Summary {
        let at = Position {
            step: self.steps,
            line: self.last_step,
        };
        if self.link != Link::Closed {
            self.out.enter(LaneId::Device, at, None);
        }
        for port in self.bound() {
            self.out.enter(LaneId::Port(port), at, None);
        }
        // The last line of a complete trace is not among those that were read.
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
