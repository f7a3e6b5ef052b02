//! Records, sealed: what stands between the session protocol and an engine.
//!
//! `key id 4 | nonce 24 | ciphertext | GCM tag 16`. The record's key and version are associated
//! data, so that nobody with access to the store can copy a record to another key or put an old
//! version in place of a new one under the new version's number.

use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::crypto::keyring::{KeyId, Keyring};
use crate::crypto::random;
use crate::crypto::ring_source::RingSource;
use crate::crypto::seal::{self, Purpose};
use crate::session::outcome::{Created, Durability, Lookup, RecordKey, Replaced};
use crate::session::record::Record;
use crate::store::{SharedStore, Stored};

const FIRST_VERSION: u64 = 1;

/// An engine with a key ring in front.
#[derive(Clone, Debug)]
pub struct Records {
    store: SharedStore,
    ring: Arc<RingSource>,
}

impl Records {
    /// Seals for `store` with the ring of `ring`.
    pub fn new(store: SharedStore, ring: Arc<RingSource>) -> Self {
        Self { store, ring }
    }

    /// Reads a record and its version. A record that does not open is not there: it was sealed
    /// with a retired key, or is not ours.
    pub async fn load(&self, key: RecordKey, now: UnixMillis) -> Lookup<(u64, Record)> {
        match self.store.load(key).await {
            Lookup::Found(stored) => match self.open(key, &stored, now) {
                Some(record) => Lookup::Found((stored.version, record)),
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

    /// Creates a record.
    pub async fn create(&self, key: RecordKey, record: &Record, now: UnixMillis) -> Created {
        match self.seal(key, FIRST_VERSION, record) {
            Some(sealed) => self.store.create(key, &sealed, record.keep(now)).await,
            None => Created::Unavailable,
        }
    }

    /// Replaces a record if it still has this version.
    pub async fn replace(
        &self,
        key: RecordKey,
        version: u64,
        record: &Record,
        durability: Durability,
        now: UnixMillis,
    ) -> Replaced {
        match self.seal(key, version + 1, record) {
            Some(sealed) => {
                self.store.replace(key, version, &sealed, record.keep(now), durability).await
            }
            None => Replaced::Unavailable,
        }
    }

    /// `None` where the system has no randomness to give: then nothing can be stored.
    fn seal(&self, key: RecordKey, version: u64, record: &Record) -> Option<Vec<u8>> {
        let nonce = match random::bytes::<24>() {
            Ok(nonce) => nonce,
            Err(error) => {
                tracing::error!(%error, "no randomness");
                return None;
            }
        };
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

fn associated_data(id: KeyId, key: RecordKey, version: u64) -> Vec<u8> {
    seal::length_prefixed(&[b"record", &id.0, &key.tag, &key.id, &version.to_be_bytes()])
}
