//! What a store is asked for and what it may answer (PROTOCOL.md 8). `Unavailable` is an answer of
//! its own everywhere: it never stands for "not there".

use std::fmt;

/// The key of a record: a tag that places it (8 bytes) and the hashed selector (16 bytes).
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct RecordKey {
    pub tag: [u8; 8],
    pub id: [u8; 16],
}

impl RecordKey {
    /// The whole hashed selector, for a worker (`X-Session-Id`); never for a log.
    pub fn to_hex(self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for RecordKey {
    /// The first four bytes of the hashed selector: enough to follow a session through the logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.id;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}..")
    }
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    Found(T),
    NotFound,
    Revoked,
    Unavailable,
}

/// What became of a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there; also where an earlier try of the very same call had put it there.
    Created,
    /// Another record has this key.
    Taken,
    Unavailable,
}

/// What became of a compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Written; also where an earlier try of the very same call had written it.
    Replaced,
    /// The record has another version.
    Conflict,
    Gone,
    Unavailable,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is not there (any more).
    Removed,
    Unavailable,
}

/// How much a write must have survived before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The master has it.
    Master,
    /// Where there is a replica, one has it too (rule 26).
    Replica,
}
