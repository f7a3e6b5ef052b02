//! The key ring that every part shares, and reading it again (PROTOCOL.md 4).

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::clock::UnixMillis;
use crate::crypto::keyring::{KeyId, Keyring, KeyringError};

/// A ticket with an unknown key makes a node read its ring again, at most this often.
const REREAD_EVERY: Duration = Duration::from_secs(1);

/// The ring in use and the file that it came from.
#[derive(Debug)]
pub struct RingSource {
    path: PathBuf,
    current: ArcSwap<Keyring>,
    /// When a missing key last made somebody read; held while the file is read.
    reread_at: Mutex<Option<UnixMillis>>,
    reads: AtomicU64,
    /// Counts changes of what is in it.
    changes: AtomicU64,
}

impl RingSource {
    /// Reads the ring.
    ///
    /// # Errors
    /// The file can't be read or is no key ring.
    pub fn open(path: PathBuf) -> Result<Self, KeyringError> {
        let ring = Keyring::load(&path)?;
        Ok(Self {
            path,
            current: ArcSwap::from_pointee(ring),
            reread_at: Mutex::new(None),
            reads: AtomicU64::new(1),
            changes: AtomicU64::new(0),
        })
    }

    /// The ring.
    pub fn current(&self) -> Guard<Arc<Keyring>> {
        self.current.load()
    }

    /// A number that is another one once other keys are in use. Read before
    /// [`RingSource::current`] it is never newer than that.
    pub fn number(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// How often the file was read, the first time included.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Reads the file again because somebody asked for it: a reload.
    ///
    /// # Errors
    /// The file can't be read or is no key ring: the old one stays.
    pub fn reload(&self) -> Result<(), KeyringError> {
        let held = self.lock();
        let read = self.read();
        drop(held);
        read
    }

    /// Reads the file again because a key is missing, not more often than once a second, since
    /// anybody can send an unknown key. A file that has become unreadable changes nothing.
    ///
    /// Whoever comes while another one reads waits for it, a moment long: look at
    /// [`RingSource::current`] again afterwards in any case.
    pub fn reread(&self, now: UnixMillis) {
        let mut last = self.lock();
        // Two readings of a clock may arrive here in the wrong order; a clock that was set back far
        // must not put an end to reading.
        let is_due = last.is_none_or(|last| now.since(last).max(last.since(now)) >= REREAD_EVERY);
        if !is_due {
            return;
        }
        *last = Some(now);
        if let Err(error) = self.read() {
            tracing::warn!(%error, "the key ring could not be read again; the old one stays");
        }
    }

    fn read(&self) -> Result<(), KeyringError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut ring = Keyring::load(&self.path)?;
        let earlier = self.current.load_full();
        ring.count_on(&earlier);
        let is_changed = ring.describe() != earlier.describe();
        if is_changed {
            let seals = ring.sealing().id();
            let accepts: Vec<KeyId> = ring.in_use().skip(1).map(|key| key.id()).collect();
            tracing::info!(%seals, ?accepts, "the key ring has changed");
        }
        if ring.index().id() != earlier.index().id() {
            tracing::warn!("the index key was replaced: every session has ended");
        }
        self.current.store(Arc::new(ring));
        if is_changed {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<UnixMillis>> {
        self.reread_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::seal::Purpose;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

    fn source() -> (tempfile::TempDir, Keyring, RingSource) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring.json");
        let ring = Keyring::generate(NOW).unwrap();
        ring.save_new(&path).unwrap();
        let source = RingSource::open(path).unwrap();
        (directory, ring, source)
    }

    /// PROTOCOL 4: a key that was added to the file is found, but not at any price.
    #[test]
    fn a_ring_is_read_again_at_most_once_a_second() {
        let (_directory, mut ring, source) = source();
        let added = ring.rotate(NOW).unwrap();
        ring.replace(&source.path).unwrap();
        assert!(source.current().opening(added).is_none());
        source.reread(NOW);
        assert!(source.current().opening(added).is_some());
        let check = |now, reads| {
            source.reread(now);
            assert_eq!(source.reads(), reads, "at {now}");
        };
        check(NOW.plus(Duration::from_millis(999)), 2);
        check(NOW.plus(REREAD_EVERY), 3);
        check(NOW.plus(Duration::from_millis(1)), 3);
        // A clock that was set back by an hour.
        check(UnixMillis(NOW.0 - 3_600_000), 4);
        check(UnixMillis(NOW.0 - 3_599_001), 4);
    }

    #[test]
    fn a_flood_of_unknown_keys_reads_once() {
        let (_directory, _ring, source) = source();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| source.reread(NOW)));
            }
        });
        assert_eq!(source.reads(), 2);
    }

    #[test]
    fn a_broken_file_changes_nothing() {
        let (_directory, ring, source) = source();
        std::fs::write(&source.path, "{").unwrap();
        source.reread(NOW);
        assert!(source.reload().is_err());
        assert_eq!(source.current().sealing().id(), ring.sealing().id(), "the old ring stays");
    }

    /// What was opened tells when a key can be retired, so a new ring must not begin at nothing.
    #[test]
    fn counts_survive_a_reload() {
        let (_directory, mut ring, source) = source();
        let old = ring.sealing().id();
        let sealed = ring.sealing().seal(Purpose::Ticket, &[1; 24], b"", b"text");
        let open = || {
            let ring = source.current();
            ring.opening(old).and_then(|key| key.open(Purpose::Ticket, &[1; 24], b"", &sealed))
        };
        assert!(open().is_some());
        let fresh = ring.rotate(NOW).unwrap();
        ring.promote(fresh).unwrap();
        ring.replace(&source.path).unwrap();
        source.reload().unwrap();
        assert!(open().is_some());
        let opened: Vec<_> =
            source.current().in_use().map(|key| (key.id(), key.opened(Purpose::Ticket))).collect();
        assert_eq!(opened, [(fresh, 0), (old, 2)]);
    }
}
