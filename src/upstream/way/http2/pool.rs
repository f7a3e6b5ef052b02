//! The connections of one worker runtime. Requests fill one up before they make another, so that what
//! a burst needed goes idle and ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::STREAMS_MAX;
use super::connection::{Connection, Place};
use crate::upstream::way::ways::Ways;

/// Connections by upstream and endpoint.
pub(in crate::upstream::way) struct Connections {
    ways: Arc<Ways>,
    endpoints: Mutex<Vec<Vec<Endpoint>>>,
}

struct Endpoint {
    connections: Vec<Arc<Connection>>,
    /// What its last connection had room for: how many may wait for the next.
    streams_max: usize,
}

impl Connections {
    pub(in crate::upstream::way) fn new(ways: Arc<Ways>) -> Self {
        let endpoint = || Endpoint { connections: Vec::new(), streams_max: STREAMS_MAX };
        let endpoints = ways.sizes().map(|size| (0..size).map(|_| endpoint()).collect()).collect();
        Self { ways, endpoints: Mutex::new(endpoints) }
    }

    /// A place on a connection with room that was not begun before `since`; where there is none, on a
    /// new one.
    pub(in crate::upstream::way) fn place(
        &self,
        upstream: usize,
        endpoint: usize,
        since: Option<Instant>,
        now: Instant,
    ) -> Place {
        let idle_max = self.ways.upstream(upstream).timeouts.keepalive;
        let mut endpoints = self.lock();
        let known = &mut endpoints[upstream][endpoint];
        known.connections.retain(|connection| connection.is_good(idle_max, now));
        let last_said = known.connections.iter().rev().find_map(|known| known.streams_max());
        known.streams_max = last_said.unwrap_or(known.streams_max);
        let found = known.connections.iter().find(|one| one.has_room(known.streams_max, since));
        if let Some(connection) = found {
            return Place::take(connection, since.is_some());
        }
        let connection = Connection::dial(&self.ways, upstream, endpoint, now);
        let place = Place::take(&connection, true);
        known.connections.push(connection);
        place
    }

    /// Lets go of what is over, or idle for too long.
    pub(in crate::upstream::way) fn sweep(&self, now: Instant) {
        for (upstream, endpoints) in self.lock().iter_mut().enumerate() {
            let idle_max = self.ways.upstream(upstream).timeouts.keepalive;
            for endpoint in endpoints {
                endpoint.connections.retain(|connection| connection.is_good(idle_max, now));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Endpoint>>> {
        // What a panic left behind is whole: every change is one step.
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().iter().flatten().map(|endpoint| endpoint.connections.len()).sum()
    }
}
