//! Where accounts, orders and certificates are kept: sealed, in the store that the fleet shares, and as a
//! copy in the state directory.
//!
//! A record is `key id 4 | nonce 24 | ciphertext | GCM tag 16`, its key and version being associated data,
//! as those of sessions are. Its key is derived from what it is about by the ring's index key. The copy is
//! for a start while the store is down, and for one that has lost what it had (a memory store always has):
//! then it is put there again, and nothing is ordered anew.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::clock::UnixMillis;
use crate::crypto::keyring::KeyId;
use crate::crypto::random;
use crate::crypto::ring_source::RingSource;
use crate::crypto::seal::{self, NONCE_LEN, Purpose};
use crate::session::outcome::{
    Created, Durability, Leased, Listing, Lookup, RecordKey, Removed, Replaced,
};
use crate::store::{Keep, SharedStore, Stored};

/// As long as an engine keeps anything.
const KEEP: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A copy that is longer is none of ours.
const COPY_BYTES_MAX: u64 = 512 * 1024;

/// The records of certificates.
#[derive(Debug)]
pub struct Vault {
    store: SharedStore,
    ring: Arc<RingSource>,
    /// Where copies are.
    directory: PathBuf,
    /// The version of each that was copied last.
    copied: Mutex<HashMap<[u8; 16], u64>>,
}

/// What is kept of something.
#[derive(Clone, Debug, PartialEq)]
pub struct Held<T> {
    pub value: T,
    /// 0: it is not in the store yet.
    pub version: u64,
    /// It was sealed with another key than the ring seals with now.
    pub is_stale: bool,
}

/// What came of reading.
#[derive(Clone, Debug, PartialEq)]
pub enum Read<T> {
    Found(Held<T>),
    Nothing,
    /// It is there, and this node has no key that opens it.
    Unreadable,
    Unavailable,
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// It has this version now.
    Version(u64),
    /// Somebody else has written.
    Lost,
    Unavailable,
}

impl Vault {
    /// `directory` is made when there is something to put there.
    pub fn new(store: SharedStore, ring: Arc<RingSource>, directory: PathBuf) -> Self {
        Self { store, ring, directory, copied: Mutex::default() }
    }

    /// The key of the record about this.
    pub fn key(&self, about: &[&[u8]]) -> RecordKey {
        let about = seal::length_prefixed(about);
        let ring = self.ring.current();
        let [tag, id] =
            [&b"certificate tag"[..], b"certificate"].map(|label| ring.index().mac(label, &about));
        let mut short = [0; 8];
        short.copy_from_slice(&tag[..8]);
        RecordKey { tag: short, id, has_subject: false }
    }

    /// Reads a record. One that the store has lost is put there again, where there is a copy.
    pub async fn load<T: Serialize + DeserializeOwned>(
        &self,
        key: RecordKey,
        now: UnixMillis,
    ) -> Read<T> {
        match self.store.load(key).await {
            Lookup::Found(stored) => {
                if let Some(held) = self.open(key, &stored) {
                    self.copy(key, stored.version, &stored.sealed).await;
                    return Read::Found(held);
                }
                // Another node may have a newer ring.
                self.ring.reread(now).await;
                self.open(key, &stored).map_or(Read::Unreadable, Read::Found)
            }
            Lookup::NotFound | Lookup::Revoked => {
                let Some(held) = self.copy_of::<T>(key) else { return Read::Nothing };
                match self.write(key, 0, &held.value).await {
                    Wrote::Version(version) => Read::Found(Held { version, ..held }),
                    // It is there now, whoever has put it there.
                    Wrote::Lost | Wrote::Unavailable => Read::Unavailable,
                }
            }
            Lookup::Unavailable => Read::Unavailable,
        }
    }

    /// Writes a record in place of the version that was read; 0 where there was none.
    pub async fn write<T: Serialize>(&self, key: RecordKey, version: u64, value: &T) -> Wrote {
        let next = version.saturating_add(1);
        let Some(sealed) = self.seal(key, next, value) else { return Wrote::Unavailable };
        let wrote = if version == 0 {
            match self.store.create(key, &sealed, KEEP).await {
                Created::Created => Wrote::Version(next),
                Created::Taken => Wrote::Lost,
                Created::Unavailable => Wrote::Unavailable,
            }
        } else {
            let keep = Keep { time: KEEP, listing: Listing::Out };
            match self.store.replace(key, version, None, &sealed, keep, Durability::Replica).await {
                Replaced::Replaced => Wrote::Version(next),
                Replaced::Conflict | Replaced::Gone => Wrote::Lost,
                Replaced::Unavailable => Wrote::Unavailable,
            }
        };
        if let Wrote::Version(version) = wrote {
            self.copy(key, version, &sealed).await;
        }
        wrote
    }

    /// Forgets a record, and its copy.
    pub async fn remove(&self, key: RecordKey) -> Removed {
        let removed = self.store.remove(key).await;
        if removed == Removed::Removed {
            // It may never have been there.
            let _ = std::fs::remove_file(self.file(key));
            self.copied.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.id);
        }
        removed
    }

    /// Takes the lease beside a record, or extends it.
    pub async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        self.store.lease(key, owner, hold).await
    }

    pub async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        self.store.release(key, owner).await;
    }

    /// What was copied of a record, at whatever version.
    pub fn copy_of<T: DeserializeOwned>(&self, key: RecordKey) -> Option<Held<T>> {
        let file = self.file(key);
        let about = std::fs::metadata(&file).ok()?;
        if !about.is_file() || about.len() > COPY_BYTES_MAX {
            return None;
        }
        let bytes = std::fs::read(&file).ok()?;
        let (version, sealed) = bytes.split_first_chunk::<8>()?;
        let version = u64::from_be_bytes(*version);
        let held = self.open(key, &Stored { version, sealed: sealed.to_vec(), epoch: None });
        if held.is_none() {
            let file = file.display();
            tracing::warn!(%file, "this copy of a certificate does not open with the key ring");
        }
        held
    }

    fn seal<T: Serialize>(&self, key: RecordKey, version: u64, value: &T) -> Option<Vec<u8>> {
        let plain = Zeroizing::new(serde_json::to_vec(value).ok()?);
        let nonce: [u8; NONCE_LEN] = random::bytes()
            .map_err(|error| tracing::error!(%error, "no randomness to seal a certificate with"))
            .ok()?;
        let ring = self.ring.current();
        let sealing = ring.sealing();
        let bound = associated_data(sealing.id(), key, version);
        let sealed = sealing.seal(Purpose::Certificate, &nonce, &bound, &plain);
        Some([&sealing.id().0[..], &nonce, &sealed].concat())
    }

    fn open<T: DeserializeOwned>(&self, key: RecordKey, stored: &Stored) -> Option<Held<T>> {
        let (id, rest) = stored.sealed.split_first_chunk::<4>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (id, version) = (KeyId(*id), stored.version);
        let ring = self.ring.current();
        let bound = associated_data(id, key, version);
        let plain = ring.opening(id)?.open(Purpose::Certificate, nonce, &bound, sealed)?;
        let value = serde_json::from_slice(&Zeroizing::new(plain)).ok()?;
        Some(Held { value, version, is_stale: id != ring.sealing().id() })
    }

    fn file(&self, key: RecordKey) -> PathBuf {
        let name: String = key.id.iter().map(|byte| format!("{byte:02x}")).collect();
        self.directory.join(format!("{name}.sealed"))
    }

    /// Keeps a copy of what the store has. A disk that is full or read-only is no reason to stop.
    async fn copy(&self, key: RecordKey, version: u64, sealed: &[u8]) {
        let known =
            self.copied.lock().unwrap_or_else(PoisonError::into_inner).get(&key.id).copied();
        if known == Some(version) {
            return;
        }
        let file = self.file(key);
        let bytes = [&version.to_be_bytes()[..], sealed].concat();
        let writing = tokio::task::spawn_blocking({
            let file = file.clone();
            move || put(&file, &bytes)
        });
        if let Ok(Err(error)) = writing.await {
            let file = file.display();
            tracing::warn!(%file, %error, "a certificate was not copied; it is in the store alone");
        }
        self.copied.lock().unwrap_or_else(PoisonError::into_inner).insert(key.id, version);
    }
}

fn associated_data(id: KeyId, key: RecordKey, version: u64) -> Vec<u8> {
    seal::length_prefixed(&[b"certificate", &id.0, &key.tag, &key.id, &version.to_be_bytes()])
}

/// Puts a whole file in place.
fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::crypto::keyring::Keyring;
    use crate::store::memory::MemoryStore;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    pub(in crate::acme) fn ring() -> Arc<RingSource> {
        Arc::new(RingSource::unsaved(Keyring::generate(NOW).expect("randomness")))
    }

    fn memory() -> SharedStore {
        Arc::new(MemoryStore::new(Clock::System))
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[tokio::test]
    async fn what_was_written_is_read_by_whoever_has_the_ring_and_nobody_else() {
        let (store, ring) = (memory(), ring());
        let here = tempfile::tempdir().expect("temporary");
        let there = tempfile::tempdir().expect("temporary");
        let one = Vault::new(store.clone(), ring.clone(), here.path().join("made"));
        let two = Vault::new(store.clone(), ring, there.path().to_owned());
        let key = one.key(&[b"shop.example"]);
        assert_eq!(key, two.key(&[b"shop.example"]));
        assert_ne!(key, one.key(&[b"shop", b".example"]));
        assert_eq!(two.load::<String>(key, NOW).await, Read::Nothing);
        assert_eq!(one.write(key, 0, &text("a secret")).await, Wrote::Version(1));
        assert_eq!(two.write(key, 0, &text("another")).await, Wrote::Lost);
        let held = Held { value: text("a secret"), version: 1, is_stale: false };
        assert_eq!(two.load(key, NOW).await, Read::Found(held));
        assert_eq!(two.write(key, 1, &text("b")).await, Wrote::Version(2));
        assert_eq!(one.write(key, 1, &text("c")).await, Wrote::Lost, "it is of another version");
        let Lookup::Found(stored) = store.load(key).await else { panic!("it is there") };
        assert!(!stored.sealed.windows(6).any(|part| part == b"secret"));
        let stranger = Vault::new(store, tests::ring(), here.path().to_owned());
        assert_eq!(stranger.load::<String>(key, NOW).await, Read::Unreadable);
    }

    #[tokio::test]
    async fn a_store_that_lost_everything_gets_it_again_from_a_copy() {
        let (ring, directory) = (ring(), tempfile::tempdir().expect("temporary"));
        let vault = |store| Vault::new(store, ring.clone(), directory.path().to_owned());
        let before = vault(memory());
        let key = before.key(&[b"x"]);
        for (version, value) in [(0, "a"), (1, "b"), (2, "c")] {
            before.write(key, version, &text(value)).await;
        }
        let (store, again) = (memory(), memory());
        assert_eq!(vault(again).copy_of::<String>(key).expect("a copy").value, "c");
        let after = vault(store.clone());
        let Read::Found(held) = after.load::<String>(key, NOW).await else { panic!("it is there") };
        assert_eq!((held.value.as_str(), held.version), ("c", 1));
        assert!(matches!(store.load(key).await, Lookup::Found(_)));
        use std::os::unix::fs::PermissionsExt;
        let about = std::fs::metadata(after.file(key)).expect("a copy");
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
        after.remove(key).await;
        assert_eq!(after.load::<String>(key, NOW).await, Read::Nothing, "its copy is gone too");
    }

    #[tokio::test]
    async fn a_copy_that_was_changed_or_is_of_another_record_is_none() {
        let directory = tempfile::tempdir().expect("temporary");
        let vault = Vault::new(memory(), ring(), directory.path().to_owned());
        let [key, other] = [vault.key(&[b"x"]), vault.key(&[b"y"])];
        vault.write(key, 0, &text("a")).await;
        std::fs::copy(vault.file(key), vault.file(other)).expect("copied");
        assert_eq!(vault.copy_of::<String>(other), None);
        let mut bytes = std::fs::read(vault.file(key)).expect("a copy");
        bytes[7] += 1;
        std::fs::write(vault.file(key), bytes).expect("written");
        assert_eq!(vault.copy_of::<String>(key), None, "it was never of that version");
    }

    #[tokio::test]
    async fn a_record_of_an_older_key_is_stale() {
        let directory = tempfile::tempdir().expect("temporary");
        let file = directory.path().join("keyring.json");
        let mut keys = Keyring::generate(NOW).expect("randomness");
        keys.save_new(&file).expect("written");
        let ring = Arc::new(RingSource::open(file.clone()).expect("a ring"));
        let vault = Vault::new(memory(), ring.clone(), directory.path().to_owned());
        let key = vault.key(&[b"x"]);
        vault.write(key, 0, &text("a")).await;
        let fresh = keys.rotate(NOW).expect("randomness");
        keys.promote(fresh).expect("it is there");
        keys.replace(&file).expect("written");
        ring.reload().expect("a ring");
        let is_stale = async || match vault.load::<String>(key, NOW).await {
            Read::Found(held) => held.is_stale,
            read => panic!("{read:?}"),
        };
        assert!(is_stale().await);
        vault.write(key, 1, &text("a")).await;
        assert!(!is_stale().await);
    }
}
