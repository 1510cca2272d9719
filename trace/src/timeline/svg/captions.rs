//! Captions of rare marks above the lanes, each with a line down to its mark.

use std::cmp::Reverse;
use std::io;

use super::super::lanes::{Kind, Lane, Mark, Timeline};
use super::{Escaped, LANE, Plot, WIDTH, count, text_width};

/// The kinds with captions, and the most captions of each.
const KINDS: [Kind; 4] = [Kind::Latch, Kind::Overflow, Kind::Fault, Kind::Gone];
const MOST: usize = 4;
/// The longest text; a longer one is only in the tooltip.
const LETTERS: usize = 44;
const ROWS: usize = 3;
pub(super) const ROW: f64 = 17.0;
const GAP: f64 = 5.0;

struct Caption {
    kind: Kind,
    text: String,
    /// The position of its line, and the lane to which that leads.
    x: f64,
    lane: usize,
    /// The row of its text: the lowest is 0.
    row: usize,
    left: f64,
    right: f64,
}

/// The captions that there is room for.
pub(super) struct Captions(Vec<Caption>);

impl Captions {
    pub(super) fn of(timeline: &Timeline, lanes: &[&Lane]) -> io::Result<Captions> {
        let plot = Plot { timeline, top: 0.0 };
        let mut marks = Vec::new();
        for kind in KINDS {
            let counts = lanes.iter().map(|lane| lane.marks.count(kind));
            if counts.sum::<usize>() > MOST {
                continue;
            }
            for (place, lane) in lanes.iter().enumerate() {
                if lane.marks.count(kind) > 0 {
                    lane.marks.each(timeline, |mark| {
                        marks.extend((mark.kind == kind).then_some((place, mark)));
                        Ok(())
                    })?;
                }
            }
        }
        marks.sort_by_key(|(_, mark)| Reverse(mark.at));
        let mut placed: Vec<Caption> = Vec::new();
        for (lane, mark) in marks {
            let (x, text) = (plot.x(mark.at), words(timeline, mark));
            let width = GAP + text_width(&text);
            let places = [(x, x + width), (x - width, x)];
            let places = places
                .into_iter()
                .flat_map(|it| (0..ROWS).map(move |row| (row, it)));
            let mut captions = places.map(|(row, (left, right))| Caption {
                kind: mark.kind,
                text: text.clone(),
                x,
                lane,
                row,
                left,
                right,
            });
            placed.extend(captions.find(|caption| caption.is_free(&placed)));
        }
        Ok(Captions(placed))
    }

    pub(super) fn height(&self) -> f64 {
        let rows = self.0.iter().map(|caption| caption.row + 1).max();
        count(rows.unwrap_or(0)) * ROW
    }

    pub(super) fn draw(&self, plot: Plot<'_>, out: &mut dyn io::Write) -> io::Result<()> {
        for caption in &self.0 {
            let Caption { x, kind, .. } = caption;
            let baseline = plot.top - 6.0 - count(caption.row) * ROW;
            let middle = plot.top + LANE * (count(caption.lane) + 0.5);
            let (anchor, text) = match caption.left < *x {
                true => ("end", x - GAP),
                false => ("start", x + GAP),
            };
            let class = kind.class();
            writeln!(
                out,
                "  <path class=\"leader leader-{class}\" d=\"M{x:.1} {:.1}V{middle}\"/>\n  \
                 <text class=\"caption caption-{class}\" x=\"{text:.1}\" y=\"{baseline}\" \
                 text-anchor=\"{anchor}\">{}</text>",
                baseline - 10.0,
                Escaped(&caption.text)
            )?;
        }
        Ok(())
    }
}

impl Caption {
    /// Whether its text overlaps no other text, and no line crosses a text.
    fn is_free(&self, placed: &[Caption]) -> bool {
        let crosses = |line: &Caption, text: &Caption| {
            line.row >= text.row && text.left - GAP < line.x && line.x < text.right + GAP
        };
        let is_apart = |it: &Caption| {
            it.row != self.row || it.right + GAP < self.left || self.right + GAP < it.left
        };
        let is_seen = GAP < self.left && self.right < WIDTH - GAP;
        let is_beside = |it: &Caption| is_apart(it) && !crosses(self, it) && !crosses(it, self);
        is_seen && placed.iter().all(is_beside)
    }
}

fn words(timeline: &Timeline, mark: Mark) -> String {
    if mark.kind == Kind::Latch {
        return "no wait: latched".to_owned();
    }
    if mark.kind == Kind::Overflow {
        return "ring overflow: every waiter wakes".to_owned();
    }
    let text = timeline.texts.of(mark.text);
    let text = without_port(text).unwrap_or_else(|| text.to_owned());
    if (1..=LETTERS).contains(&text.chars().count()) {
        text
    } else {
        mark.kind.name().to_owned()
    }
}

/// The text without the port, which the lane names: `unmask: ENOMEM (12)` for `cannot unmask port 10:
/// ENOMEM (12)`.
fn without_port(text: &str) -> Option<String> {
    let (call, rest) = text.strip_prefix("cannot ")?.split_once(" port ")?;
    let (port, why) = rest.split_once(": ")?;
    let is_its_own = port.parse::<u32>().is_ok();
    is_its_own.then(|| format!("{call}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_leaves_out_only_the_port_that_its_lane_names() {
        let short = without_port("cannot unmask port 10: ENOMEM (12)");
        assert_eq!(short.as_deref(), Some("unmask: ENOMEM (12)"));
        for whole in [
            "cannot bind to port 7 of domain 3: ESRCH (3): no such domain",
            "cannot unmask 3 ports from port 7 on: EIO (5)",
            "cannot read the ports that fired: EIO (5)",
            "slot 0 sleeps through its event",
        ] {
            assert_eq!(without_port(whole), None, "{whole}");
        }
    }
}
