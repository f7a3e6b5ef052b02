//! How many sessions are in use: counted without keeping any of them.
//!
//! HyperLogLog (Flajolet et al., 2007) over the hashed identifiers of records: 4 KiB a window, an error of about
//! 2 %. Seeing one again, which nearly every request does, is one load.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::UnixMillis;

const REGISTERS: usize = 4096;
/// Bits of an identifier that choose the register.
const INDEX_BITS: u32 = 12;
/// What is counted was seen in this window or in the one before it.
pub const WINDOW: Duration = Duration::from_secs(300);

type Sketch = [AtomicU8; REGISTERS];

/// The sessions of one policy.
pub struct ActiveSessions {
    policy: String,
    sketches: Box<[Sketch; 2]>,
    /// Windows since 1970; its lowest bit says which sketch is written.
    window: AtomicU64,
}

impl fmt::Debug for ActiveSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveSessions").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl ActiveSessions {
    pub fn new(policy: &str) -> Self {
        let sketch = || std::array::from_fn(|_| AtomicU8::new(0));
        let sketches = Box::new([sketch(), sketch()]);
        Self { policy: policy.to_owned(), sketches, window: AtomicU64::new(0) }
    }

    /// Whose they are.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Notes a session by the random part of its record's key.
    pub fn see(&self, id: &[u8; 16]) {
        let [a, b, c, d, e, f, g, h, ..] = *id;
        let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let place = usize::try_from(hash >> (64 - INDEX_BITS)).unwrap_or_default();
        let rest = hash << INDEX_BITS;
        let rank = u8::try_from(rest.leading_zeros().min(64 - INDEX_BITS) + 1).unwrap_or(u8::MAX);
        let sketch = &self.sketches[usize::from(self.window.load(Ordering::Relaxed) % 2 == 1)];
        let register = &sketch[place];
        // Read before written: a session that is known leaves the cache line shared.
        if register.load(Ordering::Relaxed) < rank {
            register.fetch_max(rank, Ordering::Relaxed);
        }
    }

    /// Begins another window where it is time for that. To be called now and then by one who does.
    pub fn turn(&self, now: UnixMillis) {
        let window = now.as_secs() / WINDOW.as_secs();
        let before = self.window.load(Ordering::Relaxed);
        if window == before {
            return;
        }
        let clear = |sketch: &Sketch| sketch.iter().for_each(|it| it.store(0, Ordering::Relaxed));
        clear(&self.sketches[usize::from(window % 2 == 1)]);
        if window != before + 1 {
            // Neither of them is of the window before.
            clear(&self.sketches[usize::from(window.is_multiple_of(2))]);
        }
        self.window.store(window, Ordering::Relaxed);
    }

    /// About how many were seen in this window and the one before.
    pub fn count(&self) -> u64 {
        const ALPHA: f64 = 0.7213 / (1.0 + 1.079 / REGISTERS as f64);
        let [one, other] = &*self.sketches;
        let (mut sum, mut empty) = (0.0, 0u32);
        for (one, other) in one.iter().zip(other) {
            let rank = one.load(Ordering::Relaxed).max(other.load(Ordering::Relaxed));
            sum += f64::powi(2.0, -i32::from(rank));
            empty += u32::from(rank == 0);
        }
        let registers = REGISTERS as f64;
        let raw = ALPHA * registers * registers / sum;
        let estimate = match empty {
            // Few: how many registers were missed says it better.
            1.. if raw <= 2.5 * registers => registers * (registers / f64::from(empty)).ln(),
            _ => raw,
        };
        estimate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn id(number: u64) -> [u8; 16] {
        let digest = Sha256::digest(number.to_be_bytes());
        std::array::from_fn(|place| digest[place])
    }

    #[test]
    fn few_are_counted_exactly_and_many_about() {
        let active = ActiveSessions::new("shop");
        assert_eq!(active.count(), 0);
        for (number, off) in [(1u64, 0), (10, 0), (1000, 25), (20_000, 900), (200_000, 9_000)] {
            (0..number).for_each(|number| active.see(&id(number)));
            (0..number.min(50)).for_each(|number| active.see(&id(number)));
            let found = active.count();
            assert!(found.abs_diff(number) <= off, "{found} of {number}");
        }
    }

    #[test]
    fn who_was_not_seen_for_two_windows_is_forgotten() {
        let active = ActiveSessions::new("shop");
        let start = UnixMillis(1_800_000_000_000);
        let at = |windows: u32| start.plus(WINDOW * windows);
        active.turn(at(0));
        active.see(&id(1));
        active.turn(at(0).plus(WINDOW / 2));
        active.see(&id(2));
        active.turn(at(1));
        active.see(&id(2));
        assert_eq!(active.count(), 2);
        active.turn(at(2));
        assert_eq!(active.count(), 1, "the first was seen two windows ago");
        active.turn(at(9));
        assert_eq!(active.count(), 0);
    }
}
