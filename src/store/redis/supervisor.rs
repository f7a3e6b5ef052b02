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
use tokio::time::MissedTickBehavior;

use super::advice;
use super::connection::{Cause, Connections, Role, role};
use super::endpoint::Endpoint;
use crate::store::health::{Health, Signal};

/// How often the server is asked for a sign of life, and how long it may take for one.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// Signs of life in a row that may not be missed.
const MISSED_MAX: u32 = 2;
/// Every so many heartbeats the server is asked whether it still is a master, and has replicas.
const ROLE_EVERY: u32 = 8;
const ROLE_DEADLINE: Duration = Duration::from_secs(1);
/// Connections that lasted this long are replaced at once; others with a pause, so that a server
/// that accepts and hangs up is not stormed.
const STEADY: Duration = Duration::from_secs(1);

/// What the runtimes of a process have in common.
#[derive(Debug)]
pub(super) struct Fleet {
    endpoint: Endpoint,
    links: ArcSwap<Vec<Arc<Link>>>,
    /// Held while `links` or `health` change, so that the one follows from the other.
    changing: std::sync::Mutex<u64>,
    pub(super) health: Signal,
    came_up: Notify,
    closed: watch::Receiver<()>,
    heartbeat: Duration,
}

/// The connections of one runtime. A connection's driver lives on the runtime that opened it;
/// using it from another one works, and wakes another thread for every command.
#[derive(Debug)]
struct Link {
    runtime: runtime::Id,
    connections: ArcSwapOption<Connections>,
}

impl Link {
    fn usable(&self) -> Option<Arc<Connections>> {
        self.connections.load_full().filter(|connections| !connections.fault.is_raised())
    }
}

impl Fleet {
    /// `closed` ends all supervisors when its sender is dropped.
    pub(super) fn new(endpoint: Endpoint, name: String, closed: watch::Receiver<()>) -> Self {
        Self {
            endpoint,
            links: ArcSwap::default(),
            changing: std::sync::Mutex::new(0),
            health: Signal::new(name, Health::Starting),
            came_up: Notify::new(),
            closed,
            heartbeat: HEARTBEAT,
        }
    }

    /// For machines that are busy with other tests.
    #[cfg(test)]
    pub(super) fn set_heartbeat(&mut self, heartbeat: Duration) {
        self.heartbeat = heartbeat;
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
                }
            });
        }
        let connected = self.wait_for(|links| {
            links.iter().find(|link| link.runtime == runtime).and_then(|link| link.usable())
        });
        // Down or slow: the engine answers `Unavailable` until it is up, and logs that.
        let _ = tokio::time::timeout(patience, connected).await;
    }

    /// Connections that work, of this runtime if it has any.
    pub(super) fn pick(&self) -> Option<Arc<Connections>> {
        Self::pick_from(&self.links.load())
    }

    fn pick_from(links: &[Arc<Link>]) -> Option<Arc<Connections>> {
        let here = runtime::Handle::try_current().ok().map(|handle| handle.id());
        let own = links.iter().find(|link| Some(link.runtime) == here);
        own.and_then(|link| link.usable()).or_else(|| links.iter().find_map(|link| link.usable()))
    }

    /// Waits for connections other than those that just broke.
    pub(super) async fn pick_other(&self, broken: u64) -> Arc<Connections> {
        self.wait_for(|links| Self::pick_from(links).filter(|picked| picked.id != broken)).await
    }

    async fn wait_for<T>(&self, find: impl Fn(&[Arc<Link>]) -> Option<T>) -> T {
        loop {
            let came_up = self.came_up.notified();
            let mut came_up = std::pin::pin!(came_up);
            // Registered before looking, so that nothing that comes up in between is missed.
            came_up.as_mut().enable();
            if let Some(found) = find(&self.links.load()) {
                return found;
            }
            came_up.await;
        }
    }

    fn register(self: &Arc<Self>, runtime: runtime::Id) -> Option<Member> {
        let _changing = self.changing();
        let links = self.links.load();
        if links.iter().any(|link| link.runtime == runtime) {
            return None;
        }
        let link = Arc::new(Link { runtime, connections: ArcSwapOption::empty() });
        let links = links.iter().cloned().chain([link.clone()]).collect();
        self.links.store(Arc::new(links));
        Some(Member { fleet: self.clone(), link })
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

/// A link's membership in the fleet, which ends with the supervisor's task, and so with its
/// runtime.
struct Member {
    fleet: Arc<Fleet>,
    link: Arc<Link>,
}

impl Member {
    async fn connect(&self) -> Result<Connections, Cause> {
        self.fleet.endpoint.connect(self.fleet.next_id()).await
    }

    fn up(&self, connections: Arc<Connections>) {
        let news = {
            let _changing = self.fleet.changing();
            self.link.connections.store(Some(connections.clone()));
            self.fleet.health.up()
        };
        self.fleet.came_up.notify_waiters();
        if news {
            // Once per outage, not per runtime: the server may be another one now.
            tokio::spawn(advice::log(connections.main.clone()));
        }
    }

    fn down(&self, cause: &Cause) {
        let _changing = self.fleet.changing();
        self.link.connections.store(None);
        if !self.fleet.links.load().iter().any(|link| link.usable().is_some()) {
            self.fleet.health.down(cause);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _changing = self.fleet.changing();
        let links = self.fleet.links.load();
        let left = links.iter().filter(|link| !Arc::ptr_eq(link, &self.link)).cloned().collect();
        self.fleet.links.store(Arc::new(left));
    }
}

async fn supervise(member: &Member) -> Infallible {
    let mut backoff = Backoff::new();
    loop {
        match member.connect().await {
            Ok(connections) => {
                let began = Instant::now();
                let cause = keep_up(member, connections).await;
                tracing::debug!(%cause, "connection to redis replaced");
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

/// Serves from connections until they must be replaced. Where the server gained its first replica
/// or lost its last, others take their place first.
async fn keep_up(member: &Member, connections: Connections) -> Cause {
    let mut connections = Arc::new(connections);
    member.up(connections.clone());
    loop {
        let watched = connections.clone();
        let ended = tokio::select! {
            cause = watched.fault.raised() => return cause,
            ended = watch_over(&watched, member.fleet.heartbeat) => ended,
        };
        match ended {
            Ended::Broken(cause) => {
                // Callers that still hold these connections must not try them again.
                watched.fault.raise(cause.clone());
                return cause;
            }
            Ended::Replicated => match member.connect().await {
                Ok(others) => {
                    connections = Arc::new(others);
                    member.up(connections.clone());
                }
                Err(cause) => return cause,
            },
        }
    }
}

enum Ended {
    Broken(Cause),
    /// The set of connections no longer fits the number of replicas.
    Replicated,
}

async fn watch_over(connections: &Connections, heartbeat: Duration) -> Ended {
    let mut ticks = tokio::time::interval(heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut main = connections.main.clone();
    let mut missed = 0;
    for beat in 1_u32.. {
        ticks.tick().await;
        let ping = redis::cmd("PING");
        match tokio::time::timeout(heartbeat, ping.exec_async(&mut main)).await {
            Ok(Ok(())) => missed = 0,
            Ok(Err(error)) => return Ended::Broken(Cause::of(&error)),
            Err(_elapsed) => missed += 1,
        }
        if missed == MISSED_MAX {
            return Ended::Broken(Cause::Unresponsive);
        }
        if beat % ROLE_EVERY == 0
            && let Some(ended) = check_role(connections).await
        {
            return ended;
        }
    }
    // Heartbeats of 34 years.
    Ended::Broken(Cause::Disconnected)
}

async fn check_role(connections: &Connections) -> Option<Ended> {
    let check = async {
        if let Some(durable) = &connections.durable {
            let ping = redis::cmd("PING");
            ping.exec_async(&mut durable.clone()).await.map_err(|error| Cause::of(&error))?;
        }
        role(&mut connections.main.clone()).await
    };
    let had_replicas = connections.durable.is_some();
    match tokio::time::timeout(ROLE_DEADLINE, check).await {
        Ok(Ok(role)) if had_replicas == (role == Role::Replicated) => None,
        Ok(Ok(Role::Alone | Role::Replicated)) => Some(Ended::Replicated),
        Ok(Err(cause)) => Some(Ended::Broken(cause)),
        Err(_elapsed) => Some(Ended::Broken(Cause::Unresponsive)),
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
