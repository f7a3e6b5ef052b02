//! What this process has read of records, as long as it would hear of a change (ADR 17).
//!
//! An answer of the store is used again while three things hold: nothing was counted of its record
//! or epoch since the look-up began ([`Changes`]), the link that it came over has proved itself
//! within the lease ([`Link`]), and it was opened with the key ring of today. So a session that is
//! over is served no longer than the lease anywhere, and not at all where its end came from. That a
//! record is past its deadlines, its era over or its end remembered is not for this file to say.
//!
//! It holds opened records: a hit opens nothing, copies nothing, allocates nothing, and takes no
//! lock but the shared one of a shard.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache as Entries;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use crate::session::outcome::{Lookup, RecordKey};
use crate::session::record::Record;
use crate::store::Hears;
use crate::store::changes::{Changes, Link, Mark};
use crate::store::flights::Flights;

/// That there is nothing is believed for so long. Nobody waits for a record to appear, so it could
/// be for as long as anything else; it is less, since it costs a browser more to be told so wrongly.
const ABSENCE: Duration = Duration::from_secs(1);
/// What is reckoned for a record when nothing is known of it.
const USUAL_BYTES: u64 = 1024;
/// A shard holds some of the longest records: four of [`SEALED_BYTES_MAX`](super::SEALED_BYTES_MAX)
/// would be this much, and hardly any is.
const SHARD_BYTES_MIN: u64 = 1 << 20;
/// What the map keeps of an entry besides key and value.
const SLOT_BYTES: usize = 21;

/// How long and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// How old the last proof of a link may be. Zero: nothing is kept.
    pub lease: Duration,
    /// Memory for what is kept, as it is estimated for each entry.
    pub bytes: u64,
}

impl CacheSettings {
    /// What holds where nothing is said: of a store that only answers nothing is kept (PROTOCOL.md
    /// 33).
    pub fn of(store: &super::StoreSettings) -> Self {
        let lease = match store.hears() {
            Hears::AtOnce => Duration::from_secs(1),
            Hears::WhenItAsks => Duration::ZERO,
        };
        Self { lease, bytes: 64 << 20 }
    }
}

/// What the cache has done since the start, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    pub hits: u64,
    /// Look-ups that asked the store, or waited for one that did.
    pub misses: u64,
    /// Entries that had to make room. Those that are stale or replaced are not counted.
    pub evicted: u64,
    pub entries: u64,
    /// Their estimated memory.
    pub bytes: u64,
}

/// What a store says of a record.
pub(super) type Answer = Lookup<(u64, Arc<Record>)>;

/// The answer to a look-up, once it is there.
#[derive(Clone, Debug)]
pub(super) struct Landed {
    pub answer: Answer,
    /// What may be kept of it.
    pub entry: Option<Arc<Entry>>,
}

/// What must hold for an answer to be used again.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    pub changes: &'a Changes,
    /// The key ring of today, by its number.
    pub ring: u64,
    pub now: Instant,
}

/// An answer, and what to ask before it is used again.
#[derive(Debug)]
pub(super) struct Entry {
    answer: Answer,
    mark: Mark,
    link: Arc<Link>,
    ring: u64,
    /// For an absence.
    until: Option<Instant>,
    /// The estimate of its memory: the structures as the compiler lays them out, what the record
    /// has on the heap ([`Record::heap_bytes`]), two reference counts for each of the two that are
    /// shared, and the map's own share.
    bytes: u64,
}

impl Entry {
    /// Keeps an answer that came over `link` to a look-up before which `mark` was taken, and which
    /// began at `moment`. `None` where the answer is no answer.
    pub(super) fn new(answer: Answer, mark: Mark, link: Arc<Link>, moment: Moment) -> Option<Self> {
        let (until, heap) = match &answer {
            Lookup::Found((_, record)) => (None, size_of::<Record>() + record.heap_bytes()),
            Lookup::NotFound | Lookup::Revoked => (Some(moment.now + ABSENCE), 0),
            Lookup::Unavailable => return None,
        };
        let counts = 4 * size_of::<usize>();
        let slot = size_of::<Slot>() + size_of::<Arc<Self>>() + SLOT_BYTES;
        let bytes = size_of::<Self>() + counts + slot + heap;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Some(Self { answer, mark, link, ring: moment.ring, until, bytes })
    }

    /// Whether nothing was counted of it, whatever its link is worth.
    fn is_current(&self, key: RecordKey, moment: Moment) -> bool {
        moment.changes.is_current(key, self.mark)
            && self.ring == moment.ring
            && self.until.is_none_or(|until| moment.now < until)
    }

    /// Whether it may be used again.
    pub(super) fn is_good(&self, key: RecordKey, lease: Duration, moment: Moment) -> bool {
        self.is_current(key, moment) && self.link.is_proved(lease, moment.now)
    }

    fn version(&self) -> Option<u64> {
        match &self.answer {
            Lookup::Found((version, _)) => Some(*version),
            Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => None,
        }
    }
}

/// A key, and whether the epoch was asked for with it: that is another answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    key: RecordKey,
    has_subject: bool,
}

impl From<RecordKey> for Slot {
    fn from(key: RecordKey) -> Self {
        Self { key, has_subject: key.has_subject }
    }
}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl Slot {
    /// Some byte of it that is as good as random.
    pub(super) fn byte(self) -> usize {
        usize::from(self.key.id[3])
    }
}

/// The cache. Made once per process.
pub(super) struct Cache {
    pub(super) lease: Duration,
    pub(super) flights: Flights,
    entries: Entries<Slot, Arc<Entry>, Bytes, DefaultHashBuilder, Evictions>,
    evictions: Evictions,
    lanes: [Lane; 16],
}

/// Counters that threads do not take from each other, unless they serve the same session.
#[derive(Default)]
#[repr(align(64))]
struct Lane {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Cache {
    /// A cache as large as `settings` say; none where its lease is zero.
    pub(super) fn new(settings: CacheSettings) -> Option<Self> {
        let CacheSettings { lease, bytes } = settings;
        if lease.is_zero() {
            return None;
        }
        let usual = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let most = usize::try_from(bytes / SHARD_BYTES_MIN).unwrap_or(usize::MAX).max(1);
        // Rounded up to a power of two.
        let shards = (cores * 4).min(most);
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usual)
            .weight_capacity(bytes)
            .shards(shards)
            .build()
            .expect("both capacities are given");
        let evictions = Evictions::default();
        let hasher = DefaultHashBuilder::default();
        let entries = Entries::with_options(options, Bytes, hasher, evictions.clone());
        let (flights, lanes) = (Flights::default(), Default::default());
        Some(Self { lease, flights, entries, evictions, lanes })
    }

    /// What is known of a record, if it may be used again.
    pub(super) fn hit(&self, key: RecordKey, moment: Moment) -> Option<Answer> {
        let entry = self.entries.get(&Slot::from(key))?;
        if !entry.is_good(key, self.lease, moment) {
            return None;
        }
        self.lane(key).hits.fetch_add(1, Ordering::Relaxed);
        Some(entry.answer.clone())
    }

    /// As [`hit`](Self::hit), with nothing counted and the entry itself.
    pub(super) fn good(&self, key: RecordKey, moment: Moment) -> Option<Landed> {
        let entry = self.entries.peek(&Slot::from(key))?;
        let answer = entry.answer.clone();
        entry.is_good(key, self.lease, moment).then_some(Landed { answer, entry: Some(entry) })
    }

    /// A record that nothing was counted of, if its link was proved at most `max` ago, even if it
    /// was lost since.
    pub(super) fn stale(
        &self,
        key: RecordKey,
        max: Duration,
        moment: Moment,
    ) -> Option<(u64, Arc<Record>)> {
        let entry = self.entries.peek(&Slot::from(key))?;
        let silence = entry.link.silence(moment.now)?;
        if silence > max || !entry.is_current(key, moment) {
            return None;
        }
        match &entry.answer {
            Lookup::Found((version, record)) => Some((*version, record.clone())),
            Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => None,
        }
    }

    /// Keeps what the store has just answered in place of what it answered before. An answer that
    /// may not be kept takes the older one away; none at all changes nothing.
    pub(super) fn keep(&self, key: RecordKey, landed: &Landed, moment: Moment) {
        let slot = Slot::from(key);
        // Two answers that arrive together: the later version stays.
        let _order = self.flights.lock(slot);
        match &landed.entry {
            Some(entry) => {
                let is_older = self.entries.peek(&slot).is_some_and(|kept| {
                    let versions = kept.version().zip(entry.version());
                    versions.is_some_and(|(kept, new)| kept > new)
                        && kept.is_good(key, self.lease, moment)
                });
                if !is_older {
                    let mut insertion = Insertion { slot: Some(slot) };
                    self.entries.insert_with_lifecycle(slot, entry.clone(), &mut insertion);
                }
            }
            None if matches!(landed.answer, Lookup::Unavailable) => {}
            None => drop(self.entries.remove(&slot)),
        }
    }

    /// Counts a look-up that was no hit.
    pub(super) fn missed(&self, key: RecordKey) {
        self.lane(key).misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> CacheStats {
        let sum = |counter: fn(&Lane) -> &AtomicU64| {
            self.lanes.iter().map(|lane| counter(lane).load(Ordering::Relaxed)).sum()
        };
        CacheStats {
            hits: sum(|lane| &lane.hits),
            misses: sum(|lane| &lane.misses),
            evicted: self.evictions.0.load(Ordering::Relaxed),
            entries: u64::try_from(self.entries.len()).unwrap_or(u64::MAX),
            bytes: self.entries.weight(),
        }
    }

    fn lane(&self, key: RecordKey) -> &Lane {
        &self.lanes[Slot::from(key).byte() % self.lanes.len()]
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("lease", &self.lease).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
struct Bytes;

impl Weighter<Slot, Arc<Entry>> for Bytes {
    fn weight(&self, _: &Slot, entry: &Arc<Entry>) -> u64 {
        entry.bytes
    }
}

/// Counts what makes room for others.
#[derive(Clone, Debug, Default)]
struct Evictions(Arc<AtomicU64>);

/// What is being inserted: what it replaces is not evicted.
#[derive(Default)]
struct Insertion {
    slot: Option<Slot>,
}

impl Lifecycle<Slot, Arc<Entry>> for Evictions {
    type RequestState = Insertion;

    fn on_evict(&self, insertion: &mut Insertion, slot: Slot, _: Arc<Entry>) {
        if insertion.slot != Some(slot) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
