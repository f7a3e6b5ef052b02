//! How many connections are open, over all listeners and workers, and what became of the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The limit on connections, and counters; one per process.
#[derive(Debug)]
pub struct Gate {
    limit: AtomicUsize,
    open: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    handshakes_failed: AtomicU64,
    header_timeouts: AtomicU64,
    headers_too_large: AtomicU64,
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
pub struct Permit(Arc<Gate>);

impl Gate {
    /// A gate that lets so many in at a time.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            header_timeouts: AtomicU64::new(0),
            headers_too_large: AtomicU64::new(0),
        })
    }

    /// Changes the limit, at reload. Connections above it stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// A place, or `None` where the limit is reached.
    pub fn enter(self: &Arc<Self>) -> Option<Permit> {
        let limit = self.limit.load(Relaxed);
        match self.open.fetch_update(Relaxed, Relaxed, |open| (open < limit).then_some(open + 1)) {
            Ok(_) => {
                self.accepted.fetch_add(1, Relaxed);
                Some(Permit(self.clone()))
            }
            Err(_) => {
                self.refused.fetch_add(1, Relaxed);
                None
            }
        }
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
        &self.0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let gate = Gate::new(2);
        let first = gate.enter().expect("one of two");
        let _second = gate.enter().expect("two of two");
        assert!(gate.enter().is_none(), "the limit is two");
        drop(first);
        let _third = gate.enter().expect("a place was given back");
        assert_eq!(gate.counts(), Counts { open: 2, accepted: 3, refused: 1, ..Counts::default() });
    }

    #[test]
    fn lowered_limit_lets_those_inside_stay() {
        let gate = Gate::new(2);
        let _places = (gate.enter(), gate.enter());
        gate.set_limit(1);
        assert!(gate.enter().is_none());
        assert_eq!(gate.counts().open, 2);
    }
}
