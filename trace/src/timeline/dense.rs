//! Columns in place of marks and states, if there are more of these than a picture has room for.

use std::io;

use super::lanes::{Kind, Lane, Look, Mark, Timeline};

/// About the most elements for marks, and for states, that a picture may have.
const ELEMENTS: usize = 6000;

/// How many elements a lane can show one by one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Marks of one kind.
    pub(super) marks: usize,
    pub(super) spans: usize,
}

impl Room {
    /// The room of each lane, for this number of lanes.
    pub(super) fn of(lanes: usize) -> Room {
        let each = ELEMENTS / lanes.max(1);
        Room {
            marks: (each / 4).clamp(24, 120),
            spans: each.clamp(60, 400),
        }
    }
}

/// The marks of a lane: those that are drawn one by one, and the counts of the other kinds.
pub(super) struct Sorted {
    pub(super) single: Vec<Mark>,
    pub(super) crowds: Vec<(Kind, Vec<u32>)>,
}

/// Counts a kind in columns if there is no room for all its marks.
///
/// # Errors
/// A mark cannot be read back.
pub(super) fn sort(
    timeline: &Timeline,
    lane: &Lane,
    room: Room,
    columns: usize,
) -> io::Result<Sorted> {
    let mut counts: [Option<Vec<u32>>; Kind::ALL.len()] =
        Kind::ALL.map(|kind| (lane.marks.count(kind) > room.marks).then(|| vec![0; columns]));
    let mut single = Vec::new();
    lane.marks.each(timeline, |mark| {
        match &mut counts[mark.kind as usize] {
            Some(counts) => counts[column(timeline, mark.at, columns)] += 1,
            None => single.push(mark),
        }
        Ok(())
    })?;
    single.sort_by_key(|mark| mark.kind);
    let crowds = Kind::ALL.into_iter().zip(counts);
    let crowds = crowds.filter_map(|(kind, counts)| Some((kind, counts?)));
    Ok(Sorted {
        single,
        crowds: crowds.collect(),
    })
}

/// The states of a lane in columns: in each, the look of the longest time.
///
/// # Errors
/// A state cannot be read back.
pub(super) fn looks(
    timeline: &Timeline,
    lane: &Lane,
    columns: usize,
) -> io::Result<Vec<(usize, usize, Look)>> {
    let mut times = vec![[0_u64; Look::ALL.len()]; columns];
    lane.spans.each(timeline, |span| {
        let look = span.state.look() as usize;
        let (first, last) = (
            column(timeline, span.from, columns),
            column(timeline, span.to, columns),
        );
        for (place, times) in (first..=last).zip(&mut times[first..=last]) {
            let begins = span.from.max(begin(timeline, place, columns));
            let ends = span.to.min(begin(timeline, place + 1, columns));
            times[look] += u64::from(ends.saturating_sub(begins));
        }
        Ok(())
    })?;
    let mut runs: Vec<(usize, usize, Look)> = Vec::new();
    for (place, times) in times.iter().enumerate() {
        let longest = Look::ALL
            .into_iter()
            .max_by_key(|look| times[*look as usize]);
        let Some(look) = longest.filter(|look| times[*look as usize] > 0) else {
            continue;
        };
        match runs.last_mut() {
            Some((_, to, before)) if *before == look && *to == place => *to = place + 1,
            _ => runs.push((place, place + 1, look)),
        }
    }
    Ok(runs)
}

fn column(timeline: &Timeline, step: u32, columns: usize) -> usize {
    let place = u64::from(step) * columns as u64 / u64::from(timeline.steps().max(1));
    usize::try_from(place).map_or(columns - 1, |place| place.min(columns - 1))
}

/// The first step of a column.
fn begin(timeline: &Timeline, column: usize, columns: usize) -> u32 {
    let step = (column as u64 * u64::from(timeline.steps())).div_ceil(columns as u64);
    u32::try_from(step).unwrap_or(u32::MAX)
}
