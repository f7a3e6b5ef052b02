//! Where the secrets of a session's tickets come from (PROTOCOL.md 2).

use std::fmt;
use std::sync::OnceLock;

use crate::crypto::seal;
use crate::session::ticket::Secret;

/// 32 random bytes, sealed in the record.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Seed {
    bytes: [u8; 32],
    /// A counter and its secret: the ones that were asked for first, since a record that a node keeps
    /// is asked for them again and again. Says nothing that the bytes do not.
    #[serde(skip)]
    known: OnceLock<(u32, Secret)>,
}

impl Seed {
    /// The seed with these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self { bytes, known: OnceLock::new() }
    }

    /// The bytes, for other MACs of the record.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The secret that a ticket with this counter carries: `HMAC-SHA-256(seed, n)`, 16 bytes.
    pub fn secret(&self, counter: u32) -> Secret {
        let secret = || Secret(seal::hmac_sha256_16(&self.bytes, &counter.to_be_bytes()));
        match self.known.get_or_init(|| (counter, secret())) {
            (of, known) if *of == counter => *known,
            _ => secret(),
        }
    }
}

impl Clone for Seed {
    /// What is worked out goes along for nothing: a clone is made to be written, with another counter
    /// as often as not.
    fn clone(&self) -> Self {
        Self::new(self.bytes)
    }
}

impl PartialEq for Seed {
    fn eq(&self, other: &Self) -> bool {
        seal::same(&self.bytes, &other.bytes)
    }
}

impl Eq for Seed {}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROTOCOL 2: every node computes the same secret, another one for each counter, whichever was
    /// asked for first.
    #[test]
    fn secrets_follow_from_seed_and_counter() {
        let seed = Seed::new([7; 32]);
        for counter in [1, 2, 1, 2] {
            assert!(seed.secret(counter).proves(&Seed::new([7; 32]).secret(counter)), "{counter}");
        }
        assert!(!seed.secret(1).proves(&seed.secret(2)));
        assert!(!seed.secret(1).proves(&Seed::new([8; 32]).secret(1)));
        assert!(seed.clone().secret(2).proves(&seed.secret(2)));
    }

    /// Records of before read back, and the other way round.
    #[test]
    fn only_its_bytes_are_encoded() {
        let seed = Seed::new([7; 32]);
        seed.secret(3);
        assert_eq!(postcard::to_stdvec(&seed), Ok(vec![7; 32]));
        assert_eq!(postcard::from_bytes(&[7; 32]), Ok(seed));
    }
}
