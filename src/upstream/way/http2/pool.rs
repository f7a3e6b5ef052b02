//! The connections of one worker runtime. Requests fill one up before they make another, so that what
//! a burst needed goes idle and ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::STREAMS_MAX;
use super::connection::{Connection, Place};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::way::by_endpoint::ByEndpoint;
use crate::upstream::way::ways::Ways;

/// Endpoints of an upstream that are remembered without a connection: they may be gone.
const REMEMBERED_MAX: usize = 1024;

/// Connections by upstream and endpoint.
pub(in crate::upstream::way) struct Connections {
    ways: Arc<Ways>,
    upstreams: Mutex<Vec<ByEndpoint<Shared>>>,
}

/// Those to one endpoint.
struct Shared {
    connections: Vec<Arc<Connection>>,
    /// What its last connection had room for: how many may wait for the next.
    streams_max: usize,
}

impl Connections {
    pub(in crate::upstream::way) fn new(ways: Arc<Ways>) -> Self {
        let upstreams = (0..ways.count()).map(|_| ByEndpoint::default()).collect();
        Self { ways, upstreams: Mutex::new(upstreams) }
    }

    /// A place on a connection with room that was not begun before `since`; where there is none, on a
    /// new one.
    pub(in crate::upstream::way) fn place(
        &self,
        upstream: usize,
        endpoint: &Endpoint,
        since: Option<Instant>,
        now: Instant,
    ) -> Place {
        let way = self.ways.upstream(upstream);
        let idle_max = way.timeouts.keepalive;
        let mut upstreams = self.lock();
        let none = || Shared { connections: Vec::new(), streams_max: STREAMS_MAX };
        let known = upstreams[upstream].get_or(endpoint.id, none);
        known.connections.retain(|connection| connection.is_good(idle_max, now));
        let last_said = known.connections.iter().rev().find_map(|known| known.streams_max());
        known.streams_max = last_said.map_or(known.streams_max, |said| said.min(STREAMS_MAX));
        let found = known.connections.iter().find(|one| one.has_room(known.streams_max, since));
        if let Some(connection) = found {
            return Place::take(connection, since.is_some());
        }
        let connection = Connection::dial(way.target(endpoint), way.timeouts.connect, now);
        let place = Place::take(&connection, true);
        known.connections.push(connection);
        place
    }

    /// Lets go of what is over, or idle for too long.
    pub(in crate::upstream::way) fn sweep(&self, now: Instant) {
        for (upstream, endpoints) in self.lock().iter_mut().enumerate() {
            let idle_max = self.ways.upstream(upstream).timeouts.keepalive;
            let has_few = endpoints.len() <= REMEMBERED_MAX;
            endpoints.retain(|shared| {
                shared.connections.retain(|connection| connection.is_good(idle_max, now));
                !shared.connections.is_empty() || has_few && shared.streams_max < STREAMS_MAX
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ByEndpoint<Shared>>> {
        // What a panic left behind is whole: every change is one step.
        self.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().iter().flat_map(ByEndpoint::iter).map(|shared| shared.connections.len()).sum()
    }
}
