//! The control runtime: starts the workers, passes orders on, watches over what runs.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::{App, BuildError};
use crate::admin;
use crate::clock::Clock;
use crate::downstream::Worker;
use crate::listen::watch::Watch;
use crate::listen::{self, Listener, Shutdown};
use crate::proxy::mass_logout;
use crate::proxy::open_streams::look_after;
use crate::proxy::prober;
use crate::proxy::service::Proxy;
use crate::proxy::shared::{Shared, Upstream};
use crate::store::health::Health;
use crate::store::key_watch::{KeyWatch, Progress};
use crate::store::node_keys::Standing;
use crate::store::{CLOCK_SKEW_MAX_MS, SharedStore, era};
use crate::telemetry::audit::{self, StoreState};
use crate::upstream::names::follow::{self, Followed};
use crate::upstream::way::Pool;

/// Idle connections to workers that each runtime keeps, over all upstreams.
const KEEPALIVE: usize = 512;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

impl App {
    /// Serves until told otherwise.
    pub(super) fn obey(self, ordered: watch::Receiver<Shutdown>) -> Result<(), BuildError> {
        let Self {
            control,
            listeners,
            certificates,
            watch_certificates,
            admin,
            store,
            keys,
            shared,
            ways,
            workers,
            limits,
            gate,
            drain_timeout,
            serving,
        } = self;
        control.block_on(async move {
            let (command, commanded) = watch::channel(Shutdown::Running);
            let (ended, mut ends) = mpsc::unbounded_channel();
            let is_ready = Arc::new(AtomicBool::new(false));
            store.start().await;
            shared.records.read_era().await;
            tokio::spawn(era::follow(shared.records.clone()));
            // Once before anybody is told that this node is ready.
            let mut progress = Progress::default();
            keys.look(&mut progress).await;
            let watch = keys.clone();
            let watching = tokio::spawn(async move { watch.run(progress).await });
            if let Some(listener) = admin {
                let state = admin_state(&shared, &store, &keys, &is_ready);
                tokio::spawn(async move {
                    if let Err(error) = admin::serve(listener, state, std::future::pending()).await
                    {
                        tracing::error!(%error, "the admin listener failed");
                    }
                });
            }
            if watch_certificates {
                tokio::spawn(renewed(certificates, shared.clock.clone()));
            }
            tokio::spawn(watch_store(shared.clone(), store.clone()));
            tokio::spawn(mass_logout::sweep(shared.clone()));
            tokio::spawn(look_after(shared.clone()));
            follow::begin(followed(&shared), &shared.clock).await;
            prober::begin(&shared, &ways);
            for number in 0..workers {
                let sockets = listeners.iter().map(Listener::try_clone).collect::<Result<_, _>>();
                let sockets: Vec<Listener> = sockets.map_err(BuildError::one)?;
                let context = listen::Context::new(limits, gate.clone());
                let pool = Arc::new(Pool::new(ways.clone(), KEEPALIVE));
                let service = Proxy {
                    shared: shared.clone(),
                    pool: pool.clone(),
                    send_timeout: limits.send_timeout,
                    body_timeout: limits.body_timeout,
                };
                let worker = Worker::new(service, context);
                let (store, commanded) = (store.clone(), commanded.clone());
                let ended = ended.clone();
                std::thread::Builder::new()
                    .name(format!("worker-{number}"))
                    .spawn(move || {
                        let work = || work(worker, pool, sockets, &store, commanded);
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
            let files: Vec<_> =
                listeners.iter().filter_map(Listener::file).map(Path::to_owned).collect();
            // The workers hold sockets of their own: closing theirs closes the listener.
            drop(listeners);
            is_ready.store(true, Ordering::Release);
            serving.map_or(Ok(()), |serving| serving()).map_err(BuildError::one)?;
            notify(&[sd_notify::NotifyState::Ready]);
            let outcome =
                control_loop(ordered, &command, &mut ends, &is_ready, drain_timeout).await;
            command.send_replace(Shutdown::Stopped);
            while ends.recv().await.is_some() {}
            for file in files {
                let _ = std::fs::remove_file(file);
            }
            // Every request has left its line.
            shared.log_writer.finish();
            watching.abort();
            keys.withdraw().await;
            outcome
        })
    }
}

/// The names of upstreams that are looked up again and again.
fn followed(shared: &Shared) -> Vec<Followed> {
    let of_upstream = |upstream: &Upstream| {
        let group = upstream.group.clone();
        let by = group.settings().resolved_by?;
        let resolver = shared.resolvers.get(by.resolver)?.clone();
        let names = 0..group.settings().names.len();
        Some(
            names.map(move |name| Followed::new(group.clone(), name, resolver.clone(), by.timeout)),
        )
    };
    shared.upstreams.iter().filter_map(of_upstream).flatten().collect()
}

/// Waits for orders, passes them on, and watches over the workers.
async fn control_loop(
    mut ordered: watch::Receiver<Shutdown>,
    command: &watch::Sender<Shutdown>,
    ends: &mut mpsc::UnboundedReceiver<std::io::Result<()>>,
    is_ready: &AtomicBool,
    drain_timeout: Duration,
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
    pool: Arc<Pool>,
    listeners: Vec<Listener>,
    store: &SharedStore,
    commanded: watch::Receiver<Shutdown>,
) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        store.start().await;
        tokio::spawn(sweep(pool));
        worker.run(listeners, commanded).await
    })
}

/// Closes connections to workers that nobody has used for too long.
async fn sweep(pool: Arc<Pool>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        pool.sweep(Instant::now());
    }
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

/// Looks for certificates that were renewed, away from this thread, for a disk may be slow.
async fn renewed(certificates: Arc<Mutex<Watch>>, clock: Clock) {
    const EVERY: Duration = Duration::from_secs(2);
    if certificates.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        return;
    }
    loop {
        tokio::time::sleep(EVERY).await;
        let (certificates, now) = (certificates.clone(), clock.now());
        let look = move || {
            certificates.lock().unwrap_or_else(PoisonError::into_inner).look(now);
        };
        // It fails where the process ends.
        let _ = tokio::task::spawn_blocking(look).await;
    }
}

fn admin_state(
    shared: &Arc<Shared>,
    store: &SharedStore,
    keys: &Arc<KeyWatch>,
    is_ready: &Arc<AtomicBool>,
) -> admin::PagesState {
    let (health, is_ready, store) = (store.health(), is_ready.clone(), store.clone());
    let watch = keys.clone();
    let readiness = move || {
        let mut reasons = Vec::new();
        if !is_ready.load(Ordering::Acquire) {
            reasons.push("starting or draining".to_owned());
        }
        if *health.borrow() == Health::Down {
            reasons.push("the store does not answer".to_owned());
        }
        let standing = watch.standing();
        if let Standing::Lacks(key) = standing {
            reasons.push(format!(
                "this node lacks the key {key}, which most nodes seal with: give it their key ring"
            ));
        }
        let ready = reasons.is_empty();
        // It opens what they seal, and they may not have been told yet.
        if let Standing::SealsWithAnother(key) = standing {
            let own = watch.own().seals;
            reasons.push(format!("this node seals with the key {own}, most nodes with {key}"));
        }
        // Such a node serves, and to take it away would not put its clock right.
        if let Some(ahead_ms) = store.clock_ahead_ms()
            && ahead_ms.unsigned_abs() > CLOCK_SKEW_MAX_MS
        {
            let by = ahead_ms.unsigned_abs() / 1000;
            let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
            reasons.push(format!("the clock of this node is {by} s {way} the store's"));
        }
        admin::Readiness { ready, reasons }
    };
    let sessions = Some(admin::Sessions {
        records: shared.records.clone(),
        clock: shared.clock.clone(),
        namespaces: shared.namespaces.clone(),
    });
    admin::PagesState {
        metrics: shared.metrics.clone(),
        readiness: Arc::new(readiness),
        keys: Some(keys.clone()),
        sessions,
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
