//! Builds the lanes of a picture: a few bytes for each state and each mark. A few lines of a script can
//! change thousands of ports, so the size is limited.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use super::DrawError;
use super::drive::{LaneId, Position, Visitor, drive};
use super::lanes::{Kind, Lane, Mark, Span, State, Texts, Timeline};
use super::log::Store;
use super::packed::{States, StepLines};
use crate::Lines;
use crate::plain::Plain;

/// The timeline of a trace.
///
/// # Errors
/// A line is refused, there is no room, or the temporary file fails.
pub(super) fn build(trace: &mut Lines<impl BufRead>) -> Result<Timeline, DrawError> {
    let mut builder = Builder {
        lines: StepLines::default(),
        tracks: BTreeMap::new(),
        texts: Texts::new(),
        states: States::default(),
        store: Store::new(),
        bytes: 0,
        kept: 0,
        room: ROOM,
        failed: None,
        line: 1,
    };
    let summary = drive(trace, &mut builder)?;
    if let Some(failed) = builder.failed {
        return Err(failed);
    }
    let tracks = builder.tracks.into_values();
    Ok(Timeline {
        summary,
        lines: builder.lines,
        lanes: tracks.map(|track| track.lane).collect(),
        texts: builder.texts,
        states: builder.states,
        store: builder.store,
    })
}

struct Builder {
    lines: StepLines,
    tracks: BTreeMap<LaneId, Track>,
    texts: Texts,
    states: States,
    store: Store,
    /// About how many bytes all this takes.
    bytes: u64,
    /// How many of these are texts, which stay in memory.
    kept: usize,
    /// How many bytes it may take.
    room: u64,
    /// Why nothing more is taken.
    failed: Option<DrawError>,
    /// The line of the last change.
    line: u32,
}

/// The room of every picture, in bytes. Three times the size of the trace is added to it.
const ROOM: u64 = 2 << 20;
/// The most bytes of texts.
const TEXTS: usize = 16 << 20;
/// About how many bytes a lane takes without its spans and marks.
const LANE: usize = 512;

/// A lane, and its current state.
#[derive(Default)]
struct Track {
    lane: Lane,
    now: Option<(State, u32)>,
}

impl Builder {
    /// Counts the bytes that something took.
    fn takes(&mut self, taken: io::Result<usize>) {
        match taken {
            Ok(bytes) => self.bytes = self.bytes.saturating_add(bytes as u64),
            Err(error) => self.failed = Some(error.into()),
        }
        if self.failed.is_none() && (self.bytes > self.room || self.kept > TEXTS) {
            self.failed = Some(DrawError::Crowded { line: self.line });
        }
    }

    /// The lane, if all before had room.
    fn track(&mut self, lane: LaneId) -> Option<&mut Track> {
        if !self.tracks.contains_key(&lane) {
            self.takes(Ok(LANE));
            if self.failed.is_some() {
                return None;
            }
            let mut track = Track::default();
            track.lane.name = lane.name();
            self.tracks.insert(lane, track);
        }
        let is_open = self.failed.is_none();
        self.tracks.get_mut(&lane).filter(|_| is_open)
    }

    fn note(&mut self, at: Position) {
        self.line = at.line;
        let taken = self.lines.push(at.line, &mut self.store);
        self.takes(taken);
    }
}

impl Visitor for Builder {
    fn about(&mut self, lane: LaneId, about: &str) {
        if let Some(track) = self.track(lane) {
            about.clone_into(&mut track.lane.about);
        }
    }

    fn enter(&mut self, lane: LaneId, at: Position, state: Option<State>) {
        self.note(at);
        let now = state.map(|state| (state, at.step));
        let Some(track) = self.track(lane) else {
            return;
        };
        let before = std::mem::replace(&mut track.now, now);
        let ended = before.filter(|(_, from)| *from < at.step);
        let Some((state, from)) = ended else {
            return;
        };
        let to = at.step;
        let span = Span { from, to, state };
        if let Some(track) = self.tracks.get_mut(&lane) {
            let spans = &mut track.lane.spans;
            let taken = spans.push(span, &mut self.states, &mut self.store);
            self.takes(taken);
        }
    }

    fn mark(&mut self, lane: LaneId, at: Position, kind: Kind, text: &str) {
        self.note(at);
        if self.track(lane).is_none() {
            return;
        }
        // The escaped text is measured and shown.
        let (text, new) = self.texts.keep(&Plain(text).to_string());
        self.kept += new;
        let at = at.step;
        if let Some(track) = self.tracks.get_mut(&lane) {
            let taken = track
                .lane
                .marks
                .push(Mark { at, kind, text }, &mut self.store);
            self.takes(taken.map(|bytes| bytes + new));
        }
    }

    fn goes_on(&mut self, bytes: u64) -> bool {
        self.room = ROOM.saturating_add(bytes.saturating_mul(3));
        self.failed.is_none()
    }
}
