//! The key ring that every part shares, and reading it again (PROTOCOL.md 4).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::clock::UnixMillis;
use crate::crypto::keyring::{Keyring, KeyringError};

/// A ticket with an unknown key makes a node read its ring again, at most this often.
const REREAD_EVERY: Duration = Duration::from_secs(1);

/// The ring in use and the file that it came from.
#[derive(Debug)]
pub struct RingSource {
    path: PathBuf,
    current: ArcSwap<Keyring>,
    reread_at: AtomicU64,
}

impl RingSource {
    /// Reads the ring.
    ///
    /// # Errors
    /// The file can't be read or is no key ring.
    pub fn open(path: PathBuf) -> Result<Self, KeyringError> {
        let ring = Keyring::load(&path)?;
        Ok(Self { path, current: ArcSwap::from_pointee(ring), reread_at: AtomicU64::new(0) })
    }

    /// The ring.
    pub fn current(&self) -> Guard<Arc<Keyring>> {
        self.current.load()
    }

    /// Reads the file again because a key is missing. Says whether that was done: not more often
    /// than once a second, since anybody can send an unknown key. A file that has become
    /// unreadable changes nothing.
    pub fn reread(&self, now: UnixMillis) -> bool {
        let last = self.reread_at.load(Ordering::Relaxed);
        let due = now.since(UnixMillis(last)) >= REREAD_EVERY;
        let mine = due
            && self
                .reread_at
                .compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !mine {
            return false;
        }
        match Keyring::load(&self.path) {
            Ok(ring) => {
                self.current.store(Arc::new(ring));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the key ring could not be read again; the old one stays");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROTOCOL 4: a key that was added to the file is found, but not at any price.
    #[test]
    fn a_ring_is_read_again_at_most_once_a_second() {
        let now = UnixMillis(1_795_462_335_000);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring.json");
        let mut ring = Keyring::generate(now).unwrap();
        ring.save_new(&path).unwrap();
        let source = RingSource::open(path.clone()).unwrap();
        let added = ring.rotate(now).unwrap();
        ring.replace(&path).unwrap();
        assert!(source.current().opening(added).is_none());
        assert!(source.reread(now));
        assert!(source.current().opening(added).is_some());
        assert!(!source.reread(now.plus(Duration::from_millis(999))));
        assert!(source.reread(now.plus(REREAD_EVERY)));
        std::fs::write(&path, "{").unwrap();
        assert!(!source.reread(now.plus(REREAD_EVERY * 2)));
        assert!(source.current().opening(added).is_some(), "the old ring stays");
    }
}
