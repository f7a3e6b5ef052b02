//! A configuration made to run: `App::build`, then `App::run`. `main` and the tests use the same.
//!
//! The control runtime lives on the thread that runs the app: signals, drain, admin listener, SQL
//! store. Each worker is a thread with a `current_thread` runtime and connections to workers of its own.

mod control;
mod running;
mod signals;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::admin;
use crate::clock::Clock;
use crate::config::Config;
use crate::crypto::keyring::Keyring;
use crate::crypto::ring_source::RingSource;
use crate::listen::watch::Watch;
use crate::listen::{self, Inherited, Limits, Listener, Outside, Shutdown};
use crate::proxy::buffers::Buffers;
use crate::proxy::guards::basic::Passwords;
use crate::proxy::guards::limits::Zone;
use crate::proxy::mass_logout::Guards;
use crate::proxy::replaced_seals::ReplacedSeals;
use crate::proxy::settings::{Route, Server};
use crate::proxy::shared::{ELSEWHERE, ServerFacts, Shared, Upstream};
use crate::proxy::sticky::Sticky;
use crate::proxy::successions::Successions;
use crate::proxy::ticket_cache::TicketCache;
use crate::proxy::touches::Touches;
use crate::routing::host::Host;
use crate::routing::table::{RouteEntry, ServerEntry, Table};
use crate::store::cache::CacheStats;
use crate::store::key_watch::KeyWatch;
use crate::store::node_keys::Standing;
use crate::store::records::Records;
use crate::store::throttle::Throttle;
use crate::store::{self, SharedStore};
use crate::telemetry::error_log;
use crate::telemetry::log_writer::LogWriter;
use crate::telemetry::metrics::{CacheCounts, Connections, FleetKeys, Metrics, StoreCounts};
use crate::upstream::group::Group;
use crate::upstream::names::Resolver;
use crate::upstream::way::Ways;

pub use self::running::Running;

/// Why an app could not be built: everything that was found, one line each.
#[derive(Debug)]
pub struct BuildError(Vec<String>);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for BuildError {}

impl BuildError {
    fn one(error: impl fmt::Display) -> Self {
        Self(vec![error.to_string()])
    }
}

/// Built: sockets bound, certificates and keys read, the store open; nothing accepted yet.
pub struct App {
    control: Runtime,
    listeners: Vec<Listener>,
    certificates: Arc<Mutex<Watch>>,
    watch_certificates: bool,
    admin: Option<admin::Listener>,
    store: SharedStore,
    keys: Arc<KeyWatch>,
    shared: Arc<Shared>,
    ways: Arc<Ways>,
    workers: usize,
    limits: Limits,
    gate: Arc<listen::Gate>,
    drain_timeout: std::time::Duration,
    serving: Option<Box<dyn FnOnce() -> Result<(), String> + Send>>,
}

impl App {
    /// Builds an app. `clock` is the system's, or one that a test moves.
    ///
    /// # Errors
    /// Everything that keeps it from running: a port that is taken, a key ring or certificate that
    /// can't be read, a store that can't be opened.
    pub fn build(config: Config, clock: Clock) -> Result<Self, BuildError> {
        Self::build_with(config, clock, Inherited::from_environment())
    }

    /// The same, with sockets that are bound already.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with(
        config: Config,
        clock: Clock,
        mut inherited: Inherited,
    ) -> Result<Self, BuildError> {
        listen::tls::install_provider();
        for notice in &config.notices {
            tracing::warn!("{notice}");
        }
        let control = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| BuildError::one(format!("the control runtime: {error}")))?;
        let mut servers: Vec<_> = config.servers.iter().map(server_facts).collect();
        note_head_limits(&mut servers);
        let table = Arc::new(table(&config.servers, &servers)?);
        let ring = Arc::new(open_ring(&config, &clock)?);
        let outside = Outside {
            choose: choose_server(&table),
            secrets: ticket_secrets(&ring),
            ordered: Arc::default(),
        };
        let opened = {
            let _in = control.enter();
            listen::open(&config.listeners, &mut inherited, &outside, clock.now())
                .map_err(|errors| BuildError(errors.iter().map(ToString::to_string).collect()))?
        };
        let certificates = Arc::new(Mutex::new(Watch::new(&opened.listeners)));
        for warning in &opened.warnings {
            tracing::warn!("{warning}");
        }
        let admin = match &config.admin {
            Some(settings) => Some(admin::bind(settings).map_err(BuildError::one)?),
            None => None,
        };
        let options = store::Options { lease: config.cache.lease };
        let store = control
            .block_on(store::open(&config.store, &options, clock.clone()))
            .map_err(BuildError::one)?;
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
        let keys = Arc::new(KeyWatch::new(store.clone(), ring.clone(), clock.clone()));
        let watched = keys.clone();
        metrics.watch_fleet(move || fleet_keys(&watched));
        let gate =
            listen::Gate::new(config.limits.connections, config.limits.connections_per_client);
        let counted = gate.clone();
        metrics.watch_connections(move || connections(counted.counts()));
        let buffers = Buffers::new(config.limits.buffered_bytes, config.limits.spooled_bytes);
        let counted = buffers.clone();
        metrics.watch_buffers(move || counted.bytes() as u64);
        let upstreams = config
            .upstreams
            .iter()
            .zip(config.hash_keys.iter().zip(&config.sticky))
            .map(|(settings, (hash_key, sticky))| Upstream {
                sticky: sticky.clone().map(|sticky| Arc::new(Sticky::new(sticky))),
                hash_key: hash_key.clone(),
                metrics: metrics.upstream(&settings.name),
                group: Arc::new(Group::new(settings.clone())),
                failovers: Throttle::default(),
            })
            .collect();
        let ways = Arc::new(Ways::new(&config.upstreams).map_err(BuildError::one)?);
        let resolvers = config.resolvers.iter();
        let resolvers = resolvers.map(|it| Arc::new(Resolver::new(it.clone(), clock.clone())));
        let shared = Shared {
            resolvers: resolvers.collect(),
            clock,
            table,
            upstreams,
            tickets: config
                .sessions
                .iter()
                .filter(|policy| policy.has_tickets())
                .map(|policy| policy.cookie.name.clone())
                .collect(),
            cookies: config.cookies.clone(),
            trusted: config.trusted_proxies.clone(),
            insecure_cookies: config.insecure_cookies,
            namespaces: namespaces(&config),
            elsewhere: match config.store {
                store::StoreSettings::Memory => Duration::ZERO,
                _ => ELSEWHERE,
            },
            ring,
            opened: TicketCache::default(),
            replaced_seals: ReplacedSeals::default(),
            records,
            gates: Arc::default(),
            successions: Successions::default(),
            merges: Arc::default(),
            touches: Arc::new(Touches::new(rand::random())),
            streams: Arc::default(),
            limiter: crate::proxy::limit::Limiter::default(),
            passwords: Passwords::default(),
            limit_zones: config.limit_zones.iter().map(Zone::new).collect(),
            guards: Guards::new(&config.sessions, &metrics),
            metrics,
            findings: crate::telemetry::findings::Findings::default(),
            outages: Throttle::default(),
            unread_logins: Throttle::default(),
            buffers,
            access_log: config.log.access,
            log_writer: LogWriter::open(config.log_sinks).map_err(BuildError::one)?,
            variables: config.variables,
            policies: config.sessions.clone(),
            field_names_vary: field_names_vary(&servers),
            servers,
        };
        Ok(Self {
            control,
            listeners: opened.listeners,
            certificates,
            watch_certificates: config.watch_certificates,
            admin,
            store,
            keys,
            shared: Arc::new(shared),
            ways,
            workers: config.workers.max(1),
            limits: config.limits,
            gate,
            drain_timeout: config.drain_timeout,
            serving: None,
        })
    }

    /// Where the listeners are, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.address().tcp()).collect()
    }

    /// Where the admin listener is, if it is on TCP.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(admin::Listener::local_addr)
    }

    /// Runs until told to stop, or until QUIT (drain), TERM or INT (stop at once) arrives.
    ///
    /// # Errors
    /// Signals can't be heard, a worker could not begin, or one ended by itself.
    pub fn run(self) -> Result<(), BuildError> {
        self.run_and_tell(|| Ok(()))
    }

    /// The same; `serving` is called when connections are taken.
    ///
    /// # Errors
    /// As [`run`](Self::run), and what `serving` says.
    pub fn run_and_tell(
        mut self,
        serving: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), BuildError> {
        self.serving = Some(Box::new(serving));
        let (orders, ordered) = watch::channel(Shutdown::Running);
        let heard = {
            let _in = self.control.enter();
            signals::hear()
                .map_err(|error| BuildError::one(format!("signals can't be heard: {error}")))?
        };
        let reload = self.reload();
        let shared = self.shared.clone();
        let reopen = move || {
            error_log::reopen();
            shared.log_writer.reopen();
        };
        self.control.spawn(signals::obey(heard, orders, move || reload.run(), reopen));
        self.obey(ordered)
    }

    /// Runs on a thread of its own until the returned value is dropped or told to stop; no signal
    /// is heard.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(self) -> std::io::Result<Running> {
        let (orders, ordered) = watch::channel(Shutdown::Running);
        let (addresses, admin) = (self.addresses(), self.admin_address());
        let (shared, reload) = (self.shared.clone(), self.reload());
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || self.obey(ordered))?;
        Ok(Running { orders, thread: Some(thread), addresses, admin, shared, reload })
    }

    fn reload(&self) -> Reload {
        Reload {
            ring: self.shared.ring.clone(),
            certificates: self.certificates.clone(),
            clock: self.shared.clock.clone(),
            store: self.store.clone(),
            control: self.control.handle().clone(),
        }
    }
}

/// What HUP does: reads the key ring and the certificates again, and tries the store's credentials. What else
/// is in the configuration needs a restart.
struct Reload {
    ring: Arc<RingSource>,
    certificates: Arc<Mutex<Watch>>,
    clock: Clock,
    store: SharedStore,
    control: tokio::runtime::Handle,
}

impl Reload {
    fn run(&self) {
        read_ring(&self.ring);
        // A panic in there leaves the old ones in use.
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).reload(self.clock.now());
        let store = self.store.clone();
        self.control.spawn(async move { store.reload().await });
    }
}

fn read_ring(ring: &RingSource) {
    match ring.reload() {
        Ok(()) => {
            let ring = ring.current();
            tracing::info!(
                seals = %ring.sealing().id(),
                accepts = ?ring.in_use().skip(1).map(|key| key.id()).collect::<Vec<_>>(),
                "the key ring was read again; the rest of the configuration needs a restart"
            );
        }
        Err(error) => tracing::error!(%error, "the key ring was not read again; the old one stays"),
    }
}

/// Reads the key ring; one in the state directory is made if it is not there.
fn open_ring(config: &Config, clock: &Clock) -> Result<RingSource, BuildError> {
    let path = &config.keyring;
    if config.may_make_keyring() && !path.exists() {
        let ring = Keyring::generate(clock.now()).map_err(BuildError::one)?;
        if config.sessions.is_empty() {
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

/// The namespaces of users, each once.
fn namespaces(config: &Config) -> Vec<String> {
    let policies = config.sessions.iter().filter(|policy| policy.has_tickets());
    let names: BTreeSet<&str> = policies.map(|policy| policy.users.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

fn table(servers: &[Server], facts: &[ServerFacts]) -> Result<Table<Arc<Route>>, BuildError> {
    let servers = servers.iter().zip(facts).map(|(server, facts)| {
        let is_smaller = |route: &Route| server.routes.iter().any(|o| route.is_smaller_than(o));
        let entry = |route: Arc<Route>| RouteEntry {
            path: route.path.clone(),
            outer: route.outer,
            folded: (route.restricts() || is_smaller(&route)) && !route.exact,
            adds_slash: route.adds_slash(),
            payload: route,
        };
        let routes = server.routes.iter().cloned().map(Arc::new);
        ServerEntry {
            names: server.names.clone(),
            listeners: server.listeners.clone(),
            routes: routes.chain([facts.own.clone()]).map(entry).collect(),
        }
    });
    Table::build(servers.collect())
        .map_err(|mistakes| BuildError(mistakes.iter().map(ToString::to_string).collect()))
}

/// Who asks for a name by TLS gets the certificate of the server that answers for it.
fn choose_server(table: &Arc<Table<Arc<Route>>>) -> listen::ChooseServer {
    let table = table.clone();
    Arc::new(move |listener, name| {
        let host = name.and_then(|name| Host::parse(name.as_bytes()).ok());
        match host {
            Some(host) => Some(table.server(listener, &host).server),
            None => table.default_server(listener),
        }
    })
}

/// Keys of TLS tickets are derived from those of the ring, so that all nodes that share it, and this one
/// after a restart, resume each other's sessions.
fn ticket_secrets(ring: &Arc<RingSource>) -> listen::Secrets {
    let ring = ring.clone();
    Arc::new(move || ring.current().in_use().map(|key| key.tls_secret().clone()).collect())
}

/// What is known of a server beside its routes.
fn server_facts(server: &Server) -> ServerFacts {
    let name = server.names.first().filter(|name| *name != "_");
    // `.a.example` stands for `a.example`, too.
    let name = name.map(|name| name.strip_prefix('.').unwrap_or(name).to_owned());
    ServerFacts {
        name: name.unwrap_or_default(),
        patterns: server.patterns.clone(),
        own: Arc::new(server.own.clone()),
        field_names: server.field_names,
        clients: server.tls.clients.clone(),
        head_limits: server.head_limits,
        keeps_slashes: server.keeps_slashes,
    }
}

fn field_names_vary(servers: &[ServerFacts]) -> bool {
    servers.windows(2).any(|two| two[0].field_names != two[1].field_names)
}

/// Notes whether a head has to be asked whose it is before it is known what it may have.
fn note_head_limits(servers: &mut [ServerFacts]) {
    let varies = servers.windows(2).any(|two| two[0].head_limits != two[1].head_limits);
    for server in servers {
        server.head_limits.varies = varies;
    }
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

/// The same of the gate's.
fn connections(counts: listen::gate::Counts) -> Connections {
    Connections {
        open: counts.open as u64,
        accepted: counts.accepted,
        refused: counts.refused,
        handshakes_failed: counts.handshakes_failed,
    }
}
