//! What is counted of upstreams: families by name, and the handles that stand beside an upstream.

use prometheus::{IntCounter, IntCounterVec, Registry};

use crate::telemetry::labels::UpstreamFailure;
use crate::telemetry::series::{Counters, counters};

#[derive(Debug)]
pub(super) struct Upstreams {
    attempts: IntCounterVec,
    failures: IntCounterVec,
    failovers: IntCounterVec,
}

impl Upstreams {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            attempts: counters(
                r,
                "cloakroom_upstream_attempts_total",
                "Requests sent, or tried to send, to an upstream.",
                &["upstream"],
            ),
            failures: counters(
                r,
                "cloakroom_upstream_failures_total",
                "Attempts at an upstream that failed.",
                &["upstream", "reason"],
            ),
            failovers: counters(
                r,
                "cloakroom_upstream_failovers_total",
                "Sessions that left the endpoint that they were kept at (`balance: session`).",
                &["upstream"],
            ),
        }
    }

    pub(super) fn of(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            attempts: self.attempts.with_label_values(&[name]),
            failures: Counters::of(&self.failures, |reason| vec![name, reason]),
            failovers: self.failovers.with_label_values(&[name]),
        }
    }
}

/// The counters of one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    attempts: IntCounter,
    failures: Counters<UpstreamFailure>,
    failovers: IntCounter,
}

impl UpstreamMetrics {
    /// Counts an attempt, a repeated one as well.
    pub fn attempted(&self) {
        self.attempts.inc();
    }

    /// Counts a session that left its endpoint.
    pub fn failed_over(&self) {
        self.failovers.inc();
    }

    /// Counts an attempt that failed.
    pub fn failed(&self, reason: UpstreamFailure) {
        self.failures.get(reason).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::metrics::tests::check;

    #[test]
    fn upstreams_are_counted_by_name() {
        let metrics = Metrics::new();
        let shop = metrics.upstream("shop");
        shop.attempted();
        shop.attempted();
        shop.failed(UpstreamFailure::Connect);
        metrics.upstream("shop").attempted();
        check(
            &metrics,
            &[
                r#"cloakroom_upstream_attempts_total{upstream="shop"} 3"#,
                r#"cloakroom_upstream_failures_total{reason="connect",upstream="shop"} 1"#,
                r#"cloakroom_upstream_failures_total{reason="timeout",upstream="shop"} 0"#,
            ],
        );
    }
}
