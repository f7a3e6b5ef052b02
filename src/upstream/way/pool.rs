//! The kept connections of one worker runtime.
//!
//! They belong to the runtime that made them, so the lock is never contended. The newest one is
//! taken first: it is the likeliest to be good, and the others may go idle.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::by_endpoint::ByEndpoint;
use super::connect::{self, ConnectError};
use super::http2::{Connections, Stream};
use super::link::{Age, INPUT_MAX, Link};
use super::stash::Stash;
use super::ways::{Target, Ways};
use crate::transport::Io;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::{Address, Protocol};

/// Connections to workers: new ones, and those that are kept. An upstream is told by its index, as the
/// settings have it; another index panics.
pub struct Pool {
    ways: Arc<Ways>,
    /// Where the connections of each upstream lie.
    places: Vec<usize>,
    keepalive: usize,
    /// Also of pools before and after this one.
    kept: Arc<Mutex<Kept>>,
    http2: Connections,
}

#[derive(Default)]
struct Kept {
    slots: Vec<Slot>,
    /// How many connections there are.
    count: usize,
    /// Apart from each other: room for a request's head is too little to read an answer into.
    inputs: Stash,
    outputs: Stash,
}

/// The connections of one upstream.
struct Slot {
    /// Pools that use it; none where it is free.
    pools: usize,
    idle_max: Duration,
    /// By endpoint; the longest idle first.
    idle: ByEndpoint<VecDeque<Idle>>,
}

struct Idle {
    io: Io,
    since: Instant,
    age: Age,
}

impl Pool {
    /// Keeps up to `keepalive` idle connections, over all endpoints.
    pub fn new(ways: Arc<Ways>, keepalive: usize) -> Self {
        let none = Self {
            ways: Arc::default(),
            places: Vec::new(),
            keepalive,
            kept: Arc::default(),
            http2: Connections::default(),
        };
        none.succeeding(ways)
    }

    /// A pool of other ways. What both have keeps its connections, whichever pool has them at the moment.
    #[must_use]
    pub fn succeeding(&self, ways: Arc<Ways>) -> Self {
        let mut kept = self.lock();
        let place = |upstream: usize| match self.ways.position(&ways, upstream) {
            Some(known) => kept.share(self.places[known]),
            None => kept.open(ways.upstream(upstream).timeouts.keepalive),
        };
        let places = (0..ways.count()).map(place).collect();
        drop(kept);
        let (kept, http2) = (self.kept.clone(), self.http2.succeeding(ways.clone()));
        Self { ways, places, keepalive: self.keepalive, kept, http2 }
    }

    /// Whether an upstream's endpoints speak HTTP/2: then [`stream`](Self::stream) leads there, else
    /// [`take`](Self::take) and [`connect`](Self::connect).
    pub fn speaks_http2(&self, upstream: usize) -> bool {
        self.ways.upstream(upstream).protocol == Protocol::Http2
    }

    /// A stream for one request, on a connection that others may share and that was not begun before
    /// `since`. The connection may still have to come about.
    pub fn stream(
        &self,
        upstream: usize,
        endpoint: &Endpoint,
        since: Option<Instant>,
        now: Instant,
    ) -> Stream {
        let is_https = self.ways.upstream(upstream).is_https();
        let place = (upstream, self.places[upstream]);
        Stream::new(self.http2.place(place, endpoint, since, now), is_https)
    }

    /// A kept connection to an endpoint, told by its id, that is still good. Others are dropped on the way: closed by the worker,
    /// with bytes that nobody asked for, or idle for too long.
    pub fn take(&self, upstream: usize, endpoint: usize, now: Instant) -> Option<Link> {
        let idle_max = self.ways.upstream(upstream).timeouts.keepalive;
        let mut kept = self.lock();
        loop {
            let mut idle = kept.slots[self.places[upstream]].idle.get(endpoint)?.pop_back()?;
            kept.count -= 1;
            if idle.is_good(idle_max, now) {
                return Some(kept.link(idle.io, idle.age));
            }
        }
    }

    /// A new connection. The socket may take `timeouts.connect`, and so may the handshake.
    ///
    /// # Errors
    /// No connection came about; nothing was sent.
    pub async fn connect(
        &self,
        upstream: usize,
        endpoint: &Endpoint,
    ) -> Result<Link, ConnectError> {
        let way = self.ways.upstream(upstream);
        let io = connect::connect(&way.target(endpoint), way.timeouts.connect).await?;
        Ok(self.lock().link(io, Age { begun: Instant::now(), served: 0 }))
    }

    /// A new connection to an address that no upstream has: it is not kept.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_to(
        &self,
        address: Address,
        limit: Duration,
    ) -> Result<Link, ConnectError> {
        let io = connect::connect(&Target { address, tls: None }, limit).await?;
        Ok(self.lock().link(io, Age { begun: Instant::now(), served: 0 }))
    }

    /// Keeps a connection, if nothing is unread or unwritten. Where there are too many, the longest
    /// idle one goes.
    pub fn give_back(&self, upstream: usize, endpoint: usize, link: Link, now: Instant) {
        let Age { begun, served } = link.age();
        let age = Age { begun, served: served.saturating_add(1) };
        let Some((mut io, [input, output])) = link.into_idle() else { return };
        let timeouts = &self.ways.upstream(upstream).timeouts;
        let is_over = age.served >= timeouts.keepalive_requests
            || now.saturating_duration_since(begun) > timeouts.keepalive_time;
        let mut kept = self.lock();
        kept.inputs.give_back(input, INPUT_MAX);
        kept.outputs.give_back(output, INPUT_MAX);
        if self.keepalive == 0 || is_over {
            io.say_goodbye();
            return;
        }
        if kept.count == self.keepalive {
            kept.evict();
        }
        let slot = &mut kept.slots[self.places[upstream]];
        let idle = slot.idle.get_or(endpoint, VecDeque::new);
        idle.push_back(Idle { io, since: now, age });
        kept.count += 1;
    }

    /// Drops what is idle for too long or no longer good, and buffers that nobody needs.
    pub fn sweep(&self, now: Instant) {
        self.http2.sweep(now);
        let mut kept = self.lock();
        kept.inputs.sweep();
        kept.outputs.sweep();
        let mut dropped = 0;
        for slot in &mut kept.slots {
            slot.idle.retain(|idle| {
                let before = idle.len();
                idle.retain_mut(|idle| idle.is_good(slot.idle_max, now));
                dropped += before - idle.len();
                !idle.is_empty()
            });
        }
        kept.count -= dropped;
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // What a panic left behind is whole: every change is one step.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to an endpoint of the settings of the first upstream.
    #[cfg(test)]
    pub(super) async fn connect_to_known(&self, id: usize) -> Result<Link, ConnectError> {
        self.connect(0, &self.ways.upstream(0).known[id]).await
    }

    #[cfg(test)]
    pub(super) fn stream_to_known(&self, since: Option<Instant>, now: Instant) -> Stream {
        self.stream(0, &self.ways.upstream(0).known[0], since, now)
    }

    #[cfg(test)]
    pub(super) fn http2(&self) -> &Connections {
        &self.http2
    }

    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        self.lock().count
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("keepalive", &self.keepalive).finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let freed = self.lock().give_up(&self.places);
        freed.into_iter().for_each(|place| self.http2.forget(place));
    }
}

impl Kept {
    /// A place for another upstream.
    fn open(&mut self, idle_max: Duration) -> usize {
        let slot = Slot { pools: 1, idle_max, idle: ByEndpoint::default() };
        match self.slots.iter().position(|slot| slot.pools == 0) {
            Some(free) => {
                self.slots[free] = slot;
                free
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    /// A place that another pool has, too.
    fn share(&mut self, place: usize) -> usize {
        self.slots[place].pools += 1;
        place
    }

    /// Gives places up, and says which of them nobody has any more.
    fn give_up(&mut self, places: &[usize]) -> Vec<usize> {
        let mut freed = Vec::new();
        for &place in places {
            let slot = &mut self.slots[place];
            slot.pools -= 1;
            if slot.pools == 0 {
                let idle = std::mem::take(&mut slot.idle);
                self.count -= idle.into_values().map(|idle| idle.len()).sum::<usize>();
                freed.push(place);
            }
        }
        freed
    }

    fn link(&mut self, io: Io, age: Age) -> Link {
        Link::new(io, self.inputs.take(), self.outputs.take(), age)
    }

    /// Drops the longest idle one.
    fn evict(&mut self) {
        let longest = self
            .slots
            .iter_mut()
            .flat_map(|slot| slot.idle.iter_mut())
            .filter(|idle| !idle.is_empty())
            .min_by_key(|idle| idle.front().map(|front| front.since));
        if let Some(mut idle) = longest.and_then(VecDeque::pop_front) {
            idle.io.say_goodbye();
            self.count -= 1;
        }
    }
}

impl Idle {
    /// Whether it may be used. One that is not is to be dropped.
    fn is_good(&mut self, idle_max: Duration, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) > idle_max {
            self.io.say_goodbye();
            return false;
        }
        self.io.is_quiet()
    }
}
