//! Records, sealed: what stands between the session protocol and an engine.
//!
//! Here: writing them, and the fleet's era. `reading` fetches them, from what is kept or from the store;
//! `belief` says which of them count; `sealed` is their form in the store; `users` is about whose they
//! are.
//!
//! A record of an epoch or an era that is over is [`Lookup::Revoked`] (PROTOCOL.md 26, 27): here,
//! so that no part of the proxy has to think of it. So is one whose end this node remembers, though
//! the store has lost it (`remembered_ends`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::crypto::random;
use crate::crypto::ring_source::RingSource;
use crate::session::outcome::{
    Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced,
};
use crate::session::record::Record;
use crate::store::cache::{self, Cache, CacheStats};
use crate::store::era::Era;
use crate::store::remembered_ends::RememberedEnds;
use crate::store::repair::Repair;
use crate::store::throttle::Throttle;
use crate::store::{Keep, SharedStore};

const FIRST_VERSION: u64 = 1;
/// An epoch is kept this much longer than any record of it can be good for: it is made before the
/// record, and clocks differ (rule 33).
const EPOCH_SLACK: Duration = Duration::from_secs(300);

/// An engine with a key ring in front.
#[derive(Clone, Debug)]
pub struct Records {
    store: SharedStore,
    ring: Arc<RingSource>,
    era: Arc<Era>,
    ends: Arc<RememberedEnds>,
    repair: Arc<Repair>,
    cache: Option<Arc<Cache>>,
    /// Milliseconds.
    epochs_kept: Arc<AtomicU64>,
    /// Records that this node has no key for: one line says so.
    lacking: Arc<Throttle>,
}

impl Records {
    /// Seals for `store` with the ring of `ring`. `longest` is the longest absolute time that any
    /// policy of the configuration gives a session: all of them share subjects, and so epochs
    /// (rule 27).
    pub fn new(store: SharedStore, ring: Arc<RingSource>, longest: Duration) -> Self {
        let records = Self {
            store,
            ring,
            era: Arc::default(),
            ends: Arc::default(),
            repair: Arc::default(),
            cache: None,
            epochs_kept: Arc::default(),
            lacking: Arc::default(),
        };
        records.keep_epochs(longest);
        records
    }

    /// Says anew how long any policy gives a session at most.
    pub fn keep_epochs(&self, longest: Duration) {
        let kept = longest.saturating_add(EPOCH_SLACK);
        self.epochs_kept.store(u64::try_from(kept.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    fn epochs_kept(&self) -> Duration {
        Duration::from_millis(self.epochs_kept.load(Relaxed))
    }

    /// Keeps what is read, where the engine tells of changes.
    #[must_use]
    pub fn with_cache(self, settings: cache::CacheSettings) -> Self {
        let cache = self.store.changes().and_then(|_| Cache::new(settings)).map(Arc::new);
        Self { cache, ..self }
    }

    /// What the cache has done so far; all zero without one.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.as_ref().map(|cache| cache.stats()).unwrap_or_default()
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
            self.ends.removed(key, now.plus(self.epochs_kept()), now);
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

    /// `None` where the system has no randomness to give: then nothing can be stored.
    fn seal(&self, key: RecordKey, version: u64, record: &Record) -> Option<Vec<u8>> {
        let nonce = drawn()?;
        Some(sealed::seal(&self.ring.current(), &nonce, key, version, record))
    }
}

fn keep(record: &Record, now: UnixMillis) -> Keep {
    Keep { time: record.keep(now), listing: record.listing() }
}

pub(super) fn random_epoch() -> Option<Epoch> {
    drawn().map(Epoch)
}

fn drawn<const N: usize>() -> Option<[u8; N]> {
    random::bytes().inspect_err(|error| tracing::error!(%error, "no randomness")).ok()
}

mod belief;
mod reading;
mod sealed;
pub mod users;

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
