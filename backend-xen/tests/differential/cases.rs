//! Scripts on which the two sides once differed, and some facts that were settled so. Each is
//! played before a run.

use crate::op::Bind::*;
use crate::op::Memory::*;
use crate::op::Op::{self, *};
use crate::op::Word::*;
use crate::op::{Fd, Slot};

/// Every script with its name.
pub(crate) fn cases() -> Vec<(&'static str, Vec<Op>)> {
    vec![(
        "a read needs memory for what there is alone",
        vec![
            Open(0),
            Bind(Slot(0), Fd(0, 0), Unbound, [Raw(0x7ff0), Raw(0)], There),
            Bind(
                Slot(1),
                Fd(0, 0),
                Interdomain,
                [Raw(0x7ff0), Port(Slot(0))],
                There,
            ),
            Read(Fd(0, 0), 4096, Cut(3)),
            Read(Fd(0, 0), 4096, Cut(4)),
        ],
    )]
}
