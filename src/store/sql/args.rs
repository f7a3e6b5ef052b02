//! What each statement is given: a type of its own for each kind, so that no engine can ask for what
//! its caller has not said.

use crate::session::outcome::{Epoch, RecordKey};
use crate::store::Stored;

/// A value as a database takes it.
pub(super) enum Value<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
}

/// One argument out of those of type `A`.
pub(super) type Arg<A> = for<'a> fn(&'a A) -> Value<'a>;

/// A statement, and what it is given in which order.
pub(super) struct Statement<A: 'static>(pub &'static str, pub &'static [Arg<A>]);

macro_rules! args {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $value:ident),+ })+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $name { $(pub $field: $type),+ }

        impl $name {
            $(pub(super) fn $field(&self) -> Value<'_> { args!(@$value self.$field) })+
        }
    )+ };
    (@bytes $from:expr) => { Value::Bytes(&$from) };
    (@integer $from:expr) => { Value::Integer($from) };
}

// Durations are milliseconds. `place` is one in the list of the tag: not, at all, or since when the
// record counts. `now` is the store's time, for the engine that has to be told.
args! {
    /// A record that is there or not.
    Key { tag: [u8; 8] = bytes, id: [u8; 16] = bytes, now: i64 = integer }
    NewRecord {
        tag: [u8; 8] = bytes, id: [u8; 16] = bytes, sealed: Vec<u8> = bytes, keep: i64 = integer,
        place: i64 = integer, now: i64 = integer
    }
    /// `version` is the one that is replaced; the epoch matters where the replacement is fenced.
    NewVersion {
        tag: [u8; 8] = bytes, id: [u8; 16] = bytes, version: i64 = integer, epoch: [u8; 16] = bytes,
        sealed: Vec<u8> = bytes, keep: i64 = integer, place: i64 = integer, now: i64 = integer
    }
    /// `over` is the one that is replaced, where that matters.
    NewEpoch {
        tag: [u8; 8] = bytes, epoch: [u8; 16] = bytes, over: [u8; 16] = bytes,
        keep: i64 = integer, now: i64 = integer
    }
    /// What counts of a tag and has no room, but for the record `id`.
    Surplus {
        tag: [u8; 8] = bytes, id: [u8; 16] = bytes, limit: i64 = integer, offset: i64 = integer,
        now: i64 = integer
    }
    Listing { tag: [u8; 8] = bytes, limit: i64 = integer, now: i64 = integer }
    /// From the era in the store, or this one where it is later, on by `step`.
    EraStep { era: i64 = integer, step: i64 = integer }
    Lease {
        tag: [u8; 8] = bytes, id: [u8; 16] = bytes, owner: [u8; 16] = bytes, hold: i64 = integer,
        now: i64 = integer
    }
    /// What a node says of itself.
    Announcement {
        node: [u8; 16] = bytes, text: Vec<u8> = bytes, keep: i64 = integer, now: i64 = integer
    }
    /// What nodes say of themselves in so many bytes at most, and for no longer than `keep` from now.
    Announced { limit: i64 = integer, bytes: i64 = integer, keep: i64 = integer, now: i64 = integer }
    Batch { limit: i64 = integer, now: i64 = integer }
    /// Changes with a higher number.
    Above { seq: i64 = integer, limit: i64 = integer }
    /// What a node writes to see that the server takes it: its own row, and a value.
    Sign { id: [u8; 16] = bytes, nonce: [u8; 16] = bytes }
}

impl Key {
    pub(super) fn new(key: RecordKey, now: i64) -> Self {
        Self { tag: key.tag, id: key.id, now }
    }
}

impl NewRecord {
    pub(super) fn key(&self) -> Key {
        Key { tag: self.tag, id: self.id, now: self.now }
    }
}

impl NewVersion {
    pub(super) fn key(&self) -> Key {
        Key { tag: self.tag, id: self.id, now: self.now }
    }

    pub(super) fn is_of(&self, epoch: Option<Epoch>) -> bool {
        epoch == Some(Epoch(self.epoch))
    }

    /// Whether an earlier try of the call wrote this, and nobody has since.
    pub(super) fn is(&self, there: &Stored) -> bool {
        i64::try_from(there.version).is_ok_and(|version| version == self.version + 1)
            && there.sealed == self.sealed
    }
}
