//! Holds a log line that every request could cause down to one in a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most one line in this time.
const INTERVAL: Duration = Duration::from_secs(5);

/// Lets one event in five seconds through and counts the others.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<ThrottleState>,
}

#[derive(Debug, Default)]
struct ThrottleState {
    admitted: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// Where this event may be logged, how many were not since the last that was.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.admitted.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            state.suppressed += 1;
            return None;
        }
        state.admitted = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_in_an_interval_is_admitted_and_the_others_are_counted() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for (after, admitted) in [
            (Duration::ZERO, Some(0)),
            (Duration::from_secs(1), None),
            (Duration::from_millis(4999), None),
            (Duration::from_secs(5), Some(2)),
            (Duration::from_secs(9), None),
            (Duration::from_secs(10), Some(1)),
        ] {
            assert_eq!(throttle.admit_at(start + after), admitted, "after {after:?}");
        }
    }
}
