//! What this node knows to be over, whatever the store says (PROTOCOL.md 26).
//!
//! A failover of the store may lose the last writes: a session that was ended, moved by a login or
//! removed is then there again as it was, and the epoch of a subject whose sessions were revoked.
//! This node remembers until the absolute end what it has ended or read as ended. Ended, moved and
//! removed is for good (no key is used twice), so that a record that is live or pending again is
//! not believed, whatever its version; neither is one of an epoch that was replaced.
//!
//! It is bounded: where there is no room, what would be forgotten first makes room. A record takes
//! about 150 bytes and an epoch about 120, so 12 MB at most, and half a megabyte of counters that
//! say without a lock that nothing is known.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::UnixMillis;
use crate::session::outcome::{Epoch, RecordKey};
use crate::session::record::{Record, State};

/// Records that are remembered.
const RECORDS_MAX: usize = 64 * 1024;
/// Epochs that are remembered.
const EPOCHS_MAX: usize = 16 * 1024;
const SHARDS: usize = 64;
/// A power of two: half of them are zero when there are as many keys.
const COUNTERS: usize = 1 << 16;

/// What is over.
#[derive(Debug)]
pub(super) struct RememberedEnds {
    records: Memory<RecordKey, End>,
    epochs: Memory<[u8; 16], ()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Ended or moved: such a record is believed.
    Over,
    /// No record is.
    Removed,
}

/// What is known here, and the store says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The record is over.
    End,
    /// This epoch was replaced.
    Revocation(Epoch),
}

impl Default for RememberedEnds {
    fn default() -> Self {
        Self { records: Memory::new(RECORDS_MAX), epochs: Memory::new(EPOCHS_MAX) }
    }
}

impl RememberedEnds {
    /// Notes what was read or written of a record: whether that is its end.
    pub(super) fn see(&self, key: RecordKey, record: &Record, now: UnixMillis) {
        if is_final(&record.state) && self.records.get(&key, now).is_none() {
            self.records.put(key, End::Over, record.ends_at, now);
        }
    }

    /// Notes that a record was removed that would have ended by then.
    pub(super) fn removed(&self, key: RecordKey, until: UnixMillis, now: UnixMillis) {
        self.records.put(key, End::Removed, until, now);
    }

    /// Notes that an epoch was replaced, all of whose records would have ended by then.
    pub(super) fn replaced(&self, epoch: Epoch, until: UnixMillis, now: UnixMillis) {
        self.epochs.put(epoch.0, (), until, now);
    }

    /// What the store has lost, if this is what it says of a record.
    pub(super) fn lost(&self, key: RecordKey, record: &Record, now: UnixMillis) -> Option<Lost> {
        let is_believable = match self.records.get(&key, now) {
            None => true,
            Some(End::Over) => is_final(&record.state),
            Some(End::Removed) => false,
        };
        match record.epoch {
            Some(epoch) if self.is_replaced(epoch, now) => Some(Lost::Revocation(epoch)),
            Some(_) | None => (!is_believable).then_some(Lost::End),
        }
    }

    /// Whether an epoch is over, though the store may say that it is the current one.
    pub(super) fn is_replaced(&self, epoch: Epoch, now: UnixMillis) -> bool {
        self.epochs.get(&epoch.0, now).is_some()
    }
}

fn is_final(state: &State) -> bool {
    match state {
        State::Ended | State::Moved { .. } => true,
        State::Live | State::Pending { .. } => false,
    }
}

/// A key that is as good as random: no peer chooses it.
trait Uniform: Copy + Eq + Hash + Ord {
    fn number(&self) -> usize;
}

impl Uniform for RecordKey {
    fn number(&self) -> usize {
        self.id.number()
    }
}

impl Uniform for [u8; 16] {
    fn number(&self) -> usize {
        usize::from(u16::from_be_bytes([self[4], self[5]]))
    }
}

/// What is known of keys for a time, a bounded number of them.
struct Memory<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    /// How many keys there are of each number: most look-ups end here.
    counts: Box<[AtomicU32]>,
    per_shard_max: usize,
}

struct Shard<K, V> {
    known: HashMap<K, (V, UnixMillis)>,
    by_end: BTreeSet<(UnixMillis, K)>,
}

impl<K: Uniform, V: Copy> Memory<K, V> {
    fn new(max: usize) -> Self {
        let shard = || Mutex::new(Shard { known: HashMap::new(), by_end: BTreeSet::new() });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            counts: (0..COUNTERS).map(|_| AtomicU32::new(0)).collect(),
            per_shard_max: max.div_ceil(SHARDS),
        }
    }

    fn get(&self, key: &K, now: UnixMillis) -> Option<V> {
        if self.count(key).load(Ordering::SeqCst) == 0 {
            return None;
        }
        let (value, until) = *self.shard(key).known.get(key)?;
        (now < until).then_some(value)
    }

    /// Remembers it in place of what was known of the key.
    fn put(&self, key: K, value: V, until: UnixMillis, now: UnixMillis) {
        if until <= now {
            return;
        }
        let mut shard = self.shard(&key);
        self.forget(&mut shard, &key);
        while let Some((first, other)) = shard.by_end.first().copied()
            && (first <= now || shard.known.len() >= self.per_shard_max)
        {
            self.forget(&mut shard, &other);
        }
        shard.known.insert(key, (value, until));
        shard.by_end.insert((until, key));
        self.count(&key).fetch_add(1, Ordering::SeqCst);
    }

    fn forget(&self, shard: &mut Shard<K, V>, key: &K) {
        if let Some((_, until)) = shard.known.remove(key) {
            shard.by_end.remove(&(until, *key));
            self.count(key).fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn count(&self, key: &K) -> &AtomicU32 {
        &self.counts[key.number() % COUNTERS]
    }

    /// Held for a moment. Each change is whole, so a panic elsewhere did no harm.
    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        self.shards[key.number() % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard<K, V>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).known.len()
        };
        self.shards.iter().map(len).sum()
    }
}

impl<K, V> fmt::Debug for Memory<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("per_shard_max", &self.per_shard_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

    fn key(n: u16) -> [u8; 16] {
        let mut key = [0; 16];
        key[4..6].copy_from_slice(&n.to_be_bytes());
        key
    }

    fn at(secs: u64) -> UnixMillis {
        NOW.plus(Duration::from_secs(secs))
    }

    #[test]
    fn what_is_noted_is_known_until_its_end() {
        let memory = Memory::new(1000);
        memory.put(key(1), 'a', at(10), NOW);
        memory.put(key(2), 'b', NOW, NOW);
        let known = |n, secs| memory.get(&key(n), at(secs));
        assert_eq!((known(1, 0), known(1, 9), known(1, 10)), (Some('a'), Some('a'), None));
        assert_eq!((known(2, 0), known(3, 0)), (None, None));
        memory.put(key(1), 'c', at(20), at(5));
        assert_eq!((known(1, 15), memory.len()), (Some('c'), 1));
    }

    /// Two keys of one number are told apart.
    #[test]
    fn a_number_is_no_key() {
        let memory = Memory::new(1000);
        let (one, mut other) = (key(1), key(1));
        other[0] = 9;
        memory.put(one, (), at(10), NOW);
        assert_eq!((memory.get(&one, NOW), memory.get(&other, NOW)), (Some(()), None));
    }

    #[test]
    fn there_is_room_for_so_many_and_the_soonest_to_end_goes_first() {
        let memory = Memory::new(2 * SHARDS);
        let shard = |n: u16| key(n * u16::try_from(SHARDS).expect("few"));
        memory.put(shard(1), (), at(30), NOW);
        memory.put(shard(2), (), at(10), NOW);
        memory.put(shard(3), (), at(20), NOW);
        let known = |n| memory.get(&shard(n), NOW).is_some();
        assert_eq!((known(1), known(2), known(3)), (true, false, true));
        memory.put(shard(4), (), at(40), at(25));
        assert_eq!((known(1), known(3), known(4)), (true, false, true), "it is over by now");
        for n in 0..10_000 {
            memory.put(key(n), (), at(60), NOW);
        }
        assert_eq!(memory.len(), 2 * SHARDS);
        let counted: u32 = memory.counts.iter().map(|count| count.load(Ordering::SeqCst)).sum();
        assert_eq!(usize::try_from(counted).expect("small"), memory.len());
    }
}
