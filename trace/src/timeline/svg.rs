//! The picture: one self-contained SVG, for light and dark pages.

mod axis;
mod captions;
mod lane;
mod legend;

use std::fmt::{self, Display, Formatter};
use std::io;

use super::dense::Room;
use super::lanes::{Kind, Lane, Timeline};
use super::summary::{many, thousands};
use crate::plain;
use captions::Captions;
use legend::Legend;

/// The shapes of the marks, which the page uses too.
pub(super) const SHAPES: &str = include_str!("shapes.xml");
/// The style of the classes, on a light and on a dark page.
pub(super) const STYLE: &str = include_str!("picture.css");

/// Sizes, in the units of the picture.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 138.0;
const PLOT: f64 = 740.0;
const TOP: f64 = 88.0;
const LANE: f64 = 44.0;
const BOTTOM: f64 = 26.0;
/// The most lanes. If there are more, those with the fewest marks are left out.
const LANES: usize = 32;
/// The width of a column that counts marks.
const COLUMN: f64 = 4.0;
/// The most overflows that get a line through all lanes.
const RULES: usize = 24;

/// Writes the picture.
///
/// # Errors
/// Those of `out`.
pub(super) fn draw(timeline: &Timeline, out: &mut dyn io::Write) -> io::Result<()> {
    let lanes = shown(timeline);
    let room = Room::of(lanes.len());
    let captions = Captions::of(timeline, &lanes)?;
    let top = TOP + captions.height();
    let plot = Plot { timeline, top };
    let legend = Legend::of(&lanes);
    let height = top + LANE * count(lanes.len()) + BOTTOM + legend.height();
    let title = "Event channels, lane by lane";
    let summary = timeline.summary.to_string();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"title desc\">\n  \
         <title id=\"title\">Event channels: {summary}</title>\n  \
         <desc id=\"desc\">{}</desc>\n  <style>\n{STYLE}  </style>\n  <defs>\n{SHAPES}  </defs>\n  \
         <rect class=\"page\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n  \
         <text class=\"title\" x=\"20\" y=\"32\">{title}</text>\n  \
         <text class=\"faint\" x=\"20\" y=\"51\">{}</text>",
        Escaped(&description(&lanes)),
        WIDTH - 1.0,
        height - 1.0,
        Escaped(&summary),
    )?;
    if let Some(note) = note(timeline, &lanes, room) {
        writeln!(
            out,
            "  <text class=\"faint\" x=\"880\" y=\"32\" text-anchor=\"end\">{note}</text>"
        )?;
    }
    for (place, _) in lanes.iter().enumerate().filter(|(place, _)| place % 2 == 0) {
        let y = top + LANE * count(place);
        writeln!(
            out,
            "  <rect class=\"stripe\" x=\"8\" y=\"{y}\" width=\"{}\" height=\"{LANE}\" rx=\"4\"/>",
            WIDTH - 16.0
        )?;
    }
    let end = top + LANE * count(lanes.len());
    axis::draw(plot, end, out)?;
    captions.draw(plot, out)?;
    for (place, lane) in lanes.iter().enumerate() {
        lane::draw(plot, lane, top + LANE * count(place), room, out)?;
    }
    legend.draw(end + BOTTOM, out)?;
    writeln!(out, "</svg>")
}

/// The positions of steps in the picture.
#[derive(Debug, Clone, Copy)]
struct Plot<'a> {
    timeline: &'a Timeline,
    /// The top of the first lane.
    top: f64,
}

impl Plot<'_> {
    fn x(self, step: u32) -> f64 {
        let steps = f64::from(self.timeline.steps().max(1));
        LEFT + (f64::from(step) + 0.5) / steps * PLOT
    }

    const fn columns() -> usize {
        185
    }
}

const _: () = assert!(PLOT == 185.0 * COLUMN, "the columns fill the picture");

/// The lanes that the picture shows, in order.
fn shown(timeline: &Timeline) -> Vec<&Lane> {
    let mut places: Vec<usize> = (0..timeline.lanes.len()).collect();
    let marks = |place: &usize| timeline.lanes[*place].marks.len();
    // The device is always shown.
    places.sort_by_key(|place| (*place > 0, usize::MAX - marks(place)));
    places.truncate(LANES);
    places.sort_unstable();
    places.iter().map(|place| &timeline.lanes[*place]).collect()
}

/// A note on what the picture leaves out.
fn note(timeline: &Timeline, lanes: &[&Lane], room: Room) -> Option<String> {
    let mut parts = Vec::new();
    let left = timeline.lanes.len() - lanes.len();
    if left > 0 {
        parts.push(format!("{} with fewer marks left out", many(left, "port")));
    }
    let crowded = |lane: &&Lane| {
        Kind::ALL
            .iter()
            .any(|kind| lane.marks.count(*kind) > room.marks)
    };
    if lanes.iter().any(crowded) {
        let steps = (timeline.steps() as usize).div_ceil(Plot::columns());
        parts.push(format!("dense: a bar counts {}", many(steps, "step")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The picture in words.
fn description(lanes: &[&Lane]) -> String {
    let lanes = lanes.iter().map(|lane| {
        let counts = Kind::ALL.into_iter().filter_map(|kind| {
            let count = lane.marks.count(kind);
            (count > 0).then(|| format!("{} {}", thousands(count), kind.name()))
        });
        let counts: Vec<String> = counts.collect();
        format!("{} ({}): {}.", lane.name, lane.about, counts.join(", "))
    });
    lanes.collect::<Vec<_>>().join(" ")
}

/// The approximate width of a text, in any font.
fn text_width(text: &str) -> f64 {
    let widths = text.chars().map(|letter| match letter {
        'f' | 'i' | 'j' | 'l' | 'r' | 't' | ' ' | ',' | '-' | ':' => 4.4,
        'm' | 'w' => 10.0,
        _ => 7.0,
    });
    widths.sum()
}

/// A small number as a size.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

/// Text in XML.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                // XML cannot contain some of these.
                letter if plain::is_escaped(letter) => write!(f, "{}", letter.escape_default())?,
                letter => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}
