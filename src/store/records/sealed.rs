//! How a record is sealed: `key id 4 | nonce 24 | ciphertext | GCM tag 16`. The record's key and
//! version are associated data, so that nobody with access to the store can copy a record to another
//! key or put an old version in place of a new one under the new version's number.

use std::sync::Arc;

use crate::crypto::keyring::{KeyId, Keyring};
use crate::crypto::seal::{self, Purpose};
use crate::session::outcome::RecordKey;
use crate::session::record::Record;
use crate::store::Stored;

/// What became of opening a record.
#[derive(Debug)]
pub(super) enum Opened {
    Record(Arc<Record>),
    /// The ring has never had its key: other nodes may. One that is retired is no such.
    Lacking(KeyId),
    /// It was sealed with a retired key, or is not ours.
    Unreadable,
}

/// Seals a record with the ring's sealing key.
pub(super) fn seal(
    ring: &Keyring,
    nonce: &[u8; 24],
    key: RecordKey,
    version: u64,
    record: &Record,
) -> Vec<u8> {
    let sealing = ring.sealing();
    let bound = associated_data(sealing.id(), key, version);
    let sealed = sealing.seal(Purpose::Record, nonce, &bound, &record.encode());
    [&sealing.id().0[..], nonce, &sealed].concat()
}

/// Opens what [`seal`] has sealed for this key.
pub(super) fn open(ring: &Keyring, key: RecordKey, stored: &Stored) -> Opened {
    let Some((id, rest)) = stored.sealed.split_first_chunk::<4>() else {
        return Opened::Unreadable;
    };
    let id = KeyId(*id);
    if !ring.has(id) {
        return Opened::Lacking(id);
    }
    match plain(ring, id, key, stored.version, rest).as_deref().and_then(Record::decode) {
        Some(record) => Opened::Record(Arc::new(record)),
        None => Opened::Unreadable,
    }
}

fn plain(ring: &Keyring, id: KeyId, key: RecordKey, version: u64, rest: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = rest.split_first_chunk::<24>()?;
    let bound = associated_data(id, key, version);
    ring.opening(id)?.open(Purpose::Record, nonce, &bound, sealed)
}

fn associated_data(id: KeyId, key: RecordKey, version: u64) -> Vec<u8> {
    seal::length_prefixed(&[b"record", &id.0, &key.tag, &key.id, &version.to_be_bytes()])
}
