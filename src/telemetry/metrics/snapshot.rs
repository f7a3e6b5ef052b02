//! Totals of one moment, for whoever keeps a history of them.

use prometheus::Histogram;
use prometheus::core::Metric as _;

use crate::session::event::{EventKind, Reject};
use crate::telemetry::labels::{Label, RouteKind, StatusClass, StoreOp, StoreOutcome};

use super::Metrics;

/// Totals since the start, but for what is `_now`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub requests: u64,
    pub client_errors: u64,
    pub server_errors: u64,
    pub requests_now: u64,
    pub connections_now: u64,
    pub streams_now: u64,
    pub latency: Distribution,
    pub store_latency: Distribution,
    pub store_unavailable: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub cache_entries_now: u64,
    pub logins: u64,
    pub logins_failed: u64,
    pub logouts: u64,
    pub sessions_created: u64,
    pub sessions_ended: u64,
    /// By reason.
    pub rejected: Vec<(&'static str, u64)>,
}

/// How long things took: how many took at most so many seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    pub bounds: Vec<f64>,
    /// One for each bound, and one for what took longer; each without those before it.
    pub counts: Vec<u64>,
}

impl Distribution {
    fn of<'a>(series: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut all = Self::default();
        for one in series {
            let metric = one.metric();
            let histogram = metric.get_histogram();
            let buckets: Vec<_> =
                histogram.get_bucket().iter().filter(|it| it.upper_bound().is_finite()).collect();
            if all.bounds.is_empty() {
                all.bounds = buckets.iter().map(|bucket| bucket.upper_bound()).collect();
                all.counts = vec![0; all.bounds.len() + 1];
            }
            let mut before = 0;
            let totals = buckets.iter().map(|bucket| bucket.cumulative_count());
            for (count, total) in
                all.counts.iter_mut().zip(totals.chain([histogram.get_sample_count()]))
            {
                *count += total.saturating_sub(before);
                before = total;
            }
        }
        all
    }

    /// What came after an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(before).map(|(now, before)| now.saturating_sub(before));
        Self { bounds: self.bounds.clone(), counts: counts.collect() }
    }

    /// The time that such a share took at most, between the bounds by proportion as Prometheus' own
    /// `histogram_quantile` does. `None` where there was nothing.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = share * total as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (count, upper) in self.counts.iter().zip(&self.bounds) {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(lower + (upper - lower) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            below += count;
            lower = *upper;
        }
        Some(lower)
    }
}

impl Metrics {
    /// All of it now.
    pub fn snapshot(&self) -> Snapshot {
        self.watched.read(&self.store, || self.take_snapshot())
    }

    fn take_snapshot(&self) -> Snapshot {
        let of_class = |class: StatusClass| -> u64 {
            RouteKind::ALL.iter().map(|kind| self.requests.get(*kind, class).get()).sum()
        };
        let event = |kind: EventKind| self.session_events.get(kind).get();
        let gauge = |value: i64| u64::try_from(value).unwrap_or_default();
        let unavailable = StoreOutcome::Unavailable;
        Snapshot {
            requests: StatusClass::ALL.iter().map(|class| of_class(*class)).sum(),
            client_errors: of_class(StatusClass::ClientError),
            server_errors: of_class(StatusClass::ServerError),
            requests_now: gauge(self.requests_in_flight.get()),
            connections_now: gauge(self.watched.connections_open()),
            streams_now: gauge(self.streams_open.get()),
            latency: Distribution::of(
                RouteKind::ALL.iter().map(|kind| self.request_seconds.get(*kind)),
            ),
            store_latency: Distribution::of(StoreOp::ALL.iter().map(|op| self.store.seconds(*op))),
            store_unavailable: StoreOp::ALL
                .iter()
                .map(|op| self.store.calls(*op, unavailable))
                .sum(),
            cache_hits: self.store.cache_hits(),
            cache_misses: self.store.cache_misses(),
            cache_entries_now: gauge(self.store.cache_entries()),
            logins: event(EventKind::Login),
            logins_failed: event(EventKind::LoginFailed),
            logouts: event(EventKind::Logout),
            sessions_created: event(EventKind::Created),
            sessions_ended: event(EventKind::Ended) + event(EventKind::Logout),
            rejected: Reject::ALL
                .iter()
                .map(|reason| (reason.value(), self.tickets_rejected.get(*reason).get()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::metrics::Finished;

    fn finished(metrics: &Metrics, status: u16, millis: u64) {
        metrics.request_finished(&Finished {
            route: RouteKind::Plain,
            status,
            duration: Duration::from_millis(millis),
            bytes_in: 0,
            bytes_out: 0,
        });
    }

    #[test]
    fn what_came_between_two_moments_is_told() {
        let metrics = Metrics::new();
        finished(&metrics, 200, 3);
        let before = metrics.snapshot();
        (0..98).for_each(|_| finished(&metrics, 200, 20));
        finished(&metrics, 404, 20);
        finished(&metrics, 503, 400_000);
        let after = metrics.snapshot();
        assert_eq!((before.requests, after.requests), (1, 101));
        assert_eq!((after.client_errors, after.server_errors), (1, 1));
        let between = after.latency.since(&before.latency);
        assert_eq!(between.counts.iter().sum::<u64>(), 100);
        let half = between.quantile(0.5).expect("there were some");
        assert!((0.010..=0.025).contains(&half), "{half}");
        assert_eq!(between.quantile(1.0), Some(60.0), "longer than the last bound");
        assert_eq!(between.since(&between).quantile(0.5), None);
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let distribution = Distribution { bounds: vec![0.1, 0.2, 0.4], counts: vec![5, 0, 5, 0] };
        for (share, expected) in [(0.0, 0.0), (0.5, 0.1), (0.75, 0.3), (1.0, 0.4)] {
            let found = distribution.quantile(share).expect("ten of them");
            assert!((found - expected).abs() < 1e-9, "{share}: {found}");
        }
    }
}
