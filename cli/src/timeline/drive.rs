//! The lines of a trace through the tables of the core: what a trace does not say of states, they
//! do. Where an answer says otherwise, the answer is right.

mod others;
mod program;
mod seam;
mod steps;

use std::collections::{BTreeMap, HashMap, VecDeque};

use evtchn::machine::link::LinkInput;
use evtchn::machine::port::{Cause, PortEffect, PortInput, PortState};
use evtchn::{DomId, Link};
use evtchn_trace::{Call, Trace, What};

use super::lanes::{Kind, Lane, Mark, Span, State, Text, Texts, Timeline};
use steps::Slots;

/// Draws the lanes of a trace.
pub(crate) fn drive(trace: &Trace) -> Timeline {
    let mut driver = Driver::new(trace.header.slots);
    for (line, at) in trace.lines.iter().zip(2..) {
        driver.line = at;
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
    }
    driver.end(trace)
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

struct Driver {
    line: u32,
    lines: Vec<u32>,
    texts: Texts,
    fd: Track<Link>,
    ports: BTreeMap<u32, Track<PortState>>,
    /// The port of each channel.
    channels: Vec<u32>,
    /// Our port at the end of others.
    ours: BTreeMap<Other, u32>,
    /// The calls that are under way, by thread.
    calls: HashMap<u32, Call>,
    /// The round of callbacks waits again for each channel.
    waits_again: bool,
    /// Words of the last read that no wake was made of yet.
    unread: VecDeque<u32>,
    /// The device failed and is still to be closed.
    broken: bool,
    slots: Slots,
}

/// A lane, and the state that it is in.
struct Track<S> {
    lane: Lane,
    now: Option<(S, u32)>,
}

impl<S: Copy + PartialEq> Track<S> {
    fn new(name: String) -> Track<S> {
        let lane = Lane {
            name,
            ..Lane::default()
        };
        Track { lane, now: None }
    }

    fn state(&self) -> Option<S> {
        self.now.map(|(state, _)| state)
    }

    /// From `at` on it is in this state, or in none.
    fn enter(&mut self, at: u32, state: Option<S>, shown: impl Fn(S) -> State) {
        if self.state() == state {
            return;
        }
        if let Some((before, from)) = self.now.take()
            && from < at
        {
            let state = shown(before);
            self.lane.spans.push(Span {
                from,
                to: at,
                state,
            });
        }
        self.now = state.map(|state| (state, at));
    }
}

impl Driver {
    fn new(slots: Option<u16>) -> Driver {
        Driver {
            line: 1,
            lines: Vec::new(),
            texts: Texts::new(),
            fd: Track::new("device".to_owned()),
            ports: BTreeMap::new(),
            channels: Vec::new(),
            ours: BTreeMap::new(),
            calls: HashMap::new(),
            waits_again: false,
            unread: VecDeque::new(),
            broken: false,
            slots: Slots::new(slots),
        }
    }

    /// The step of this line.
    fn now(&mut self) -> u32 {
        if self.lines.last() != Some(&self.line) {
            self.lines.push(self.line);
        }
        u32::try_from(self.lines.len() - 1).unwrap_or(u32::MAX)
    }

    fn text(&mut self, text: impl Into<String>) -> Text {
        self.texts.keep(text.into())
    }

    /// A mark on the lane of a port, if there is such a lane, else on that of the device.
    fn mark(&mut self, port: impl Into<Option<u32>>, kind: Kind, text: impl Into<String>) {
        let (at, text) = (self.now(), self.text(text));
        let lane = port.into().and_then(|port| self.ports.get_mut(&port));
        let marks = match lane {
            Some(track) => &mut track.lane.marks,
            None => &mut self.fd.lane.marks,
        };
        marks.push(Mark { at, kind, text });
    }

    // ---- The device.

    fn link(&mut self) -> Link {
        self.fd.state().unwrap_or(Link::Closed)
    }

    fn follow(&mut self, input: LinkInput) {
        let at = self.now();
        let (next, _effects) = self.link().plan(input);
        let state = (next != Link::Closed).then_some(next);
        self.fd.enter(at, state, State::Link);
    }

    // ---- Ports.

    fn state(&self, port: u32) -> Option<PortState> {
        self.ports.get(&port).and_then(Track::state)
    }

    fn force(&mut self, port: u32, state: impl Into<Option<PortState>>) {
        let at = self.now();
        if let Some(track) = self.ports.get_mut(&port) {
            track.enter(at, state.into(), State::Port);
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

    fn bind(&mut self, port: u32, about: String, how: String) {
        let new = || Track::new(format!("port {port}"));
        let track = self.ports.entry(port).or_insert_with(new);
        if !about.is_empty() {
            track.lane.about = about;
        }
        self.force(port, PortState::Live);
        self.mark(port, Kind::Bind, how);
    }

    /// Its channel is gone.
    fn unbind(&mut self, port: u32, kind: Kind, why: &str) {
        if self.state(port).is_some() {
            self.mark(port, kind, why);
            self.force(port, None);
            self.ours.retain(|_, ours| *ours != port);
        }
    }

    fn bound(&self) -> Vec<u32> {
        let bound = self.ports.iter().filter(|(_, track)| track.now.is_some());
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
        self.woke(port, cause, "");
    }

    fn woke(&mut self, port: u32, cause: Cause, how: &str) {
        match cause {
            Cause::Event => self.mark(port, Kind::Wake, how),
            Cause::Overflow => self.mark(port, Kind::Alarm, "overflow"),
            Cause::PeerGone => self.mark(port, Kind::Alarm, "peer gone"),
            Cause::Adopted => self.mark(port, Kind::Alarm, "adopted"),
            Cause::Gone => self.mark(port, Kind::Alarm, "gone"),
        }
    }

    fn end(mut self, trace: &Trace) -> Timeline {
        let end = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        self.fd.enter(end, None, State::Link);
        self.fd.lane.about = "fd, event loop".to_owned();
        let ports = self.ports.into_values().map(|mut track| {
            track.enter(end, None, State::Port);
            track.lane
        });
        Timeline {
            source: trace.header.source,
            seed: trace.header.seed,
            length: u32::try_from(trace.lines.len() + 2).unwrap_or(u32::MAX),
            lanes: std::iter::once(self.fd.lane).chain(ports).collect(),
            lines: self.lines,
            texts: self.texts,
        }
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
        PortState::Latched(Cause::Adopted) => "adopted",
        PortState::Latched(Cause::Event | Cause::Gone)
        | PortState::Live
        | PortState::Waiting
        | PortState::Held
        | PortState::Rearming
        | PortState::Ready(_) => "",
    }
}
