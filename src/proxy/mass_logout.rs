//! The guard against mass logouts, shared by all workers (PROTOCOL.md 29): tells it of answers, and
//! sees to what was parked, from one task on the control runtime.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clock::UnixMillis;
use crate::proxy::shared::Shared;
use crate::session::exchange::Bond;
use crate::session::jar::Edit;
use crate::session::mass_logout::{Answered, Change, Guard};
use crate::session::outcome::{Lookup, RecordKey, Replaced};
use crate::session::parked::{Fate, Guarding, PARKED, Resolution, is_loss, resolve};
use crate::session::policy::{JarLimits, OnAppDelete, Policy};
use crate::telemetry::audit::{self, AuditContext};
use crate::telemetry::metrics::Metrics;

/// Between two sweeps, while there is something to see to.
const TICK: Duration = Duration::from_millis(250);
/// Sessions of one policy that a node has parked at a time. Beyond, deletions apply at once.
const ASIDE_MAX: usize = 8192;
/// … of which so many may be anonymous: who has no account takes no user's place.
const ANONYMOUS_MAX: usize = ASIDE_MAX / 2;
/// Parked sessions that are settled at a time.
const AT_ONCE: usize = 32;
/// How long a store that is down is asked again. Later, whoever reads the record ends it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a parked session that others write is looked at again at once.
const TRIES: u32 = 8;

/// One guard for each policy that has one.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    /// By name. There are few, and most requests look one up.
    policies: Vec<(String, Arc<Mutex<PolicyWatch>>)>,
    /// Something is to be seen to, or at once.
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct PolicyWatch {
    guard: Guard,
    aside: Vec<Aside>,
    /// What is due, but the store does not answer.
    owed: Vec<(Aside, Fate)>,
}

/// A record that this node has parked.
#[derive(Clone, Debug)]
pub struct Aside {
    pub key: RecordKey,
    pub at: UnixMillis,
    /// Whose request it was, for the audit trail.
    pub client: IpAddr,
    pub policy: Arc<Policy>,
    pub is_anonymous: bool,
}

impl Guards {
    /// A guard for each policy that asks for one, beside those that there are: what they have parked is
    /// seen to whatever becomes of their policies.
    pub fn new(policies: &[Arc<Policy>], before: &Self, metrics: &Metrics) -> Self {
        let mut guards = before.clone();
        for policy in policies.iter().filter(|it| it.on_app_delete == OnAppDelete::Guard) {
            if guards.of(&policy.name).is_none() {
                metrics.mass_logout(&policy.name, false);
                guards.policies.push((policy.name.clone(), Arc::default()));
            }
        }
        guards
    }

    /// Says how the deletions of an answer that should have none are taken. Each such answer is to
    /// be told, whether it deletes something or not: the guard wants to know how many do.
    pub fn judge(
        &self,
        metrics: &Metrics,
        policy: &Policy,
        bond: &Bond,
        edits: &[Edit],
        now: UnixMillis,
    ) -> Guarding {
        let Bond::Live(held, _) = bond else { return Guarding::None };
        let state = match policy.on_app_delete {
            OnAppDelete::End => return Guarding::None,
            OnAppDelete::Keep => return Guarding::Ignore,
            OnAppDelete::Guard => self.of(&policy.name),
        };
        let Some(state) = state else { return Guarding::None };
        let is_lost = is_loss(policy, &held.record.jar, edits, now);
        let answered = if is_lost { Answered::Lost } else { Answered::Kept };
        let is_anonymous = held.record.authenticated.is_none();
        let mut state = lock(state);
        let change = if is_anonymous { None } else { state.guard.note(held.key, answered, now) };
        if let Some(change) = change {
            announce(metrics, &policy.name, change);
            self.wake.notify_one();
        }
        if state.guard.is_surge(now) {
            Guarding::Ignore
        } else if state.has_room(is_anonymous) {
            Guarding::Park
        } else {
            Guarding::Full
        }
    }

    /// Takes a record on that was parked, or may have been.
    pub fn keep_aside(&self, aside: Aside) {
        if let Some(state) = self.of(&aside.policy.name) {
            lock(state).aside.push(aside);
            self.wake.notify_one();
        }
    }

    /// What is to be done now. Ends of surges are announced.
    fn due(&self, metrics: &Metrics, now: UnixMillis) -> Vec<(Aside, Fate)> {
        let mut due = Vec::new();
        for (policy, state) in &self.policies {
            let mut state = lock(state);
            if let Some(change) = state.guard.tick(now) {
                announce(metrics, policy, change);
            }
            due.append(&mut state.owed);
            if state.guard.is_surge(now) {
                due.extend(state.aside.drain(..).map(|aside| (aside, Fate::Restore)));
            } else {
                let over = state.aside.extract_if(.., |aside| now.since(aside.at) >= PARKED);
                due.extend(over.map(|aside| (aside, Fate::Drop)));
            }
        }
        due
    }

    fn owe(&self, aside: Aside, fate: Fate) {
        if let Some(state) = self.of(&aside.policy.name) {
            lock(state).owed.push((aside, fate));
        }
    }

    fn of(&self, policy: &str) -> Option<&Mutex<PolicyWatch>> {
        self.policies.iter().find(|(name, _)| name == policy).map(|(_, state)| &**state)
    }

    /// Waits until there may be something to see to.
    async fn pause(&self) {
        let is_idle = self.policies.iter().all(|(_, state)| {
            let state = lock(state);
            state.aside.is_empty() && state.owed.is_empty() && !state.guard.is_waiting()
        });
        if is_idle {
            self.wake.notified().await;
        } else {
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep(TICK) => {}
            }
        }
    }
}

impl PolicyWatch {
    fn has_room(&self, for_anonymous: bool) -> bool {
        let anonymous = || self.aside.iter().filter(|aside| aside.is_anonymous).count();
        self.aside.len() < ASIDE_MAX && !(for_anonymous && anonymous() >= ANONYMOUS_MAX)
    }
}

fn announce(metrics: &Metrics, policy: &str, change: Change) {
    audit::mass_logout(metrics, policy, change);
    match change {
        Change::Begins { lost, of } => tracing::error!(
            policy,
            lost,
            of,
            "the application takes the sessions of many users away at once: see to its own session \
             store; until it is back, sessions are kept"
        ),
        Change::Ends => tracing::info!(policy, "the application keeps its sessions again"),
    }
}

fn lock(state: &Mutex<PolicyWatch>) -> MutexGuard<'_, PolicyWatch> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sees to what is parked, for as long as the process runs.
pub async fn sweep(current: Arc<ArcSwap<Shared>>) {
    loop {
        // Whoever waits holds no more of a configuration than that.
        let guards = current.load().guards.clone();
        guards.pause().await;
        let shared = current.load_full();
        let mut due = shared.guards.due(&shared.metrics, shared.clock.now()).into_iter();
        loop {
            let mut some: JoinSet<()> = due
                .by_ref()
                .take(AT_ONCE)
                .map(|(aside, fate)| see_to(shared.clone(), aside, fate))
                .collect();
            if some.is_empty() {
                break;
            }
            while some.join_next().await.is_some() {}
        }
    }
}

async fn see_to(shared: Arc<Shared>, aside: Aside, fate: Fate) {
    match settle(&shared, &aside, fate).await {
        Settled::Done => {}
        Settled::Unavailable if shared.clock.now().since(aside.at) < PARKED + PATIENCE => {
            shared.guards.owe(aside, fate);
        }
        Settled::Unavailable => tracing::warn!(
            session = ?aside.key,
            "the store did not answer: what was kept aside of a session is dropped"
        ),
    }
}

enum Settled {
    /// Written, or something else has become of the record.
    Done,
    Unavailable,
}

async fn settle(shared: &Shared, aside: &Aside, fate: Fate) -> Settled {
    let Aside { key, at, policy, .. } = aside;
    let limits: JarLimits = policy.jar;
    for _ in 0..TRIES {
        let (version, record) = match shared.reload(*key).await {
            Lookup::Found((version, record)) => (version, Arc::unwrap_or_clone(record)),
            Lookup::NotFound | Lookup::Revoked => return Settled::Done,
            Lookup::Unavailable => return Settled::Unavailable,
        };
        let Some(Resolution { record, durability, event }) =
            resolve(*key, record, *at, fate, limits)
        else {
            return Settled::Done;
        };
        match shared.replace(*key, version, &record, durability).await {
            Replaced::Replaced => {
                let client = aside.client;
                let context = AuditContext { client, policy: &policy.name, host: "-", path: "-" };
                audit::emit(&shared.metrics, &event, &context);
                return Settled::Done;
            }
            Replaced::Gone => return Settled::Done,
            Replaced::Unavailable => return Settled::Unavailable,
            // A request of this session got in between.
            Replaced::Conflict => {}
        }
    }
    // It is very busy: again with the next sweep.
    Settled::Unavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROTOCOL 29: what can be parked is bounded, and who has no account takes half of it at most.
    #[test]
    fn there_is_room_for_so_many() {
        let policy = Arc::new(crate::session::tests::policy());
        let aside = |is_anonymous| Aside {
            key: RecordKey { tag: [0; 8], id: [0; 16], has_subject: false },
            at: UnixMillis(0),
            client: IpAddr::from([192, 0, 2, 1]),
            policy: policy.clone(),
            is_anonymous,
        };
        let mut state = PolicyWatch::default();
        state.aside.extend((0..ANONYMOUS_MAX).map(|_| aside(true)));
        assert_eq!((state.has_room(true), state.has_room(false)), (false, true));
        state.aside.extend((ANONYMOUS_MAX..ASIDE_MAX).map(|_| aside(false)));
        assert_eq!((state.has_room(true), state.has_room(false)), (false, false));
    }
}
