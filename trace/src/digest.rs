//! A hash over the bytes of a trace.

/// FNV-1a over 64 bits. Each step maps different hashes to different hashes, so if one byte is
/// changed, the hash of the whole always changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) const fn new() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    }

    pub(crate) const fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn digest_is_fnv_1a() {
        let mut digest = Digest::new();
        digest.update(b"foobar");
        assert_eq!(digest.value(), 0x8594_4171_f739_67e8);
    }
}
