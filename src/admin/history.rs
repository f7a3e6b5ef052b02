//! The last ten minutes, for the status page: what was counted in each stretch of five seconds. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::UnixMillis;
use crate::telemetry::metrics::Snapshot;

/// How often to look.
pub const EVERY: Duration = Duration::from_secs(5);
const KEPT: usize = 120;

/// What was counted, stretch by stretch.
#[derive(Debug, Default)]
pub struct History {
    last: Option<(UnixMillis, Snapshot)>,
    stretches: VecDeque<Stretch>,
}

/// Between two looks. Nothing where there was nothing to measure.
#[derive(Clone, Debug, Default, PartialEq)]
struct Stretch {
    /// When it ended, in Unix seconds.
    at: u64,
    requests_per_second: f64,
    client_errors_per_second: f64,
    server_errors_per_second: f64,
    latency_p50: Option<f64>,
    latency_p99: Option<f64>,
    store_p50: Option<f64>,
    store_p99: Option<f64>,
    cache_hits: Option<f64>,
    logins: u64,
    logins_failed: u64,
    rejected: u64,
}

impl History {
    /// Takes totals in.
    pub fn note(&mut self, now: UnixMillis, snapshot: Snapshot) {
        if let Some((then, before)) = &self.last
            && now > *then
        {
            let stretch = Stretch::between(before, &snapshot, now, now.since(*then));
            if self.stretches.len() >= KEPT {
                self.stretches.pop_front();
            }
            self.stretches.push_back(stretch);
        }
        self.last = Some((now, snapshot));
    }

    /// One list for each quantity, the newest last; times in Unix seconds, durations in milliseconds.
    pub(super) fn shown(&self) -> Value {
        let list = |of: &dyn Fn(&Stretch) -> Value| -> Value {
            self.stretches.iter().map(of).collect::<Vec<_>>().into()
        };
        let millis = |seconds: Option<f64>| seconds.map(|it| rounded(it * 1000.0)).into();
        json!({
            "every_seconds": EVERY.as_secs(),
            "at": list(&|it| it.at.into()),
            "requests_per_second": list(&|it| rounded(it.requests_per_second).into()),
            "client_errors_per_second": list(&|it| rounded(it.client_errors_per_second).into()),
            "server_errors_per_second": list(&|it| rounded(it.server_errors_per_second).into()),
            "latency_p50_ms": list(&|it| millis(it.latency_p50)),
            "latency_p99_ms": list(&|it| millis(it.latency_p99)),
            "store_p50_ms": list(&|it| millis(it.store_p50)),
            "store_p99_ms": list(&|it| millis(it.store_p99)),
            "cache_hit_ratio": list(&|it| it.cache_hits.map(rounded).into()),
            "logins": list(&|it| it.logins.into()),
            "logins_failed": list(&|it| it.logins_failed.into()),
            "tickets_rejected": list(&|it| it.rejected.into()),
        })
    }
}

impl Stretch {
    fn between(before: &Snapshot, after: &Snapshot, at: UnixMillis, took: Duration) -> Self {
        let per_second =
            |after: u64, before: u64| after.saturating_sub(before) as f64 / took.as_secs_f64();
        let latency = after.latency.since(&before.latency);
        let store = after.store_latency.since(&before.store_latency);
        let hits = after.cache_hits.saturating_sub(before.cache_hits);
        let asked = hits + after.cache_misses.saturating_sub(before.cache_misses);
        let rejected = |of: &Snapshot| of.rejected.iter().map(|(_, number)| *number).sum::<u64>();
        Self {
            at: at.as_secs(),
            requests_per_second: per_second(after.requests, before.requests),
            client_errors_per_second: per_second(after.client_errors, before.client_errors),
            server_errors_per_second: per_second(after.server_errors, before.server_errors),
            latency_p50: latency.quantile(0.5),
            latency_p99: latency.quantile(0.99),
            store_p50: store.quantile(0.5),
            store_p99: store.quantile(0.99),
            cache_hits: (asked > 0).then(|| hits as f64 / asked as f64),
            logins: after.logins.saturating_sub(before.logins),
            logins_failed: after.logins_failed.saturating_sub(before.logins_failed),
            rejected: rejected(after).saturating_sub(rejected(before)),
        }
    }
}

/// To three places: more is noise.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Distribution;

    fn after(steps: u32) -> UnixMillis {
        UnixMillis(1_800_000_000_000).plus(EVERY * steps)
    }

    fn counted(requests: u64) -> Snapshot {
        let latency = Distribution { bounds: vec![0.01, 0.1], counts: vec![requests, 0, 0] };
        Snapshot { requests, server_errors: requests / 10, latency, ..Snapshot::default() }
    }

    #[test]
    fn totals_become_rates() {
        let mut history = History::default();
        for (step, requests) in [(0, 100), (1, 200), (2, 200)] {
            history.note(after(step), counted(requests));
        }
        let shown = history.shown();
        assert_eq!(shown["at"], json!([1_800_000_005, 1_800_000_010]));
        assert_eq!(shown["requests_per_second"], json!([20.0, 0.0]));
        assert_eq!(shown["server_errors_per_second"], json!([2.0, 0.0]));
        assert_eq!(shown["latency_p50_ms"], json!([5.0, null]));
        assert_eq!(shown["cache_hit_ratio"], json!([null, null]));
    }

    #[test]
    fn ten_minutes_are_kept_and_a_clock_set_back_adds_nothing() {
        let mut history = History::default();
        (0..200).for_each(|step| history.note(after(step), counted(u64::from(step))));
        assert_eq!(history.shown()["at"].as_array().map(Vec::len), Some(KEPT));
        history.note(after(100), counted(300));
        let shown = history.shown();
        assert_eq!(shown["at"].as_array().and_then(|at| at.last()), Some(&json!(1_800_000_995)));
    }
}
