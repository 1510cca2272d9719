//! Which cells were reached, how often, and which faults happened in these steps.

use evtchn_core::machine::cells::Cells;
use evtchn_core::machine::port::PortInput;
use serde::{Deserialize, Serialize};

use super::cells::{Cell, LINK_CELLS, PORT_CELLS};
use crate::player::Faults;

/// All cells of both tables.
const CELLS: usize = PORT_CELLS + LINK_CELLS;

/// How often each cell was reached, and with which faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u64, u64, u16)>", into = "Vec<(u64, u64, u16)>")]
pub struct Coverage(Vec<Met>);

/// How often a cell was reached, and with which faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Met {
    /// How many steps reached it.
    pub steps: u64,
    /// How many of these steps had no fault.
    pub quiet: u64,
    /// The faults of the other steps.
    pub faults: Faults,
}

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage(vec![Met::default(); CELLS])
    }
}

impl Coverage {
    /// Adds the cells that a step reached.
    pub(super) fn add(&mut self, cells: Cells, faults: Faults) {
        for (state, inputs) in cells.port.into_iter().enumerate() {
            let mut inputs = inputs;
            while inputs != 0 {
                let input = inputs.trailing_zeros() as usize;
                self.meet(state * PortInput::ALL.len() + input, faults);
                inputs &= inputs - 1;
            }
        }
        let mut link = cells.link;
        while link != 0 {
            self.meet(PORT_CELLS + link.trailing_zeros() as usize, faults);
            link &= link - 1;
        }
    }

    fn meet(&mut self, cell: usize, faults: Faults) {
        let met = &mut self.0[cell];
        met.steps += 1;
        met.quiet += u64::from(faults == Faults::NONE);
        met.faults = met.faults.and(faults);
    }

    pub(super) fn merge(&mut self, other: &Coverage) {
        for (met, more) in self.0.iter_mut().zip(&other.0) {
            met.steps += more.steps;
            met.quiet += more.quiet;
            met.faults = met.faults.and(more.faults);
        }
    }

    /// Each cell with its counts.
    pub fn iter(&self) -> impl Iterator<Item = (Cell, Met)> {
        Cell::all().zip(self.0.iter().copied())
    }

    /// How many cells were reached, of how many that can be reached: in the port table and in the link
    /// table.
    #[must_use]
    pub fn reached(&self) -> [(usize, usize); 2] {
        let mut reached = [(0, 0); 2];
        for (cell, met) in self.iter().filter(|(cell, _)| cell.unreachable().is_none()) {
            let table = &mut reached[usize::from(matches!(cell, Cell::Link(..)))];
            table.0 += usize::from(met.steps > 0);
            table.1 += 1;
        }
        reached
    }
}

impl From<Coverage> for Vec<(u64, u64, u16)> {
    fn from(coverage: Coverage) -> Vec<(u64, u64, u16)> {
        let cells = coverage.0.iter();
        cells
            .map(|met| (met.steps, met.quiet, met.faults.bits()))
            .collect()
    }
}

impl TryFrom<Vec<(u64, u64, u16)>> for Coverage {
    type Error = &'static str;

    fn try_from(cells: Vec<(u64, u64, u16)>) -> Result<Coverage, &'static str> {
        if cells.len() != CELLS {
            return Err("its tables have other cells than those of this version");
        }
        let met = |(steps, quiet, bits)| {
            let faults = Faults::from_bits(bits);
            (quiet <= steps && faults.bits() == bits)
                .then_some(Met {
                    steps,
                    quiet,
                    faults,
                })
                .ok_or("it counts faults or cells that do not exist")
        };
        Ok(Coverage(
            cells.into_iter().map(met).collect::<Result<_, _>>()?,
        ))
    }
}
