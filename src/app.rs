//! A configuration made to run: `App::build`, then `App::run`. `main` and the tests use the same.
//!
//! The control runtime lives on the thread that runs the app: signals, drain, admin listener, SQL
//! store. Each worker is a thread with a `current_thread` runtime and an `HttpProxy` of its own.

use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::admin;
use crate::clock::Clock;
use crate::config::Config;
use crate::crypto::keyring::Keyring;
use crate::crypto::ring_source::RingSource;
use crate::listen::{self, Inherited, Limits, Listener, Shutdown};
use crate::proxy::hooks::Proxy;
use crate::proxy::logging::refused;
use crate::proxy::serve::{UpstreamPool, Worker};
use crate::proxy::settings::{Require, Route};
use crate::proxy::shared::{Shared, Upstream};
use crate::proxy::upstream_peer::peers;
use crate::routing::table::{RouteEntry, ServerEntry, Table};
use crate::store::health::Health;
use crate::store::records::Records;
use crate::store::{self, SharedStore};
use crate::telemetry::audit::{self, StoreState};
use crate::telemetry::metrics::{Connections, Metrics};
use crate::upstream::group::Group;

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
    admin: Option<admin::Listener>,
    store: SharedStore,
    shared: Arc<Shared>,
    workers: usize,
    limits: Limits,
    gate: Arc<listen::Gate>,
    drain_timeout: std::time::Duration,
}

impl App {
    /// Builds an app. `clock` is the system's, or one that a test moves.
    ///
    /// # Errors
    /// Everything that keeps it from running: a port that is taken, a key ring or certificate that
    /// can't be read, a store that can't be opened.
    pub fn build(config: Config, clock: Clock) -> Result<Self, BuildError> {
        listen::tls::install_provider();
        for notice in &config.notices {
            tracing::warn!("{notice}");
        }
        let control = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| BuildError::one(format!("the control runtime: {error}")))?;
        let opened = {
            let _in = control.enter();
            listen::open(&config.listeners, &mut Inherited::from_environment(), clock.now())
                .map_err(|errors| BuildError(errors.iter().map(ToString::to_string).collect()))?
        };
        for warning in &opened.warnings {
            tracing::warn!("{warning}");
        }
        let admin = match &config.admin {
            Some(settings) => Some(admin::bind(settings).map_err(BuildError::one)?),
            None => None,
        };
        let ring = Arc::new(open_ring(&config, &clock)?);
        let store =
            control.block_on(store::open(&config.store, clock.clone())).map_err(BuildError::one)?;
        let records = Records::new(store.clone(), ring.clone());
        let metrics = Arc::new(Metrics::new());
        let gate = listen::Gate::new(config.limits.connections);
        let counted = gate.clone();
        metrics.watch_connections(move || connections(counted.counts()));
        let upstreams = config
            .upstreams
            .iter()
            .map(|settings| {
                Ok(Upstream {
                    peers: peers(settings).map_err(|error| {
                        BuildError::one(format!("upstream {}: {error}", settings.name))
                    })?,
                    metrics: metrics.upstream(&settings.name),
                    group: Arc::new(Group::new(settings.clone())),
                })
            })
            .collect::<Result<Vec<_>, BuildError>>()?;
        let shared = Shared {
            clock,
            table: table(&config)?,
            upstreams,
            tickets: config.sessions.iter().map(|policy| policy.cookie.name.clone()).collect(),
            cookies: config.cookies.clone(),
            trusted: config.trusted_proxies.clone(),
            insecure_cookies: config.insecure_cookies,
            ring,
            records,
            gates: Arc::default(),
            limiter: crate::proxy::limit::Limiter::default(),
            metrics,
            access_log: config.log.access,
        };
        Ok(Self {
            control,
            listeners: opened.listeners,
            admin,
            store,
            shared: Arc::new(shared),
            workers: config.workers.max(1),
            limits: config.limits,
            gate,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Where the listeners are, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::address).collect()
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
        let (orders, ordered) = watch::channel(Shutdown::Running);
        let heard = {
            let _in = self.control.enter();
            hear().map_err(|error| BuildError::one(format!("signals can't be heard: {error}")))?
        };
        self.control.spawn(obey_signals(heard, orders));
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
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || self.obey(ordered))?;
        Ok(Running { orders, thread: Some(thread), addresses, admin, shared })
    }

    fn obey(self, ordered: watch::Receiver<Shutdown>) -> Result<(), BuildError> {
        let Self { control, listeners, admin, store, shared, workers, limits, gate, drain_timeout } =
            self;
        control.block_on(async move {
            let (command, commanded) = watch::channel(Shutdown::Running);
            let (ended, mut ends) = mpsc::unbounded_channel();
            let is_ready = Arc::new(AtomicBool::new(false));
            store.start().await;
            if let Some(listener) = admin {
                let state = admin_state(&shared, &store, &is_ready);
                tokio::spawn(async move {
                    if let Err(error) = admin::serve(listener, state, std::future::pending()).await
                    {
                        tracing::error!(%error, "the admin listener failed");
                    }
                });
            }
            tokio::spawn(watch_store(shared.clone(), store.clone()));
            for number in 0..workers {
                let sockets = listeners.iter().map(Listener::try_clone).collect::<Result<_, _>>();
                let sockets: Vec<Listener> = sockets.map_err(BuildError::one)?;
                let context = listen::Context::new(limits, gate.clone());
                let draining = context.registry.draining();
                let service = Proxy { shared: shared.clone(), limits, draining };
                let log = shared.clone();
                let worker = Worker::new(service, &UpstreamPool::default(), context)
                    .on_refused(Arc::new(move |info, status| refused(&log, info, status)));
                let (store, commanded) = (store.clone(), commanded.clone());
                let ended = ended.clone();
                std::thread::Builder::new()
                    .name(format!("worker-{number}"))
                    .spawn(move || {
                        let work = || work(worker, sockets, &store, commanded);
                        let outcome = std::panic::catch_unwind(AssertUnwindSafe(work))
                            .unwrap_or_else(|_| Err(std::io::Error::other("it panicked")));
                        // Nobody listens any more once the app has stopped.
                        let _ = ended.send(outcome);
                    })
                    .map_err(BuildError::one)?;
            }
            drop(ended);
            drop(commanded);
            for listener in &listeners {
                tracing::info!(address = %listener.address(), "listening");
            }
            // The workers hold sockets of their own: closing theirs closes the listener.
            drop(listeners);
            is_ready.store(true, Ordering::Release);
            notify(&[sd_notify::NotifyState::Ready]);
            let outcome =
                control_loop(ordered, &command, &mut ends, &is_ready, drain_timeout).await;
            command.send_replace(Shutdown::Stopped);
            while ends.recv().await.is_some() {}
            outcome
        })
    }
}

/// Waits for orders, passes them on, and watches over the workers.
async fn control_loop(
    mut ordered: watch::Receiver<Shutdown>,
    command: &watch::Sender<Shutdown>,
    ends: &mut mpsc::UnboundedReceiver<std::io::Result<()>>,
    is_ready: &AtomicBool,
    drain_timeout: std::time::Duration,
) -> Result<(), BuildError> {
    tokio::select! {
        order = ordered.wait_for(|order| *order != Shutdown::Running) => {
            if order.is_ok_and(|order| *order == Shutdown::Stopped) {
                return Ok(());
            }
        }
        ended = ends.recv() => {
            let why = match ended {
                Some(Err(error)) => error.to_string(),
                Some(Ok(())) | None => "it returned".to_owned(),
            };
            return Err(BuildError::one(format!("a worker ended by itself: {why}")));
        }
    }
    is_ready.store(false, Ordering::Release);
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("draining");
    command.send_replace(Shutdown::Draining);
    let drained = async { while ends.recv().await.is_some() {} };
    tokio::select! {
        () = drained => tracing::info!("drained"),
        _ = ordered.wait_for(|order| *order == Shutdown::Stopped) => {
            tracing::warn!("told to stop while draining");
        }
        () = tokio::time::sleep(drain_timeout) => {
            tracing::warn!("the drain took too long; what is left is cut");
        }
    }
    Ok(())
}

fn work(
    worker: Worker<Proxy>,
    listeners: Vec<Listener>,
    store: &SharedStore,
    commanded: watch::Receiver<Shutdown>,
) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        store.start().await;
        worker.run(listeners, commanded).await
    })
}

/// The signals that mean something, with nginx's meaning where there is one.
const SIGNALS: [fn() -> SignalKind; 6] = [
    SignalKind::quit,
    SignalKind::terminate,
    SignalKind::interrupt,
    SignalKind::hangup,
    SignalKind::user_defined1,
    SignalKind::user_defined2,
];

/// Takes the signals over. From here on none of them ends the process by itself, so this comes
/// before anybody is told that it is ready.
fn hear() -> std::io::Result<Vec<Signal>> {
    SIGNALS.iter().map(|kind| signal(kind())).collect()
}

/// Turns signals into orders: QUIT drains, TERM and INT stop at once.
async fn obey_signals(mut heard: Vec<Signal>, orders: watch::Sender<Shutdown>) {
    let [quit, terminate, interrupt, hangup, user1, user2] = &mut heard[..] else {
        unreachable!("one stream for each of SIGNALS")
    };
    loop {
        tokio::select! {
            _ = quit.recv() => { orders.send_replace(Shutdown::Draining); }
            _ = terminate.recv() => { orders.send_replace(Shutdown::Stopped); }
            _ = interrupt.recv() => { orders.send_replace(Shutdown::Stopped); }
            _ = hangup.recv() => tracing::warn!("HUP ignored: reload is not built yet"),
            _ = user1.recv() => tracing::warn!("USR1 ignored: logs go to standard error"),
            _ = user2.recv() => tracing::warn!("USR2 ignored: upgrade is not built yet"),
        }
    }
}

/// An app that runs on a thread of its own.
pub struct Running {
    orders: watch::Sender<Shutdown>,
    thread: Option<JoinHandle<Result<(), BuildError>>>,
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    shared: Arc<Shared>,
}

impl Running {
    /// Where the listeners are, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin listener is, if it is on TCP.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What the app counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Lets requests finish and waits for the end.
    ///
    /// # Errors
    /// As [`App::run`].
    pub fn drain(mut self) -> Result<(), BuildError> {
        self.end(Shutdown::Draining)
    }

    /// Stops at once and waits for the end.
    ///
    /// # Errors
    /// As [`App::run`].
    pub fn stop(mut self) -> Result<(), BuildError> {
        self.end(Shutdown::Stopped)
    }

    fn end(&mut self, order: Shutdown) -> Result<(), BuildError> {
        self.orders.send_replace(order);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(BuildError::one("the control thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end(Shutdown::Stopped) {
            tracing::error!(%error, "the app ended badly");
        }
    }
}

/// Reads the key ring; one in the state directory is made if it is not there.
fn open_ring(config: &Config, clock: &Clock) -> Result<RingSource, BuildError> {
    let path = &config.keyring;
    if config.may_make_keyring() && !path.exists() {
        let ring = Keyring::generate(clock.now()).map_err(BuildError::one)?;
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

fn table(config: &Config) -> Result<Table<Arc<Route>>, BuildError> {
    let route = |route: &Route| RouteEntry {
        prefix: route.path.clone(),
        folded: route.require == Require::Login && !route.exact,
        payload: Arc::new(route.clone()),
    };
    let servers = config.servers.iter().map(|server| ServerEntry {
        names: server.names.clone(),
        routes: server.routes.iter().map(route).collect(),
    });
    Table::build(servers.collect())
        .map_err(|mistakes| BuildError(mistakes.iter().map(ToString::to_string).collect()))
}

/// Writes an outage of the store, and its end, to the audit trail.
async fn watch_store(shared: Arc<Shared>, store: SharedStore) {
    let mut health = store.health();
    loop {
        let state = match *health.borrow_and_update() {
            Health::Starting => None,
            Health::Up => Some((StoreState::Up, "it answers")),
            Health::Down => Some((StoreState::Down, "it does not answer")),
        };
        if let Some((state, reason)) = state {
            audit::store(&shared.metrics, state, "sessions", &reason);
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// The gate's counts as metrics want them: neither module knows the other.
fn connections(counts: listen::gate::Counts) -> Connections {
    Connections {
        open: counts.open as u64,
        accepted: counts.accepted,
        refused: counts.refused,
        handshakes_failed: counts.handshakes_failed,
    }
}

fn admin_state(
    shared: &Arc<Shared>,
    store: &SharedStore,
    is_ready: &Arc<AtomicBool>,
) -> admin::State {
    let (health, is_ready) = (store.health(), is_ready.clone());
    let readiness = move || {
        let mut reasons = Vec::new();
        if !is_ready.load(Ordering::Acquire) {
            reasons.push("starting or draining".to_owned());
        }
        if *health.borrow() == Health::Down {
            reasons.push("the store does not answer".to_owned());
        }
        admin::Readiness { ready: reasons.is_empty(), reasons }
    };
    admin::State { metrics: shared.metrics.clone(), readiness: Arc::new(readiness) }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
