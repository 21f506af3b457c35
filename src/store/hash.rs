//! A stable 64-bit hash: equal on every machine, version and run, for checksums and for comparing replicas.
//!
//! Deliberately not cryptographic: it finds accidents, not attackers.

/// Odd, with its bits spread evenly (2^64 divided by the golden ratio), so that a product mixes low bits upwards.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Each step is a bijection of the state and of the word, so two inputs that differ in one word alone never agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct StableHash(u64);

impl StableHash {
    pub(super) fn new() -> Self {
        Self(MULTIPLIER)
    }

    pub(super) fn number(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(MULTIPLIER);
    }

    /// The length goes in as well: `ab`, `c` and `a`, `bc` differ.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.number(u64::from_le_bytes(last));
    }

    pub(super) fn finish(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(MULTIPLIER);
        mixed ^ (mixed >> 29)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(parts: &[&[u8]]) -> u64 {
        let mut hash = StableHash::new();
        for part in parts {
            hash.bytes(part);
        }
        hash.finish()
    }

    #[test]
    fn stays_what_it_was() {
        // Computed apart from this program, by a few lines of Python.
        assert_eq!(hash(&[]), 0xab16_9ebd_5d0c_32dc);
        assert_eq!(hash(&[b"kagero"]), 0x5d5e_7b8e_d0ea_0625);
        assert_eq!(hash(&[b"pods/default/web-1", b""]), 0x87ec_0f48_9ee7_5b4e);
    }

    #[test]
    fn parts_are_framed() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"a"]), hash(&[b"a\0"]));
    }

    proptest! {
        #[test]
        fn one_flipped_bit_shows(mut bytes: Vec<u8>, at: prop::sample::Index, bit in 0..8_u32) {
            prop_assume!(!bytes.is_empty());
            let before = hash(&[&bytes]);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(before, hash(&[&bytes]));
        }
    }
}
