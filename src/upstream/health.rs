//! Passive health: what failed requests say of an endpoint, as nginx counts it.
//!
//! `max_fails` failures take an endpoint out for `fail_timeout`. Then one request at a time tries it,
//! and its success brings the endpoint back. Fewer failures are forgotten in the same way: by a
//! success more than `fail_timeout` after the last of them.

use std::time::Duration;

use crate::clock::UnixMillis;

/// When an endpoint counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures that take it out; 0: none does.
    pub max_fails: u32,
    /// How long it stays out, and how long failures count at least; zero: it is never taken out.
    pub fail_timeout: Duration,
}

impl Default for Limits {
    /// nginx's.
    fn default() -> Self {
        Self { max_fails: 1, fail_timeout: Duration::from_secs(10) }
    }
}

/// What is known of an endpoint's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    fails: u32,
    /// When it last failed, or was last chosen to see whether it still does.
    checked_at: UnixMillis,
    /// Whether it was chosen to see that: a success then counts. One of a request that was under
    /// way when another failed says nothing.
    probed: bool,
}

impl Health {
    pub(super) fn is_available(&self, limits: Limits, now: UnixMillis) -> bool {
        limits.max_fails == 0
            || limits.fail_timeout.is_zero()
            || self.fails < limits.max_fails
            || self.is_forgotten(limits, now)
    }

    /// It was chosen, `as_last_resort` while it is out, since all others are out too.
    pub(super) fn chosen(&mut self, limits: Limits, as_last_resort: bool, now: UnixMillis) {
        if self.fails > 0 && (as_last_resort || self.is_forgotten(limits, now)) {
            self.checked_at = now;
            self.probed = true;
        }
    }

    /// Says whether this failure took it out.
    pub(super) fn failed(&mut self, limits: Limits, now: UnixMillis) -> bool {
        let was_available = self.is_available(limits, now);
        self.fails = self.fails.saturating_add(1);
        self.checked_at = now;
        self.probed = false;
        was_available && !self.is_available(limits, now)
    }

    /// Says whether it was out until now.
    pub(super) fn succeeded(&mut self, limits: Limits) -> bool {
        let was_out = self.probed && limits.max_fails > 0 && self.fails >= limits.max_fails;
        if self.probed {
            *self = Self::default();
        }
        was_out
    }

    pub(super) fn fails(&self) -> u32 {
        self.fails
    }

    /// Whether the last failure is long past. A clock that was set back must not keep an endpoint
    /// out until it has caught up.
    fn is_forgotten(&self, limits: Limits, now: UnixMillis) -> bool {
        now < self.checked_at || now.since(self.checked_at) > limits.fail_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_fails: 2, fail_timeout: Duration::from_secs(10) };

    fn at(secs: u64) -> UnixMillis {
        UnixMillis(1_000_000 + secs * 1000)
    }

    #[test]
    fn enough_failures_take_it_out_until_a_probe_succeeds() {
        let mut health = Health::default();
        assert!(!health.failed(LIMITS, at(0)));
        assert!(health.is_available(LIMITS, at(0)), "one of two failures");
        assert!(health.failed(LIMITS, at(1)), "the second one");
        assert!(!health.failed(LIMITS, at(1)), "it is out already");
        assert!(!health.is_available(LIMITS, at(11)));
        health.succeeded(LIMITS);
        assert!(!health.is_available(LIMITS, at(11)), "an old request's success is no news");
        assert!(health.is_available(LIMITS, at(12)));
        health.chosen(LIMITS, false, at(12));
        assert!(!health.is_available(LIMITS, at(12)), "one probe at a time");
        health.succeeded(LIMITS);
        assert_eq!(health, Health::default());
    }

    #[test]
    fn a_failed_probe_keeps_it_out() {
        let mut health = Health { fails: 2, checked_at: at(0), probed: false };
        health.chosen(LIMITS, false, at(11));
        assert!(!health.failed(LIMITS, at(12)), "it was out and stays out");
        assert!(!health.is_available(LIMITS, at(22)));
        assert!(health.is_available(LIMITS, at(23)));
    }

    #[test]
    fn zero_switches_it_off() {
        for limits in
            [Limits { max_fails: 0, ..LIMITS }, Limits { fail_timeout: Duration::ZERO, ..LIMITS }]
        {
            let mut health = Health::default();
            for _ in 0..5 {
                assert!(!health.failed(limits, at(0)));
            }
            assert!(health.is_available(limits, at(0)));
        }
    }

    #[test]
    fn a_clock_set_back_brings_it_back() {
        let health = Health { fails: 2, checked_at: at(3600), probed: false };
        assert!(health.is_available(LIMITS, at(0)));
    }
}
