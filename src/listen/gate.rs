//! How many connections are open, over all listeners and workers, and what became of the rest.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::info::State;
use super::registry::Registry;

/// The limit on connections, and counters; one per process.
#[derive(Debug)]
pub struct Gate {
    limit: AtomicUsize,
    open: AtomicUsize,
    /// Of them how many one client may have; 0 for any number.
    share: AtomicUsize,
    /// How many each client has, where there is a limit.
    clients: Mutex<HashMap<IpAddr, usize>>,
    accepted: AtomicU64,
    refused: AtomicU64,
    handshakes_failed: AtomicU64,
    header_timeouts: AtomicU64,
    headers_too_large: AtomicU64,
    /// One of each worker.
    registries: Mutex<Vec<Weak<Registry>>>,
}

/// How many connections do what (nginx `stub_status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doings {
    /// A request's head is on its way.
    pub reading: usize,
    /// A request is being served.
    pub writing: usize,
    /// Nothing was asked yet, or nothing is asked any more.
    pub waiting: usize,
}

/// A moment's counts, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections open now, handshakes included.
    pub open: usize,
    /// Connections admitted so far.
    pub accepted: u64,
    /// Connections closed at once because the limit was reached.
    pub refused: u64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Requests answered with 408.
    pub header_timeouts: u64,
    /// Requests answered with 431.
    pub headers_too_large: u64,
}

/// A place inside the limit, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    /// Whose share it is of.
    client: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The limit is reached; there is one for whoever makes one free.
    Everybody,
    /// This client has its share.
    Client,
}

impl Gate {
    /// A gate that lets so many in at a time, of each client `share`; 0 for any number.
    pub fn new(limit: usize, share: usize) -> Arc<Self> {
        Arc::new(Self {
            share: AtomicUsize::new(share),
            clients: Mutex::default(),
            limit: AtomicUsize::new(limit),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            header_timeouts: AtomicU64::new(0),
            headers_too_large: AtomicU64::new(0),
            registries: Mutex::default(),
        })
    }

    /// Counts the connections of another worker, too.
    pub(super) fn watch(&self, registry: &Arc<Registry>) {
        let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        registries.retain(|registry| registry.strong_count() > 0);
        registries.push(Arc::downgrade(registry));
    }

    /// What all connections do. Each is looked at: nobody counts them meanwhile.
    pub fn doings(&self) -> Doings {
        let registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut doings = Doings::default();
        for registry in registries.iter().filter_map(Weak::upgrade) {
            registry.for_each(|state| match state {
                State::Header => doings.reading += 1,
                State::Busy => doings.writing += 1,
                State::New | State::Idle => doings.waiting += 1,
                State::Handshake | State::Closing => {}
            });
        }
        doings
    }

    /// Changes the limits, at reload. Connections above them stay; those that came while clients had no
    /// limit of their own don't count in it.
    pub fn set_limits(&self, limit: usize, share: usize) {
        self.limit.store(limit, Relaxed);
        self.share.store(share, Relaxed);
    }

    /// A place.
    ///
    /// # Errors
    /// Whose limit is reached. [`Full::Everybody`] becomes [`refuse`](Self::refuse) or
    /// [`enter_beyond`](Self::enter_beyond).
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Result<Permit, Full> {
        let client = self.take_share(client)?;
        let limit = self.limit.load(Relaxed);
        let entered =
            self.open.fetch_update(Relaxed, Relaxed, |open| (open < limit).then_some(open + 1));
        if entered.is_err() {
            self.give_back(client);
            return Err(Full::Everybody);
        }
        self.accepted.fetch_add(1, Relaxed);
        Ok(Permit { gate: self.clone(), client })
    }

    /// A place for whom another connection was told to go.
    ///
    /// # Errors
    /// This client has its share.
    pub fn enter_beyond(self: &Arc<Self>, client: IpAddr) -> Result<Permit, Full> {
        let client = self.take_share(client)?;
        self.open.fetch_add(1, Relaxed);
        self.accepted.fetch_add(1, Relaxed);
        Ok(Permit { gate: self.clone(), client })
    }

    fn take_share(&self, client: IpAddr) -> Result<Option<IpAddr>, Full> {
        let share = self.share.load(Relaxed);
        if share == 0 {
            return Ok(None);
        }
        let client = network(client);
        let mut clients = self.clients();
        let open = clients.entry(client).or_default();
        if *open >= share {
            return Err(Full::Client);
        }
        *open += 1;
        Ok(Some(client))
    }

    fn give_back(&self, client: Option<IpAddr>) {
        let Some(client) = client else { return };
        let mut clients = self.clients();
        if let Some(open) = clients.get_mut(&client) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                clients.remove(&client);
            }
        }
    }

    /// Each change is whole, so a panic elsewhere did no harm.
    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection that was closed at once.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// The counts now.
    pub fn counts(&self) -> Counts {
        Counts {
            open: self.open.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            handshakes_failed: self.handshakes_failed.load(Relaxed),
            header_timeouts: self.header_timeouts.load(Relaxed),
            headers_too_large: self.headers_too_large.load(Relaxed),
        }
    }

    pub(super) fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Relaxed);
    }

    /// Counts a request whose head took too long.
    pub fn header_timeout(&self) {
        self.header_timeouts.fetch_add(1, Relaxed);
    }

    /// Counts a request whose head was too large.
    pub fn header_too_large(&self) {
        self.headers_too_large.fetch_add(1, Relaxed);
    }
}

impl Permit {
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Relaxed);
        self.gate.give_back(self.client);
    }
}

/// Who counts as one client: networks of IPv6 belong to one subscriber.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn places_are_limited_and_given_back() {
        let gate = Gate::new(2, 0);
        let first = gate.enter(ONE).expect("one of two");
        let _second = gate.enter(ONE).expect("two of two");
        assert_eq!(gate.enter(ONE).expect_err("the limit is two"), Full::Everybody);
        drop(first);
        let _third = gate.enter(ONE).expect("a place was given back");
        gate.refuse();
        assert_eq!(gate.counts(), Counts { open: 2, accepted: 3, refused: 1, ..Counts::default() });
        let _beyond = gate.enter_beyond(ONE).expect("somebody is going");
        assert_eq!(gate.counts().open, 3);
    }

    #[test]
    fn lowered_limit_lets_those_inside_stay() {
        let gate = Gate::new(2, 0);
        let _places = (gate.enter(ONE), gate.enter(ONE));
        gate.set_limits(1, 0);
        assert_eq!(gate.enter(ONE).expect_err("one more"), Full::Everybody);
        assert_eq!(gate.counts().open, 2);
    }

    #[test]
    fn each_client_has_its_share() {
        let gate = Gate::new(10, 2);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let here = [gate.enter(address("192.0.2.1")), gate.enter(address("::ffff:192.0.2.1"))];
        assert!(here.iter().all(Result::is_ok));
        assert_eq!(gate.enter(address("192.0.2.1")).expect_err("two"), Full::Client);
        assert_eq!(gate.enter_beyond(address("192.0.2.1")).expect_err("two"), Full::Client);
        let _elsewhere = gate.enter(address("192.0.2.2")).expect("another client");
        // A network of IPv6 is one client.
        let _network = [gate.enter(address("2001:db8::1")), gate.enter(address("2001:db8::2"))];
        assert_eq!(gate.enter(address("2001:db8::3")).expect_err("two"), Full::Client);
        drop(here);
        let _again = gate.enter(address("192.0.2.1")).expect("given back");
    }

    #[test]
    fn a_share_is_given_back_where_everybody_is_full() {
        let gate = Gate::new(1, 1);
        let first = gate.enter(ONE).expect("a place");
        let other = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..3 {
            assert_eq!(gate.enter(other).expect_err("full"), Full::Everybody);
        }
        drop(first);
        gate.enter(other).expect("its share was never taken");
    }
}
