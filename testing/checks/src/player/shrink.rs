//! Scripts as tests play them, and how one that breaks is made short.

use evtchn_core::Trigger;

use super::{SLOTS, play_on};
use crate::op::Op;
use crate::trace::keep;

/// Numbers of slots to try a script on, from the fewest on: more than fit into a page of the
/// core's table, into a read, into two.
const FEWER: [u16; 4] = [SLOTS, 200, 1100, 2100];

/// Plays a script as a test does.
///
/// # Panics
/// Where it breaks, with the shortest script that does, as it can be pasted into a test.
pub fn check(trigger: Trigger, script: &[Op]) {
    check_on(SLOTS, trigger, script);
}

/// [`check`] with so many slots.
///
/// # Panics
/// Where [`check`] does.
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

/// The shortest script that still breaks, and on how many slots: found by leaving slots and
/// steps out and making the steps that remain smaller. One that holds is shortened to nothing.
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
    /// Takes a script, up to the step that breaks, in the place of the present one if it breaks.
    fn takes(&mut self, slots: u16, mut script: Vec<Op>) -> bool {
        let Err(broken) = play_on(slots, self.trigger, &script) else {
            return false;
        };
        script.truncate(broken.step.saturating_add(1));
        self.slots = slots;
        self.script = script;
        true
    }

    /// Plays it on fewer slots.
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

    /// Leaves steps out, at first many in a row.
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

    /// Makes single steps smaller.
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
