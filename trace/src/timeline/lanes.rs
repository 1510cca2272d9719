//! What a picture shows: lanes with their states and marks.

use std::collections::HashMap;
use std::io;

use evtchn_core::Link;
use evtchn_core::machine::port::PortState;

use super::log::Store;
use super::packed::{Marks, Spans, States, StepLines};
use super::summary::Summary;

/// A trace, lane by lane.
///
/// The horizontal axis is in steps: the lines of the trace that a picture shows.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) summary: Summary,
    /// The line of each step, counted from 1.
    pub(super) lines: StepLines,
    /// The descriptor first, then the ports by number.
    pub(super) lanes: Vec<Lane>,
    pub(super) texts: Texts,
    /// The distinct states of the lanes.
    pub(super) states: States,
    /// What the logs of the lanes and lines keep.
    pub(super) store: Store,
}

/// The descriptor or a port.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) name: String,
    /// The other end.
    pub(super) about: String,
    pub(super) spans: Spans,
    pub(super) marks: Marks,
}

/// A state, from one step to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) state: State,
}

/// What happened at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: u32,
    pub(super) kind: Kind,
    /// Details.
    pub(super) text: Text,
}

/// The state of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Link(Link),
    Port(PortState),
}

/// How a state is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    Rest,
    Waits,
    Ready,
    Latched,
    Faulted,
}

/// The kind of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Bind,
    Unbind,
    Wake,
    /// A wake with another cause than an event.
    Alarm,
    Latch,
    /// The other end notified.
    Sent,
    Notify,
    Read,
    Unmask,
    Overflow,
    Fault,
    /// The other end or the device is gone.
    Gone,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            State::Link(Link::Closed) => "closed",
            State::Link(Link::Idle) => "idle",
            State::Link(Link::Watching) => "watching",
            State::Link(Link::Faulted) => "faulted",
            State::Port(PortState::Live) => "live",
            State::Port(PortState::Waiting) => "waiting",
            State::Port(PortState::Delivered | PortState::Masked) => "masked",
            State::Port(PortState::Unmasking) => "unmasking",
            State::Port(PortState::Latched(_)) => "latched",
            State::Port(PortState::Ready(_)) => "ready",
        }
    }

    pub(super) const fn look(self) -> Look {
        match self {
            State::Link(Link::Closed | Link::Idle)
            | State::Port(PortState::Live | PortState::Delivered | PortState::Masked) => Look::Rest,
            State::Link(Link::Watching)
            | State::Port(PortState::Waiting | PortState::Unmasking) => Look::Waits,
            State::Port(PortState::Ready(_)) => Look::Ready,
            State::Port(PortState::Latched(_)) => Look::Latched,
            State::Link(Link::Faulted) => Look::Faulted,
        }
    }
}

impl Look {
    pub(super) const ALL: [Look; 5] = [
        Look::Rest,
        Look::Waits,
        Look::Ready,
        Look::Latched,
        Look::Faulted,
    ];

    /// Its class in a picture.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Look::Rest => "rest",
            Look::Waits => "waits",
            Look::Ready => "ready",
            Look::Latched => "latched",
            Look::Faulted => "faulted",
        }
    }

    pub(super) const fn legend(self) -> &'static str {
        match self {
            Look::Rest => "no wait",
            Look::Waits => "waiting, registered",
            Look::Ready => "wake queued",
            Look::Latched => "event latched",
            Look::Faulted => "device failed",
        }
    }
}

impl Kind {
    pub(super) const ALL: [Kind; 12] = [
        Kind::Bind,
        Kind::Unbind,
        Kind::Wake,
        Kind::Alarm,
        Kind::Latch,
        Kind::Sent,
        Kind::Notify,
        Kind::Read,
        Kind::Unmask,
        Kind::Overflow,
        Kind::Fault,
        Kind::Gone,
    ];

    /// Its class and shape in a picture.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Kind::Bind => "bind",
            Kind::Unbind => "unbind",
            Kind::Wake => "wake",
            Kind::Alarm => "alarm",
            Kind::Latch => "latch",
            Kind::Sent => "sent",
            Kind::Notify => "notify",
            Kind::Read => "read",
            Kind::Unmask => "unmask",
            Kind::Overflow => "overflow",
            Kind::Fault => "fault",
            Kind::Gone => "gone",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Kind::Bind => "bind",
            Kind::Unbind => "unbind",
            Kind::Wake => "wake",
            Kind::Alarm => "wake without an event",
            Kind::Latch => "latch",
            Kind::Sent => "sent by the other end",
            Kind::Notify => "notify",
            Kind::Read => "read",
            Kind::Unmask => "unmask",
            Kind::Overflow => "overflow",
            Kind::Fault => "fault",
            Kind::Gone => "other end gone",
        }
    }

    /// Its row: -1 above the band, 0 on it, 1 below.
    pub(super) const fn row(self) -> i8 {
        match self {
            Kind::Sent | Kind::Read => -1,
            Kind::Notify | Kind::Unmask => 1,
            Kind::Bind
            | Kind::Unbind
            | Kind::Wake
            | Kind::Alarm
            | Kind::Latch
            | Kind::Overflow
            | Kind::Fault
            | Kind::Gone => 0,
        }
    }
}

impl Timeline {
    /// How many steps it has.
    pub(super) const fn steps(&self) -> u32 {
        self.lines.steps()
    }

    /// The line of a step.
    ///
    /// # Errors
    /// It cannot be read back.
    pub(super) fn line(&self, step: u32) -> io::Result<u32> {
        self.lines.of(step, &self.store)
    }

    /// The title of a mark.
    ///
    /// # Errors
    /// Its line cannot be read back.
    pub(super) fn title(&self, mark: Mark) -> io::Result<String> {
        let (name, line) = (mark.kind.name(), self.line(mark.at)?);
        Ok(match self.texts.of(mark.text) {
            "" => format!("{name}, line {line}"),
            text => format!("{name}: {text}, line {line}"),
        })
    }
}

/// One of [`Texts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Text(u32);

/// Texts without duplicates.
#[derive(Debug)]
pub(super) struct Texts {
    all: Vec<String>,
    places: HashMap<String, Text>,
}

impl Texts {
    pub(super) fn new() -> Texts {
        Texts {
            all: vec![String::new()],
            places: HashMap::new(),
        }
    }

    /// The place of a text, and about how many bytes it takes if it is a new one.
    pub(super) fn keep(&mut self, text: &str) -> (Text, usize) {
        /// The bytes of a text besides its two copies.
        const BESIDES: usize = 100;
        if text.is_empty() {
            return (Text::default(), 0);
        }
        if let Some(kept) = self.places.get(text) {
            return (*kept, 0);
        }
        let next = Text(u32::try_from(self.all.len()).unwrap_or(0));
        self.all.push(text.to_owned());
        self.places.insert(text.to_owned(), next);
        (next, 2 * text.len() + BESIDES)
    }

    pub(super) fn of(&self, text: Text) -> &str {
        self.all.get(text.0 as usize).map_or("", String::as_str)
    }

    pub(super) fn all(&self) -> &[String] {
        &self.all
    }
}

impl Text {
    pub(super) const fn at(place: u32) -> Text {
        Text(place)
    }

    pub(super) const fn place(self) -> u32 {
        self.0
    }
}
