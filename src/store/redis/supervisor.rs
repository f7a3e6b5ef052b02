//! Keeps a runtime connected: connects, watches over what is connected, and replaces it.
//!
//! The request path only ever reads what the supervisor left: connections, or none. It never
//! waits for a reconnect.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::runtime;
use tokio::sync::{Notify, watch};

use super::advice;
use super::cause::Cause;
use super::connection::{Connections, Purpose, Terms};
use super::endpoint::Dialer;
use super::heartbeat;
use super::target::Target;
use crate::store::health::{Health, Signal};

/// Connections that lasted this long are replaced at once; others with a pause, so that a server
/// that accepts and hangs up is not stormed.
const STEADY: Duration = Duration::from_secs(1);

/// The connections of a process to one server, or to whichever is the master: a set for each of
/// its runtimes.
#[derive(Debug)]
pub(super) struct Fleet {
    target: Target,
    pub(super) terms: Terms,
    berths: ArcSwap<Vec<Arc<Berth>>>,
    /// Held while `berths` or `health` change, so that the one follows from the other.
    changing: std::sync::Mutex<u64>,
    pub(super) health: Signal,
    came_up: Notify,
    closed: watch::Receiver<()>,
}

/// The connections of one runtime. A connection's driver lives on the runtime that opened it;
/// using it from another one works, and wakes another thread for every command.
#[derive(Debug)]
struct Berth {
    runtime: runtime::Id,
    connections: ArcSwapOption<Connections>,
}

impl Berth {
    fn serving(&self, purpose: Purpose) -> Option<Arc<Connections>> {
        self.connections.load_full().filter(|connections| connections.serves(purpose))
    }
}

impl Fleet {
    /// `closed` ends all supervisors when its sender is dropped.
    pub(super) fn new(
        target: Target,
        terms: Terms,
        name: String,
        closed: watch::Receiver<()>,
    ) -> Self {
        Self {
            target,
            terms,
            berths: ArcSwap::default(),
            changing: std::sync::Mutex::new(0),
            health: Signal::new(name, Health::Starting),
            came_up: Notify::new(),
            closed,
        }
    }

    /// Starts a supervisor on this runtime, unless it has one, and waits a moment for it to
    /// connect.
    pub(super) async fn join(self: &Arc<Self>, patience: Duration) {
        let runtime = runtime::Handle::current().id();
        if let Some(member) = self.register(runtime) {
            let mut closed = self.closed.clone();
            tokio::spawn(async move {
                tokio::select! {
                    // Fails when the store is dropped; nothing is ever sent.
                    _ = closed.changed() => {}
                    never = supervise(&member) => match never {},
                    never = member.fleet.target.watch() => match never {},
                }
            });
        }
        let connected = self.wait_for(|berths| {
            let berth = berths.iter().find(|berth| berth.runtime == runtime);
            berth.and_then(|berth| berth.serving(Purpose::Writing))
        });
        // Down or slow: the engine answers `Unavailable` until it is up, and logs that.
        let _ = tokio::time::timeout(patience, connected).await;
    }

    /// Connections that work, of this runtime if it has any.
    pub(super) fn pick(&self, purpose: Purpose) -> Option<Arc<Connections>> {
        Self::pick_from(&self.berths.load(), purpose)
    }

    fn pick_from(berths: &[Arc<Berth>], purpose: Purpose) -> Option<Arc<Connections>> {
        let here = runtime::Handle::try_current().ok().map(|handle| handle.id());
        let own = berths.iter().find(|berth| Some(berth.runtime) == here);
        own.and_then(|berth| berth.serving(purpose))
            .or_else(|| berths.iter().find_map(|berth| berth.serving(purpose)))
    }

    /// Waits for connections other than those that just broke.
    pub(super) async fn pick_other(&self, purpose: Purpose, broken: u64) -> Arc<Connections> {
        self.wait_for(|berths| {
            Self::pick_from(berths, purpose).filter(|picked| picked.id != broken)
        })
        .await
    }

    async fn wait_for<T>(&self, find: impl Fn(&[Arc<Berth>]) -> Option<T>) -> T {
        loop {
            let came_up = self.came_up.notified();
            let mut came_up = std::pin::pin!(came_up);
            // Registered before looking, so that nothing that comes up in between is missed.
            came_up.as_mut().enable();
            if let Some(found) = find(&self.berths.load()) {
                return found;
            }
            came_up.await;
        }
    }

    fn register(self: &Arc<Self>, runtime: runtime::Id) -> Option<Member> {
        let _changing = self.changing();
        let berths = self.berths.load();
        if berths.iter().any(|berth| berth.runtime == runtime) {
            return None;
        }
        let berth = Arc::new(Berth { runtime, connections: ArcSwapOption::empty() });
        let berths = berths.iter().cloned().chain([berth.clone()]).collect();
        self.berths.store(Arc::new(berths));
        Some(Member { fleet: self.clone(), berth })
    }

    fn changing(&self) -> std::sync::MutexGuard<'_, u64> {
        self.changing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn next_id(&self) -> u64 {
        let mut last_id = self.changing();
        *last_id += 1;
        *last_id
    }
}

/// A berth's membership in the fleet, which ends with the supervisor's task, and so with its
/// runtime.
struct Member {
    fleet: Arc<Fleet>,
    berth: Arc<Berth>,
}

impl Member {
    async fn connect(&self) -> Result<(Dialer, Connections), Cause> {
        let client = self.fleet.target.locate().await?;
        let id = self.fleet.next_id();
        let connections = Connections::open(&client, &self.fleet.terms, id).await?;
        Ok((client, connections))
    }

    fn up(&self, connections: Arc<Connections>) {
        let news = {
            let _changing = self.fleet.changing();
            self.berth.connections.store(Some(connections.clone()));
            self.fleet.health.up()
        };
        self.fleet.came_up.notify_waiters();
        if news {
            // Once per outage, not per runtime: the server may be another one now.
            tokio::spawn(advice::log(connections.write.connection(), self.fleet.terms.clone()));
        }
    }

    fn down(&self, cause: &Cause) {
        let _changing = self.fleet.changing();
        self.berth.connections.store(None);
        let serves = |berth: &Arc<Berth>| berth.serving(Purpose::Reading).is_some();
        if !self.fleet.berths.load().iter().any(serves) {
            self.fleet.health.down(cause);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _changing = self.fleet.changing();
        let berths = self.fleet.berths.load();
        let left =
            berths.iter().filter(|berth| !Arc::ptr_eq(berth, &self.berth)).cloned().collect();
        self.fleet.berths.store(Arc::new(left));
    }
}

async fn supervise(member: &Member) -> Infallible {
    let mut backoff = Backoff::new();
    loop {
        match member.connect().await {
            Ok((client, connections)) => {
                let began = Instant::now();
                let cause = keep_up(member, client, connections).await;
                tracing::debug!(%cause, "connections to redis given up");
                member.down(&cause);
                if began.elapsed() >= STEADY {
                    backoff = Backoff::new();
                    continue;
                }
            }
            Err(cause) => {
                tracing::debug!(%cause, "no connection to redis");
                member.down(&cause);
            }
        }
        tokio::time::sleep(backoff.pause(rand::random())).await;
    }
}

/// Serves from connections until none are left. Where they lack something, others take their place
/// once they are there.
async fn keep_up(member: &Member, mut client: Dialer, connections: Connections) -> Cause {
    let mut connections = Arc::new(connections);
    member.up(connections.clone());
    loop {
        let watched = connections.clone();
        let ended = tokio::select! {
            cause = watched.fault.raised() => Err(cause),
            cause = member.fleet.target.moved(&client) => Err(cause),
            never = heartbeat::watch_over(&watched, &member.fleet.terms) => match never {},
            replaced = replace(member, &watched) => replaced,
        };
        match ended {
            Ok((located, others)) => {
                tracing::debug!("connections to redis replaced");
                client = located;
                connections = Arc::new(others);
                member.up(connections.clone());
                watched.fault.lose_links();
            }
            Err(cause) => {
                // Callers that still hold these connections must not try them again.
                watched.fault.raise(cause.clone());
                return cause;
            }
        }
    }
}

/// Waits until connections lack something, and makes others. Fails where what is left is of no use,
/// or of little and there are no others.
async fn replace(member: &Member, worn: &Connections) -> Result<(Dialer, Connections), Cause> {
    worn.fault.worn().await;
    let others = async {
        let mut backoff = Backoff::new();
        if worn.opened.elapsed() < STEADY {
            tokio::time::sleep(backoff.pause(rand::random())).await;
        }
        loop {
            match member.connect().await {
                Err(cause) if worn.works_for_all() => {
                    tracing::debug!(%cause, "connections to redis stay as they are");
                    tokio::time::sleep(backoff.pause(rand::random())).await;
                }
                connected => return connected,
            }
        }
    };
    let nothing = async {
        while !worn.works_for_nothing() {
            worn.fault.worn().await;
        }
        Err(Cause::Disconnected)
    };
    tokio::select! {
        connected = others => connected,
        lost = nothing => lost,
    }
}

/// Pauses between attempts: doubling, with jitter, so that the nodes of a fleet do not come back
/// in step.
struct Backoff {
    next: Duration,
}

impl Backoff {
    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(1);

    fn new() -> Self {
        Self { next: Self::MIN }
    }

    /// `random` is from 0 to 1; half of the pause depends on it.
    fn pause(&mut self, random: f64) -> Duration {
        let pause = self.next.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        self.next = (self.next * 2).min(Self::MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_half_of_each_is_random() {
        let mut longest = Backoff::new();
        let mut shortest = Backoff::new();
        for millis in [50, 100, 200, 400, 800, 1000, 1000] {
            assert_eq!(longest.pause(1.0), Duration::from_millis(millis));
            assert_eq!(shortest.pause(0.0), Duration::from_millis(millis) / 2);
        }
    }
}
