//! The live connections of one worker, and the sweeper that ends the overdue ones.
//!
//! One tick looks at all of them; no request arms a timer. `due` is the whole table of deadlines.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::Limits;
use super::gate::{Gate, Permit};
use super::info::{Info, Order, State};

/// After how long a head that is not whole is one that keeps others out.
const SLOW_HEAD: Duration = Duration::from_secs(1);
/// How long a peer may take to fetch the last answer and close its side.
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// The same, and how long a fresh connection may stay silent, once the worker drains.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// Whoever has had an answer lately may be sending the next request: it is served, and told to be the last.
const NEXT_GRACE: Duration = Duration::from_millis(250);

/// The live connections of one worker.
#[derive(Debug)]
pub struct Registry {
    connections: Mutex<Slab>,
    empty: Notify,
    draining: watch::Sender<bool>,
}

/// Connections by slot; free slots are used again, the last one first.
#[derive(Debug, Default)]
struct Slab {
    slots: Vec<Option<Arc<Info>>>,
    free: Vec<usize>,
}

/// A connection's place in the registry and within the limit, given up when dropped.
#[derive(Debug)]
pub struct Registration {
    info: Arc<Info>,
    slot: usize,
    registry: Arc<Registry>,
    permit: Permit,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            connections: Mutex::default(),
            empty: Notify::new(),
            draining: watch::Sender::new(false),
        })
    }

    pub(super) fn register(self: &Arc<Self>, info: Arc<Info>, permit: Permit) -> Registration {
        let mut slab = self.lock();
        let slot = match slab.free.pop() {
            Some(slot) => {
                slab.slots[slot] = Some(info.clone());
                slot
            }
            None => {
                slab.slots.push(Some(info.clone()));
                slab.slots.len() - 1
            }
        };
        drop(slab);
        Registration { info, slot, registry: self.clone(), permit }
    }

    /// Connections that are open, handshakes included.
    pub fn live(&self) -> usize {
        let slab = self.lock();
        slab.slots.len() - slab.free.len()
    }

    /// Looks at what each connection does.
    pub(super) fn for_each(&self, mut look: impl FnMut(State)) {
        self.lock().slots.iter().flatten().for_each(|info| look(info.state()));
    }

    /// Changes to `true` when the drain begins. The receiver has seen nothing yet.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Begins the drain: idle connections are closed at once, HTTP/2 connections get a GOAWAY, the
    /// others end after their request.
    pub(super) fn drain(&self, limits: &Limits, now: Instant) {
        self.draining.send_replace(true);
        self.sweep(limits, now);
    }

    /// Ends the connections of a listener that is no more, as in a drain.
    pub(super) fn retire(&self, listener: usize) {
        let slab = self.lock();
        let its = slab.slots.iter().flatten().filter(|info| info.listener() == listener);
        its.for_each(|info| info.end_soon());
    }

    /// Gives every overdue connection its order.
    pub(super) fn sweep(&self, limits: &Limits, now: Instant) {
        let draining = *self.draining.borrow();
        // Waking a task inside the lock is fine: it runs after the sweep, on this thread.
        for info in self.lock().slots.iter().flatten() {
            let draining = draining || info.ends_soon();
            if draining {
                info.finish();
            }
            let (state, age) = info.age(now);
            if info.order() == Order::Close && state != State::Closing {
                // Somebody else ended it: its time to obey starts here.
                info.enter(State::Closing, now);
                continue;
            }
            let limits = Limits {
                keepalive_timeout: info.rest().unwrap_or(limits.keepalive_timeout),
                header_timeout: info.head_time().unwrap_or(limits.header_timeout),
                send_timeout: info.send_time().unwrap_or(limits.send_timeout),
                ..*limits
            };
            if let Some(order) = due(state, age, info.stalled_for(now), draining, &limits) {
                if order != Order::Abort {
                    info.enter(State::Closing, now);
                }
                info.obey(order);
            }
        }
    }

    /// Tells those connections to go that have done nothing for longest, a sixty-fourth of all at a
    /// time: silent ones and those between two requests. Whether there were any.
    pub(super) fn make_room(&self, now: Instant) -> bool {
        let slab = self.lock();
        let mut idle: Vec<(Duration, &Arc<Info>)> = slab
            .slots
            .iter()
            .flatten()
            .filter(|info| info.order() == Order::Proceed)
            .filter_map(|info| match info.age(now) {
                (State::Idle | State::New | State::Handshake, age) => Some((age, info)),
                (State::Header, age) if age >= SLOW_HEAD => Some((age, info)),
                (State::Header | State::Busy | State::Closing, _) => None,
            })
            .collect();
        let leaving = (idle.len() / 64).max(1).min(idle.len());
        idle.sort_unstable_by_key(|(age, _)| std::cmp::Reverse(*age));
        for (_, info) in idle.iter().take(leaving) {
            info.obey(match info.state() {
                // It has nothing to say goodbye with.
                State::Handshake => Order::Abort,
                State::Header => Order::Expire,
                State::New | State::Idle | State::Busy | State::Closing => Order::Close,
            });
        }
        leaving > 0
    }

    /// Cuts everything.
    pub(super) fn abort(&self) {
        self.draining.send_replace(true);
        for info in self.lock().slots.iter().flatten() {
            info.obey(Order::Abort);
        }
    }

    /// Waits until no connection is left.
    pub(super) async fn emptied(&self) {
        loop {
            let notified = self.empty.notified();
            if self.live() == 0 {
                return;
            }
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab> {
        // Nothing that holds the lock can panic half-way through a change.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// A handle that outlives the connection.
    pub fn shared(&self) -> &Arc<Info> {
        &self.info
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.registry.draining.borrow()
    }

    pub(super) fn gate(&self) -> &Gate {
        self.permit.gate()
    }
}

impl Deref for Registration {
    type Target = Info;

    fn deref(&self) -> &Info {
        &self.info
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut slab = self.registry.lock();
        slab.slots[self.slot] = None;
        slab.free.push(self.slot);
        let empty = slab.slots.len() == slab.free.len();
        drop(slab);
        if empty {
            self.registry.empty.notify_waiters();
        }
    }
}

/// What a connection is told after so long in a state.
fn due(
    state: State,
    age: Duration,
    stalled: Option<Duration>,
    draining: bool,
    limits: &Limits,
) -> Option<Order> {
    if stalled.is_some_and(|stalled| stalled >= limits.send_timeout) {
        return Some(Order::Abort);
    }
    match state {
        State::Handshake => (age >= limits.handshake_timeout).then_some(Order::Abort),
        // Browsers open connections ahead of need: an answer to nothing would confuse them.
        State::New => (age >= limits.header_timeout || (draining && age >= DRAIN_GRACE))
            .then_some(Order::Close),
        State::Idle => (age >= limits.keepalive_timeout || (draining && age >= NEXT_GRACE))
            .then_some(Order::Close),
        State::Header => (age >= limits.header_timeout).then_some(Order::Expire),
        State::Busy => None,
        State::Closing => {
            let grace = if draining { DRAIN_GRACE } else { LINGER };
            (age >= grace).then_some(Order::Abort)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::info::tests::ends;
    use super::*;

    fn limits() -> Limits {
        Limits {
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(30),
            ..Limits::default()
        }
    }

    fn check(state: State, age: f32, draining: bool, expected: Option<Order>) {
        let order = due(state, Duration::from_secs_f32(age), None, draining, &limits());
        assert_eq!(order, expected, "{state:?} for {age} s, draining: {draining}");
    }

    #[test]
    fn deadlines_follow_the_state() {
        check(State::Handshake, 9.9, false, None);
        check(State::Handshake, 10.0, false, Some(Order::Abort));
        check(State::New, 59.9, false, None);
        check(State::New, 60.0, false, Some(Order::Close));
        check(State::Idle, 74.9, false, None);
        check(State::Idle, 75.0, false, Some(Order::Close));
        check(State::Header, 59.9, false, None);
        check(State::Header, 60.0, false, Some(Order::Expire));
        check(State::Busy, 9999.0, false, None);
        check(State::Closing, 4.9, false, None);
        check(State::Closing, 5.0, false, Some(Order::Abort));
    }

    #[test]
    fn drain_closes_what_is_idle_and_lets_requests_finish() {
        check(State::Idle, 0.2, true, None);
        check(State::Idle, 0.25, true, Some(Order::Close));
        check(State::New, 0.5, true, None);
        check(State::New, 1.0, true, Some(Order::Close));
        check(State::Header, 1.0, true, None);
        check(State::Handshake, 1.0, true, None);
        check(State::Busy, 9999.0, true, None);
        check(State::Closing, 1.0, true, Some(Order::Abort));
    }

    #[test]
    fn peer_that_takes_nothing_is_cut_in_any_state() {
        for state in [State::Header, State::Busy, State::Closing] {
            let stalled = |secs| Some(Duration::from_secs(secs));
            assert_eq!(due(state, Duration::ZERO, stalled(29), false, &limits()), None);
            assert_eq!(
                due(state, Duration::ZERO, stalled(30), false, &limits()),
                Some(Order::Abort)
            );
        }
    }

    #[test]
    fn sweep_orders_overdue_connections_and_cuts_those_that_do_not_obey() {
        let (gate, registry) = (Gate::new(10, 0), Registry::new());
        let t0 = Instant::now() + Duration::from_secs(1);
        let register = |state| {
            let info = Info::new(ends(), 10, t0);
            info.enter(state, t0);
            registry.register(info, gate.enter(ends().peer.ip()).expect("within the limit"))
        };
        let (idle, busy) = (register(State::Idle), register(State::Busy));
        registry.sweep(&limits(), t0 + Duration::from_secs(70));
        assert_eq!((idle.order(), busy.order()), (Order::Proceed, Order::Proceed));
        registry.sweep(&limits(), t0 + Duration::from_secs(80));
        assert_eq!((idle.order(), busy.order()), (Order::Close, Order::Proceed));
        assert_eq!(idle.state(), State::Closing);
        registry.sweep(&limits(), t0 + Duration::from_secs(86));
        assert_eq!((idle.order(), busy.order()), (Order::Abort, Order::Proceed));
    }

    #[test]
    fn connection_ended_by_somebody_else_is_cut_if_it_does_not_obey() {
        let (gate, registry) = (Gate::new(10, 0), Registry::new());
        let t0 = Instant::now() + Duration::from_secs(1);
        let busy = registry
            .register(Info::new(ends(), 10, t0), gate.enter(ends().peer.ip()).expect("a place"));
        busy.enter(State::Busy, t0);
        busy.close();
        registry.sweep(&limits(), t0 + Duration::from_secs(70));
        assert_eq!(busy.order(), Order::Close);
        registry.sweep(&limits(), t0 + Duration::from_secs(76));
        assert_eq!(busy.order(), Order::Abort);
    }

    #[test]
    fn whoever_has_done_nothing_for_longest_makes_room() {
        let (gate, registry) = (Gate::new(10, 0), Registry::new());
        let t0 = Instant::now() + Duration::from_secs(1);
        let register = |state, secs| {
            let info = Info::new(ends(), 10, t0);
            info.enter(state, t0 + Duration::from_secs(secs));
            registry.register(info, gate.enter(ends().peer.ip()).expect("within the limit"))
        };
        let busy = register(State::Busy, 0);
        let (idle, silent) = (register(State::Idle, 2), register(State::New, 1));
        let (slow, quick) = (register(State::Header, 3), register(State::Header, 5));
        let now = t0 + Duration::from_secs(5);
        let orders = || [&idle, &silent, &slow].map(|place| place.order());
        assert!(registry.make_room(now));
        assert_eq!(orders(), [Order::Proceed, Order::Close, Order::Proceed]);
        assert!(registry.make_room(now));
        assert_eq!(orders(), [Order::Close, Order::Close, Order::Proceed]);
        assert!(registry.make_room(now));
        assert_eq!(orders(), [Order::Close, Order::Close, Order::Expire]);
        assert!(!registry.make_room(now), "the others are at work");
        assert_eq!([busy.order(), quick.order()], [Order::Proceed; 2]);
    }

    #[test]
    fn slots_are_used_again() {
        let (gate, registry) = (Gate::new(10, 0), Registry::new());
        let register = || {
            let info = Info::new(ends(), 10, Instant::now());
            registry.register(info, gate.enter(ends().peer.ip()).expect("within the limit"))
        };
        let (first, _second) = (register(), register());
        let slot = first.slot;
        drop(first);
        assert_eq!(registry.live(), 1);
        assert_eq!(register().slot, slot);
        assert_eq!(gate.counts().open, 1, "the last one was dropped at once");
    }

    #[tokio::test]
    async fn emptied_waits_for_the_last_connection() {
        let (gate, registry) = (Gate::new(10, 0), Registry::new());
        let info = Info::new(ends(), 10, Instant::now());
        let last = registry.register(info, gate.enter(ends().peer.ip()).expect("within the limit"));
        let waiting = tokio::spawn({
            let registry = registry.clone();
            async move { registry.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(last);
        waiting.await.expect("ends");
    }
}
