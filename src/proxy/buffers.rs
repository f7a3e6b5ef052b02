//! How much all exchanges hold of bodies under way, and how much they may.
//!
//! An exchange says what its buffers take whenever it waits, and only where that is more than heads and
//! short bodies need: most cost nothing here, the others an addition. Where the limit is reached, buffers
//! grow no further and new bodies are refused; what is under way goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::downstream::{BodyLength, Client};
use crate::proxy::context::Context;
use crate::proxy::peer::Peer;
use crate::proxy::spool::Disk;
use crate::proxy::upload::Upload;
use crate::store::throttle::Throttle;

/// What an exchange holds without being counted.
const FREE: usize = 24 * 1024;

/// What all exchanges of this process hold.
#[derive(Debug)]
pub struct Buffers {
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
    /// What waits in files.
    disk: Arc<Disk>,
    /// Bodies that were refused: one line says so in a while.
    refusals: Throttle,
}

/// One exchange's share of it, given back when it is dropped.
#[derive(Debug, Default)]
pub struct Share {
    of: Option<Arc<Buffers>>,
    bytes: usize,
}

impl Buffers {
    /// So much in memory, and so much in files.
    pub fn new(bytes_max: usize, spooled_max: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(bytes_max),
            disk: Disk::new(spooled_max),
            refusals: Throttle::default(),
        })
    }

    /// Changes how much that may be.
    pub fn set_limits(&self, bytes_max: usize, spooled_max: u64) {
        self.bytes_max.store(bytes_max, Relaxed);
        self.disk.set_limit(spooled_max);
    }

    /// What waits in files.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Bytes that are held now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Whether as much is held as may be.
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.bytes_max.load(Relaxed)
    }

    /// Whether there is no room for this body. Short ones need none.
    pub fn refuses(&self, body: BodyLength) -> bool {
        let is_short = body.known().is_some_and(|length| length <= FREE as u64);
        if is_short || !self.is_full() {
            return false;
        }
        if let Some(others) = self.refusals.admit() {
            let (held, limit) = (self.bytes(), self.bytes_max.load(Relaxed));
            tracing::warn!(
                held,
                limit,
                others_before = others,
                "a request's body is refused: limits.buffered_bytes is reached"
            );
        }
        true
    }
}

impl Share {
    /// Says how much is held from now on.
    fn set(&mut self, buffers: &Arc<Buffers>, bytes: usize) {
        let bytes = if bytes > FREE { bytes } else { 0 };
        if bytes == self.bytes {
            return;
        }
        let of = self.of.get_or_insert_with(|| buffers.clone());
        match bytes.checked_sub(self.bytes) {
            Some(more) => of.bytes.fetch_add(more, Relaxed),
            None => of.bytes.fetch_sub(self.bytes - bytes, Relaxed),
        };
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(of) = &self.of {
            of.bytes.fetch_sub(self.bytes, Relaxed);
        }
    }
}

/// Notes what an exchange holds while it waits: `more` beside its client's and its worker's buffers.
/// Whether these may grow follows from what all hold.
pub fn note(
    buffers: &Arc<Buffers>,
    ctx: &mut Context,
    client: &mut Client<'_>,
    (peer, upload): (&mut Peer, &Upload),
    more: usize,
) {
    let copied = ctx.exchange.as_ref().and_then(|exchange| exchange.body.as_ref());
    let copied = copied.map_or(0, |copied| copied.held());
    let bytes = client.held() + peer.held() + upload.held() + copied + more;
    ctx.share.set(buffers, bytes);
    let is_full = buffers.is_full();
    client.let_grow(!is_full);
    peer.let_grow(!is_full);
}

/// The same while a request's body comes in: `more` beside its client's buffers.
pub fn note_received(
    buffers: &Arc<Buffers>,
    ctx: &mut Context,
    client: &mut Client<'_>,
    more: usize,
) {
    let bytes = client.held() + more;
    ctx.share.set(buffers, bytes);
    client.let_grow(!buffers.is_full());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_until_it_is_given_back() {
        let buffers = Buffers::new(100_000, 0);
        let (mut one, mut other) = (Share::default(), Share::default());
        for (bytes, expected) in [(FREE, 0), (FREE + 1, FREE + 1), (60_000, 60_000), (9, 0)] {
            one.set(&buffers, bytes);
            assert_eq!(buffers.bytes(), expected);
        }
        one.set(&buffers, 60_000);
        other.set(&buffers, 40_000);
        assert!(buffers.is_full());
        drop(one);
        assert_eq!((buffers.bytes(), buffers.is_full()), (40_000, false));
        drop(other);
        assert_eq!(buffers.bytes(), 0);
    }

    #[test]
    fn only_long_bodies_are_refused_and_only_at_the_limit() {
        let buffers = Buffers::new(100_000, 0);
        let long = BodyLength::Known(FREE as u64 + 1);
        assert!(!buffers.refuses(BodyLength::Unknown) && !buffers.refuses(long));
        let mut share = Share::default();
        share.set(&buffers, 100_000);
        assert!(buffers.refuses(BodyLength::Unknown) && buffers.refuses(long));
        assert!(!buffers.refuses(BodyLength::Empty) && !buffers.refuses(BodyLength::Known(1)));
    }
}
