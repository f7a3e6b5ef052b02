//! The control runtime: starts the workers, passes orders on, watches over what runs.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::in_force::{AtWork, InForce};
use super::inside;
use super::notify::{notify, watchdog};
use super::running::{self, Ask};
use super::{App, BuildError, signals};
use crate::admin;
use crate::downstream::{Services, Worker};
use crate::listen::{self, Change, Listener, Shutdown};
use crate::proxy::mass_logout;
use crate::proxy::open_streams::look_after;
use crate::proxy::service::Proxy;
use crate::proxy::shared::Lasting;
use crate::store::health::Health;
use crate::store::key_watch::{KeyWatch, Progress};
use crate::store::node_keys::Standing;
use crate::store::{CLOCK_SKEW_MAX_MS, SharedStore, era};
use crate::telemetry::audit::{self, StoreState};

const SWEEP_EVERY: Duration = Duration::from_secs(1);

impl App {
    /// Serves until told otherwise: by signals, or by who `asks`.
    pub(super) fn obey(
        self,
        ordered: watch::Receiver<Shutdown>,
        signals: Option<(Vec<Signal>, watch::Sender<Shutdown>)>,
        asked: Option<mpsc::UnboundedReceiver<Ask>>,
    ) -> Result<(), BuildError> {
        let Self { control, admin, keys, in_force, workers, serving, .. } = self;
        let in_force = Arc::new(in_force);
        control.block_on(async move {
            let (command, commanded) = watch::channel(Shutdown::Running);
            let (ended, mut ends) = mpsc::unbounded_channel();
            let is_ready = Arc::new(AtomicBool::new(false));
            let (lasting, store) = (in_force.lasting.clone(), in_force.store.clone());
            store.start().await;
            lasting.records.read_era().await;
            tokio::spawn(era::follow(lasting.records.clone()));
            // Once before anybody is told that this node is ready.
            let mut progress = Progress::default();
            keys.look(&mut progress).await;
            let watch = keys.clone();
            let watching = tokio::spawn(async move { watch.run(progress).await });
            if let Some(listener) = admin {
                let mut state = admin_state(&lasting, &store, &keys, &is_ready);
                state.operators = Some(inside::open(in_force.clone(), keys.clone()));
                tokio::spawn(serve_admin(listener, state, in_force.clone()));
            }
            tokio::spawn(renewed(in_force.clone()));
            tokio::spawn(watch_store(lasting.clone(), store.clone()));
            tokio::spawn(mass_logout::sweep(in_force.shared.clone()));
            tokio::spawn(look_after(in_force.shared.clone()));
            let desk = lasting.desk.clone();
            tokio::spawn(async move { desk.follow().await });
            in_force.tend().await;
            for number in 0..workers {
                begin_worker(number, &in_force, &commanded, &ended).await?;
            }
            drop(ended);
            drop(commanded);
            in_force.tell_listening().await;
            if let Some((heard, orders)) = signals {
                tokio::spawn(signals::obey(heard, orders, in_force.clone()));
            }
            if let Some(asked) = asked {
                tokio::spawn(running::answer(asked, in_force.clone()));
            }
            is_ready.store(true, Ordering::Release);
            in_force.pid.write().map_err(BuildError::one)?;
            if let Some(predecessor) = &in_force.predecessor {
                predecessor.relieve();
            }
            serving.map_or(Ok(()), |serving| serving()).map_err(BuildError::one)?;
            notify(&[sd_notify::NotifyState::Ready]);
            tokio::spawn(watchdog(in_force.clone()));
            let outcome = control_loop(ordered, &command, &mut ends, &is_ready, &in_force).await;
            in_force.close_listeners().await;
            command.send_replace(Shutdown::Stopped);
            while ends.recv().await.is_some() {}
            // Every request has left its line.
            in_force.finish_logs().await;
            in_force.pid.remove();
            watching.abort();
            keys.withdraw().await;
            outcome
        })
    }
}

/// Answers operators, unless another process does in this one's place.
async fn serve_admin(listener: admin::Listener, state: admin::PagesState, in_force: Arc<InForce>) {
    loop {
        let own = listener.try_clone();
        let served = match own {
            Ok(own) => admin::serve(own, state.clone(), in_force.comes_to(true)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            return tracing::error!(%error, "the admin listener failed");
        }
        in_force.comes_to(false).await;
    }
}

/// Starts a worker runtime on a thread of its own. How it ends is told.
async fn begin_worker(
    number: usize,
    in_force: &InForce,
    commanded: &watch::Receiver<Shutdown>,
    ended: &mpsc::UnboundedSender<io::Result<()>>,
) -> Result<(), BuildError> {
    let (service, limits, sockets) = in_force.service().await;
    let sockets = sockets.map_err(BuildError::one)?;
    let context = listen::Context::new(limits, in_force.gate.clone());
    let limits = context.limits.clone();
    let worker = Worker::new(service, context);
    let (services, (changes, changed)) = (worker.services(), mpsc::unbounded_channel());
    let (store, commanded) = (in_force.store.clone(), commanded.clone());
    let beat = Arc::new(Mutex::new(Instant::now()));
    let (ended, swept) = (ended.clone(), (services.clone(), beat.clone()));
    std::thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || {
            let work = || work(worker, swept, sockets, &store, (changed, commanded));
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err(io::Error::other("it panicked")));
            // Nobody listens any more once the app has stopped.
            let _ = ended.send(outcome);
        })
        .map_err(BuildError::one)?;
    in_force.joined(AtWork { services, limits, changes, beat }).await;
    Ok(())
}

/// Waits for orders, passes them on, and watches over the workers.
async fn control_loop(
    mut ordered: watch::Receiver<Shutdown>,
    command: &watch::Sender<Shutdown>,
    ends: &mut mpsc::UnboundedReceiver<std::io::Result<()>>,
    is_ready: &AtomicBool,
    in_force: &InForce,
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
    in_force.close_listeners().await;
    command.send_replace(Shutdown::Draining);
    let drained = async { while ends.recv().await.is_some() {} };
    tokio::select! {
        () = drained => tracing::info!("drained"),
        _ = ordered.wait_for(|order| *order == Shutdown::Stopped) => {
            tracing::warn!("told to stop while draining");
        }
        () = tokio::time::sleep(in_force.drain_timeout()) => {
            tracing::warn!("the drain took too long; what is left is cut");
        }
    }
    Ok(())
}

fn work(
    worker: Worker<Proxy>,
    (services, beat): (Arc<Services<Proxy>>, Arc<Mutex<Instant>>),
    listeners: Vec<Listener>,
    store: &SharedStore,
    (changes, commanded): (mpsc::UnboundedReceiver<Change>, watch::Receiver<Shutdown>),
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        store.start().await;
        tokio::spawn(sweep(services, beat));
        worker.run(listeners, changes, commanded).await
    })
}

/// Closes connections to workers that nobody has used for too long.
async fn sweep(services: Arc<Services<Proxy>>, beat: Arc<Mutex<Instant>>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        *beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        services.begin().pool.sweep(Instant::now());
    }
}

/// Writes an outage of the store, and its end, to the audit trail.
async fn watch_store(lasting: Arc<Lasting>, store: SharedStore) {
    let mut health = store.health();
    loop {
        let state = match *health.borrow_and_update() {
            Health::Starting => None,
            Health::Up => Some((StoreState::Up, "it answers")),
            Health::Down => Some((StoreState::Down, "it does not answer")),
        };
        if let Some((state, reason)) = state {
            audit::store(&lasting.metrics, state, "sessions", &reason);
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Looks for certificates that were renewed, away from this thread, for a disk may be slow.
async fn renewed(in_force: Arc<InForce>) {
    const EVERY: Duration = Duration::from_secs(2);
    loop {
        tokio::time::sleep(EVERY).await;
        if !in_force.watches_certificates() {
            continue;
        }
        let in_force = in_force.clone();
        // It fails where the process ends.
        let _ = tokio::task::spawn_blocking(move || in_force.look_at_certificates()).await;
    }
}

fn admin_state(
    lasting: &Lasting,
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
        records: lasting.records.clone(),
        clock: lasting.clock.clone(),
        namespaces: lasting.namespaces.clone(),
    });
    admin::PagesState {
        metrics: lasting.metrics.clone(),
        readiness: Arc::new(readiness),
        keys: Some(keys.clone()),
        sessions,
        operators: None,
    }
}
