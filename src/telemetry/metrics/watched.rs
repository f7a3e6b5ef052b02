//! What is asked for whenever somebody reads. Whoever counts connections, opens tickets or caches
//! records counts them already, and knows nothing of metrics.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::crypto::keyring::Usage;
use crate::crypto::ring_source::RingSource;
use crate::crypto::seal::Purpose;
use crate::telemetry::series::{counter, counters, gauge, register};

use super::raise;
use super::store::{Store, StoreCounts};

/// What is counted where connections are accepted: totals, but for `open`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Open now, handshakes included.
    pub open: u64,
    pub accepted: u64,
    /// Closed at once because the limit was reached.
    pub refused: u64,
    pub handshakes_failed: u64,
}

/// How this node's keys stand to those of the live nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetKeys {
    /// Nodes that have announced themselves, this one included.
    pub nodes: usize,
    /// What most of them seal with does not open here.
    pub lacks: bool,
    /// This node seals with another key than most.
    pub seals_with_another: bool,
}

/// A certificate that is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// The first of its names.
    pub domain: String,
    /// 0: there is none yet.
    pub days_left: u64,
    /// In a row.
    pub failures: u32,
}

#[derive(Debug)]
pub(super) struct Watched {
    days_left: IntGaugeVec,
    order_failures: IntGaugeVec,
    connections: IntCounter,
    connections_open: IntGauge,
    connections_refused: IntCounter,
    handshake_failures: IntCounter,
    buffered_bytes: IntGauge,
    keyring_keys: IntGaugeVec,
    keyring_opened: IntCounterVec,
    keyring_reads: IntCounter,
    nodes: IntGauge,
    lacks_key: IntGauge,
    seals_with_another: IntGauge,
    sources: Mutex<Sources>,
}

/// Where to ask.
#[derive(Default)]
struct Sources {
    connections: Option<Box<dyn Fn() -> Connections + Send>>,
    buffers: Option<Box<dyn Fn() -> u64 + Send>>,
    store: Option<Box<dyn Fn() -> StoreCounts + Send>>,
    ring: Option<Arc<RingSource>>,
    fleet: Option<Box<dyn Fn() -> FleetKeys + Send>>,
    orders: Option<Box<dyn Fn() -> Vec<Ordered> + Send>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

impl Watched {
    pub(super) fn new(r: &Registry) -> Self {
        let by_domain = |name: &str, help: &str| {
            register(r, IntGaugeVec::new(Opts::new(name, help), &["domain"]))
        };
        Self {
            days_left: by_domain(
                "cloakroom_acme_days_left",
                "Days that a certificate that is ordered is good for; 0: there is none.",
            ),
            order_failures: by_domain(
                "cloakroom_acme_failures",
                "How often in a row it could not be ordered, or renewed.",
            ),
            connections: counter(r, "cloakroom_connections_total", "Connections accepted."),
            connections_open: gauge(r, "cloakroom_connections_open", "Connections that are open."),
            connections_refused: counter(
                r,
                "cloakroom_connections_refused_total",
                "Connections closed as soon as they had been accepted: the limit was reached.",
            ),
            handshake_failures: counter(
                r,
                "cloakroom_tls_handshake_failures_total",
                "TLS handshakes that failed or took too long.",
            ),
            buffered_bytes: gauge(
                r,
                "cloakroom_buffered_bytes",
                "Bytes of bodies under way that are held, where they are more than few.",
            ),
            keyring_keys: register(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        "cloakroom_keyring_key",
                        "1 for each sealing key of the ring in use: `primary` seals and opens, \
                         `accept` opens, `retired` neither.",
                    ),
                    &["key", "status"],
                ),
            ),
            keyring_opened: counters(
                r,
                "cloakroom_keyring_opened_total",
                "Tickets and records that a key opened: one that opens no more can be retired.",
                &["key", "kind"],
            ),
            keyring_reads: counter(
                r,
                "cloakroom_keyring_reads_total",
                "How often the key ring was read: at the start, at reloads, for unknown keys.",
            ),
            nodes: gauge(
                r,
                "cloakroom_nodes",
                "Nodes on this store that have announced themselves lately, this one included.",
            ),
            lacks_key: gauge(
                r,
                "cloakroom_keyring_lacks_fleet_key",
                "1 where this node lacks the key that most nodes seal with: it is not ready.",
            ),
            seals_with_another: gauge(
                r,
                "cloakroom_keyring_seals_with_another",
                "1 where this node seals with another key than most nodes, lacking theirs or not.",
            ),
            sources: Mutex::default(),
        }
    }

    /// Asks everybody; then lets `exposed` be made.
    pub(super) fn read<T>(&self, store: &Store, exposed: impl FnOnce() -> T) -> T {
        // Held to the end: two readers at a time must not both add what is new, nor one of them
        // see the ring while the other puts it together.
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = &sources.connections {
            self.read_connections(read());
        }
        if let Some(read) = &sources.buffers {
            self.buffered_bytes.set(i64::try_from(read()).unwrap_or(i64::MAX));
        }
        if let Some(read) = &sources.store {
            store.read(read());
        }
        if let Some(ring) = &sources.ring {
            self.read_ring(ring);
        }
        if let Some(read) = &sources.fleet {
            self.read_fleet(read());
        }
        if let Some(read) = &sources.orders {
            self.read_orders(read());
        }
        exposed()
    }

    pub(super) fn connections_open(&self) -> i64 {
        self.connections_open.get()
    }

    pub(super) fn connections(&self, read: impl Fn() -> Connections + Send + 'static) {
        self.with(|sources| sources.connections = Some(Box::new(read)));
    }

    pub(super) fn buffers(&self, read: impl Fn() -> u64 + Send + 'static) {
        self.with(|sources| sources.buffers = Some(Box::new(read)));
    }

    pub(super) fn store(&self, read: impl Fn() -> StoreCounts + Send + 'static) {
        self.with(|sources| sources.store = Some(Box::new(read)));
    }

    pub(super) fn ring(&self, ring: Arc<RingSource>) {
        self.with(|sources| sources.ring = Some(ring));
    }

    pub(super) fn fleet(&self, read: impl Fn() -> FleetKeys + Send + 'static) {
        self.with(|sources| sources.fleet = Some(Box::new(read)));
    }

    pub(super) fn orders(&self, read: impl Fn() -> Vec<Ordered> + Send + 'static) {
        self.with(|sources| sources.orders = Some(Box::new(read)));
    }

    fn with(&self, change: impl FnOnce(&mut Sources)) {
        change(&mut self.sources.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read_ring(&self, source: &RingSource) {
        let ring = source.current();
        self.keyring_keys.reset();
        for key in ring.describe().iter().filter(|key| key.usage == Usage::Seal) {
            let labels = [key.kid.to_string(), key.status.as_str().to_owned()];
            self.keyring_keys.with_label_values(&labels).set(1);
        }
        for key in ring.in_use() {
            for purpose in Purpose::ALL {
                let labels = [key.id().to_string(), purpose.name().to_owned()];
                raise(&self.keyring_opened.with_label_values(&labels), key.opened(purpose));
            }
        }
        raise(&self.keyring_reads, source.reads());
    }

    fn read_orders(&self, orders: Vec<Ordered>) {
        // A reload may have taken some away.
        self.days_left.reset();
        self.order_failures.reset();
        for Ordered { domain, days_left, failures } in orders {
            let days_left = i64::try_from(days_left).unwrap_or(i64::MAX);
            self.days_left.with_label_values(&[&domain]).set(days_left);
            self.order_failures.with_label_values(&[&domain]).set(failures.into());
        }
    }

    fn read_fleet(&self, keys: FleetKeys) {
        let FleetKeys { nodes, lacks, seals_with_another } = keys;
        self.nodes.set(i64::try_from(nodes).unwrap_or(i64::MAX));
        self.lacks_key.set(i64::from(lacks));
        self.seals_with_another.set(i64::from(seals_with_another));
    }

    fn read_connections(&self, counts: Connections) {
        let Connections { open, accepted, refused, handshakes_failed } = counts;
        self.connections_open.set(i64::try_from(open).unwrap_or(i64::MAX));
        raise(&self.connections, accepted);
        raise(&self.connections_refused, refused);
        raise(&self.handshake_failures, handshakes_failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::metrics::tests::check;

    #[test]
    fn connections_are_asked_for_when_somebody_reads() {
        let metrics = Metrics::new();
        check(&metrics, &["cloakroom_connections_total 0", "cloakroom_connections_open 0"]);
        let counts = Arc::new(Mutex::new(Connections::default()));
        let watched = counts.clone();
        metrics.watch_connections(move || *watched.lock().expect("no holder panics"));
        for (open, accepted, refused, handshakes_failed) in
            [(2, 5, 1, 1), (2, 5, 1, 1), (0, 7, 3, 2)]
        {
            *counts.lock().expect("no holder panics") =
                Connections { open, accepted, refused, handshakes_failed };
            check(
                &metrics,
                &[
                    &format!("cloakroom_connections_total {accepted}"),
                    &format!("cloakroom_connections_open {open}"),
                    &format!("cloakroom_connections_refused_total {refused}"),
                    &format!("cloakroom_tls_handshake_failures_total {handshakes_failed}"),
                ],
            );
        }
    }

    #[test]
    fn certificates_are_asked_for_when_somebody_reads() {
        let metrics = Metrics::new();
        let domain = "a.example".to_owned();
        metrics.watch_orders(move || {
            vec![Ordered { domain: domain.clone(), days_left: 59, failures: 2 }]
        });
        check(
            &metrics,
            &[
                "cloakroom_acme_days_left{domain=\"a.example\"} 59",
                "cloakroom_acme_failures{domain=\"a.example\"} 2",
            ],
        );
    }

    #[test]
    fn the_fleet_is_asked_for_when_somebody_reads() {
        let metrics = Metrics::new();
        check(&metrics, &["cloakroom_nodes 0", "cloakroom_keyring_lacks_fleet_key 0"]);
        metrics.watch_fleet(|| FleetKeys { nodes: 3, lacks: true, seals_with_another: true });
        check(
            &metrics,
            &[
                "cloakroom_nodes 3",
                "cloakroom_keyring_lacks_fleet_key 1",
                "cloakroom_keyring_seals_with_another 1",
            ],
        );
    }

    #[test]
    fn two_applications_in_one_process_count_apart() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.watch_connections(|| Connections { accepted: 1, ..Connections::default() });
        check(&one, &["cloakroom_connections_total 1"]);
        check(&other, &["cloakroom_connections_total 0"]);
    }
}
