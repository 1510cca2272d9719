//! One lane: its name, its states as a band, and its marks on, above and below the band.

use std::fmt::Write as _;
use std::io;

use super::super::dense::{self, Room};
use super::super::lanes::{Kind, Lane, Look, State};
use super::super::summary::thousands;
use super::{COLUMN, Escaped, LANE, LEFT, Plot, count, text_width};

/// The distance of the upper and the lower row from the band.
const ROW: f64 = 13.0;
/// The height of the columns in the upper and lower row, and on the band.
const ABOVE: f64 = 12.0;
const ON: f64 = 14.0;
/// The distance of a word from the ends of its band.
const WORD: f64 = 8.0;

pub(super) fn draw(
    plot: Plot<'_>,
    lane: &Lane,
    top: f64,
    room: Room,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let middle = top + LANE / 2.0;
    writeln!(
        out,
        "  <g class=\"lane\" aria-label=\"{0}\">\n    \
         <text class=\"name\" x=\"20\" y=\"{1}\">{0}</text>\n    \
         <text class=\"faint\" x=\"20\" y=\"{2}\">{3}</text>",
        Escaped(&lane.name),
        middle - 2.0,
        middle + 12.0,
        Escaped(&lane.about)
    )?;
    if lane.spans.len() <= room.spans {
        spans(plot, lane, middle, out)?;
        words(plot, lane, middle, out)?;
    } else {
        runs(plot, lane, middle, out)?;
    }
    let sorted = dense::sort(plot.timeline, lane, room, Plot::columns())?;
    for (kind, counts) in &sorted.crowds {
        crowd(*kind, counts, middle, out)?;
    }
    for mark in sorted.single {
        writeln!(
            out,
            "    <use class=\"{0}\" href=\"#{0}\" x=\"{1:.1}\" y=\"{2}\"><title>{3}</title></use>",
            mark.kind.class(),
            plot.x(mark.at),
            middle + ROW * f64::from(mark.kind.row()),
            Escaped(&plot.timeline.title(mark)?)
        )?;
    }
    writeln!(out, "  </g>")
}

fn spans(plot: Plot<'_>, lane: &Lane, middle: f64, out: &mut dyn io::Write) -> io::Result<()> {
    lane.spans.each(plot.timeline, |span| {
        let (from, to) = (plot.x(span.from), plot.x(span.to));
        let look = span.state.look();
        let (y, height) = extent(look, middle);
        writeln!(
            out,
            "    <rect class=\"{}\" x=\"{from:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{height}\">\
             <title>{}, lines {} to {}</title></rect>",
            look.class(),
            to - from,
            span.state.name(),
            plot.timeline.line(span.from)?,
            plot.timeline.line(span.to)?
        )
    })
}

/// The name of a state on its band, or above it if that is thin.
struct Word {
    state: State,
    left: f64,
    right: f64,
    y: f64,
    row: i8,
    is_free: bool,
}

/// The names of the states, where they have room and no mark is in the way. The thin band of a port
/// without a wait has no name.
fn words(plot: Plot<'_>, lane: &Lane, middle: f64, out: &mut dyn io::Write) -> io::Result<()> {
    let mut words = Vec::new();
    lane.spans.each(plot.timeline, |span| {
        let (state, look) = (span.state, span.state.look());
        let (left, end) = (plot.x(span.from) + WORD, plot.x(span.to) - WORD / 2.0);
        let right = left + text_width(state.name());
        let has_name = look != Look::Rest || matches!(state, State::Link(_));
        let (y, row) = match look {
            Look::Rest => (middle - 5.0, -1),
            Look::Waits | Look::Ready | Look::Latched | Look::Faulted => (middle + 4.0, 0),
        };
        words.extend((has_name && right <= end).then_some(Word {
            state,
            left,
            right,
            y,
            row,
            is_free: true,
        }));
        Ok(())
    })?;
    // Marks and words are in order, so each mark is near the words from here on at most.
    let mut from = 0;
    lane.marks.each(plot.timeline, |mark| {
        let x = plot.x(mark.at);
        let passed = |word: &&Word| word.right + WORD <= x;
        from += words[from..].iter().take_while(passed).count();
        let near = words[from..].iter_mut();
        for word in near.take_while(|word| word.left - WORD / 2.0 <= x) {
            word.is_free &= mark.kind.row() != word.row;
        }
        Ok(())
    })?;
    for word in words.iter().filter(|word| word.is_free) {
        writeln!(
            out,
            "    <text class=\"word on-{}\" x=\"{:.1}\" y=\"{}\">{}</text>",
            word.state.look().class(),
            word.left,
            word.y,
            word.state.name()
        )?;
    }
    Ok(())
}

/// The states in columns: a path for each look.
fn runs(plot: Plot<'_>, lane: &Lane, middle: f64, out: &mut dyn io::Write) -> io::Result<()> {
    let runs = dense::looks(plot.timeline, lane, Plot::columns())?;
    for look in Look::ALL {
        let (y, height) = extent(look, middle);
        let mut path = String::new();
        for (from, to, _) in runs.iter().filter(|(_, _, it)| *it == look) {
            let (from, width) = (LEFT + count(*from) * COLUMN, count(to - from) * COLUMN);
            // Writing to a String does not fail.
            let _written = write!(path, "M{from} {y}h{width}v{height}h-{width}z");
        }
        if !path.is_empty() {
            writeln!(out, "    <path class=\"{}\" d=\"{path}\"/>", look.class())?;
        }
    }
    Ok(())
}

/// The top and the height of the band in a state. A band with a wait is higher.
pub(super) fn extent(look: Look, middle: f64) -> (f64, f64) {
    let height = match look {
        Look::Rest => 3.0,
        Look::Waits | Look::Latched | Look::Faulted => 14.0,
        Look::Ready => 18.0,
    };
    (middle - height / 2.0, height)
}

/// A kind of mark in columns, whose height shows the count.
fn crowd(kind: Kind, counts: &[u32], middle: f64, out: &mut dyn io::Write) -> io::Result<()> {
    let most = f64::from(counts.iter().copied().max().unwrap_or(1).max(1));
    let (base, room) = match kind.row() {
        -1 => (middle - 7.0, -ABOVE),
        1 => (middle + 7.0, ABOVE),
        _ => (middle + 6.0, -ON),
    };
    let mut path = String::new();
    for (column, number) in counts.iter().enumerate().filter(|(_, number)| **number > 0) {
        let x = LEFT + count(column) * COLUMN;
        let height = (f64::from(*number) / most * room.abs()).max(1.0) * room.signum();
        // Writing to a String does not fail.
        let _written = write!(path, "M{x} {base}h3v{height:.1}h-3z");
    }
    let all = counts.iter().map(|number| *number as usize).sum();
    writeln!(
        out,
        "    <path class=\"crowd crowd-{}\" d=\"{path}\"><title>{}: {}, up to {} in a column\
         </title></path>",
        kind.class(),
        kind.name(),
        thousands(all),
        most
    )
}
