//! Reads and writes: which ports, how many bytes, how much memory.

use std::collections::HashSet;

use evtchn_sim::abi::PollBits;

use super::Generator;
use crate::op::{Op, Word, Words};
use crate::play::Order;
use crate::scene::Scene;

const COUNTS: [usize; 12] = [0, 1, 3, 4, 5, 8, 16, 60, 256, 4096, 4099, 9001];

impl Generator {
    pub(super) fn read(&mut self, scene: &Scene) -> Option<Op> {
        let fd = self.overflowed(6, scene)?;
        let overflowed = scene.files[fd.0].as_ref()?.polled == PollBits::ERROR.raw();
        let small = self.profile.small_reads && self.choice.of(4) > 0;
        let counts = match (overflowed, small) {
            (true, _) if self.choice.of(3) == 0 => &COUNTS[..3],
            (_, true) => &COUNTS[..7],
            _ => &COUNTS,
        };
        let count = counts[self.choice.of(counts.len())];
        Some(Op::Read(fd, count, self.memory(5, count.min(24))))
    }

    pub(super) fn write(&mut self, scene: &Scene) -> Option<Op> {
        let fd = self.fd(scene)?;
        let open = scene.files[fd.0].as_ref()?;
        let mut words: Vec<Word> = Vec::new();
        match self.choice.of(8) {
            0 => {}
            1..=5 if !open.held.is_empty() => {
                words.extend(open.held.iter().copied().map(Word::Port));
            }
            _ => {
                for _ in 0..=self.choice.of(8) {
                    let held = open.held.get(self.choice.of(open.held.len())).copied();
                    let slot = held.filter(|_| self.choice.flip());
                    let slot = slot.or_else(|| self.bound_by(fd.0, scene));
                    words.extend(slot.map(Word::Port));
                }
            }
        }
        if self.choice.of(4) == 0 {
            words.push(self.odd_number());
            words.extend(self.any_slot(scene));
        }
        if self.choice.of(4) == 0 {
            words.extend(words.first().copied());
        }
        if self.choice.of(20) == 0 {
            // What comes after a page does nothing.
            let front = vec![Word::Raw(0); 1020 + self.choice.of(8)];
            words.splice(0..0, front);
        }
        if self.order == Order::Drained {
            // Whether a second word of a port finds it enabled depends on when its event comes.
            let mut numbers = HashSet::new();
            words.retain(|word| numbers.insert(scene.number(0, *word)));
        }
        let odd = if self.choice.of(6) == 0 {
            1 + self.choice.of(3)
        } else {
            0
        };
        let memory = self.memory(10, words.len() * 4 + odd);
        Some(Op::Write(fd, Words(words), odd, memory))
    }
}
