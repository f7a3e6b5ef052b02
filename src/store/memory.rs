//! The engine for development and tests: records in this process, gone with it.
//!
//! Sharded, so that workers seldom meet at a lock; bounded, so that it fails as a database that is
//! full does: creations answer `Unavailable`, nothing that is there is thrown out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    ANNOUNCED_MAX, ANNOUNCEMENT_KEEP_MAX, Announcement, BEYOND_MAX, Carry, KEEP_MAX, Keep,
    LISTED_MAX, Listed, SessionStore, Stored, fits, is_short,
};
use crate::clock::{Clock, UnixMillis};
use crate::session::outcome::{
    Carried, Created, Durability, Epoch, Leased, Listing, Lookup, RecordKey, Removed, Replaced,
    Room, Surplus,
};

/// Records in all shards together.
const RECORDS_MAX: usize = 256 * 1024;
const SHARDS: usize = 64;
/// How many elapsed entries one creation sweeps: more than it adds, so that garbage shrinks.
const SWEEP: usize = 4;

/// Records in memory.
pub struct MemoryStore {
    shards: Vec<Mutex<Shard>>,
    /// By tag.
    epochs: Vec<Mutex<Expiring<[u8; 8], Epoch>>>,
    /// By record; the value is the owner.
    leases: Vec<Mutex<Expiring<RecordKey, [u8; 16]>>>,
    era: AtomicU32,
    announced: Mutex<Vec<Announced>>,
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
            epochs: (0..SHARDS).map(|_| Mutex::default()).collect(),
            leases: (0..SHARDS).map(|_| Mutex::default()).collect(),
            era: AtomicU32::new(0),
            announced: Mutex::default(),
            records_per_shard_max: records_max.div_ceil(SHARDS),
            clock,
        }
    }

    /// The hashed selector is uniform, so that its last byte is as good as a hash.
    fn shard(&self, key: RecordKey) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(key.id[15]) % SHARDS])
    }

    fn epochs(&self, tag: [u8; 8]) -> MutexGuard<'_, Expiring<[u8; 8], Epoch>> {
        lock(&self.epochs[usize::from(tag[7]) % SHARDS])
    }

    /// Those records of a tag that `chosen` gives a time, with it.
    fn listed(
        &self,
        tag: [u8; 8],
        now: UnixMillis,
        chosen: impl Fn(&Entry) -> Option<UnixMillis>,
    ) -> Vec<(UnixMillis, [u8; 16])> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let live = shard.of_tag(tag).filter(|(_, entry)| now < entry.keep_until);
            all.extend(live.filter_map(|(key, entry)| Some((chosen(entry)?, key.id))));
        }
        all
    }

    /// Takes all records of a tag out of its list, but for one; how many there were.
    fn unlist(&self, tag: [u8; 8], but: Option<RecordKey>, now: UnixMillis) -> usize {
        let mut count = 0;
        for shard in &self.shards {
            for (key, entry) in lock(shard).of_tag_mut(tag) {
                if entry.listing != Listing::Out && Some(*key) != but {
                    entry.listing = Listing::Out;
                    count += usize::from(now < entry.keep_until);
                }
            }
        }
        count
    }

    fn leases(&self, key: RecordKey) -> MutexGuard<'_, Expiring<RecordKey, [u8; 16]>> {
        lock(&self.leases[usize::from(key.id[15]) % SHARDS])
    }
}

/// What is locked is changed without a step that can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn load(&self, key: RecordKey) -> Lookup<Stored> {
        let now = self.clock.now();
        let Some(stored) = self.shard(key).live(key, now).map(|entry| entry.stored.clone()) else {
            return Lookup::NotFound;
        };
        // Read last: a revocation that was acknowledged before this call is seen in any case.
        let epoch = key.has_subject.then(|| self.epochs(key.tag).live(&key.tag, now)).flatten();
        Lookup::Found(Stored { epoch, ..stored })
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
        let listing = if key.has_subject { Listing::Listed } else { Listing::Out };
        shard.put(
            key,
            Stored { version: 1, sealed: sealed.to_vec(), epoch: None },
            until(now, keep),
            listing,
        );
        Created::Created
    }

    async fn replace(
        &self,
        key: RecordKey,
        expected: u64,
        epoch: Option<Epoch>,
        sealed: &[u8],
        keep: Keep,
        _durability: Durability,
    ) -> Replaced {
        let Some(version) = expected.checked_add(1) else { return Replaced::Conflict };
        if !fits(key, sealed) {
            return Replaced::Unavailable;
        }
        let now = self.clock.now();
        let mut shard = self.shard(key);
        let Some(there) = shard.live(key, now) else { return Replaced::Gone };
        // Looked at while the record is held: a revocation comes before the write or after it.
        if epoch.is_some() && self.epochs(key.tag).live(&key.tag, now) != epoch {
            return Replaced::Gone;
        }
        if there.stored.version == version && there.stored.sealed == sealed {
            return Replaced::Replaced;
        }
        if there.stored.version != expected {
            return Replaced::Conflict;
        }
        let stored = Stored { version, sealed: sealed.to_vec(), epoch: None };
        shard.put(key, stored, until(now, keep.time), keep.listing);
        Replaced::Replaced
    }

    async fn carry(&self, key: RecordKey, carry: Carry<'_>) -> Carried {
        let Some(version) = carry.expected.checked_add(1) else { return Carried::Conflict };
        if !fits(key, carry.sealed) {
            return Carried::Unavailable;
        }
        let now = self.clock.now();
        {
            let mut shard = self.shard(key);
            let Some(there) = shard.live(key, now) else { return Carried::Gone };
            let mut epochs = self.epochs(key.tag);
            let current = epochs.live(&key.tag, now);
            let is_repeat = current == Some(carry.epoch)
                && (there.stored.version, &*there.stored.sealed) == (version, carry.sealed);
            if !is_repeat {
                if current != Some(carry.over) {
                    return Carried::Gone;
                }
                if there.stored.version != carry.expected {
                    return Carried::Conflict;
                }
            }
            let keep_until = until(now, carry.epoch_keep);
            if !epochs.put_for_longer(key.tag, carry.epoch, now, keep_until) {
                return Carried::Unavailable;
            }
            let stored = Stored { version, sealed: carry.sealed.to_vec(), epoch: None };
            shard.put(key, stored, until(now, carry.keep.time), carry.keep.listing);
        }
        Carried::Carried(self.unlist(key.tag, Some(key), now))
    }

    async fn remove(&self, key: RecordKey) -> Removed {
        drop(self.shard(key).take(key));
        Removed::Removed
    }

    async fn epoch(&self, tag: [u8; 8], proposal: Epoch, keep: Duration) -> Lookup<Epoch> {
        let now = self.clock.now();
        let mut epochs = self.epochs(tag);
        let epoch = epochs.live(&tag, now).unwrap_or(proposal);
        let is_kept = epochs.put_for_longer(tag, epoch, now, until(now, keep));
        if is_kept { Lookup::Found(epoch) } else { Lookup::Unavailable }
    }

    async fn revoke(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>> {
        let now = self.clock.now();
        let mut epochs = self.epochs(tag);
        let replaced = epochs.live(&tag, now).filter(|before| *before != replacement);
        let is_kept = epochs.put_for_longer(tag, replacement, now, until(now, keep));
        drop(epochs);
        self.unlist(tag, None, now);
        if is_kept { Lookup::Found(replaced) } else { Lookup::Unavailable }
    }

    async fn list(&self, tag: [u8; 8]) -> Lookup<Listed> {
        let mut all = self.listed(tag, self.clock.now(), |entry| match entry.listing {
            Listing::Out => None,
            Listing::Listed | Listing::Counts(_) => Some(entry.keep_until),
        });
        all.sort_unstable_by(|one, other| other.cmp(one));
        let ids = all.iter().map(|(_, id)| *id).take(LISTED_MAX).collect();
        Lookup::Found(Listed { ids, total: all.len() })
    }

    async fn beyond(&self, tag: [u8; 8], room: Room) -> Lookup<Vec<[u8; 16]>> {
        let mut all = self.listed(tag, self.clock.now(), |entry| match entry.listing {
            Listing::Counts(since) => Some(since),
            Listing::Out | Listing::Listed => None,
        });
        all.retain(|(_, id)| room.besides.is_none_or(|besides| besides.id != *id));
        all.sort_unstable();
        if room.ends == Surplus::Oldest {
            all.reverse();
        }
        let ids = all.into_iter().skip(room.sessions).map(|(_, id)| id);
        Lookup::Found(ids.take(BEYOND_MAX).collect())
    }

    async fn era(&self) -> Lookup<u32> {
        Lookup::Found(self.era.load(Ordering::SeqCst))
    }

    async fn next_era(&self, known: u32) -> Lookup<u32> {
        let next = |era: u32| era.max(known).saturating_add(1);
        let before = self
            .era
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |era| Some(next(era)))
            .unwrap_or_else(|era| era);
        Lookup::Found(next(before))
    }

    async fn raise_era(&self, least: u32) -> Lookup<u32> {
        Lookup::Found(self.era.fetch_max(least, Ordering::SeqCst).max(least))
    }

    async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        let now = self.clock.now();
        let mut leases = self.leases(key);
        if leases.live(&key, now).is_some_and(|holder| holder != owner) {
            return Leased::Busy;
        }
        match leases.put(key, owner, now, until(now, hold)) {
            true => Leased::Taken,
            false => Leased::Unavailable,
        }
    }

    async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        let now = self.clock.now();
        let mut leases = self.leases(key);
        if leases.live(&key, now) == Some(owner) {
            leases.take(&key);
        }
    }

    async fn announce(&self, announcement: &Announcement, keep: Duration) -> Lookup<UnixMillis> {
        if !is_short(announcement) {
            return Lookup::Unavailable;
        }
        let (now, mut announced) = (self.clock.now(), lock(&self.announced));
        announced.retain(|other| other.said.node != announcement.node && now < other.keep_until);
        if announced.len() >= ANNOUNCED_MAX {
            return Lookup::Unavailable;
        }
        if !keep.is_zero() {
            let keep_until = now.plus(keep.min(ANNOUNCEMENT_KEEP_MAX));
            announced.push(Announced { said: announcement.clone(), keep_until });
        }
        Lookup::Found(now)
    }

    async fn announced(&self) -> Lookup<Vec<Announcement>> {
        let now = self.clock.now();
        let announced = lock(&self.announced);
        let live = announced.iter().filter(|announced| now < announced.keep_until);
        Lookup::Found(live.map(|announced| announced.said.clone()).collect())
    }

    async fn ping(&self) -> bool {
        true
    }
}

fn until(now: UnixMillis, keep: Duration) -> UnixMillis {
    now.plus(keep.min(KEEP_MAX))
}

/// What a node says of itself.
struct Announced {
    said: Announcement,
    keep_until: UnixMillis,
}

#[derive(Default)]
struct Shard {
    records: BTreeMap<RecordKey, Entry>,
    /// The same records in the order in which they become garbage.
    garbage_at: BTreeSet<(UnixMillis, RecordKey)>,
}

struct Entry {
    stored: Stored,
    keep_until: UnixMillis,
    listing: Listing,
}

impl Shard {
    fn live(&self, key: RecordKey, now: UnixMillis) -> Option<&Entry> {
        self.records.get(&key).filter(|entry| now < entry.keep_until)
    }

    /// Keys begin with their tag, so that those of one stand together.
    fn of_tag(&self, tag: [u8; 8]) -> impl Iterator<Item = (&RecordKey, &Entry)> {
        self.records.range(span(tag))
    }

    fn of_tag_mut(&mut self, tag: [u8; 8]) -> impl Iterator<Item = (&RecordKey, &mut Entry)> {
        self.records.range_mut(span(tag))
    }

    fn put(&mut self, key: RecordKey, stored: Stored, keep_until: UnixMillis, listing: Listing) {
        let before = self.take(key).map(|entry| entry.listing);
        let listing = match (before, listing) {
            (Some(since @ Listing::Counts(_)), Listing::Counts(_)) => since,
            (_, listing) => listing,
        };
        self.records.insert(key, Entry { stored, keep_until, listing });
        self.garbage_at.insert((keep_until, key));
    }

    fn take(&mut self, key: RecordKey) -> Option<Entry> {
        let entry = self.records.remove(&key)?;
        self.garbage_at.remove(&(entry.keep_until, key));
        Some(entry)
    }

    fn sweep(&mut self, now: UnixMillis) {
        for _ in 0..SWEEP {
            match self.garbage_at.first() {
                Some(&(keep_until, key)) if keep_until <= now => drop(self.take(key)),
                _ => return,
            }
        }
    }
}

/// All keys of a tag.
fn span(tag: [u8; 8]) -> RangeInclusive<RecordKey> {
    let at = |id| RecordKey { tag, id: [id; 16], has_subject: true };
    at(0)..=at(0xff)
}

/// Small values that become garbage, as many as a shard may have records.
struct Expiring<K, V> {
    values: HashMap<K, (V, UnixMillis)>,
    /// The same in the order in which they become garbage.
    garbage_at: BTreeSet<(UnixMillis, K)>,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { values: HashMap::new(), garbage_at: BTreeSet::new() }
    }
}

impl<K: Copy + Hash + Ord, V: Copy> Expiring<K, V> {
    fn live(&self, key: &K, now: UnixMillis) -> Option<V> {
        self.values.get(key).filter(|(_, keep_until)| now < *keep_until).map(|(value, _)| *value)
    }

    /// Whether there was room.
    fn put(&mut self, key: K, value: V, now: UnixMillis, keep_until: UnixMillis) -> bool {
        self.take(&key);
        for _ in 0..SWEEP {
            match self.garbage_at.first() {
                Some(&(elapsed, key)) if elapsed <= now => self.take(&key),
                _ => break,
            }
        }
        let has_room = self.values.len() < RECORDS_MAX / SHARDS;
        if has_room {
            self.values.insert(key, (value, keep_until));
            self.garbage_at.insert((keep_until, key));
        }
        has_room
    }

    /// As `put`, but never cuts the time that the key has.
    fn put_for_longer(
        &mut self,
        key: K,
        value: V,
        now: UnixMillis,
        keep_until: UnixMillis,
    ) -> bool {
        let before = self.values.get(&key).map(|(_, keep_until)| *keep_until);
        self.put(key, value, now, before.map_or(keep_until, |before| before.max(keep_until)))
    }

    fn take(&mut self, key: &K) {
        if let Some((_, keep_until)) = self.values.remove(key) {
            self.garbage_at.remove(&(keep_until, *key));
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
        let in_one_shard = |n| RecordKey { tag: [n; 8], id: [0; 16], has_subject: false };
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
