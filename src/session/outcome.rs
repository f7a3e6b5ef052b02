//! What a store is asked for and what it may answer (PROTOCOL.md 8). `Unavailable` is an answer of
//! its own everywhere: it never stands for "not there".

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::clock::UnixMillis;
use crate::crypto::seal;
use crate::uniform;

/// The key of a record: a tag that places it (8 bytes) and the hashed selector (16 bytes). Tag and
/// selector are what two keys are compared by.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct RecordKey {
    pub tag: [u8; 8],
    pub id: [u8; 16],
    /// Whether an epoch stands beside the record, under the same tag (rule 27). No part of what
    /// the record is stored under.
    pub has_subject: bool,
}

impl RecordKey {
    /// Tag and hashed selector in 48 hex digits, for a worker (`X-Session-Id`) and for whoever
    /// ends a session by what the worker logged; never for a log of ours.
    pub fn to_hex(self) -> String {
        self.hex_digits().map(char::from).iter().collect()
    }

    /// The same, for a header field.
    pub fn hex_digits(self) -> [u8; 48] {
        let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
        let mut text = [0; 48];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.tag.iter().chain(&self.id)) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        text
    }

    /// Reads what [`RecordKey::to_hex`] wrote, in either case. The text does not say whether there
    /// is an epoch: look-ups with this key ask for one, and a record that has no subject does not
    /// mind that none is found.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: &[u8; 48] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 24];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            let (high, low) = (value(pair[0])?, value(pair[1])?);
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        let (tag, id) = bytes.split_first_chunk::<8>()?;
        Some(Self { tag: *tag, id: id.try_into().ok()?, has_subject: true })
    }
}

impl PartialEq for RecordKey {
    fn eq(&self, other: &Self) -> bool {
        (self.tag, self.id) == (other.tag, other.id)
    }
}

impl Eq for RecordKey {}

impl Hash for RecordKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(uniform::number(&self.id));
    }
}

impl PartialOrd for RecordKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RecordKey {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.tag, self.id).cmp(&(other.tag, other.id))
    }
}

impl fmt::Debug for RecordKey {
    /// The first four bytes of the hashed selector: enough to follow a session through the logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.id;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}..")
    }
}

/// What the sessions of a subject have in common (rule 27): random when it is first made, replaced
/// when all of them are revoked. A record is good for the epoch that it was made in.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Epoch(pub [u8; 16]);

impl Epoch {
    /// Compares in constant time.
    pub fn is(self, other: Self) -> bool {
        seal::same(&self.0, &other.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
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

/// What became of ending all sessions of a user but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The one goes on in the new epoch; how many that were listed are over. A repeat may count
    /// fewer.
    Carried(usize),
    /// The record has another version.
    Conflict,
    /// The record is not there, or its epoch is over.
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

/// What became of an attempt to take a lease (rule 32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leased {
    /// It is the owner's, for as long as was asked for from now on; also where it was already.
    Taken,
    /// Another owner has it.
    Busy,
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

/// How a record stands among those of its subject (rule 27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It is over, or has no subject.
    Out,
    Listed,
    /// Listed, and it counts for the limit on sessions since then: where it counted already,
    /// since the time that was noted first.
    Counts(UnixMillis),
}

/// Which of a subject's records that count are beyond a limit (rule 22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// So many have room.
    pub sessions: usize,
    /// One that is left out of the count.
    pub besides: Option<RecordKey>,
    pub ends: Surplus,
}

/// Who has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surplus {
    /// Those that have counted longest.
    Oldest,
    /// Those that came last.
    Newest,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RecordKey = RecordKey { tag: [0xa1; 8], id: [0x0f; 16], has_subject: false };

    #[test]
    fn a_key_reads_back_from_its_hex_digits() {
        let text = KEY.to_hex();
        assert_eq!(text, format!("{}{}", "a1".repeat(8), "0f".repeat(16)));
        for text in [text.clone(), text.to_uppercase()] {
            assert_eq!(RecordKey::from_hex(&text), Some(KEY));
        }
        for text in [
            "",
            &text[..47],
            &text[..46],
            &format!("{text}00"),
            &text.replace('f', "g"),
            &text.replace("a1", "+1"),
        ] {
            assert_eq!(RecordKey::from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn keys_are_the_same_whether_or_not_the_epoch_is_known_of() {
        let known = RecordKey { has_subject: true, ..KEY };
        assert_eq!(known, KEY);
        assert_eq!(known.cmp(&KEY), Ordering::Equal);
        assert!(std::collections::HashSet::from([known]).contains(&KEY));
        assert_ne!(RecordKey { tag: [0xa2; 8], ..KEY }, KEY);
        assert_ne!(RecordKey { id: [0x0e; 16], ..KEY }, KEY);
    }

    #[test]
    fn an_epoch_is_only_itself_and_does_not_print() {
        let epoch = Epoch([7; 16]);
        assert!(epoch.is(Epoch([7; 16])));
        let mut other = [7; 16];
        other[15] = 8;
        assert!(!epoch.is(Epoch(other)));
        assert_eq!(format!("{epoch:?}"), "[redacted]");
    }
}
