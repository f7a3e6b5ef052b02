//! The key ring (PROTOCOL 3, 4): which keys seal, which only open, which are out of use.
//!
//! Its text is in `jwks`, its file in [`super::keyfile`]; here is no I/O.

use std::fmt;
use std::io;
use std::path::PathBuf;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::jwks;
use super::random::{self, RandomError};
use super::seal::{IndexKey, SealKey, length_prefixed};
use crate::clock::UnixMillis;

/// The largest text that is read as a key ring, in bytes.
pub const KEYRING_BYTES_MAX: usize = 64 * 1024;
/// The most keys that a ring may hold, those out of use included.
pub const KEYS_MAX: usize = 64;

/// Names a key: in tickets, records and logs. Written as eight hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    /// Reads eight hex digits; what `keys promote` and `keys retire` are given.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 8 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        u32::from_str_radix(text, 16).ok().map(|id| Self(id.to_be_bytes()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The 32 bytes of a key. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Secret([u8; 32]);

impl Secret {
    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Secret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Seals tickets and records.
    Seal,
    /// Hashes selectors and subjects into store keys.
    Index,
}

impl Usage {
    pub(super) const ALL: [Self; 2] = [Self::Seal, Self::Index];

    /// The value of `use`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Index => "index",
        }
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Seals and opens.
    Primary,
    /// Opens only: on its way to every node, or on its way out.
    Accept,
    /// Neither; kept in the file for the record.
    Retired,
}

impl Status {
    pub(super) const ALL: [Self; 3] = [Self::Primary, Self::Accept, Self::Retired];

    /// The value of `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Accept => "accept",
            Self::Retired => "retired",
        }
    }
}

/// Why there is no key ring, or why it could not be changed or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("the key ring is larger than {KEYRING_BYTES_MAX} bytes: is this the right file?")]
    TooLarge,
    /// Says where, never what: the text around a mistake may be a key.
    #[error("the key ring is not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    /// Every mistake in it, each with its key and a remedy.
    #[error("the key ring cannot be used:\n  {}", .0.join("\n  "))]
    Mistakes(Vec<String>),
    /// A change that the ring does not allow, with its remedy.
    #[error("{0}")]
    Refused(String),
    #[error("{} is there already and is not overwritten", .0.display())]
    Exists(PathBuf),
    #[error("cannot {action} {}: {source}", .path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// What `keys show` prints of a key: never its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    pub kid: KeyId,
    pub usage: Usage,
    pub status: Status,
    /// In Unix seconds.
    pub created: u64,
}

/// A key of the ring, in use or not.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) about: Description,
    pub(super) key: Secret,
}

impl Entry {
    fn generate(
        usage: Usage,
        status: Status,
        now: UnixMillis,
        taken: &[Entry],
    ) -> Result<Self, RandomError> {
        let kid = loop {
            let kid = KeyId(random::bytes()?);
            if taken.iter().all(|entry| entry.about.kid != kid) {
                break kid;
            }
        };
        let key = Secret::from(random::bytes()?);
        Ok(Self { about: Description { kid, usage, status, created: now.as_secs() }, key })
    }

    fn is(&self, usage: Usage, status: Status) -> bool {
        self.about.usage == usage && self.about.status == status
    }
}

/// The keys of a node, checked and expanded once.
pub struct Keyring {
    /// As in the file, those out of use included.
    entries: Vec<Entry>,
    primary: SealKey,
    accepted: Vec<SealKey>,
    index: IndexKey,
}

impl Keyring {
    /// Makes a ring of one sealing key and the index key.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Random`].
    pub fn generate(now: UnixMillis) -> Result<Self, KeyringError> {
        let seal = Entry::generate(Usage::Seal, Status::Primary, now, &[])?;
        let mut entries = vec![seal];
        entries.push(Entry::generate(Usage::Index, Status::Primary, now, &entries)?);
        Self::assemble(entries)
    }

    /// Reads a ring from its JSON text.
    ///
    /// # Errors
    ///
    /// [`KeyringError::TooLarge`], [`KeyringError::NotJson`], [`KeyringError::Mistakes`] with all
    /// the mistakes in its keys or, where there are none, in the ring as a whole.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        if text.len() > KEYRING_BYTES_MAX {
            return Err(KeyringError::TooLarge);
        }
        Self::assemble(jwks::read(text)?)
    }

    /// Checks what concerns the ring as a whole and expands the keys in use.
    fn assemble(entries: Vec<Entry>) -> Result<Self, KeyringError> {
        let mistakes = check_whole(&entries);
        if !mistakes.is_empty() {
            return Err(KeyringError::Mistakes(mistakes));
        }
        let seals = |status| {
            let of_status = entries.iter().filter(move |entry| entry.is(Usage::Seal, status));
            of_status.map(|entry| SealKey::derive(entry.about.kid, &entry.key))
        };
        let primary = seals(Status::Primary).next().expect("one was counted above");
        let accepted = seals(Status::Accept).collect();
        let index = entries
            .iter()
            .find(|entry| entry.is(Usage::Index, Status::Primary))
            .map(|entry| IndexKey::derive(entry.about.kid, &entry.key))
            .expect("one was counted above");
        Ok(Self { entries, primary, accepted, index })
    }

    /// The JSON text, one key a line. It holds the keys themselves and is wiped when dropped.
    pub fn to_json(&self) -> Zeroizing<String> {
        jwks::write(&self.entries)
    }

    /// The keys in the order of the file, without their bytes.
    pub fn describe(&self) -> Vec<Description> {
        self.entries.iter().map(|entry| entry.about).collect()
    }

    /// The key that seals.
    pub fn sealing(&self) -> &SealKey {
        &self.primary
    }

    /// The key of this name, if it opens: the primary or an accepted one.
    pub fn opening(&self, id: KeyId) -> Option<&SealKey> {
        self.in_use().find(|key| key.id() == id)
    }

    /// Whether a sealing key of this name is in the file, out of use or not.
    pub fn has(&self, id: KeyId) -> bool {
        self.entries.iter().any(|entry| entry.about.kid == id && entry.about.usage == Usage::Seal)
    }

    /// The keys that open, the sealing one first.
    pub fn in_use(&self) -> impl Iterator<Item = &SealKey> {
        std::iter::once(&self.primary).chain(&self.accepted)
    }

    /// Goes on with the counts of the ring that this one replaces.
    pub(super) fn count_on(&mut self, earlier: &Self) {
        for key in std::iter::once(&mut self.primary).chain(&mut self.accepted) {
            if let Some(same) = earlier.opening(key.id()) {
                key.count_on(same);
            }
        }
    }

    /// The key for hashed selectors and subject tags.
    pub fn index(&self) -> &IndexKey {
        &self.index
    }

    /// The tag of a user's records: the first 8 bytes of the index key's MAC of her namespace and
    /// name, each with its length.
    pub fn user_tag(&self, namespace: &str, name: &str) -> [u8; 8] {
        self.tag(b"user", &length_prefixed(&[namespace.as_bytes(), name.as_bytes()]))
    }

    /// The tag that records had before users had namespaces.
    pub fn bare_tag(&self, name: &str) -> [u8; 8] {
        self.tag(b"subject", name.as_bytes())
    }

    fn tag(&self, label: &[u8], data: &[u8]) -> [u8; 8] {
        *self.index.mac(label, data).first_chunk().expect("16 bytes hold 8")
    }

    /// Adds a sealing key that only opens, until every node has it and it is promoted.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Mistakes`] where the ring is full, [`KeyringError::Random`].
    pub fn rotate(&mut self, now: UnixMillis) -> Result<KeyId, KeyringError> {
        let fresh = Entry::generate(Usage::Seal, Status::Accept, now, &self.entries)?;
        let kid = fresh.about.kid;
        let mut entries = self.entries.clone();
        entries.push(fresh);
        *self = Self::assemble(entries)?;
        Ok(kid)
    }

    /// Makes an accepted key the one that seals; the one before it still opens.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Refused`] where there is no such key or it is not an accepted one.
    pub fn promote(&mut self, kid: KeyId) -> Result<(), KeyringError> {
        self.restate(kid, |usage, status| match (usage, status) {
            (Usage::Seal, Status::Accept | Status::Primary) => Ok(Status::Primary),
            (Usage::Seal, Status::Retired) => {
                Err("it is retired: make a new one with `keys rotate`")
            }
            (Usage::Index, _) => Err("the index key does not seal"),
        })
    }

    /// Takes an accepted key out of use: what it sealed no longer opens.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Refused`] where there is no such key, or it is the primary or index key.
    pub fn retire(&mut self, kid: KeyId) -> Result<(), KeyringError> {
        self.restate(kid, |usage, status| match (usage, status) {
            (_, Status::Retired) | (Usage::Seal, Status::Accept) => Ok(Status::Retired),
            (Usage::Seal, Status::Primary) => Err("it seals: promote another key first"),
            (Usage::Index, Status::Primary | Status::Accept) => {
                Err("without the index key no session is found: `keys replace-index` makes another")
            }
        })
    }

    /// Replaces the index key. No record is found any more: **this ends every session**.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Mistakes`] where the ring is full, [`KeyringError::Random`].
    pub fn replace_index(&mut self, now: UnixMillis) -> Result<KeyId, KeyringError> {
        let fresh = Entry::generate(Usage::Index, Status::Primary, now, &self.entries)?;
        let kid = fresh.about.kid;
        let mut entries = self.entries.clone();
        for old in entries.iter_mut().filter(|entry| entry.about.usage == Usage::Index) {
            old.about.status = Status::Retired;
        }
        entries.push(fresh);
        *self = Self::assemble(entries)?;
        Ok(kid)
    }

    /// Gives a key another status; a new primary demotes the old one.
    fn restate(
        &mut self,
        kid: KeyId,
        next: impl FnOnce(Usage, Status) -> Result<Status, &'static str>,
    ) -> Result<(), KeyringError> {
        let refused = |reason: &str| KeyringError::Refused(format!("key {kid}: {reason}"));
        let mut entries = self.entries.clone();
        let place = entries
            .iter()
            .position(|entry| entry.about.kid == kid)
            .ok_or_else(|| refused("not in the ring: `keys show` lists those that are"))?;
        let Description { usage, status, .. } = entries[place].about;
        let status = next(usage, status).map_err(refused)?;
        if status == Status::Primary {
            for other in entries.iter_mut().filter(|entry| entry.is(usage, Status::Primary)) {
                other.about.status = Status::Accept;
            }
        }
        entries[place].about.status = status;
        *self = Self::assemble(entries)?;
        Ok(())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.describe()).finish_non_exhaustive()
    }
}

/// Finds the mistakes that no key has by itself.
fn check_whole(entries: &[Entry]) -> Vec<String> {
    let mut mistakes = Vec::new();
    if entries.len() > KEYS_MAX {
        mistakes.push(format!(
            "{} keys, at most {KEYS_MAX}: take retired ones out of the file",
            entries.len()
        ));
    }
    for (at, entry) in entries.iter().enumerate() {
        let earlier = &entries[..at];
        if earlier.iter().any(|other| other.about.kid == entry.about.kid) {
            mistakes.push(format!(
                "keys[{at}] ({}): this `kid` is there twice: remove one of them",
                entry.about.kid
            ));
        }
        // Not compared in constant time: whoever can see the difference has the file.
        if earlier.iter().any(|other| other.key.0 == entry.key.0) {
            mistakes.push(format!(
                "keys[{at}] ({}): the same `k` as an earlier key: remove one of them",
                entry.about.kid
            ));
        }
    }
    for usage in Usage::ALL {
        let primaries: Vec<String> = entries
            .iter()
            .filter(|entry| entry.is(usage, Status::Primary))
            .map(|entry| entry.about.kid.to_string())
            .collect();
        let name = usage.as_str();
        match (primaries.as_slice(), usage) {
            ([_], _) => {}
            ([], Usage::Seal) => mistakes.push(format!(
                "no key of use \"{name}\" is \"primary\": promote the one that shall seal"
            )),
            ([], Usage::Index) => mistakes.push(format!(
                "no key of use \"{name}\" is \"primary\": put back the one that was there, \
                 or all sessions end"
            )),
            (many, Usage::Seal) => mistakes.push(format!(
                "{} keys of use \"{name}\" are \"primary\" ({}): let one be and make the others \
                 \"accept\"",
                many.len(),
                many.join(", ")
            )),
            (many, Usage::Index) => mistakes.push(format!(
                "{} keys of use \"{name}\" are \"primary\" ({}): leave the one in use and make \
                 the others \"retired\"",
                many.len(),
                many.join(", ")
            )),
        }
    }
    mistakes
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
