//! Scripts of the checks. Their traces have steps instead of calls and answers, so a wake is shown where
//! its event was read.

use std::collections::VecDeque;

use crate::Verdict;
use evtchn_core::machine::port::{PortInput, PortState};

use super::super::lanes::Kind;
use super::Driver;

/// The slots of a script, and their ports.
#[derive(Debug)]
pub(super) struct Slots {
    ports: Vec<Option<u32>>,
    /// The slots that the current step binds, in order.
    binding: VecDeque<usize>,
    /// Whether the current step takes wakes and waits again.
    waits_again: bool,
    /// The slot for which only the current step waits.
    waits_once: Option<u16>,
}

impl Slots {
    pub(super) fn new(slots: Option<u16>) -> Slots {
        Slots {
            ports: vec![None; slots.unwrap_or(0).into()],
            binding: VecDeque::new(),
            waits_again: false,
            waits_once: None,
        }
    }

    pub(super) fn bound(&mut self, port: u32) {
        if let Some(slot) = self.binding.pop_front() {
            self.ports[slot] = Some(port);
        }
    }

    pub(super) fn not_bound(&mut self) {
        self.binding.pop_front();
    }

    pub(super) fn unbound(&mut self, port: u32) {
        for slot in &mut self.ports {
            *slot = slot.filter(|it| *it != port);
        }
    }

    /// `count` slots from `first` on, each at most once.
    fn range(&self, first: u16, count: u16) -> Vec<usize> {
        let all = self.ports.len();
        let count = usize::from(count).min(all);
        (0..count)
            .map(|it| (usize::from(first) + it) % all)
            .collect()
    }
}

/// The name of a step, its first slot, and for how many slots it is: `wait 3`, `many bind 0 100 virq`,
/// `serve`.
fn parse(line: &str) -> Option<(&str, u16, u16)> {
    let mut words = line.split_ascii_whitespace();
    match words.next()? {
        "many" => Some((
            words.next()?,
            words.next()?.parse().ok()?,
            words.next()?.parse().ok()?,
        )),
        name => {
            let slot = words.next().map_or(Some(0), |word| word.parse().ok())?;
            Some((name, slot, 1))
        }
    }
}

impl Driver<'_> {
    pub(super) fn op(&mut self, op: &crate::Op) {
        self.slots.binding.clear();
        self.slots.waits_again = false;
        if let Some(slot) = self.slots.waits_once.take() {
            self.apply_to_slots(slot, 1, PortInput::Cancel);
        }
        let Some((name, first, count)) = parse(&op.op) else {
            return;
        };
        match name {
            "bind" => self.begin_binds(first, count),
            "wait" => self.apply_to_slots(first, count, PortInput::Queue),
            "block" | "await" => {
                self.apply_to_slots(first, 1, PortInput::Wait);
                self.slots.waits_once = Some(first);
            }
            "cancel" => self.apply_to_slots(first, count, PortInput::Cancel),
            "serve" => self.slots.waits_again = true,
            // The backend calls show the other steps, and the reader of scripts refuses what is no step.
            _ => {}
        }
    }

    pub(super) fn verdict(&mut self, verdict: &Verdict) {
        if let Verdict::Broken { step, what } = verdict {
            self.mark(None, Kind::Fault, &format!("step {step} failed: {what}"));
        }
    }

    /// Hands out queued wakes, as the answers of a program would.
    pub(super) fn deliver_for_script(&mut self) {
        if self.slots.ports.is_empty() {
            return;
        }
        for port in self.bound() {
            if let Some(PortState::Ready(cause)) = self.state(port) {
                self.wake(port, cause);
                if self.slots.waits_again {
                    self.step(port, PortInput::Wait);
                }
            }
        }
    }

    fn begin_binds(&mut self, first: u16, count: u16) {
        let mut slots = self.slots.range(first, count);
        slots.retain(|slot| self.slots.ports[*slot].is_none());
        self.slots.binding = slots.into();
    }

    fn apply_to_slots(&mut self, first: u16, count: u16, input: PortInput) {
        for slot in self.slots.range(first, count) {
            let Some(port) = self.slots.ports[slot] else {
                continue;
            };
            match (self.state(port), input) {
                (Some(PortState::Latched(cause)), PortInput::Wait) => {
                    self.step(port, PortInput::Wait);
                    self.woke(port, cause);
                }
                (_, PortInput::Queue) => self.wait(port),
                _ => {
                    self.step(port, input);
                }
            }
        }
    }
}
