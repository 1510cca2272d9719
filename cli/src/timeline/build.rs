//! Builds the lanes of a picture in memory: a few bytes for each state and each mark.

use std::collections::BTreeMap;
use std::io::BufRead;

use evtchn_trace::{Lines, LoadError};

use super::drive::{LaneId, Position, Visitor, drive};
use super::lanes::{Kind, Lane, Mark, Span, State, Texts, Timeline};
use crate::plain::Plain;

/// The timeline of a trace.
///
/// # Errors
/// [`LoadError`] if a line is refused.
pub(crate) fn build(trace: &mut Lines<impl BufRead>) -> Result<Timeline, LoadError> {
    let mut builder = Builder {
        lines: Vec::new(),
        tracks: BTreeMap::new(),
        texts: Texts::new(),
    };
    let summary = drive(trace, &mut builder)?;
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
}

/// A lane, and its current state.
#[derive(Default)]
struct Track {
    lane: Lane,
    now: Option<(State, u32)>,
}

impl Builder {
    fn track(&mut self, lane: LaneId) -> &mut Track {
        self.tracks.entry(lane).or_insert_with(|| {
            let mut track = Track::default();
            track.lane.name = lane.name();
            track
        })
    }

    fn note(&mut self, at: Position) {
        if self.lines.last() < Some(&at.line) {
            self.lines.push(at.line);
        }
    }
}

impl Visitor for Builder {
    fn about(&mut self, lane: LaneId, about: &str) {
        about.clone_into(&mut self.track(lane).lane.about);
    }

    fn enter(&mut self, lane: LaneId, at: Position, state: Option<State>) {
        self.note(at);
        let track = self.track(lane);
        if let Some((before, from)) = track.now.take()
            && from < at.step
        {
            track.lane.spans.push(Span {
                from,
                to: at.step,
                state: before,
            });
        }
        track.now = state.map(|state| (state, at.step));
    }

    fn mark(&mut self, lane: LaneId, at: Position, kind: Kind, text: &str) {
        self.note(at);
        // The escaped text is measured and shown.
        let text = self.texts.keep(&Plain(text).to_string());
        let at = at.step;
        self.track(lane).lane.marks.push(Mark { at, kind, text });
    }
}
