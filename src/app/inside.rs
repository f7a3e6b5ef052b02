//! The process as operators ask about it over the admin listener.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::time::MissedTickBehavior;

use super::in_force::InForce;
use super::signals;
use crate::admin::history::{EVERY, History};
use crate::admin::{Certificate, Operators, Process, Reloading, StoreState};
use crate::clock::UnixMillis;
use crate::listen::tls::Store as TlsStore;
use crate::store::health::Health;
use crate::store::key_watch::KeyWatch;
use crate::upstream::group::Group;

/// What operators see and order.
struct Inside {
    in_force: Arc<InForce>,
    keys: Arc<KeyWatch>,
    started: UnixMillis,
}

/// Lets operators ask, and keeps the history that they are shown, for as long as this runtime lives.
pub(super) fn open(in_force: Arc<InForce>, keys: Arc<KeyWatch>) -> Operators {
    let history = Arc::new(Mutex::new(History::default()));
    in_force.lasting.metrics.keep_events();
    tokio::spawn(remember(in_force.clone(), history.clone()));
    let started = in_force.lasting.clock.now();
    Operators { process: Arc::new(Inside { in_force, keys, started }), history }
}

async fn remember(in_force: Arc<InForce>, history: Arc<Mutex<History>>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = in_force.lasting.clock.now();
        in_force.shared.load().active.iter().for_each(|active| active.turn(now));
        let snapshot = in_force.lasting.metrics.snapshot();
        history.lock().unwrap_or_else(PoisonError::into_inner).note(now, snapshot);
    }
}

impl Process for Inside {
    fn now(&self) -> UnixMillis {
        self.in_force.lasting.clock.now()
    }

    fn started(&self) -> UnixMillis {
        self.started
    }

    fn node(&self) -> String {
        self.keys.nodes().first().map(ToString::to_string).unwrap_or_default()
    }

    fn config(&self) -> Value {
        self.in_force.text.load().shown()
    }

    fn upstreams(&self) -> Vec<Arc<Group>> {
        let has_name = |group: &Arc<Group>| !group.settings().name.starts_with('(');
        let shared = self.in_force.shared.load();
        shared.upstreams.iter().map(|one| one.group.clone()).filter(has_name).collect()
    }

    fn certificates(&self) -> Vec<Certificate> {
        let of = |(listener, store): &(String, Arc<TlsStore>)| {
            let listener = listener.clone();
            store.shown().into_iter().map(move |shown| Certificate {
                listener: listener.clone(),
                names: shown.names,
                not_after: shown.not_after,
            })
        };
        self.in_force.shown.load().iter().flat_map(of).collect()
    }

    fn store(&self) -> StoreState {
        let store = &self.in_force.store;
        let answers = match *store.health().borrow() {
            Health::Starting => None,
            Health::Up => Some(true),
            Health::Down => Some(false),
        };
        let engine = self.in_force.engine;
        StoreState { engine, answers, clock_ahead_ms: store.clock_ahead_ms() }
    }

    fn active_sessions(&self) -> Vec<(String, u64)> {
        let shared = self.in_force.shared.load();
        shared.active.iter().map(|one| (one.policy().to_owned(), one.count())).collect()
    }

    fn reload(&self) -> Reloading<'_> {
        Box::pin(signals::reload(self.in_force.clone()))
    }
}
