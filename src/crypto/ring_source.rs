//! The key ring that every part shares, and reading it again (PROTOCOL.md 4).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::clock::UnixMillis;
use crate::crypto::keyring::{KeyId, Keyring, KeyringError};

/// A ticket with an unknown key makes a node read its ring again, at most this often.
const REREAD_EVERY: Duration = Duration::from_secs(1);
/// How long a request waits for that; its file may be on a disk that hangs.
const PATIENCE: Duration = Duration::from_millis(100);

/// The ring in use and the file that it came from.
#[derive(Debug)]
pub struct RingSource {
    /// None: it came from no file and ends with the process.
    path: OnceLock<PathBuf>,
    current: ArcSwap<Keyring>,
    /// When a missing key last made somebody read.
    reread_at: Mutex<Option<UnixMillis>>,
    /// Since when somebody reads because of a missing key.
    under_way: watch::Sender<Option<Instant>>,
    /// Held while the file is read, by threads that may block.
    reading: Mutex<()>,
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
        Ok(Self::with(Some(path), ring))
    }

    /// A ring that nothing is sealed with that lasts.
    pub fn unsaved(ring: Keyring) -> Self {
        Self::with(None, ring)
    }

    /// Gives a ring that came from no file one: a ring that is there counts, else this one is put there.
    ///
    /// # Errors
    /// The file can't be read or written, or is no key ring.
    pub fn keep_at(&self, path: &Path) -> Result<(), KeyringError> {
        if self.path.get().is_some() {
            return Ok(());
        }
        if !path.exists() {
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory).map_err(|source| KeyringError::File {
                    action: "create",
                    path: directory.to_owned(),
                    source,
                })?;
            }
            self.current.load().save_new(path)?;
        }
        Keyring::load(path)?;
        // Nobody else sets it: reloads come one after the other.
        let _ = self.path.set(path.to_owned());
        self.read()
    }

    fn with(path: Option<PathBuf>, ring: Keyring) -> Self {
        Self {
            path: path.map(OnceLock::from).unwrap_or_default(),
            current: ArcSwap::from_pointee(ring),
            reread_at: Mutex::new(None),
            under_way: watch::Sender::new(None),
            reading: Mutex::new(()),
            reads: AtomicU64::new(1),
            changes: AtomicU64::new(0),
        }
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

    /// Reads the file again because somebody asked for it: a reload. It blocks.
    ///
    /// # Errors
    /// The file can't be read or is no key ring: the old one stays.
    pub fn reload(&self) -> Result<(), KeyringError> {
        self.read()
    }

    /// Reads the file again because a key is missing, not more often than once a second, since
    /// anybody can send an unknown key. A file that has become unreadable changes nothing.
    ///
    /// It is read by a thread that may block. Whoever comes meanwhile waits for it, a moment long:
    /// look at [`RingSource::current`] again afterwards in any case.
    pub async fn reread(self: &Arc<Self>, now: UnixMillis) {
        if self.begins(now) {
            let reading = Reading(self.clone());
            tokio::task::spawn_blocking(move || reading.run());
        }
        let mut under_way = self.under_way.subscribe();
        let begun = *under_way.borrow_and_update();
        if let Some(begun) = begun {
            // Neither a hanging file nor an end of this node is worth more than that.
            let _ =
                timeout_at((begun + PATIENCE).into(), under_way.wait_for(Option::is_none)).await;
        }
    }

    /// Whether the caller is to read now.
    fn begins(&self, now: UnixMillis) -> bool {
        let mut last = self.reread_at.lock().unwrap_or_else(PoisonError::into_inner);
        if self.under_way.borrow().is_some() {
            return false;
        }
        // Two readings of a clock may arrive here in the wrong order; a clock that was set back far
        // must not put an end to reading.
        let is_due = last.is_none_or(|last| now.since(last).max(last.since(now)) >= REREAD_EVERY);
        if is_due {
            *last = Some(now);
            self.under_way.send_replace(Some(Instant::now()));
        }
        is_due
    }

    fn read(&self) -> Result<(), KeyringError> {
        let Some(path) = self.path.get() else { return Ok(()) };
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut ring = Keyring::load(path)?;
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
}

/// A reading because of a missing key. Dropping it says that it is over.
struct Reading(Arc<RingSource>);

impl Reading {
    fn run(self) {
        if let Err(error) = self.0.read() {
            tracing::warn!(%error, "the key ring could not be read again; the old one stays");
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.under_way.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::crypto::seal::Purpose;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

    fn source() -> (tempfile::TempDir, Keyring, Arc<RingSource>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring.json");
        let ring = Keyring::generate(NOW).unwrap();
        ring.save_new(&path).unwrap();
        let source = Arc::new(RingSource::open(path).unwrap());
        (directory, ring, source)
    }

    /// PROTOCOL 4: a key that was added to the file is found, but not at any price.
    #[tokio::test]
    async fn a_ring_is_read_again_at_most_once_a_second() {
        let (_directory, mut ring, source) = source();
        let added = ring.rotate(NOW).unwrap();
        ring.replace(source.path.get().unwrap()).unwrap();
        assert!(source.current().opening(added).is_none());
        source.reread(NOW).await;
        assert!(source.current().opening(added).is_some());
        let check = async |now, reads| {
            source.reread(now).await;
            assert_eq!(source.reads(), reads, "at {now}");
        };
        check(NOW.plus(Duration::from_millis(999)), 2).await;
        check(NOW.plus(REREAD_EVERY), 3).await;
        check(NOW.plus(Duration::from_millis(1)), 3).await;
        // A clock that was set back by an hour.
        check(UnixMillis(NOW.0 - 3_600_000), 4).await;
        check(UnixMillis(NOW.0 - 3_599_001), 4).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_flood_of_unknown_keys_reads_once() {
        let (_directory, _ring, source) = source();
        let mut flood = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let source = source.clone();
            flood.spawn(async move {
                for _ in 0..1000 {
                    source.reread(NOW).await;
                }
            });
        }
        flood.join_all().await;
        assert_eq!(source.reads(), 2);
    }

    /// A disk that hangs takes no worker with it: requests wait a moment, and then none at all.
    #[tokio::test]
    async fn a_file_that_hangs_holds_nobody_up() {
        let (_directory, _ring, source) = source();
        let (release, released) = mpsc::channel::<()>();
        let (reads, is_read) = mpsc::channel::<()>();
        let hangs = std::thread::spawn({
            let source = source.clone();
            move || {
                let _reading = source.reading.lock().unwrap();
                reads.send(()).unwrap();
                released.recv().unwrap();
            }
        });
        is_read.recv().unwrap();
        let begun = Instant::now();
        let mut flood = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let source = source.clone();
            flood.spawn(async move { source.reread(NOW).await });
        }
        // All of them, on one thread.
        flood.join_all().await;
        assert!(begun.elapsed() >= PATIENCE);
        let later = NOW.plus(REREAD_EVERY);
        for _ in 0..100 {
            source.reread(later).await;
        }
        assert!(begun.elapsed() < 20 * PATIENCE, "each waited for itself");
        release.send(()).unwrap();
        hangs.join().unwrap();
        source.under_way.subscribe().wait_for(Option::is_none).await.unwrap();
        assert_eq!(source.reads(), 2, "nobody else began to read meanwhile");
    }

    #[tokio::test]
    async fn a_broken_file_changes_nothing() {
        let (_directory, ring, source) = source();
        std::fs::write(source.path.get().unwrap(), "{").unwrap();
        source.reread(NOW).await;
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
        ring.replace(source.path.get().unwrap()).unwrap();
        source.reload().unwrap();
        assert!(open().is_some());
        let opened: Vec<_> =
            source.current().in_use().map(|key| (key.id(), key.opened(Purpose::Ticket))).collect();
        assert_eq!(opened, [(fresh, 0), (old, 2)]);
    }
}
