//! The result of an exploration.

use std::fmt;

use evtchn_checks::explore::{Cell, Met, State};
use evtchn_checks::{Failing, Faults};
use evtchn_trace::plain::Plain;
use serde_json::{Value, json};

use super::Found;

/// See the [module](self).
pub(crate) struct Report<'a> {
    pub(crate) state: &'a State,
    /// Steps per second, if the run has a time limit.
    pub(crate) rate: Option<f64>,
    pub(crate) found: Option<&'a Found>,
}

impl Report<'_> {
    /// As JSON.
    pub(crate) fn object(&self) -> Value {
        let State {
            seed,
            scenarios,
            scripts,
            steps,
            idle,
            wakes,
            failures,
            ..
        } = self.state;
        let cells = self.state.coverage.iter().map(|(cell, met)| {
            let (state, input) = cell.names();
            json!({
                "table": table(cell), "state": state, "input": input,
                "steps": met.steps, "steps_without_fault": met.quiet,
                "faults": names(met.faults).collect::<Vec<_>>(),
                "unreachable": cell.unreachable(),
            })
        });
        let [port, link] = self.state.coverage.reached();
        let found = self.found.map(|found| {
            json!({
                "scenario": found.scenario.name(), "number": found.number, "what": found.what,
                "steps": found.steps, "drawn": found.drawn, "file": found.file.display().to_string(),
            })
        });
        json!({
            "event": "summary", "seed": seed, "scenarios": scenarios, "scripts": scripts,
            "steps": steps, "idle_steps": idle, "wakes": wakes, "failed_calls": failures,
            "steps_per_second": self.rate.map(f64::round),
            "port_cells": {"met": port.0, "reachable": port.1},
            "link_cells": {"met": link.0, "reachable": link.1},
            "cells": cells.collect::<Vec<_>>(),
            "found": found,
        })
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in ["port", "link"] {
            writeln!(f, "{name:<18} {:<9} {:>11}  with", "input", "steps")?;
            let cells = self.state.coverage.iter();
            for (cell, met) in cells.filter(|(cell, _)| table(*cell) == name) {
                line(f, cell, met)?;
            }
        }
        let state = self.state;
        let [port, link] = state.coverage.reached();
        writeln!(f, "summary")?;
        writeln!(
            f,
            "  {} scripts of seed {}: {}",
            state.scripts,
            state.seed,
            state.scenarios.join(", ")
        )?;
        writeln!(
            f,
            "  {} steps, and {} with nothing to do; {} wakes, {} failed calls",
            state.steps, state.idle, state.wakes, state.failures
        )?;
        if let Some(rate) = self.rate {
            writeln!(f, "  {rate:.0} steps per second")?;
        }
        writeln!(
            f,
            "  cells met: {} of {} of the port table, {} of {} of the link table",
            port.0, port.1, link.0, link.1
        )?;
        match self.found {
            None => writeln!(f, "  every script passed"),
            Some(found) => {
                let file = Plain(found.file.display());
                writeln!(
                    f,
                    "  FAILED in script {} ({}): {}",
                    found.number,
                    found.scenario,
                    Plain(&found.what)
                )?;
                let Found { steps, drawn, .. } = found;
                writeln!(f, "  minimized from {drawn} to {steps} steps: {file}")?;
                writeln!(f, "  play it again: evtchn-explore --replay {file}")
            }
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, cell: Cell, met: Met) -> fmt::Result {
    let (state, input) = cell.names();
    write!(f, "{state:<18} {input:<9} ")?;
    match cell.unreachable() {
        Some(why) if met.steps == 0 => writeln!(f, "{:>11}  {why}", "never"),
        None if met.steps == 0 => writeln!(f, "{:>11}", "UNMET"),
        Some(_) | None => {
            let quiet = (met.quiet > 0).then_some("no fault");
            let with: Vec<_> = quiet.into_iter().chain(names(met.faults)).collect();
            writeln!(f, "{:>11}  {}", met.steps, with.join(" "))
        }
    }
}

const fn table(cell: Cell) -> &'static str {
    match cell {
        Cell::Port(..) => "port",
        Cell::Link(..) => "link",
    }
}

/// The names of faults, as scripts have them.
fn names(faults: Faults) -> impl Iterator<Item = &'static str> {
    let failing = Failing::ALL.into_iter();
    let failing = failing.filter(move |it| faults.bits() & Faults::of(*it).bits() != 0);
    let overflow = faults.bits() & Faults::OVERFLOW.bits() != 0;
    failing
        .map(Failing::name)
        .chain(overflow.then_some("overflow"))
}
