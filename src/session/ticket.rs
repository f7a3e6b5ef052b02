//! The ticket: the sealed cookie-value in the browser (PROTOCOL.md 1, 2, 5).
//!
//! `version 1 | key id 4 | nonce 24 | sealed( tag 8 | selector 16 | counter 4 | secret 16 |
//! issued 5 | flags 1 ) | GCM tag 16`: 95 bytes, 127 characters of base64url, big-endian.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::crypto::base64;
use crate::crypto::keyring::{KeyId, Keyring};
use crate::crypto::seal::{self, Purpose};
use crate::session::event::Reject;
use crate::session::outcome::RecordKey;
use crate::session::subject::User;
use crate::uniform;

const VERSION: u8 = 1;
const HEADER: usize = 1 + 4 + 24;
const PLAIN: usize = 8 + 16 + 4 + 16 + 5 + 1;
const SEALED: usize = HEADER + PLAIN + 16;

/// The flag of a ticket whose record has a subject, and so an epoch beside it. Other bits mean
/// nothing yet and are ignored.
pub const FLAG_SUBJECT: u8 = 1;

/// Characters of a ticket.
pub const TEXT: usize = 127;

/// What finds the record. Never stored: records are kept under its keyed hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Selector(pub [u8; 16]);

impl Hash for Selector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(uniform::number(&self.0));
    }
}

/// What proves the ticket (rule 2).
#[derive(Clone, Copy)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Secret {
    /// Compares in constant time.
    pub fn proves(&self, other: &Self) -> bool {
        seal::same(&self.0, &other.0)
    }
}

/// A ticket, opened.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub tag: [u8; 8],
    pub selector: Selector,
    pub counter: u32,
    pub secret: Secret,
    /// Unix seconds; 40 bits are sent.
    pub issued: u64,
    /// [`FLAG_SUBJECT`].
    pub flags: u8,
}

/// What a ticket is good for: all of it is associated data (rule 1).
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub cookie_name: &'a str,
    pub policy: &'a str,
    /// The exact host, or the domain of a policy that spans subdomains; lower-case, no port.
    pub site: &'a str,
}

impl Scope<'_> {
    fn associated_data(&self, key: KeyId) -> Vec<u8> {
        seal::length_prefixed(&[
            &[VERSION],
            &key.0,
            b"ticket",
            self.cookie_name.as_bytes(),
            self.policy.as_bytes(),
            self.site.as_bytes(),
        ])
    }
}

impl Ticket {
    /// Seals the ticket with the ring's primary key.
    pub fn seal(&self, ring: &Keyring, nonce: &[u8; 24], scope: &Scope<'_>) -> String {
        let key = ring.sealing();
        let mut plain = Vec::with_capacity(PLAIN);
        plain.extend_from_slice(&self.tag);
        plain.extend_from_slice(&self.selector.0);
        plain.extend_from_slice(&self.counter.to_be_bytes());
        plain.extend_from_slice(&self.secret.0);
        plain.extend_from_slice(&self.issued.to_be_bytes()[3..]);
        plain.push(self.flags);
        let sealed = key.seal(Purpose::Ticket, nonce, &scope.associated_data(key.id()), &plain);
        let mut bytes = Vec::with_capacity(SEALED);
        bytes.push(VERSION);
        bytes.extend_from_slice(&key.id().0);
        bytes.extend_from_slice(nonce);
        bytes.extend_from_slice(&sealed);
        base64::encode(&bytes)
    }

    /// Opens a cookie-value.
    ///
    /// # Errors
    /// The reason why it is "no session" (rule 5); that is never an error for the visitor.
    pub fn open(ring: &Keyring, value: &[u8], scope: &Scope<'_>) -> Result<Self, Reject> {
        if value.len() > TEXT {
            return Err(Reject::Oversized);
        }
        let mut bytes = [0; SEALED];
        if base64::decode_canonical(value, &mut bytes) != Some(SEALED) || bytes[0] != VERSION {
            return Err(Reject::Malformed);
        }
        let (header, sealed) = bytes.split_at(HEADER);
        let mut id = [0; 4];
        id.copy_from_slice(&header[1..5]);
        let mut nonce = [0; 24];
        nonce.copy_from_slice(&header[5..]);
        let id = KeyId(id);
        let key = ring.opening(id).ok_or(Reject::UnknownKey)?;
        let plain = key
            .open(Purpose::Ticket, &nonce, &scope.associated_data(id), sealed)
            .ok_or(Reject::Forged)?;
        Self::parse(&plain).ok_or(Reject::Malformed)
    }

    fn parse(plain: &[u8]) -> Option<Self> {
        let (tag, rest) = plain.split_first_chunk::<8>()?;
        let (selector, rest) = rest.split_first_chunk::<16>()?;
        let (counter, rest) = rest.split_first_chunk::<4>()?;
        let (secret, rest) = rest.split_first_chunk::<16>()?;
        let (issued, rest) = rest.split_first_chunk::<5>()?;
        let &[flags] = rest else { return None };
        let mut seconds = [0; 8];
        seconds[3..].copy_from_slice(issued);
        Some(Self {
            tag: *tag,
            selector: Selector(*selector),
            counter: u32::from_be_bytes(*counter),
            secret: Secret(*secret),
            issued: u64::from_be_bytes(seconds),
            flags,
        })
    }

    /// The key under which the record is stored.
    pub fn key(&self, ring: &Keyring) -> RecordKey {
        let has_subject = self.flags & FLAG_SUBJECT != 0;
        RecordKey { has_subject, ..record_key(ring, self.tag, &self.selector) }
    }
}

/// The key that a genuine ticket's text names.
pub fn sealed_by(value: &[u8]) -> Option<KeyId> {
    let mut bytes = [0; SEALED];
    base64::decode_canonical(value, &mut bytes)?;
    bytes[1..].first_chunk().copied().map(KeyId)
}

/// The flags of a ticket for the record with this key.
pub fn flags_for(key: RecordKey) -> u8 {
    if key.has_subject { FLAG_SUBJECT } else { 0 }
}

/// The store key of a selector for a record without a subject: the selector itself never reaches
/// the store (rule 3).
pub fn record_key(ring: &Keyring, tag: [u8; 8], selector: &Selector) -> RecordKey {
    RecordKey { tag, id: ring.index().mac(b"selector", &selector.0), has_subject: false }
}

/// The store key of a selector for a record of this user: its tag is the user's.
pub fn user_record_key(ring: &Keyring, user: User<'_>, selector: &Selector) -> RecordKey {
    let tag = ring.user_tag(user.namespace, user.name);
    RecordKey { has_subject: true, ..record_key(ring, tag, selector) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;

    const HERE: Scope<'static> =
        Scope { cookie_name: "__Host-shop", policy: "shop", site: "shop.example.com" };

    fn ticket() -> Ticket {
        Ticket {
            tag: [1; 8],
            selector: Selector([2; 16]),
            counter: 3,
            secret: Secret([4; 16]),
            issued: 1_795_462_335,
            flags: 0,
        }
    }

    #[test]
    fn a_ticket_has_127_characters_and_opens_again() {
        let ring = Keyring::generate(UnixMillis(0)).unwrap();
        let text = ticket().seal(&ring, &[9; 24], &HERE);
        assert_eq!(text.len(), TEXT);
        let opened = Ticket::open(&ring, text.as_bytes(), &HERE).unwrap();
        assert_eq!(opened.selector, ticket().selector);
        assert_eq!((opened.counter, opened.issued, opened.tag), (3, 1_795_462_335, [1; 8]));
        assert!(opened.secret.proves(&ticket().secret));
    }

    /// PROTOCOL 1: version, key, purpose, name, policy and scope are all bound.
    #[test]
    fn a_ticket_opens_only_where_it_was_made_for() {
        let ring = Keyring::generate(UnixMillis(0)).unwrap();
        let text = ticket().seal(&ring, &[9; 24], &HERE);
        for elsewhere in [
            Scope { cookie_name: "__Host-other", ..HERE },
            Scope { policy: "admin", ..HERE },
            Scope { site: "shop.example.org", ..HERE },
            Scope { cookie_name: "__Host-shopshop", policy: "", ..HERE },
        ] {
            let opened = Ticket::open(&ring, text.as_bytes(), &elsewhere);
            assert_eq!(opened.err(), Some(Reject::Forged), "{elsewhere:?}");
        }
        let stranger = Keyring::generate(UnixMillis(0)).unwrap();
        let opened = Ticket::open(&stranger, text.as_bytes(), &HERE);
        assert_eq!(opened.err(), Some(Reject::UnknownKey));
    }

    /// PROTOCOL 1, 5: base64url is canonical; every altered bit is noticed.
    #[test]
    fn altered_text_is_no_ticket() {
        let ring = Keyring::generate(UnixMillis(0)).unwrap();
        let text = ticket().seal(&ring, &[9; 24], &HERE).into_bytes();
        for at in 0..text.len() {
            let mut altered = text.clone();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            if altered != text {
                assert!(Ticket::open(&ring, &altered, &HERE).is_err(), "character {at}");
            }
        }
        let check = |value: &[u8], expected| {
            assert_eq!(Ticket::open(&ring, value, &HERE).err(), Some(expected));
        };
        check(b"", Reject::Malformed);
        check(&text[..126], Reject::Malformed);
        check(&[&text[..], b"="].concat(), Reject::Oversized);
        check(&[b'A'; 127], Reject::Malformed);
        check(&[&b"\""[..], &text[..125], b"\""].concat(), Reject::Malformed);
    }

    #[test]
    fn the_flag_says_whether_there_is_an_epoch_and_other_flags_are_ignored() {
        let ring = Keyring::generate(UnixMillis(0)).unwrap();
        for (flags, has_subject) in [(0, false), (1, true), (0xfe, false), (0xff, true)] {
            let text = Ticket { flags, ..ticket() }.seal(&ring, &[9; 24], &HERE);
            let key = Ticket::open(&ring, text.as_bytes(), &HERE).unwrap().key(&ring);
            assert_eq!(key.has_subject, has_subject, "{flags}");
            assert_eq!(flags_for(key), flags & FLAG_SUBJECT);
        }
    }

    /// PROTOCOL 27.
    #[test]
    fn records_of_one_user_share_a_tag() {
        let ring = Keyring::generate(UnixMillis(0)).unwrap();
        let (first, second) = (Selector([1; 16]), Selector([2; 16]));
        let key =
            |namespace, name, selector| user_record_key(&ring, User { namespace, name }, selector);
        let alice = key("shop", "alice", &first);
        assert!(alice.has_subject);
        assert_eq!(alice.id, record_key(&ring, [0; 8], &first).id);
        assert_eq!(alice.tag, key("shop", "alice", &second).tag);
        // Another name, another namespace, and the same letters apart elsewhere.
        for (namespace, name) in [
            ("shop", "Alice"),
            ("staff", "alice"),
            ("", "alice"),
            ("shopa", "lice"),
            ("", "shopalice"),
            ("alice", "shop"),
        ] {
            assert_ne!(alice.tag, key(namespace, name, &first).tag, "{namespace} {name}");
            assert_ne!(alice.tag, ring.bare_tag(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let shown = format!("{:?}", ticket());
        assert!(!shown.contains("4, 4") && !shown.contains("2, 2"), "{shown}");
    }
}
