//! An order-sensitive hash over what happened, to prove that two runs were the same.

/// A running FNV-1a hash that takes a word per step instead of a byte, and mixes at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) const fn new() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) const fn word(&mut self, word: u64) {
        // The rotation brings high bits down; multiplication alone would never move them.
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x0100_0000_01b3);
    }

    pub(crate) const fn pair(&mut self, high: u32, low: u32) {
        self.word((high as u64) << 32 | low as u64);
    }

    pub(crate) const fn value(self) -> u64 {
        let z = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z ^ (z >> 29)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(words: &[u64]) -> u64 {
        let mut digest = Digest::new();
        for &word in words {
            digest.word(word);
        }
        digest.value()
    }

    #[test]
    fn order_length_and_high_bits_count() {
        let all = [
            digest(&[]),
            digest(&[0]),
            digest(&[0, 0]),
            digest(&[1, 2]),
            digest(&[2, 1]),
            digest(&[1 << 63]),
            digest(&[1 << 63, 0]),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[i + 1..].contains(one), "{i}");
        }
        assert_eq!(digest(&[1, 2]), digest(&[1, 2]));
    }
}
