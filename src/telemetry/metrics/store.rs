//! What is counted of the session store and of the cache in front of it.
//!
//! Calls are counted where they are made. The cache counts for itself, and whoever answers without
//! the store says so: these totals are asked for when somebody reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge, Registry};

use crate::session::outage::WithoutStore;
use crate::telemetry::audit::StoreState;
use crate::telemetry::labels::{StoreOp, StoreOutcome};
use crate::telemetry::series::{Counters, Grid, Timings, counter, gauge};

use super::raise;

/// Seconds; a store's deadline is 150 ms.
const STORE_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25];

/// Totals that the store keeps for itself, but for `cache`'s gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Writes with the durability of a revocation that no replica has confirmed.
    pub unconfirmed: u64,
    /// How far this process' clock is ahead of the store's.
    pub clock_ahead_ms: i64,
    pub cache: CacheCounts,
}

/// The same of the cache; all 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Look-ups that it answered.
    pub hits: u64,
    /// … that went on to the store.
    pub misses: u64,
    /// Records that made room for others.
    pub evictions: u64,
    /// Records in it now, and about how much memory they take.
    pub entries: u64,
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) struct Store {
    calls: Grid<StoreOp, StoreOutcome>,
    seconds: Timings<StoreOp>,
    up: IntGauge,
    /// Whether the store answered last: a change is an event, a repetition is not.
    answers: AtomicBool,
    pub(super) without: Counters<WithoutStore>,
    unconfirmed: IntCounter,
    clock_ahead: IntGauge,
    cache_hits: IntCounter,
    cache_misses: IntCounter,
    cache_evictions: IntCounter,
    cache_entries: IntGauge,
    cache_bytes: IntGauge,
}

impl Store {
    pub(super) fn new(r: &Registry) -> Self {
        let store = Self {
            calls: Grid::new(
                r,
                "cloakroom_store_calls_total",
                "Calls to the session store.",
                ["operation", "outcome"],
            ),
            seconds: Timings::new(
                r,
                "cloakroom_store_call_duration_seconds",
                "How long calls to the session store took.",
                "operation",
                STORE_BUCKETS,
            ),
            up: gauge(r, "cloakroom_store_up", "Whether the session store answers."),
            answers: AtomicBool::new(true),
            without: Counters::new(
                r,
                "cloakroom_store_down_total",
                "Requests with a ticket that the store did not answer for, by what became of them.",
                "action",
            ),
            unconfirmed: counter(
                r,
                "cloakroom_revocation_unconfirmed_total",
                "Logins, ends and revocations that stand on the master alone: no replica has \
                 confirmed them.",
            ),
            clock_ahead: gauge(
                r,
                "cloakroom_store_clock_ahead_milliseconds",
                "How far the clock of this node is ahead of the store's; behind where negative.",
            ),
            cache_hits: counter(
                r,
                "cloakroom_cache_hits_total",
                "Look-ups that were answered without the store.",
            ),
            cache_misses: counter(
                r,
                "cloakroom_cache_misses_total",
                "Look-ups that the cache could not answer.",
            ),
            cache_evictions: counter(
                r,
                "cloakroom_cache_evictions_total",
                "Records that the cache gave up for want of room.",
            ),
            cache_entries: gauge(r, "cloakroom_cache_entries", "Records in the cache."),
            cache_bytes: gauge(r, "cloakroom_cache_bytes", "Memory that they take, about."),
        };
        store.up.set(1);
        store
    }

    pub(super) fn call(&self, op: StoreOp, outcome: StoreOutcome, duration: Duration) {
        self.calls.get(op, outcome).inc();
        self.seconds.get(op).observe(duration.as_secs_f64());
    }

    /// Says whether that is a change.
    pub(super) fn state(&self, state: StoreState) -> bool {
        let answers = state == StoreState::Up;
        // Read before written: an ordinary call leaves the cache line shared.
        if self.answers.load(Ordering::Relaxed) == answers {
            return false;
        }
        let changed = self.answers.swap(answers, Ordering::Relaxed) != answers;
        if changed {
            self.up.set(i64::from(answers));
        }
        changed
    }

    pub(super) fn seconds(&self, op: StoreOp) -> &Histogram {
        self.seconds.get(op)
    }

    pub(super) fn calls(&self, op: StoreOp, outcome: StoreOutcome) -> u64 {
        self.calls.get(op, outcome).get()
    }

    pub(super) fn cache_hits(&self) -> u64 {
        self.cache_hits.get()
    }

    pub(super) fn cache_misses(&self) -> u64 {
        self.cache_misses.get()
    }

    pub(super) fn cache_entries(&self) -> i64 {
        self.cache_entries.get()
    }

    pub(super) fn read(&self, counts: StoreCounts) {
        let StoreCounts { unconfirmed, clock_ahead_ms, cache } = counts;
        let CacheCounts { hits, misses, evictions, entries, bytes } = cache;
        raise(&self.unconfirmed, unconfirmed);
        self.clock_ahead.set(clock_ahead_ms);
        raise(&self.cache_hits, hits);
        raise(&self.cache_misses, misses);
        raise(&self.cache_evictions, evictions);
        self.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::metrics::tests::check;

    #[test]
    fn store_calls_are_counted_by_operation_and_outcome() {
        let metrics = Metrics::new();
        let took = Duration::from_micros(400);
        metrics.store_call(StoreOp::Load, StoreOutcome::Ok, took);
        metrics.store_call(StoreOp::Replace, StoreOutcome::Conflict, took);
        check(
            &metrics,
            &[
                r#"cloakroom_store_calls_total{operation="load",outcome="ok"} 1"#,
                r#"cloakroom_store_calls_total{operation="replace",outcome="conflict"} 1"#,
                r#"cloakroom_store_calls_total{operation="load",outcome="unavailable"} 0"#,
                r#"cloakroom_store_call_duration_seconds_bucket{operation="load",le="0.0005"} 1"#,
                "cloakroom_store_up 1",
            ],
        );
    }

    #[test]
    fn the_store_is_asked_for_its_totals_when_somebody_reads() {
        let metrics = Metrics::new();
        check(&metrics, &["cloakroom_revocation_unconfirmed_total 0", "cloakroom_cache_entries 0"]);
        let cache = CacheCounts { hits: 7, misses: 3, evictions: 2, entries: 1, bytes: 900 };
        metrics.watch_store(move || StoreCounts { unconfirmed: 4, clock_ahead_ms: -7, cache });
        // Twice: a total is no sum of what was read.
        for _ in 0..2 {
            check(
                &metrics,
                &[
                    "cloakroom_revocation_unconfirmed_total 4",
                    "cloakroom_store_clock_ahead_milliseconds -7",
                    "cloakroom_cache_hits_total 7",
                    "cloakroom_cache_misses_total 3",
                    "cloakroom_cache_evictions_total 2",
                    "cloakroom_cache_entries 1",
                    "cloakroom_cache_bytes 900",
                ],
            );
        }
    }
}
