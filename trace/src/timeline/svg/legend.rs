//! The legend: the meaning of the marks and bands in this picture.

use std::io;

use super::super::lanes::{Kind, Lane, Look};
use super::{WIDTH, count, lane, text_width};

const ROW: f64 = 24.0;
const MARGIN: f64 = 20.0;
const GAP: f64 = 10.0;

#[derive(Debug, Clone, Copy)]
enum Item {
    Look(Look),
    Kind(Kind),
}

/// The items with their positions.
pub(super) struct Legend(Vec<(Item, f64, usize)>);

impl Item {
    const fn text(self) -> &'static str {
        match self {
            Item::Look(look) => look.legend(),
            Item::Kind(kind) => kind.name(),
        }
    }

    /// Its width with the gap.
    fn width(self) -> f64 {
        let band = match self {
            Item::Look(_) => 34.0,
            Item::Kind(_) => 22.0,
        };
        band + text_width(self.text()) + GAP
    }
}

impl Legend {
    pub(super) fn of(lanes: &[&Lane]) -> Legend {
        let looks = Look::ALL
            .into_iter()
            .filter(|look| lanes.iter().any(|lane| lane.spans.has(*look)));
        let kinds = Kind::ALL
            .into_iter()
            .filter(|kind| lanes.iter().any(|lane| lane.marks.count(*kind) > 0));
        let mut items = Vec::new();
        let (mut x, mut row) = (MARGIN, 0);
        let mut place = |item: Item| {
            if x + item.width() - GAP > WIDTH - 8.0 {
                (x, row) = (MARGIN, row + 1);
            }
            items.push((item, x, row));
            x += item.width();
        };
        looks.map(Item::Look).for_each(&mut place);
        kinds.map(Item::Kind).for_each(&mut place);
        Legend(items)
    }

    pub(super) fn height(&self) -> f64 {
        let rows = self.0.last().map_or(0, |(_, _, row)| row + 1);
        count(rows) * ROW
    }

    pub(super) fn draw(&self, top: f64, out: &mut dyn io::Write) -> io::Result<()> {
        writeln!(out, "  <g class=\"legend\">")?;
        for (item, x, row) in &self.0 {
            let middle = top + count(*row) * ROW;
            let text = match item {
                Item::Look(look) => {
                    let (y, height) = lane::extent(*look, middle);
                    let class = look.class();
                    writeln!(
                        out,
                        "    <rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"28\" \
                         height=\"{height}\"/>"
                    )?;
                    x + 34.0
                }
                Item::Kind(kind) => {
                    writeln!(
                        out,
                        "    <use class=\"{0}\" href=\"#{0}\" x=\"{1:.1}\" y=\"{middle}\"/>",
                        kind.class(),
                        x + 8.0
                    )?;
                    x + 20.0
                }
            };
            let baseline = middle + 4.0;
            let words = item.text();
            writeln!(
                out,
                "    <text x=\"{text:.1}\" y=\"{baseline}\">{words}</text>"
            )?;
        }
        writeln!(out, "  </g>")
    }
}
