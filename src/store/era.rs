//! The era of the fleet: all records of an earlier one are revoked (PROTOCOL.md 26).
//!
//! A number in the store, counted up by a revocation of all sessions, and copied into every record
//! that is made. Nodes read it four times a second rather than with each request.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::records::Records;

/// The longest time between two readings.
const INTERVAL: Duration = Duration::from_millis(250);
/// How much of it is random, so that the nodes of a fleet do not ask in step.
const JITTER: f64 = 0.2;

/// The latest era that this process knows of: 0 before it knows any, else one more than it.
#[derive(Debug, Default)]
pub(super) struct Era(AtomicU64);

impl Era {
    pub(super) fn known(&self) -> Option<u32> {
        let next = self.0.load(Ordering::SeqCst);
        next.checked_sub(1).and_then(|era| u32::try_from(era).ok())
    }

    /// Notes an era that was read somewhere; the latest that is known now.
    pub(super) fn learn(&self, era: u32) -> u32 {
        let next = u64::from(era) + 1;
        // Reading is enough almost always: no look-up takes the line from another thread's cache.
        if self.0.load(Ordering::SeqCst) < next {
            self.0.fetch_max(next, Ordering::SeqCst);
        }
        self.known().unwrap_or(era)
    }
}

/// Reads the era again and again.
pub async fn follow(records: Records) -> Infallible {
    loop {
        let share = 1.0 - JITTER * rand::random::<f64>();
        tokio::time::sleep(INTERVAL.mul_f64(share)).await;
        records.read_era().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_only_grows() {
        let era = Era::default();
        assert_eq!(era.known(), None);
        for (read, known) in [(0, 0), (3, 3), (2, 3), (u32::MAX, u32::MAX), (0, u32::MAX)] {
            assert_eq!(era.learn(read), known, "{read}");
            assert_eq!(era.known(), Some(known));
        }
    }
}
