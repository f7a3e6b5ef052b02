//! The engine for development and tests: records in this process, gone with it.
//!
//! Sharded, so that workers seldom meet at a lock; bounded, so that it fails as a database that is
//! full does: creations answer `Unavailable`, nothing that is there is thrown out.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{KEEP_MAX, SessionStore, Stored, fits};
use crate::clock::{Clock, UnixMillis};
use crate::session::outcome::{Created, Durability, Lookup, RecordKey, Removed, Replaced};

/// Records in all shards together.
const RECORDS_MAX: usize = 256 * 1024;
const SHARDS: usize = 64;
/// How many elapsed records one creation sweeps: more than it adds, so that garbage shrinks.
const SWEEP: usize = 4;

/// Records in memory.
pub struct MemoryStore {
    shards: Vec<Mutex<Shard>>,
    records_per_shard_max: usize,
    clock: Clock,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: Clock) -> Self {
        Self::bounded(clock, RECORDS_MAX)
    }

    fn bounded(clock: Clock, records_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            records_per_shard_max: records_max.div_ceil(SHARDS),
            clock,
        }
    }

    /// The hashed selector is uniform, so that its last byte is as good as a hash.
    fn shard(&self, key: RecordKey) -> MutexGuard<'_, Shard> {
        let index = usize::from(key.id[15]) % SHARDS;
        // A shard's two maps are changed together without a step that can panic in between.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn load(&self, key: RecordKey) -> Lookup<Stored> {
        match self.shard(key).live(key, self.clock.now()) {
            Some(entry) => Lookup::Found(entry.stored.clone()),
            None => Lookup::NotFound,
        }
    }

    async fn create(&self, key: RecordKey, sealed: &[u8], keep: Duration) -> Created {
        if !fits(key, sealed) {
            return Created::Unavailable;
        }
        let now = self.clock.now();
        let mut shard = self.shard(key);
        if let Some(there) = shard.live(key, now) {
            return match there.stored.version == 1 && there.stored.sealed == sealed {
                true => Created::Created,
                false => Created::Taken,
            };
        }
        shard.sweep(now);
        if shard.records.len() >= self.records_per_shard_max {
            return Created::Unavailable;
        }
        shard.put(key, Stored { version: 1, sealed: sealed.to_vec() }, until(now, keep));
        Created::Created
    }

    async fn replace(
        &self,
        key: RecordKey,
        expected: u64,
        sealed: &[u8],
        keep: Duration,
        _durability: Durability,
    ) -> Replaced {
        let Some(version) = expected.checked_add(1) else { return Replaced::Conflict };
        if !fits(key, sealed) {
            return Replaced::Unavailable;
        }
        let now = self.clock.now();
        let mut shard = self.shard(key);
        let Some(there) = shard.live(key, now) else { return Replaced::Gone };
        if there.stored.version == version && there.stored.sealed == sealed {
            return Replaced::Replaced;
        }
        if there.stored.version != expected {
            return Replaced::Conflict;
        }
        shard.put(key, Stored { version, sealed: sealed.to_vec() }, until(now, keep));
        Replaced::Replaced
    }

    async fn remove(&self, key: RecordKey) -> Removed {
        self.shard(key).take(key);
        Removed::Removed
    }

    async fn ping(&self) -> bool {
        true
    }
}

fn until(now: UnixMillis, keep: Duration) -> UnixMillis {
    now.plus(keep.min(KEEP_MAX))
}

#[derive(Default)]
struct Shard {
    records: HashMap<RecordKey, Entry>,
    /// The same records in the order in which they become garbage.
    garbage_at: BTreeSet<(UnixMillis, RecordKey)>,
}

struct Entry {
    stored: Stored,
    keep_until: UnixMillis,
}

impl Shard {
    fn live(&self, key: RecordKey, now: UnixMillis) -> Option<&Entry> {
        self.records.get(&key).filter(|entry| now < entry.keep_until)
    }

    fn put(&mut self, key: RecordKey, stored: Stored, keep_until: UnixMillis) {
        self.take(key);
        self.records.insert(key, Entry { stored, keep_until });
        self.garbage_at.insert((keep_until, key));
    }

    fn take(&mut self, key: RecordKey) {
        if let Some(entry) = self.records.remove(&key) {
            self.garbage_at.remove(&(entry.keep_until, key));
        }
    }

    fn sweep(&mut self, now: UnixMillis) {
        for _ in 0..SWEEP {
            match self.garbage_at.first() {
                Some(&(keep_until, key)) if keep_until <= now => self.take(key),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::store::contract::{self, Bench, Elapse};

    async fn bench() -> Bench {
        let shift = Arc::new(AtomicU64::new(0));
        let store = Arc::new(MemoryStore::new(Clock::Shifted(shift.clone())));
        Bench { store, elapse: Elapse::Shift(shift), keep_alive: Box::new(()) }
    }

    contract::suite!(bench);

    #[tokio::test]
    async fn a_full_store_refuses_new_records_until_old_ones_are_garbage() {
        let shift = Arc::new(AtomicU64::new(0));
        let store = MemoryStore::bounded(Clock::Shifted(shift.clone()), SHARDS);
        let in_one_shard = |n| RecordKey { tag: [n; 8], id: [0; 16] };
        let keep = Duration::from_secs(60);
        assert_eq!(store.create(in_one_shard(1), b"a", keep).await, Created::Created);
        assert_eq!(store.create(in_one_shard(2), b"b", keep).await, Created::Unavailable);
        assert!(
            matches!(store.load(in_one_shard(1)).await, Lookup::Found(_)),
            "a full store throws nothing out"
        );
        shift.fetch_add(60_000, Ordering::Relaxed);
        assert_eq!(store.create(in_one_shard(2), b"b", keep).await, Created::Created);
        let shard = store.shard(in_one_shard(2));
        assert_eq!((shard.records.len(), shard.garbage_at.len()), (1, 1), "garbage is swept");
    }
}
