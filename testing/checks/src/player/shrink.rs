//! Plays scripts for tests, and shortens a script that breaks.

use evtchn_core::Trigger;

use super::{SLOTS, play_on};
use crate::op::Op;
use crate::trace::keep;

/// Numbers of slots to try a script with, the fewest first: 3, and just more than fit into a page of
/// the core's table, into one read, into two.
const FEWER: [u16; 4] = [SLOTS, 200, 1100, 2100];

/// Plays a script for a test.
///
/// # Panics
/// If the script breaks. The message has the shortest script that breaks, ready to be pasted into a
/// test.
pub fn check(trigger: Trigger, script: &[Op]) {
    check_on(SLOTS, trigger, script);
}

/// [`check`] with this many slots.
///
/// # Panics
/// If the script breaks.
#[expect(clippy::panic, reason = "a test ends by panicking")]
pub fn check_on(slots: u16, trigger: Trigger, script: &[Op]) {
    if let Err(broken) = play_on(slots, trigger, script) {
        let (slots, short) = shortest(slots, trigger, script);
        let broken = play_on(slots, trigger, &short).err().unwrap_or(broken);
        let call = match slots {
            SLOTS => "check(".into(),
            _ => format!("check_on({slots}, "),
        };
        let kept = keep(&std::env::temp_dir(), slots, trigger, &short);
        panic!("{broken}\n    {call}Trigger::{trigger:?}, &{short:?});\n{kept}");
    }
}

/// The shortest script that still breaks, and the number of its slots. It is found by leaving out slots
/// and steps, and by making the remaining steps smaller. Of a script that does not break nothing is left.
#[must_use]
pub fn shortest(slots: u16, trigger: Trigger, script: &[Op]) -> (u16, Vec<Op>) {
    let mut shrunk = Shrunk {
        slots,
        trigger,
        script: Vec::new(),
    };
    shrunk.takes(slots, script.to_vec());
    while shrunk.takes_fewer_slots() | shrunk.leaves_out() | shrunk.makes_smaller() {}
    (shrunk.slots, shrunk.script)
}

struct Shrunk {
    slots: u16,
    trigger: Trigger,
    script: Vec<Op>,
}

impl Shrunk {
    /// If this script breaks, it replaces the present one, without the steps after the one that breaks.
    fn takes(&mut self, slots: u16, mut script: Vec<Op>) -> bool {
        let Err(broken) = play_on(slots, self.trigger, &script) else {
            return false;
        };
        script.truncate(broken.step.saturating_add(1));
        self.slots = slots;
        self.script = script;
        true
    }

    /// Tries it with fewer slots.
    fn takes_fewer_slots(&mut self) -> bool {
        let slots = self.slots;
        FEWER
            .into_iter()
            .filter(|fewer| *fewer < slots)
            .any(|fewer| {
                let within = self.script.iter().map(|op| op.within(fewer)).collect();
                self.takes(fewer, within)
            })
    }

    /// Tries it without some steps, at first without many in a row.
    fn leaves_out(&mut self) -> bool {
        let mut any = false;
        let mut row = self.script.len().div_ceil(2);
        while row > 0 {
            let mut index = 0;
            while index < self.script.len() {
                let end = self.script.len().min(index + row);
                let mut shorter = self.script.clone();
                shorter.drain(index..end);
                if self.takes(self.slots, shorter) {
                    any = true;
                } else {
                    index += row;
                }
            }
            row /= 2;
        }
        any
    }

    /// Tries it with smaller steps.
    fn makes_smaller(&mut self) -> bool {
        let mut any = false;
        let mut index = 0;
        while let Some(op) = self.script.get(index) {
            let smaller = op.smaller().any(|smaller| {
                let mut script = self.script.clone();
                script[index] = smaller;
                self.takes(self.slots, script)
            });
            any |= smaller;
            index += usize::from(!smaller);
        }
        any
    }
}
