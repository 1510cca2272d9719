//! Builds the lanes of a picture in memory: a few bytes for each state and each mark. A few lines of a
//! script can change thousands of ports, so the memory is limited.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::mem::size_of;

use super::DrawError;
use super::drive::{LaneId, Position, Visitor, drive};
use super::lanes::{Kind, Lane, Mark, Span, State, Texts, Timeline};
use crate::Lines;
use crate::plain::Plain;

/// The timeline of a trace.
///
/// # Errors
/// A line is refused, or there is no room.
pub(super) fn build(trace: &mut Lines<impl BufRead>) -> Result<Timeline, DrawError> {
    let mut builder = Builder {
        lines: Vec::new(),
        tracks: BTreeMap::new(),
        texts: Texts::new(),
        bytes: 0,
        room: ROOM,
        is_crowded: false,
        line: 1,
    };
    let summary = drive(trace, &mut builder)?;
    if builder.is_crowded {
        return Err(DrawError::Crowded { line: builder.line });
    }
    let tracks = builder.tracks.into_values();
    Ok(Timeline {
        summary,
        lines: builder.lines,
        lanes: tracks.map(|track| track.lane).collect(),
        texts: builder.texts,
    })
}

struct Builder {
    lines: Vec<u32>,
    tracks: BTreeMap<LaneId, Track>,
    texts: Texts,
    /// About how many bytes all this takes.
    bytes: u64,
    /// How many bytes it may take.
    room: u64,
    /// Something had no room.
    is_crowded: bool,
    /// The line of the last change.
    line: u32,
}

/// The room of every picture, in bytes. Three times the size of the trace is added to it.
const ROOM: u64 = 8 << 20;
/// About how many bytes a lane takes without its spans and marks.
const LANE: usize = 512;

/// A lane, and its current state.
#[derive(Default)]
struct Track {
    lane: Lane,
    now: Option<(State, u32)>,
}

impl Builder {
    /// Takes this many bytes, and returns whether there is room for them.
    fn takes(&mut self, bytes: usize) -> bool {
        // A vector that grows allocates up to twice its content.
        self.bytes = self.bytes.saturating_add(2 * bytes as u64);
        self.is_crowded |= self.bytes > self.room;
        !self.is_crowded
    }

    fn track(&mut self, lane: LaneId) -> Option<&mut Track> {
        if !self.tracks.contains_key(&lane) {
            if !self.takes(LANE / 2) {
                return None;
            }
            let mut track = Track::default();
            track.lane.name = lane.name();
            self.tracks.insert(lane, track);
        }
        self.tracks.get_mut(&lane)
    }

    fn note(&mut self, at: Position) {
        self.line = at.line;
        if self.lines.last() < Some(&at.line) && self.takes(size_of::<u32>()) {
            self.lines.push(at.line);
        }
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
        let has_room = self.takes(size_of::<Span>());
        let Some(track) = self.track(lane).filter(|_| has_room) else {
            return;
        };
        if let Some((before, from)) = track.now.take() {
            if from < at.step {
                track.lane.spans.push(Span {
                    from,
                    to: at.step,
                    state: before,
                });
            }
        }
        track.now = state.map(|state| (state, at.step));
    }

    fn mark(&mut self, lane: LaneId, at: Position, kind: Kind, text: &str) {
        self.note(at);
        // The escaped text is measured and shown.
        let text = Plain(text).to_string();
        if !self.takes(size_of::<Mark>() + text.len()) {
            return;
        }
        let text = self.texts.keep(&text);
        let at = at.step;
        if let Some(track) = self.track(lane) {
            track.lane.marks.push(Mark { at, kind, text });
        }
    }

    fn goes_on(&mut self, bytes: u64) -> bool {
        self.room = ROOM.saturating_add(bytes.saturating_mul(3));
        !self.is_crowded
    }
}
