//! The configuration in force, and how another one takes its place.
//!
//! What can't change while the process runs stays what it was, and is named. A configuration that can't be
//! used changes nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};

use super::fixed::Fixed;
use super::generation::{self, Generation};
use super::pid_file::PidFile;
use super::tended::Tended;
use crate::config::{Config, SourceText};
use crate::downstream::Services;
use crate::listen::succession::Predecessor;
use crate::listen::watch::Watch;
use crate::listen::{self, Change, Gate, Inherited, Listener, tls};
use crate::proxy::service::Proxy;
use crate::proxy::shared::{Lasting, Shared};
use crate::store::SharedStore;
use crate::telemetry::log_writer::LogWriter;
use crate::upstream::way::Pool;

/// Reads the configuration again.
pub type Source = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// Idle connections to workers that each runtime keeps, over all upstreams.
const KEEPALIVE: usize = 512;

/// The configuration in force.
pub(super) struct InForce {
    /// As all who are no request read it.
    pub shared: Arc<ArcSwap<Shared>>,
    pub lasting: Arc<Lasting>,
    pub store: SharedStore,
    pub gate: Arc<Gate>,
    pub engine: &'static str,
    /// What it was read from.
    pub text: ArcSwap<SourceText>,
    /// What listeners show, with their addresses.
    pub shown: ArcSwap<Vec<(String, Arc<tls::Store>)>>,
    certificates: Mutex<Watch>,
    watches_certificates: AtomicBool,
    drain_millis: AtomicU64,
    fixed: Fixed,
    source: Option<Source>,
    pub pid: PidFile,
    /// Whose place this process takes.
    pub predecessor: Option<Predecessor>,
    /// The admin listener's socket.
    admin: Option<OwnedFd>,
    /// It drains, or has ended.
    ends: AtomicBool,
    /// Another process takes this one's place.
    succeeded: watch::Sender<bool>,
    /// Held by whoever changes something.
    state: Arc<tokio::sync::Mutex<State>>,
}

struct State {
    generation: Generation,
    workers: Vec<AtWork>,
    /// Nothing is accepted for the moment.
    rests: bool,
    tended: Tended,
    /// Logs of earlier configurations, to which requests that are under way may still write.
    retired: Vec<Arc<LogWriter>>,
}

/// A worker runtime, as it is told of another configuration.
pub(super) struct AtWork {
    pub services: Arc<Services<Proxy>>,
    pub limits: Arc<ArcSwap<listen::Limits>>,
    pub changes: mpsc::UnboundedSender<Change>,
    /// When it last did something.
    pub beat: Arc<Mutex<Instant>>,
}

impl InForce {
    pub fn new(
        config: &Config,
        generation: Generation,
        lasting: Arc<Lasting>,
        store: SharedStore,
        gate: Arc<Gate>,
    ) -> Self {
        let this = Self {
            shared: Arc::new(ArcSwap::new(generation.shared.clone())),
            lasting,
            store,
            gate,
            engine: config.store.engine(),
            text: ArcSwap::default(),
            shown: ArcSwap::from_pointee(shown(&generation.listeners)),
            certificates: Mutex::new(Watch::new(&generation.listeners)),
            watches_certificates: AtomicBool::new(false),
            drain_millis: AtomicU64::new(0),
            fixed: Fixed::of(config),
            source: None,
            pid: PidFile::new(config.pid.clone()),
            predecessor: None,
            admin: None,
            ends: AtomicBool::new(false),
            succeeded: watch::Sender::new(false),
            state: Arc::new(tokio::sync::Mutex::new(State {
                generation,
                workers: Vec::new(),
                rests: false,
                tended: Tended::default(),
                retired: Vec::new(),
            })),
        };
        this.note(config);
        this
    }

    /// Says where the configuration is read again.
    pub fn set_source(&mut self, source: Source) {
        self.source = Some(source);
    }

    /// Says which socket the admin listener has.
    pub fn set_admin(&mut self, socket: BorrowedFd<'_>) {
        self.admin = socket.try_clone_to_owned().ok();
    }

    /// Begins to be succeeded, unless it is already.
    pub fn begins_succession(&self) -> bool {
        self.succeeded.send_if_modified(|succeeded| !std::mem::replace(succeeded, true))
    }

    pub fn goes_on_alone(&self) {
        self.succeeded.send_replace(false);
    }

    pub fn is_succeeded(&self) -> bool {
        *self.succeeded.borrow()
    }

    pub fn ends(&self) -> bool {
        self.ends.load(Relaxed)
    }

    /// Waits until it is succeeded, or until it is not any more.
    pub async fn comes_to(&self, succeeded: bool) {
        let mut is_succeeded = self.succeeded.subscribe();
        // It ends with this.
        let _ = is_succeeded.wait_for(|is| *is == succeeded).await;
    }

    /// All sockets, for another process; each with whether it was bound by us.
    ///
    /// # Errors
    /// The system's, usually that too many files are open.
    pub async fn sockets(&self) -> io::Result<Vec<(OwnedFd, bool)>> {
        let state = self.state.lock().await;
        let admin = self.admin.iter().map(|socket| Ok((socket.try_clone()?, false)));
        state.generation.listeners.iter().map(Listener::handle).chain(admin).collect()
    }

    /// Accepts nothing for the moment: another process does. Connections end with the requests that they
    /// have.
    pub async fn rest(&self) {
        let state = &mut *self.state.lock().await;
        state.rests = true;
        for worker in &state.workers {
            // A worker that drains has no listeners any more.
            let _ =
                worker.changes.send(Change { listeners: Vec::new(), done: oneshot::channel().0 });
        }
    }

    /// Accepts again, where it did not.
    pub async fn accept_again(&self) {
        let state = &mut *self.state.lock().await;
        if !std::mem::take(&mut state.rests) {
            return;
        }
        for worker in &state.workers {
            let listeners = state.generation.listeners.iter().map(Listener::try_clone);
            match listeners.collect() {
                Ok(listeners) => {
                    let _ = worker.changes.send(Change { listeners, done: oneshot::channel().0 });
                }
                Err(error) => tracing::error!(%error, "a worker does not accept"),
            }
        }
    }

    /// Whether every worker runtime has done something within this time.
    pub async fn is_alive(&self, within: Duration) -> bool {
        let state = self.state.lock().await;
        let is_alive = |worker: &AtWork| {
            worker.beat.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < within
        };
        state.workers.iter().all(is_alive)
    }

    /// Whether nobody else has the sockets: files go with them then.
    fn removes_files(&self) -> bool {
        !self.is_succeeded() && !self.predecessor.as_ref().is_some_and(Predecessor::is_there)
    }

    pub fn watches_certificates(&self) -> bool {
        self.watches_certificates.load(Relaxed)
    }

    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_millis.load(Relaxed))
    }

    /// Where the listeners are, in the order of the configuration.
    pub async fn addresses(&self) -> Vec<SocketAddr> {
        let state = self.state.lock().await;
        state.generation.listeners.iter().filter_map(|listener| listener.address().tcp()).collect()
    }

    /// What a worker runtime begins with.
    pub async fn service(&self) -> (Proxy, listen::Limits, io::Result<Vec<Listener>>) {
        let state = self.state.lock().await;
        let Generation { shared, ways, listeners, limits, .. } = &state.generation;
        let pool = Arc::new(Pool::new(ways.clone(), KEEPALIVE));
        let service = proxy(shared, pool, limits);
        (service, *limits, listeners.iter().map(Listener::try_clone).collect())
    }

    /// Tells it of other configurations from now on.
    pub async fn joined(&self, worker: AtWork) {
        self.state.lock().await.workers.push(worker);
    }

    /// Looks after the endpoints. To be called once, before anything is served.
    pub async fn tend(&self) {
        let State { generation, tended, .. } = &mut *self.state.lock().await;
        tended.begin(generation).await;
        generation.orders.begin(&self.lasting.desk);
    }

    /// Lets go of the sockets: whoever waits at them is served by the workers, who have their own.
    pub async fn close_listeners(&self) {
        self.ends.store(true, Relaxed);
        let mut state = self.state.lock().await;
        let removes = self.removes_files();
        state.generation.listeners.drain(..).filter(|_| removes).for_each(|it| remove_file(&it));
    }

    /// Says where connections are taken.
    pub async fn tell_listening(&self) {
        for listener in &self.state.lock().await.generation.listeners {
            tracing::info!(address = %listener.address(), "listening");
        }
    }

    /// Reads certificates again that have changed.
    pub fn look_at_certificates(&self) {
        let mut certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        certificates.look(self.lasting.clock.now());
    }

    /// Opens the files of all logs anew.
    pub async fn reopen_logs(&self) {
        let state = self.state.lock().await;
        state.retired.iter().for_each(|log| log.reopen());
        state.generation.shared.log_writer.reopen();
    }

    /// Writes what waits for the logs, once.
    pub async fn finish_logs(&self) {
        let state = self.state.lock().await;
        state.retired.iter().for_each(|log| log.finish());
        state.generation.shared.log_writer.finish();
    }

    /// Reads everything again, and puts it in force. What stays what it was is returned.
    ///
    /// # Errors
    /// What is wrong: nothing has changed.
    pub async fn reload(self: &Arc<Self>) -> Result<Vec<&'static str>, String> {
        if self.source.is_none() {
            self.read_secrets();
            return Ok(Vec::new());
        }
        let this = self.clone();
        let read = move || this.source.as_ref().map_or_else(|| Err(String::new()), |read| read());
        let read = tokio::task::spawn_blocking(read).await;
        let config = read.map_err(|_| "reading it failed".to_owned())??;
        self.put_in_force(config).await
    }

    /// The key ring, the certificates and the store's credentials.
    fn read_secrets(&self) {
        self.read_ring();
        let mut certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        certificates.reload(self.lasting.clock.now());
        let store = self.store.clone();
        tokio::spawn(async move { store.reload().await });
    }

    fn read_ring(&self) {
        match self.lasting.ring.reload() {
            Ok(()) => {
                let ring = self.lasting.ring.current();
                tracing::info!(
                    seals = %ring.sealing().id(),
                    accepts = ?ring.in_use().skip(1).map(|key| key.id()).collect::<Vec<_>>(),
                    "the key ring was read again"
                );
            }
            Err(error) => {
                tracing::error!(%error, "the key ring was not read again; the old one stays");
            }
        }
    }

    /// Puts a configuration in force. What stays what it was is returned.
    ///
    /// # Errors
    /// What is wrong: nothing has changed.
    pub async fn put_in_force(
        self: &Arc<Self>,
        config: Config,
    ) -> Result<Vec<&'static str>, String> {
        let state = self.state.clone().lock_owned().await;
        let this = self.clone();
        // Files are read: a disk may be slow.
        let made = tokio::task::spawn_blocking(move || {
            let made = this.make(&config, &state.generation);
            (config, state, made)
        });
        let (config, mut state, made) =
            made.await.map_err(|_| "making it work failed".to_owned())?;
        let generation = made?;
        state.tended.begin(&generation).await;
        self.replace(&config, generation, state).await?;
        Ok(self.fixed.differ(&Fixed::of(&config)))
    }

    fn make(&self, config: &Config, before: &Generation) -> Result<Generation, String> {
        if !config.sessions.is_empty() || !config.orders.is_empty() {
            self.lasting
                .ring
                .keep_at(&config.keyring)
                .map_err(|error| format!("keyring: {error}"))?;
        }
        config.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
        let made = Generation::make(config, &self.lasting, Some(before), &mut Inherited::default());
        made.map_err(|error| error.to_string())
    }

    /// The moment itself.
    async fn replace(
        &self,
        config: &Config,
        generation: Generation,
        mut state: OwnedMutexGuard<State>,
    ) -> Result<(), String> {
        let sockets = |_: &AtWork| -> io::Result<Vec<Listener>> {
            generation.listeners.iter().map(Listener::try_clone).collect()
        };
        let sockets = state.workers.iter().map(sockets).collect::<io::Result<Vec<_>>>();
        let sockets = sockets.map_err(|error| format!("its listeners: {error}"))?;
        self.note(config);
        self.shared.store(generation.shared.clone());
        let mut answers = Vec::new();
        for (worker, listeners) in state.workers.iter().zip(sockets) {
            let pool = worker.services.begin().pool.succeeding(generation.ways.clone());
            let service = proxy(&generation.shared, Arc::new(pool), &generation.limits);
            worker.services.replace(service);
            worker.limits.store(Arc::new(generation.limits));
            let (done, answer) = oneshot::channel();
            // A worker that drains has no listeners any more.
            let _ = worker.changes.send(Change { listeners, done });
            answers.push(answer);
        }
        for answer in answers {
            if let Ok(Err(error)) = answer.await {
                tracing::error!(%error, "a worker could not take the new listeners");
            }
        }
        self.shown.store(Arc::new(shown(&generation.listeners)));
        let certificates = Watch::new(&generation.listeners);
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = certificates;
        let before = std::mem::replace(&mut state.generation, generation);
        state.rests = false;
        state.generation.orders.begin(&self.lasting.desk);
        state.forget(before, self.removes_files());
        self.read_ring();
        let store = self.store.clone();
        tokio::spawn(async move { store.reload().await });
        Ok(())
    }

    /// What is no part of a generation.
    fn note(&self, config: &Config) {
        let Config { limits, .. } = config;
        self.text.store(Arc::new(config.source.clone()));
        let longest = config.sessions.iter().map(|policy| policy.timeouts.absolute).max();
        self.lasting.records.keep_epochs(longest.unwrap_or_default());
        self.lasting.namespaces.store(Arc::new(generation::namespaces(config)));
        self.lasting.buffers.set_limits(limits.buffered_bytes, limits.spooled_bytes);
        self.gate.set_limits(limits.connections, limits.connections_per_client);
        self.watches_certificates.store(config.watch_certificates, Relaxed);
        let drain = u64::try_from(config.drain_timeout.as_millis()).unwrap_or(u64::MAX);
        self.drain_millis.store(drain, Relaxed);
    }
}

impl State {
    /// Lets go of what only the configuration before had.
    fn forget(&mut self, before: Generation, removes_files: bool) {
        let is_bound = |file: &PathBuf| {
            self.generation.listeners.iter().any(|listener| listener.file() == Some(file))
        };
        for listener in &before.listeners {
            let is_over = listener.file().is_some_and(|file| !is_bound(&file.to_owned()));
            if is_over && removes_files {
                remove_file(listener);
            }
        }
        self.tended.keep(&self.generation);
        if !Arc::ptr_eq(&before.shared.log_writer, &self.generation.shared.log_writer) {
            self.retired.push(before.shared.log_writer.clone());
        }
        drop(before);
        // Those that no request has any more. It may take a moment, and a disk.
        let over: Vec<_> = self.retired.extract_if(.., |log| Arc::strong_count(log) == 1).collect();
        if !over.is_empty() {
            tokio::task::spawn_blocking(move || over.iter().for_each(|log| log.finish()));
        }
    }
}

/// The certificates of listeners.
fn shown(listeners: &[Listener]) -> Vec<(String, Arc<tls::Store>)> {
    let with_tls = listeners.iter().filter_map(|one| Some((one.address(), one.tls()?)));
    with_tls.map(|(address, store)| (address.to_string(), store.clone())).collect()
}

fn proxy(shared: &Arc<Shared>, pool: Arc<Pool>, limits: &listen::Limits) -> Proxy {
    Proxy {
        shared: shared.clone(),
        pool,
        send_timeout: limits.send_timeout,
        body_timeout: limits.body_timeout,
    }
}

fn remove_file(listener: &Listener) {
    if let Some(file) = listener.file() {
        // Somebody else may have.
        let _ = std::fs::remove_file(file);
    }
}
