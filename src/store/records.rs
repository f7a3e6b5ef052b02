//! Records, sealed: what stands between the session protocol and an engine.
//!
//! `key id 4 | nonce 24 | ciphertext | GCM tag 16`. The record's key and version are associated
//! data, so that nobody with access to the store can copy a record to another key or put an old
//! version in place of a new one under the new version's number.
//!
//! A record of an epoch or an era that is over is [`Lookup::Revoked`] (PROTOCOL.md 26, 27): here,
//! so that no part of the proxy has to think of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::UnixMillis;
use crate::crypto::keyring::{KeyId, Keyring};
use crate::crypto::random;
use crate::crypto::ring_source::RingSource;
use crate::crypto::seal::{self, Purpose};
use crate::session::outcome::{
    Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced,
};
use crate::session::record::{Record, State};
use crate::store::era::Era;
use crate::store::{SharedStore, Stored};

const FIRST_VERSION: u64 = 1;
/// An epoch is kept this much longer than any record of it can be good for: it is made before the
/// record, and clocks differ (rule 33).
const EPOCH_SLACK: Duration = Duration::from_secs(300);
/// Look-ups that a list has under way at a time.
const LOOKUPS_AT_ONCE: usize = 16;

/// An engine with a key ring in front.
#[derive(Clone, Debug)]
pub struct Records {
    store: SharedStore,
    ring: Arc<RingSource>,
    era: Arc<Era>,
    epochs_kept: Duration,
}

impl Records {
    /// Seals for `store` with the ring of `ring`. `longest` is the longest absolute time that any
    /// policy of the configuration gives a session: all of them share subjects, and so epochs
    /// (rule 27).
    pub fn new(store: SharedStore, ring: Arc<RingSource>, longest: Duration) -> Self {
        let epochs_kept = longest.saturating_add(EPOCH_SLACK);
        Self { store, ring, era: Arc::default(), epochs_kept }
    }

    /// Reads a record and its version. A record that does not open is not there: it was sealed
    /// with a retired key, or is not ours.
    pub async fn load(&self, key: RecordKey, now: UnixMillis) -> Lookup<(u64, Arc<Record>)> {
        if self.known_era().await.is_none() {
            return Lookup::Unavailable;
        }
        match self.store.load(key).await {
            Lookup::Found(stored) => match self.open(key, &stored, now) {
                Some(record) if self.is_revoked(&record, stored.epoch) => Lookup::Revoked,
                Some(record) => Lookup::Found((stored.version, Arc::new(record))),
                None => {
                    tracing::error!(session = ?key, "a record in the store does not open");
                    Lookup::NotFound
                }
            },
            Lookup::NotFound => Lookup::NotFound,
            Lookup::Revoked => Lookup::Revoked,
            Lookup::Unavailable => Lookup::Unavailable,
        }
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
                let (epoch, keep) = (record.epoch, record.keep(now));
                self.store.replace(key, version, epoch, &sealed, keep, durability).await
            }
            None => Replaced::Unavailable,
        }
    }

    /// The epoch of a subject's tag, made where there is none; for a new record of the subject.
    pub async fn epoch(&self, tag: [u8; 8]) -> Lookup<Epoch> {
        match random_epoch() {
            Some(proposal) => self.store.epoch(tag, proposal, self.epochs_kept).await,
            None => Lookup::Unavailable,
        }
    }

    /// Ends all sessions of a subject, on every node at once.
    pub async fn revoke_subject(&self, name: &str) -> Removed {
        let tag = self.ring.current().subject_tag(name);
        match random_epoch() {
            Some(replacement) => {
                match self.store.revoke(tag, replacement, self.epochs_kept).await {
                    Lookup::Found(_) => Removed::Removed,
                    Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => {
                        Removed::Unavailable
                    }
                }
            }
            None => Removed::Unavailable,
        }
    }

    /// The live records of a subject with their versions, those whose login is on its way included,
    /// in no order; at most
    /// [`LISTED_MAX`](super::LISTED_MAX) are looked at. A look-up that fails fails them all: half
    /// a list would pass for a whole one.
    pub async fn list_subject(
        &self,
        name: &str,
        now: UnixMillis,
    ) -> Lookup<Vec<(RecordKey, u64, Arc<Record>)>> {
        let tag = self.ring.current().subject_tag(name);
        let Lookup::Found(ids) = self.store.list(tag).await else { return Lookup::Unavailable };
        let mut ids = ids.into_iter();
        let mut look_ups = JoinSet::new();
        let mut live = Vec::new();
        loop {
            for id in ids.by_ref().take(LOOKUPS_AT_ONCE - look_ups.len()) {
                let records = self.clone();
                let key = RecordKey { tag, id, has_subject: true };
                look_ups.spawn(async move { (key, records.load(key, now).await) });
            }
            match look_ups.join_next().await {
                None => return Lookup::Found(live),
                Some(Ok((key, Lookup::Found((version, record))))) => {
                    let is_live = matches!(record.state, State::Live | State::Pending { .. });
                    if is_live && !record.is_expired(now) {
                        live.push((key, version, record));
                    }
                }
                Some(Ok((_, Lookup::NotFound | Lookup::Revoked))) => {}
                Some(Ok((_, Lookup::Unavailable)) | Err(_)) => return Lookup::Unavailable,
            }
        }
    }

    /// Ends one session, on every node at once.
    pub async fn revoke_one(&self, key: RecordKey) -> Removed {
        self.store.remove(key).await
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

    /// Whether the record's era or epoch is over. One of a later era proves that there is one.
    fn is_revoked(&self, record: &Record, epoch: Option<Epoch>) -> bool {
        let era = self.era.learn(record.era);
        let of_epoch = match (record.epoch, epoch) {
            (None, _) => true,
            (Some(of_record), Some(current)) => of_record.is(current),
            (Some(_), None) => false,
        };
        record.era < era || !of_epoch
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

    fn open(&self, key: RecordKey, stored: &Stored, now: UnixMillis) -> Option<Record> {
        let (id, rest) = stored.sealed.split_first_chunk::<4>()?;
        let id = KeyId(*id);
        if self.ring.current().opening(id).is_none() {
            self.ring.reread(now);
        }
        let (nonce, sealed) = rest.split_first_chunk::<24>()?;
        let ring: &Keyring = &self.ring.current();
        let bound = associated_data(id, key, stored.version);
        let plain = ring.opening(id)?.open(Purpose::Record, nonce, &bound, sealed)?;
        Record::decode(&plain)
    }
}

fn random_epoch() -> Option<Epoch> {
    drawn().map(Epoch)
}

fn drawn<const N: usize>() -> Option<[u8; N]> {
    random::bytes().inspect_err(|error| tracing::error!(%error, "no randomness")).ok()
}

fn associated_data(id: KeyId, key: RecordKey, version: u64) -> Vec<u8> {
    seal::length_prefixed(&[b"record", &id.0, &key.tag, &key.id, &version.to_be_bytes()])
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
