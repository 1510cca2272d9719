//! Where choices come from: numbers that look random and are the same for the same seed.

use evtchn_core::DomId;

/// A generator of such numbers (xorshift64*).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Those of one thread of many that share a seed.
    pub(crate) fn new(seed: u64, thread: usize) -> Random {
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = Random(mixed ^ (thread as u64 + 1).wrapping_mul(0xd1b5_4a32_d192_ed03));
        random.0 |= 1;
        for _ in 0..8 {
            random.below(2);
        }
        random
    }

    /// Less than `sides`.
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let thrown = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(thrown).unwrap_or(0) % sides
    }

    /// Either name of this domain.
    pub(crate) fn domid(&mut self) -> DomId {
        if self.one_in(2) {
            DomId::SELF
        } else {
            DomId::DOM0
        }
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}
