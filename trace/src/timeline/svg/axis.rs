//! The line numbers along the top, and the vertical lines through all lanes.

use std::io;

use super::super::lanes::{Kind, Timeline};
use super::super::summary::thousands;
use super::{LEFT, PLOT, Plot, RULES, TOP};

/// About the number of ticks.
const TICKS: u32 = 10;
/// The least distance between two.
const APART: f64 = 44.0;

pub(super) fn draw(plot: Plot<'_>, end: f64, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(
        out,
        "  <text class=\"faint\" x=\"{}\" y=\"{}\" text-anchor=\"end\">line of the trace</text>",
        LEFT - 14.0,
        TOP - 9.0
    )?;
    let top = TOP - 4.0;
    for (line, x) in ticks(plot)? {
        writeln!(
            out,
            "  <path class=\"grid\" d=\"M{x:.1} {top}V{end}\"/>\n  \
             <text class=\"faint\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            TOP - 9.0,
            thousands(line as usize)
        )?;
    }
    for at in overflows(plot.timeline)? {
        let x = plot.x(at);
        writeln!(
            out,
            "  <path class=\"rule\" d=\"M{x:.1} {}V{end}\"/>",
            plot.top
        )?;
    }
    Ok(())
}

/// Round line numbers with their positions.
fn ticks(plot: Plot<'_>) -> io::Result<Vec<(u32, f64)>> {
    let Timeline { lines, store, .. } = plot.timeline;
    let every = round((lines.last() / TICKS).max(1));
    let mut ticks: Vec<(u32, f64)> = Vec::new();
    let mut line = every;
    while let Some(step) = lines.step_at(line, store)? {
        let x = plot.x(step);
        let is_free = ticks.last().is_none_or(|(_, before)| x - before >= APART);
        if is_free && x < LEFT + PLOT {
            ticks.push((line, x));
        }
        line = line.saturating_add(every);
    }
    Ok(ticks)
}

/// The steps of the first overflows.
fn overflows(timeline: &Timeline) -> io::Result<Vec<u32>> {
    let mut steps = Vec::new();
    for lane in &timeline.lanes {
        if lane.marks.count(Kind::Overflow) > 0 && steps.len() < RULES {
            lane.marks.each(timeline, |mark| {
                let is_one = mark.kind == Kind::Overflow && steps.len() < RULES;
                steps.extend(is_one.then_some(mark.at));
                Ok(())
            })?;
        }
    }
    Ok(steps)
}

/// The next number of 1, 2, 5, 10, 20, 50 and so on.
fn round(at_least: u32) -> u32 {
    let mut unit = 1;
    loop {
        for number in [1, 2, 5] {
            if unit * number >= at_least {
                return unit * number;
            }
        }
        unit *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::round;

    #[test]
    fn ticks_are_at_round_numbers() {
        let rounded = [1, 3, 7, 31, 140, 200, 201].map(round);
        assert_eq!(rounded, [1, 5, 10, 50, 200, 200, 500]);
    }
}
