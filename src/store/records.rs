//! Records, sealed: what stands between the session protocol and an engine.
//!
//! `key id 4 | nonce 24 | ciphertext | GCM tag 16`. The record's key and version are associated
//! data, so that nobody with access to the store can copy a record to another key or put an old
//! version in place of a new one under the new version's number.
//!
//! A record of an epoch or an era that is over is [`Lookup::Revoked`] (PROTOCOL.md 26, 27): here,
//! so that no part of the proxy has to think of it. So is one whose end this node remembers, though
//! the store has lost it (`ends`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::UnixMillis;
use crate::crypto::keyring::{KeyId, Keyring};
use crate::crypto::random;
use crate::crypto::ring_source::RingSource;
use crate::crypto::seal::{self, Purpose};
use crate::session::outcome::{
    Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced,
};
use crate::session::record::Record;
use crate::store::cache::{self, Answer, Cache, CacheStats, Entry, Landed, Moment, Slot};
use crate::store::ends::Ends;
use crate::store::era::Era;
use crate::store::flights::{Followed, Seat};
use crate::store::mending::Mending;
use crate::store::throttle::Throttle;
use crate::store::{Keep, SharedStore, Stored};

const FIRST_VERSION: u64 = 1;
/// An epoch is kept this much longer than any record of it can be good for: it is made before the
/// record, and clocks differ (rule 33).
const EPOCH_SLACK: Duration = Duration::from_secs(300);
/// How often a look-up waits for another one's before it goes its own way: whoever it waited for
/// was dropped each time.
const FOLLOWED_MAX: usize = 3;

/// When the store was asked for an answer that will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Before this call, as far as nothing was heard to have changed.
    Before,
    /// Since it began.
    Now,
}

/// An engine with a key ring in front.
#[derive(Clone, Debug)]
pub struct Records {
    store: SharedStore,
    ring: Arc<RingSource>,
    era: Arc<Era>,
    ends: Arc<Ends>,
    mending: Arc<Mending>,
    cache: Option<Arc<Cache>>,
    epochs_kept: Duration,
    /// Records that this node has no key for: one line says so.
    lacking: Arc<Throttle>,
}

impl Records {
    /// Seals for `store` with the ring of `ring`. `longest` is the longest absolute time that any
    /// policy of the configuration gives a session: all of them share subjects, and so epochs
    /// (rule 27).
    pub fn new(store: SharedStore, ring: Arc<RingSource>, longest: Duration) -> Self {
        let epochs_kept = longest.saturating_add(EPOCH_SLACK);
        Self {
            store,
            ring,
            era: Arc::default(),
            ends: Arc::default(),
            mending: Arc::default(),
            cache: None,
            epochs_kept,
            lacking: Arc::default(),
        }
    }

    /// Keeps what is read, where the engine tells of changes.
    #[must_use]
    pub fn with_cache(self, settings: cache::Settings) -> Self {
        let cache = self.store.changes().and_then(|_| Cache::new(settings)).map(Arc::new);
        Self { cache, ..self }
    }

    /// What the cache has done so far; all zero without one.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.as_ref().map(|cache| cache.stats()).unwrap_or_default()
    }

    /// Reads a record and its version. A record that does not open is not there: it was sealed
    /// with a retired key, or is not ours. One whose key this node has never heard of is
    /// unavailable: other nodes have it, and its user is to stay logged in (PROTOCOL.md 4).
    ///
    /// It may be one that was read before, as far as no change was heard of (ADR 17); what this
    /// node itself has written is always seen.
    pub async fn load(&self, key: RecordKey, now: UnixMillis) -> Lookup<(u64, Arc<Record>)> {
        self.load_at(key, now, Instant::now()).await
    }

    /// As [`load`](Self::load), where nobody has to be asked for that.
    /// `instant` is the same moment as `now`.
    pub fn cached(
        &self,
        key: RecordKey,
        now: UnixMillis,
        instant: Instant,
    ) -> Option<Lookup<(u64, Arc<Record>)>> {
        let (cache, moment) = self.moment(instant)?;
        let answer = cache.hit(key, moment)?;
        Some(self.judged(key, answer, now))
    }

    /// Whether a record is known to have this version still, without asking anybody.
    pub fn is_current(&self, key: RecordKey, version: u64) -> bool {
        let Some((cache, moment)) = self.moment(Instant::now()) else { return false };
        let kept = cache.good(key, moment).map(|landed| landed.answer);
        matches!(kept, Some(Lookup::Found((kept, _))) if kept == version)
    }

    /// As [`load`](Self::load), but never what was read before this call. Many may want that of one
    /// record at the same time: they ask together.
    pub async fn load_anew(&self, key: RecordKey, now: UnixMillis) -> Lookup<(u64, Arc<Record>)> {
        self.ask(key, now, Instant::now(), Asked::Now).await
    }

    /// As [`load_anew`](Self::load_anew), and waits for nobody who asks already.
    pub async fn reload(&self, key: RecordKey, now: UnixMillis) -> Lookup<(u64, Arc<Record>)> {
        if self.known_era().await.is_none() {
            return Lookup::Unavailable;
        }
        let landed = self.look_up(key, now, Instant::now()).await;
        self.keep(key, &landed);
        landed.answer
    }

    /// What was read of a record and not heard to have changed, though the store may not answer any
    /// more: at most `max` ago it still said of every change. To be used only where an outage of the
    /// store is to be bridged. Absences are not told.
    pub fn load_stale(
        &self,
        key: RecordKey,
        now: UnixMillis,
        max: Duration,
    ) -> Option<(u64, Arc<Record>)> {
        let (cache, moment) = self.moment(Instant::now())?;
        let found = cache.stale(key, max, moment)?;
        match self.judged(key, Lookup::Found(found), now) {
            Lookup::Found(found) => Some(found),
            Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => None,
        }
    }

    /// `instant` is the beginning of the look-up.
    pub(super) async fn load_at(
        &self,
        key: RecordKey,
        now: UnixMillis,
        instant: Instant,
    ) -> Answer {
        if self.known_era().await.is_none() {
            return Lookup::Unavailable;
        }
        match self.cached(key, now, instant) {
            Some(answer) => answer,
            None => self.ask(key, now, instant, Asked::Before).await,
        }
    }

    /// Asks the store, together with others who ask for the same record.
    async fn ask(&self, key: RecordKey, now: UnixMillis, instant: Instant, by: Asked) -> Answer {
        if self.known_era().await.is_none() {
            return Lookup::Unavailable;
        }
        let Some(cache) = &self.cache else {
            return self.look_up(key, now, instant).await.answer;
        };
        cache.missed(key);
        for round in 0..FOLLOWED_MAX {
            match cache.flights.board(Slot::from(key)) {
                Seat::Lead(lead) => {
                    // Another one's answer may have come between the miss and this.
                    let known = self.moment(instant).filter(|_| by == Asked::Before);
                    let known = known.and_then(|(_, at)| cache.good(key, at));
                    let landed = match known {
                        Some(landed) => landed,
                        None => {
                            let landed = self.look_up(key, now, instant).await;
                            self.keep(key, &landed);
                            landed
                        }
                    };
                    let answer = self.judged(key, landed.answer.clone(), now);
                    lead.land(landed);
                    return answer;
                }
                Seat::Follow(follow) => match follow.landed().await {
                    // The first that is followed began before this look-up did, so its answer is
                    // what a hit would be; any later one began after it.
                    Followed::Landed(landed)
                        if round > 0
                            || matches!(landed.answer, Lookup::Unavailable)
                            || by == Asked::Before
                                && self.is_good(key, &landed, instant.max(Instant::now())) =>
                    {
                        return self.judged(key, landed.answer, now);
                    }
                    Followed::Landed(_) | Followed::Lost => {}
                    Followed::Stuck => break,
                },
            }
        }
        self.look_up(key, now, instant).await.answer
    }

    /// Creates a record, in the era that this node knows of.
    pub async fn create(&self, key: RecordKey, record: &Record, now: UnixMillis) -> Created {
        let Some(era) = self.known_era().await else { return Created::Unavailable };
        let record = Record { era, ..record.clone() };
        match self.seal(key, FIRST_VERSION, &record) {
            Some(sealed) => self.store.create(key, &sealed, record.keep(now)).await,
            None => Created::Unavailable,
        }
    }

    /// Replaces a record if it still has this version. Its epoch and era should be those that it
    /// was read with: where they are over, the record is [`Replaced::Gone`] (rule 25).
    pub async fn replace(
        &self,
        key: RecordKey,
        version: u64,
        record: &Record,
        durability: Durability,
        now: UnixMillis,
    ) -> Replaced {
        // A revocation of all that this node knows of; the epoch is the engine's to compare.
        if record.era < self.era.learn(record.era) {
            return Replaced::Gone;
        }
        match self.seal(key, version + 1, record) {
            Some(sealed) => {
                let (epoch, keep) = (record.epoch, keep(record, now));
                let replaced =
                    self.store.replace(key, version, epoch, &sealed, keep, durability).await;
                if replaced == Replaced::Replaced {
                    self.ends.see(key, record, now);
                }
                replaced
            }
            None => Replaced::Unavailable,
        }
    }

    /// Ends one session, on every node at once.
    pub async fn revoke_one(&self, key: RecordKey, now: UnixMillis) -> Removed {
        let removed = self.store.remove(key).await;
        if removed == Removed::Removed {
            // No record is good for longer than an epoch is kept.
            self.ends.removed(key, now.plus(self.epochs_kept), now);
        }
        removed
    }

    /// Ends all sessions of all policies: here at once, on other nodes when they have read the new
    /// era, a quarter of a second later.
    pub async fn revoke_all(&self) -> Removed {
        let Some(known) = self.known_era().await else { return Removed::Unavailable };
        match self.store.next_era(known).await {
            Lookup::Found(era) => {
                self.era.learn(era);
                // After the last one there is no next.
                if era > known { Removed::Removed } else { Removed::Unavailable }
            }
            Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => Removed::Unavailable,
        }
    }

    /// Reads the era. A store that does not answer changes nothing; one that has lost its era is
    /// told what this node knows, or nodes that start later would make records of an earlier era.
    pub async fn read_era(&self) {
        let Lookup::Found(era) = self.store.era().await else { return };
        let known = self.era.learn(era);
        if era < known {
            tracing::warn!(era, known, "the store has lost the era of its sessions; written again");
            if let Lookup::Found(era) = self.store.raise_era(known).await {
                self.era.learn(era);
            }
        }
    }

    /// Takes or extends the lease beside a record, for `hold` from now on.
    pub async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        self.store.lease(key, owner, hold).await
    }

    /// Gives a lease up, if `owner` has it.
    pub async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        self.store.release(key, owner).await;
    }

    /// Asks the store once where it could not be reached before: without the era nobody can say
    /// whether a record was revoked.
    async fn known_era(&self) -> Option<u32> {
        if self.era.known().is_none() {
            self.read_era().await;
        }
        self.era.known()
    }

    /// Asks the store.
    async fn look_up(&self, key: RecordKey, now: UnixMillis, instant: Instant) -> Landed {
        // All of this before the question is sent: what changes while it is under way, changes it.
        let moment = self.moment(instant).map(|(_, moment)| moment);
        let mark = moment.map(|moment| moment.changes.mark(key));
        let (lookup, link) = match moment {
            Some(_) => self.store.load_watched(key).await,
            None => (self.store.load(key).await, None),
        };
        if let Lookup::Found(stored) = &lookup
            && self.lacks(stored).is_some()
        {
            self.ring.reread(now).await;
        }
        let (answer, opens) = match lookup {
            Lookup::Found(stored) => match self.open(key, &stored) {
                Some(record) if !is_of_epoch(&record, stored.epoch) => {
                    // Another stands in its place: it was replaced, and is over wherever this node
                    // meets it. That there is none says nothing about what there was.
                    if let (Some(over), Some(_)) = (record.epoch, stored.epoch) {
                        self.ends.replaced(over, record.ends_at, now);
                    }
                    (Lookup::Revoked, true)
                }
                Some(record) => {
                    self.ends.see(key, &record, now);
                    if let Some(lost) = self.ends.lost(key, &record, now) {
                        let read = (key, stored.version);
                        self.mending.mend(&*self.store, read, lost, self.epochs_kept).await;
                    }
                    let found = Lookup::Found((stored.version, Arc::new(record)));
                    (self.judged(key, found, now), true)
                }
                None => (self.unopened(key, &stored), false),
            },
            Lookup::NotFound => (Lookup::NotFound, true),
            Lookup::Revoked => (Lookup::Revoked, true),
            Lookup::Unavailable => (Lookup::Unavailable, true),
        };
        let entry = match (moment, mark, link) {
            (Some(moment), Some(mark), Some(link)) if opens => {
                Entry::new(answer.clone(), mark, link, moment).map(Arc::new)
            }
            _ => None,
        };
        Landed { answer, entry }
    }

    /// What is to be said of a record that does not open.
    fn unopened(&self, key: RecordKey, stored: &Stored) -> Answer {
        let Some(lacking) = self.lacks(stored) else {
            tracing::error!(session = ?key, "a record in the store does not open");
            return Lookup::NotFound;
        };
        if let Some(suppressed) = self.lacking.admit() {
            tracing::error!(
                session = ?key,
                key = %lacking,
                suppressed,
                "a record was sealed with a key that this node lacks: bring the same key ring to all \
                 nodes; until then the session is unavailable here"
            );
        }
        Lookup::Unavailable
    }

    /// Keeps the answer to a look-up.
    fn keep(&self, key: RecordKey, landed: &Landed) {
        if let Some((cache, moment)) = self.moment(Instant::now()) {
            cache.keep(key, landed, moment);
        }
    }

    fn is_good(&self, key: RecordKey, landed: &Landed, instant: Instant) -> bool {
        self.moment(instant)
            .zip(landed.entry.as_ref())
            .is_some_and(|((cache, moment), entry)| entry.is_good(key, cache.lease, moment))
    }

    fn moment(&self, now: Instant) -> Option<(&Cache, Moment<'_>)> {
        let (cache, changes) = self.cache.as_deref().zip(self.store.changes())?;
        Some((cache, Moment { changes, ring: self.ring.number(), now }))
    }

    /// What is known of a record whatever the store says: its era, of which one that is later
    /// proves that there is one, and its end.
    fn judged(&self, key: RecordKey, answer: Answer, now: UnixMillis) -> Answer {
        match answer {
            Lookup::Found((_, record))
                if record.era < self.era.learn(record.era)
                    || self.ends.lost(key, &record, now).is_some() =>
            {
                Lookup::Revoked
            }
            answer => answer,
        }
    }

    /// `None` where the system has no randomness to give: then nothing can be stored.
    fn seal(&self, key: RecordKey, version: u64, record: &Record) -> Option<Vec<u8>> {
        let nonce = drawn::<24>()?;
        let ring = self.ring.current();
        let sealing = ring.sealing();
        let bound = associated_data(sealing.id(), key, version);
        let sealed = sealing.seal(Purpose::Record, &nonce, &bound, &record.encode());
        Some([&sealing.id().0[..], &nonce, &sealed].concat())
    }

    /// The key that a record needs and the ring has never had: one that is retired is no such.
    fn lacks(&self, stored: &Stored) -> Option<KeyId> {
        let id = KeyId(*stored.sealed.first_chunk()?);
        (!self.ring.current().has(id)).then_some(id)
    }

    fn open(&self, key: RecordKey, stored: &Stored) -> Option<Record> {
        let (id, rest) = stored.sealed.split_first_chunk::<4>()?;
        let id = KeyId(*id);
        let (nonce, sealed) = rest.split_first_chunk::<24>()?;
        let ring: &Keyring = &self.ring.current();
        let bound = associated_data(id, key, stored.version);
        let plain = ring.opening(id)?.open(Purpose::Record, nonce, &bound, sealed)?;
        Record::decode(&plain)
    }
}

fn keep(record: &Record, now: UnixMillis) -> Keep {
    Keep { time: record.keep(now), listing: record.listing() }
}

/// Whether a record was made in the epoch that stands beside it now. Without one it needs none.
fn is_of_epoch(record: &Record, current: Option<Epoch>) -> bool {
    match (record.epoch, current) {
        (None, _) => true,
        (Some(of_record), Some(current)) => of_record.is(current),
        (Some(_), None) => false,
    }
}

pub(super) fn random_epoch() -> Option<Epoch> {
    drawn().map(Epoch)
}

fn drawn<const N: usize>() -> Option<[u8; N]> {
    random::bytes().inspect_err(|error| tracing::error!(%error, "no randomness")).ok()
}

fn associated_data(id: KeyId, key: RecordKey, version: u64) -> Vec<u8> {
    seal::length_prefixed(&[b"record", &id.0, &key.tag, &key.id, &version.to_be_bytes()])
}

pub mod users;

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
