//! The store's time, and how far this process' own is from it (PROTOCOL.md 33).
//!
//! Whatever destroys what is shared goes by the store's clock: what is garbage, whose lease is over.
//! Servers read their own within each statement. A file has none but that of its file system, which is
//! read now and then and counted on from there, so that a clock that is moved meanwhile moves nothing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::{Clock, UnixMillis};
use crate::store::CLOCK_SKEW_MAX_MS;

/// What took longer to be answered says nothing about clocks.
const READING_MAX: Duration = Duration::from_secs(1);

/// The store's clock as it was read last.
pub(super) struct StoreClock {
    own: Clock,
    name: &'static str,
    last: Mutex<Option<Reading>>,
}

#[derive(Clone, Copy)]
struct Reading {
    store: UnixMillis,
    at: Instant,
    /// How far our own clock was ahead of it.
    ahead_ms: i64,
}

impl StoreClock {
    pub(super) fn new(own: Clock, name: &'static str) -> Self {
        Self { own, name, last: Mutex::new(None) }
    }

    /// Notes what the store's clock said to a question that was sent at `sent`, and says so in the
    /// log where ours has become wrong, or right again.
    pub(super) fn note(&self, store: UnixMillis, sent: Instant) {
        let (at, own) = (Instant::now(), self.own.now());
        let took = at.saturating_duration_since(sent);
        if took > READING_MAX {
            return;
        }
        // It was read somewhere in between.
        let store = store.plus(took / 2);
        let ahead_ms = signed(own.0).saturating_sub(signed(store.0));
        let reading = Reading { store, at, ahead_ms };
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(reading);
        match (before.is_some_and(|before| before.is_off()), reading.is_off()) {
            (false, true) => tracing::warn!(
                ahead_ms,
                engine = self.name,
                "the clock of this node is wrong by the store's: sessions end early or late here, \
                 and nothing is removed; is time synchronised?"
            ),
            (true, false) => tracing::info!(
                ahead_ms,
                engine = self.name,
                "the clock of this node agrees with the store's again"
            ),
            (true, true) | (false, false) => {}
        }
    }

    /// The store's time now; our own until it was read first.
    pub(super) fn now(&self) -> UnixMillis {
        match self.last() {
            Some(last) => last.store.plus(last.at.elapsed()),
            None => self.own.now(),
        }
    }

    /// How far our clock is ahead, in milliseconds; behind where that is negative.
    pub(super) fn ahead_ms(&self) -> Option<i64> {
        self.last().map(|last| last.ahead_ms)
    }

    /// Whether this node may remove what is garbage.
    pub(super) fn may_destroy(&self) -> bool {
        self.last().is_some_and(|last| !last.is_off())
    }

    fn last(&self) -> Option<Reading> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn is_off(&self) -> bool {
        self.ahead_ms.unsigned_abs() > CLOCK_SKEW_MAX_MS
    }
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const NOW: u64 = 1_795_462_335_000;

    #[test]
    fn who_is_five_seconds_off_removes_nothing() {
        let own = Arc::new(AtomicU64::new(NOW));
        let clock = StoreClock::new(Clock::Held(own.clone()), "test");
        assert!(!clock.may_destroy(), "nobody knows yet");
        assert_eq!(clock.now(), UnixMillis(NOW));
        for (ahead_ms, may_destroy) in
            [(0, true), (5_000, true), (5_500, false), (-4_900, true), (-3_600_000, false)]
        {
            let store = NOW.saturating_add_signed(-ahead_ms);
            clock.note(UnixMillis(store), Instant::now());
            let read = clock.ahead_ms().expect("it was read");
            assert!((ahead_ms - 50..=ahead_ms).contains(&read), "{read} for {ahead_ms}");
            assert_eq!(clock.may_destroy(), may_destroy, "{ahead_ms}");
            // What is counted on from there is no matter of our clock.
            own.store(0, Ordering::Relaxed);
            assert!(clock.now().since(UnixMillis(store)) < Duration::from_secs(5));
            own.store(NOW, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_late_answer_says_nothing() {
        let clock = StoreClock::new(Clock::System, "test");
        clock.note(UnixMillis(0), Instant::now() - Duration::from_secs(2));
        assert_eq!(clock.ahead_ms(), None);
    }
}
