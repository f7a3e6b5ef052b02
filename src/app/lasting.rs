//! What outlives every configuration: the key ring, records, metrics, and all that is counted or remembered.

use std::sync::Arc;
use std::time::Duration;

use super::BuildError;
use super::generation::namespaces;
use crate::acme::Desk;
use crate::acme::keeper::CertificateStanding;
use crate::acme::vault::Vault;
use crate::clock::{Clock, UnixMillis};
use crate::config::Config;
use crate::crypto::keyring::Keyring;
use crate::crypto::ring_source::RingSource;
use crate::listen;
use crate::proxy::buffers::Buffers;
use crate::proxy::guards::basic::Passwords;
use crate::proxy::limit::Limiter;
use crate::proxy::replaced_seals::ReplacedSeals;
use crate::proxy::shared::{ELSEWHERE, Lasting};
use crate::proxy::successions::Successions;
use crate::proxy::ticket_cache::TicketCache;
use crate::proxy::touches::Touches;
use crate::store::cache::CacheStats;
use crate::store::key_watch::KeyWatch;
use crate::store::node_keys::Standing;
use crate::store::records::Records;
use crate::store::throttle::Throttle;
use crate::store::{SharedStore, StoreSettings};
use crate::telemetry::findings::Findings;
use crate::telemetry::metrics::{
    CacheCounts, Connections, FleetKeys, Metrics, Ordered, StoreCounts,
};

/// Makes it.
pub(super) fn lasting(
    config: &Config,
    clock: Clock,
    ring: Arc<RingSource>,
    store: &SharedStore,
) -> Lasting {
    let longest = config.sessions.iter().map(|policy| policy.timeouts.absolute).max();
    let records = Records::new(store.clone(), ring.clone(), longest.unwrap_or_default())
        .with_cache(config.cache);
    let metrics = Arc::new(Metrics::new());
    metrics.watch_ring(ring.clone());
    let (counted, cached) = (store.clone(), records.clone());
    metrics.watch_store(move || StoreCounts {
        unconfirmed: counted.unconfirmed(),
        clock_ahead_ms: counted.clock_ahead_ms().unwrap_or(0),
        cache: cache_counts(cached.cache_stats()),
    });
    let copies = config.state_directory.join("acme");
    let vault = Vault::new(store.clone(), ring.clone(), copies);
    let desk = Arc::new(Desk::new(vault, clock.clone()));
    let (watched, now) = (desk.clone(), clock.clone());
    metrics.watch_orders(move || ordered(&watched, now.now()));
    let buffers = Buffers::new(config.limits.buffered_bytes, config.limits.spooled_bytes);
    let counted = buffers.clone();
    metrics.watch_buffers(move || counted.bytes() as u64);
    Lasting {
        clock,
        elsewhere: match config.store {
            StoreSettings::Memory => Duration::ZERO,
            _ => ELSEWHERE,
        },
        ring,
        opened: TicketCache::default(),
        replaced_seals: ReplacedSeals::default(),
        records,
        gates: Arc::default(),
        gate: gate(&config.limits, &metrics),
        successions: Successions::default(),
        merges: Arc::default(),
        touches: Arc::new(Touches::new(rand::random())),
        streams: Arc::default(),
        limiter: Limiter::default(),
        passwords: Passwords::default(),
        metrics,
        findings: Findings::default(),
        outages: Throttle::default(),
        unread_logins: Throttle::default(),
        desk,
        buffers,
        namespaces: Arc::new(arc_swap::ArcSwap::from_pointee(namespaces(config))),
    }
}

/// The gate for connections, which metrics know.
fn gate(limits: &listen::Limits, metrics: &Metrics) -> Arc<listen::Gate> {
    let gate = listen::Gate::new(limits.connections, limits.connections_per_client);
    let counted = gate.clone();
    metrics.watch_connections(move || connections(counted.counts()));
    gate
}

/// What follows the keys of other nodes, which metrics know.
pub(super) fn keys(store: &SharedStore, lasting: &Lasting) -> Arc<KeyWatch> {
    let (ring, clock) = (lasting.ring.clone(), lasting.clock.clone());
    let keys = Arc::new(KeyWatch::new(store.clone(), ring, clock));
    let watched = keys.clone();
    lasting.metrics.watch_fleet(move || fleet_keys(&watched));
    keys
}

/// Reads the key ring; one in the state directory is made if it is not there.
pub(super) fn open_ring(config: &Config, clock: &Clock) -> Result<RingSource, BuildError> {
    let path = &config.keyring;
    if config.may_make_keyring() && !path.exists() {
        let ring = Keyring::generate(clock.now()).map_err(BuildError::one)?;
        if config.sessions.is_empty() && config.orders.is_empty() {
            return Ok(RingSource::unsaved(ring));
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .map_err(|error| BuildError::one(format!("{}: {error}", directory.display())))?;
        }
        ring.save_new(path).map_err(BuildError::one)?;
        tracing::info!(path = %path.display(), "made a new key ring");
    }
    RingSource::open(path.clone()).map_err(|error| {
        BuildError::one(format!("keyring: {error}; make one with `cloakroom keys new FILE`"))
    })
}

/// The cache's counts as metrics want them: neither module knows the other.
fn cache_counts(stats: CacheStats) -> CacheCounts {
    let CacheStats { hits, misses, evicted, entries, bytes } = stats;
    CacheCounts { hits, misses, evictions: evicted, entries, bytes }
}

/// The same of what is known of other nodes' keys.
fn fleet_keys(watch: &KeyWatch) -> FleetKeys {
    let standing = watch.standing();
    FleetKeys {
        nodes: watch.nodes().len(),
        lacks: matches!(standing, Standing::Lacks(_)),
        seals_with_another: standing != Standing::Agrees,
    }
}

/// The same of certificates that are ordered.
fn ordered(desk: &Desk, now: UnixMillis) -> Vec<Ordered> {
    const DAY_SECS: u64 = 24 * 3600;
    let one = |standing: CertificateStanding| Ordered {
        domain: standing.names.into_iter().next().unwrap_or_default(),
        days_left: standing.not_after.map_or(0, |end| end.since(now).as_secs() / DAY_SECS),
        failures: standing.failures,
    };
    desk.standings().into_iter().map(one).collect()
}

/// The same of the gate's.
fn connections(counts: listen::gate::Counts) -> Connections {
    Connections {
        open: counts.open as u64,
        accepted: counts.accepted,
        refused: counts.refused,
        handshakes_failed: counts.handshakes_failed,
    }
}
