//! Counters, gauges and histograms, in Prometheus' text format.
//!
//! One [`Metrics`] for each application, with a registry of its own. Every series whose labels are
//! known beforehand is looked up once, when it is made; counting is then an index and an atomic
//! addition. Names follow Prometheus' conventions: base units, `_total` on counters.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::cookie::finding::Finding;
use crate::crypto::ring_source::RingSource;
use crate::session::event::{Cause, Event, EventKind, NotMade, OutOfTurn, Reject};
use crate::telemetry::audit::StoreState;
use crate::telemetry::labels::{Revocation, RouteKind, StatusClass, StoreOp, StoreOutcome};
use crate::telemetry::recent::{Recent, RecentEvent};
use crate::telemetry::series::{
    Counters, Grid, Timings, counter, gauge, gauges, histogram, register,
};

pub use self::snapshot::{Distribution, Snapshot};
use self::store::Store;
pub use self::store::{CacheCounts, StoreCounts};
pub use self::upstream::UpstreamMetrics;
use self::upstream::Upstreams;
use self::watched::Watched;
pub use self::watched::{Connections, FleetKeys, Ordered};

/// Seconds; from a cached static page to a report that takes a minute.
const REQUEST_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// Seconds; requests of one session wait at most `serialize.wait` for each other, a minute where
/// that is longest.
const WAIT_BUCKETS: &[f64] = &[0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Grid<RouteKind, StatusClass>,
    request_seconds: Timings<RouteKind>,
    requests_in_flight: IntGauge,
    received_bytes: IntCounter,
    sent_bytes: IntCounter,
    session_events: Counters<EventKind>,
    sessions_ended: Counters<Cause>,
    sessions_not_made: Counters<NotMade>,
    tickets_rejected: Counters<Reject>,
    out_of_turn: Counters<OutOfTurn>,
    cookie_findings: Counters<Finding>,
    wait_seconds: Histogram,
    mass_logout: IntGaugeVec,
    revocations: Counters<Revocation>,
    streams_open: IntGauge,
    streams_closed: IntCounter,
    store: Store,
    upstreams: Upstreams,
    watched: Watched,
    recent: Recent,
}

/// A request that is over, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    pub route: RouteKind,
    /// 0 where none was sent.
    pub status: u16,
    pub duration: Duration,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Makes every series, at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let build_info = IntGauge::with_opts(
            Opts::new("cloakroom_build_info", "Always 1; the version is a label.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        );
        register(r, build_info).set(1);
        Self {
            requests: Grid::new(
                r,
                "cloakroom_requests_total",
                "Requests that are over.",
                ["route", "status"],
            ),
            request_seconds: Timings::new(
                r,
                "cloakroom_request_duration_seconds",
                "From a request's first byte to its response's last.",
                "route",
                REQUEST_BUCKETS,
            ),
            requests_in_flight: gauge(
                r,
                "cloakroom_requests_in_flight",
                "Requests that are not over.",
            ),
            received_bytes: counter(
                r,
                "cloakroom_request_body_bytes_total",
                "Body bytes received from clients.",
            ),
            sent_bytes: counter(
                r,
                "cloakroom_response_body_bytes_total",
                "Body bytes sent to clients.",
            ),
            session_events: Counters::new(
                r,
                "cloakroom_session_events_total",
                "What happened to sessions.",
                "event",
            ),
            sessions_ended: Counters::new(
                r,
                "cloakroom_sessions_ended_total",
                "Sessions that ended, by cause.",
                "cause",
            ),
            sessions_not_made: Counters::new(
                r,
                "cloakroom_sessions_not_made_total",
                "Session cookies of the application that were neither kept nor sealed.",
                "cause",
            ),
            tickets_rejected: Counters::new(
                r,
                "cloakroom_tickets_rejected_total",
                "Tickets and sealed cookies that count as no session.",
                "reason",
            ),
            out_of_turn: Counters::new(
                r,
                "cloakroom_out_of_turn_total",
                "Requests that went on without their session's turn.",
                "cause",
            ),
            cookie_findings: Counters::new(
                r,
                "cloakroom_cookie_findings_total",
                "Cookies of the application that browsers drop, or that a policy would change.",
                "finding",
            ),
            wait_seconds: histogram(
                r,
                "cloakroom_session_wait_seconds",
                "How long requests waited for another one of their session.",
                WAIT_BUCKETS,
            ),
            mass_logout: gauges(
                r,
                "cloakroom_mass_logout",
                "Whether the application is deleting the sessions of many users at once.",
                &["policy"],
            ),
            revocations: Counters::new(
                r,
                "cloakroom_revocations_total",
                "Revocations by operators and by users of their own sessions.",
                "scope",
            ),
            streams_open: gauge(
                r,
                "cloakroom_session_streams_open",
                "WebSockets and event streams that end with their session.",
            ),
            streams_closed: counter(
                r,
                "cloakroom_session_streams_closed_total",
                "Streams closed because their session ended elsewhere, or in time.",
            ),
            store: Store::new(r),
            upstreams: Upstreams::new(r),
            watched: Watched::new(r),
            recent: Recent::default(),
            registry,
        }
    }

    /// The exposition in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        let expose = || TextEncoder::new().encode_to_string(&self.registry.gather());
        self.watched
            .read(&self.store, expose)
            .expect("writing to a string does not fail, and every family has a series")
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn request_begins(&self) -> InFlight {
        InFlight::new(&self.requests_in_flight)
    }

    /// Counts a request that is over.
    pub fn request_finished(&self, finished: &Finished) {
        self.requests.get(finished.route, StatusClass::of(finished.status)).inc();
        self.request_seconds.get(finished.route).observe(finished.duration.as_secs_f64());
        self.received_bytes.inc_by(finished.bytes_in);
        self.sent_bytes.inc_by(finished.bytes_out);
    }

    /// Says where to ask for the connections' counts. Whoever accepts connections counts them
    /// already, and knows nothing of metrics.
    pub fn watch_connections(&self, read: impl Fn() -> Connections + Send + 'static) {
        self.watched.connections(read);
    }

    /// Says where to ask how many bytes of bodies are held.
    pub fn watch_buffers(&self, read: impl Fn() -> u64 + Send + 'static) {
        self.watched.buffers(read);
    }

    /// Says which ring's keys to show. Their identifiers are no secrets: they stand in every
    /// ticket.
    pub fn watch_ring(&self, ring: Arc<RingSource>) {
        self.watched.ring(ring);
    }

    /// Says where to ask how this node's keys stand to those of others.
    pub fn watch_fleet(&self, read: impl Fn() -> FleetKeys + Send + 'static) {
        self.watched.fleet(read);
    }

    /// Says where to ask for certificates that are ordered.
    pub fn watch_orders(&self, read: impl Fn() -> Vec<Ordered> + Send + 'static) {
        self.watched.orders(read);
    }

    /// Says where to ask for what the store and its cache count for themselves.
    pub fn watch_store(&self, read: impl Fn() -> StoreCounts + Send + 'static) {
        self.watched.store(read);
    }

    /// Counts an event; [`audit::emit`](crate::telemetry::audit::emit) does, nobody else need.
    pub(super) fn session_event(&self, event: &Event) {
        self.session_events.get(event.kind()).inc();
        match event {
            Event::Ended { cause, .. } => self.sessions_ended.get(*cause).inc(),
            Event::TicketRejected { reason } => self.tickets_rejected.get(*reason).inc(),
            Event::NotMade { cause } => self.sessions_not_made.get(*cause).inc(),
            Event::OutOfTurn { cause } => self.out_of_turn.get(*cause).inc(),
            Event::WithoutStore { action, .. } => self.store.without.get(*action).inc(),
            Event::Created { .. }
            | Event::Login { .. }
            | Event::LoginFailed
            | Event::Moved { .. }
            | Event::LoginLimited
            | Event::CrossSiteRefused
            | Event::Renewed { .. }
            | Event::Reused { .. }
            | Event::BindingMismatch { .. }
            | Event::Fenced { .. }
            | Event::Withheld { .. }
            | Event::Waited
            | Event::LoginRefused { .. }
            | Event::SubjectRevoked { .. }
            | Event::CommandIgnored { .. }
            | Event::Parked { .. }
            | Event::Restored { .. }
            | Event::Dropped { .. }
            | Event::DeletionIgnored { .. } => {}
        }
    }

    /// Keeps the last events from now on, for [`recent_events`](Self::recent_events).
    pub fn keep_events(&self) {
        self.recent.begin();
    }

    /// Keeps an event, where events are kept.
    pub(super) fn note(&self, event: impl FnOnce() -> RecentEvent) {
        self.recent.note(event);
    }

    /// The last events that were written to the audit trail.
    pub fn recent_events(&self) -> Vec<RecentEvent> {
        self.recent.all()
    }

    /// Counts something that is wrong with a cookie of the application.
    pub(super) fn cookie_finding(&self, finding: Finding) {
        self.cookie_findings.get(finding).inc();
    }

    /// Records how long a request waited for another one of its session.
    pub fn waited(&self, duration: Duration) {
        self.wait_seconds.observe(duration.as_secs_f64());
    }

    /// Notes whether a policy's sessions are being deleted by the many.
    pub fn mass_logout(&self, policy: &str, is_one: bool) {
        self.mass_logout.with_label_values(&[policy]).set(i64::from(is_one));
    }

    /// Counts a revocation; [`audit::revoked`](crate::telemetry::audit::revoked) does.
    pub(super) fn revoked(&self, scope: Revocation) {
        self.revocations.get(scope).inc();
    }

    /// Notes how many streams of sessions are open.
    pub fn streams_open(&self, number: usize) {
        self.streams_open.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// Counts streams whose session ended elsewhere, or in time.
    pub fn streams_closed(&self, number: usize) {
        self.streams_closed.inc_by(number as u64);
    }

    /// Counts a call to the store. The outcome follows from the store's answer:
    /// `(&lookup).into()`, `created.into()`, …
    pub fn store_call(&self, op: StoreOp, outcome: StoreOutcome, duration: Duration) {
        self.store.call(op, outcome, duration);
    }

    /// Notes whether the store answers; says whether that is a change.
    pub(super) fn store_state(&self, state: StoreState) -> bool {
        self.store.state(state)
    }

    /// The counters of an upstream, to be kept beside it.
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        self.upstreams.of(name)
    }
}

/// Something that counts as long as it is kept.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct InFlight(IntGauge);

impl InFlight {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Lets a counter show a total that is counted elsewhere.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

mod snapshot;
mod store;
mod upstream;
mod watched;

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that exactly these lines are in the exposition.
    pub(super) fn check(metrics: &Metrics, expected: &[&str]) {
        let text = metrics.render();
        for line in expected {
            assert!(text.lines().any(|found| found == *line), "{line} is missing from\n{text}");
        }
    }

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = Metrics::new();
        let one = metrics.request_begins();
        let two = metrics.request_begins();
        check(&metrics, &["cloakroom_requests_in_flight 2"]);
        for status in [200, 204, 503] {
            metrics.request_finished(&Finished {
                route: RouteKind::Session,
                status,
                duration: Duration::from_millis(30),
                bytes_in: 10,
                bytes_out: 100,
            });
        }
        drop((one, two));
        check(
            &metrics,
            &[
                "cloakroom_requests_in_flight 0",
                r#"cloakroom_requests_total{route="session",status="2xx"} 2"#,
                r#"cloakroom_requests_total{route="session",status="5xx"} 1"#,
                r#"cloakroom_requests_total{route="plain",status="2xx"} 0"#,
                r#"cloakroom_request_duration_seconds_bucket{route="session",le="0.025"} 0"#,
                r#"cloakroom_request_duration_seconds_bucket{route="session",le="0.05"} 3"#,
                r#"cloakroom_request_duration_seconds_count{route="session"} 3"#,
                "cloakroom_request_body_bytes_total 30",
                "cloakroom_response_body_bytes_total 300",
            ],
        );
    }

    #[test]
    fn events_are_counted_by_name_and_by_cause() {
        let metrics = Metrics::new();
        let id =
            crate::session::outcome::RecordKey { tag: [0; 8], id: [0; 16], has_subject: false };
        metrics.session_event(&Event::Ended { id, cause: Cause::Idle });
        metrics.session_event(&Event::TicketRejected { reason: Reject::Duplicate });
        metrics.session_event(&Event::NotMade { cause: NotMade::CrossSite });
        metrics.session_event(&Event::Waited);
        metrics.session_event(&Event::OutOfTurn { cause: OutOfTurn::TimedOut });
        metrics.waited(Duration::from_millis(200));
        check(
            &metrics,
            &[
                r#"cloakroom_session_events_total{event="ended"} 1"#,
                r#"cloakroom_session_events_total{event="waited"} 1"#,
                r#"cloakroom_session_events_total{event="login"} 0"#,
                r#"cloakroom_sessions_ended_total{cause="idle"} 1"#,
                r#"cloakroom_tickets_rejected_total{reason="duplicate"} 1"#,
                r#"cloakroom_sessions_not_made_total{cause="cross_site"} 1"#,
                r#"cloakroom_out_of_turn_total{cause="timed_out"} 1"#,
                r#"cloakroom_out_of_turn_total{cause="store_down"} 0"#,
                r#"cloakroom_session_wait_seconds_bucket{le="0.25"} 1"#,
                "cloakroom_session_wait_seconds_count 1",
            ],
        );
    }

    #[test]
    fn names_follow_the_conventions() {
        let text = Metrics::new().render();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').expect("a name and a type");
            assert!(name.starts_with("cloakroom_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        }
    }
}
