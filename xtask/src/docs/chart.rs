//! The figures as a picture: bars of instructions per event. It is written as text, so that a diff can be read.

use std::fmt::Write as _;

use anyhow::Result;

use super::figures::{Bar, thousands};

/// The file of the picture.
pub(super) const FILE: &str = "docs/xen-bench.svg";

/// Sizes, in the units of the picture.
const WIDTH: u32 = 760;
const NAMES: f64 = 190.0;
/// The longest bar.
const LONGEST: f64 = 480.0;
const LINE: u32 = 22;
const THICKNESS: u32 = 14;
const PANEL: u32 = 46;

/// The colors on a light and on a dark page.
const STYLE: &str = "
    text { font: 13px sans-serif; fill: #24292f; }
    .title { font-weight: bold; }
    .notify { fill: #c5ccd3; }
    .other { fill: #6e7781; }
    .ours { fill: #0969da; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .notify { fill: #484f58; }
      .other { fill: #8b949e; }
      .ours { fill: #58a6ff; }
    }
";

/// A piece of a bar: its class and its instructions.
type Piece = (&'static str, f64);

/// The picture.
pub(super) fn draw(bars: &[Bar]) -> Result<String> {
    let own = |bar: &Bar| if bar.is_ours { "ours" } else { "other" };
    let panels: [(&str, Vec<Vec<Piece>>); 2] = [
        (
            "Ping-pong: instructions per round trip",
            bars.iter()
                .map(|bar| vec![(own(bar), bar.round_trip)])
                .collect(),
        ),
        (
            "Burst of 1,000: instructions per event, the notify in grey",
            bars.iter()
                .map(|bar| vec![("notify", bar.notify), (own(bar), bar.drain)])
                .collect(),
        ),
    ];
    let height = (PANEL + LINE * u32::try_from(bars.len())?) * 2;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n  \
         <title>Instructions per event</title>\n  <style>{STYLE}  </style>\n"
    );
    let mut top = 0;
    for (title, values) in &panels {
        top += PANEL;
        writeln!(
            text,
            "  <text class=\"title\" x=\"0\" y=\"{}\">{title}</text>",
            top - 14
        )?;
        let sum = |pieces: &Vec<Piece>| pieces.iter().map(|(_, cost)| cost).sum::<f64>();
        let most = values.iter().map(sum).fold(1.0, f64::max);
        for (bar, pieces) in bars.iter().zip(values) {
            let baseline = top + THICKNESS - 3;
            writeln!(text, "  <text x=\"0\" y=\"{baseline}\">{}</text>", bar.name)?;
            let mut left = NAMES;
            for (class, cost) in pieces {
                let length = cost / most * LONGEST;
                writeln!(
                    text,
                    "  <rect class=\"{class}\" x=\"{left:.1}\" y=\"{top}\" width=\"{length:.1}\" height=\"{THICKNESS}\"/>"
                )?;
                left += length;
            }
            let total = thousands(sum(pieces));
            writeln!(
                text,
                "  <text x=\"{:.1}\" y=\"{baseline}\">{total}</text>",
                left + 6.0
            )?;
            top += LINE;
        }
    }
    text += "</svg>\n";
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_has_the_full_length_and_the_others_are_in_proportion() {
        let bar = |name: &str, round_trip| Bar {
            name: name.to_owned(),
            is_ours: name == "we",
            round_trip,
            notify: 30.0,
            drain: 10.0,
        };
        let picture = draw(&[bar("they", 400.0), bar("we", 100.0)]).unwrap();
        let length = |class: &str, x: &str| {
            let start = format!("<rect class=\"{class}\" x=\"{x}\"");
            let line = picture.lines().find(|line| line.contains(&start));
            let line = line.unwrap_or_else(|| panic!("{picture}"));
            line.split("width=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!(length("other", "190.0"), "480.0");
        assert_eq!(length("ours", "190.0"), "120.0");
        // The second piece of a bar begins where the first ends.
        assert_eq!(length("notify", "190.0"), "360.0");
        assert_eq!(length("ours", "550.0"), "120.0");
    }
}
