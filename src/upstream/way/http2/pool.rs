//! The connections of one worker runtime. Requests fill one up before they make another, so that what
//! a burst needed goes idle and ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::STREAMS_MAX;
use super::connection::{Connection, Place};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::way::by_endpoint::ByEndpoint;
use crate::upstream::way::ways::Ways;

/// Endpoints of an upstream that are remembered without a connection: they may be gone.
const REMEMBERED_MAX: usize = 1024;

/// Connections by upstream and endpoint.
#[derive(Default)]
pub(in crate::upstream::way) struct Connections {
    ways: Arc<Ways>,
    /// By the places of upstreams; also of pools before and after this one.
    slots: Arc<Mutex<Vec<Slot>>>,
}

/// The connections of one upstream.
#[derive(Default)]
struct Slot {
    idle_max: Duration,
    endpoints: ByEndpoint<Shared>,
}

/// Those to one endpoint.
struct Shared {
    connections: Vec<Arc<Connection>>,
    /// What its last connection had room for: how many may wait for the next.
    streams_max: usize,
}

impl Connections {
    /// The connections of other ways, some of which may be the same.
    pub(in crate::upstream::way) fn succeeding(&self, ways: Arc<Ways>) -> Self {
        Self { ways, slots: self.slots.clone() }
    }

    /// Lets go of an upstream that nobody has any more.
    pub(in crate::upstream::way) fn forget(&self, place: usize) {
        if let Some(slot) = self.lock().get_mut(place) {
            *slot = Slot::default();
        }
    }

    /// A place on a connection with room that was not begun before `since`; where there is none, on a
    /// new one.
    pub(in crate::upstream::way) fn place(
        &self,
        (upstream, place): (usize, usize),
        endpoint: &Endpoint,
        since: Option<Instant>,
        now: Instant,
    ) -> Place {
        let way = self.ways.upstream(upstream);
        let idle_max = way.timeouts.keepalive;
        let mut slots = self.lock();
        if slots.len() <= place {
            slots.resize_with(place + 1, Slot::default);
        }
        let slot = &mut slots[place];
        slot.idle_max = idle_max;
        let none = || Shared { connections: Vec::new(), streams_max: STREAMS_MAX };
        let known = slot.endpoints.get_or(endpoint.id, none);
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
        for Slot { idle_max, endpoints } in self.lock().iter_mut() {
            let has_few = endpoints.len() <= REMEMBERED_MAX;
            endpoints.retain(|shared| {
                shared.connections.retain(|connection| connection.is_good(*idle_max, now));
                !shared.connections.is_empty() || has_few && shared.streams_max < STREAMS_MAX
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        // What a panic left behind is whole: every change is one step.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let slots = self.lock();
        let shared = slots.iter().flat_map(|slot| slot.endpoints.iter());
        shared.map(|shared| shared.connections.len()).sum()
    }
}
