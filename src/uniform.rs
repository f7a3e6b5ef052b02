//! Hashing of keys that are random already: selectors, hashed identifiers.
//!
//! No peer chooses them, so that nothing has to be scrambled. Such a key writes eight of its bytes.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps whose keys [`write`](Hasher::write_u64) a single uniform number.
pub type Uniform = BuildHasherDefault<UniformHasher>;

/// Passes the number on.
#[derive(Clone, Copy, Debug, Default)]
pub struct UniformHasher(u64);

impl Hasher for UniformHasher {
    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }

    /// Keys of any other kind: right, if not spread well.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The first eight bytes of a uniform key.
pub fn number(key: &[u8; 16]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
