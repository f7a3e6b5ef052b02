//! Mode `seal`: a session cookie of the application, sealed in the browser. Without a store.
//!
//! Base64url of `version 1 | key id 4 | nonce 24 | sealed( cookie ) | GCM tag 16`, the cookie in
//! postcard's form ([`Kept`]). Associated data are version, key id, purpose, the name outside, policy,
//! site and the number of pieces, so a cookie opens only where it was made for (as PROTOCOL.md 1 has
//! it for tickets). What is too long for one cookie is sealed as one text and then cut
//! ([`pieces`]): a piece of another set never joins.

pub mod exchange;
pub mod pieces;

use std::fmt;

use crate::clock::UnixMillis;
use crate::cookie::enforce::SameSite;
use crate::crypto::base64;
use crate::crypto::keyring::{KeyId, Keyring};
use crate::crypto::seal::{NONCE_LEN, Purpose, TAG_LEN, length_prefixed};
use crate::session::event::Reject;
use crate::session::policy::Timeouts;
use pieces::Pieces;

const VERSION: u8 = 1;
const HEADER: usize = 1 + 4 + NONCE_LEN;

/// A cookie as it is sealed.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// When the session began: the first time that it was set without a valid one coming along.
    pub began: UnixMillis,
    /// When it was sealed.
    pub sealed: UnixMillis,
    /// Absent: until the browser thinks that its session is over.
    pub expires: Option<UnixMillis>,
    /// The application's own choices, which are needed to send it again.
    pub path: Vec<u8>,
    pub domain: Option<Vec<u8>>,
    pub same_site: Option<SameSite>,
    pub partitioned: bool,
    pub value: Vec<u8>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("began", &self.began)
            .field("sealed", &self.sealed)
            .field("expires", &self.expires)
            .field("value", &format_args!("[redacted]"))
            .finish_non_exhaustive()
    }
}

impl Kept {
    /// Whether its time is over: idle since it was sealed, absolute since it began, or the
    /// application's own.
    pub fn is_over(&self, timeouts: &Timeouts, now: UnixMillis) -> bool {
        now.since(self.sealed) >= timeouts.idle
            || now.since(self.began) >= timeouts.absolute
            || self.expires.is_some_and(|end| end <= now)
    }

    /// Whether it was sealed long enough ago to be sealed anew: after half of the idle time. What a
    /// form saved meanwhile is younger.
    pub fn is_due(&self, timeouts: &Timeouts, now: UnixMillis) -> bool {
        now.since(self.sealed) >= timeouts.idle / 2
    }
}

/// What a sealed cookie is good for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The name outside, of the first piece.
    pub name: &'a [u8],
    pub policy: &'a str,
    /// The exact host, or the domain of a policy that spans subdomains; lower-case, no port.
    pub site: &'a str,
}

impl Scope<'_> {
    fn associated_data(&self, key: KeyId, pieces: u8) -> Vec<u8> {
        length_prefixed(&[
            &[VERSION],
            &key.0,
            b"cookie",
            self.name,
            self.policy.as_bytes(),
            self.site.as_bytes(),
            &[pieces],
        ])
    }
}

/// Tells one sealing of a cookie from all others: the beginning of its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SealId(u64);

impl SealId {
    fn of(nonce: &[u8; NONCE_LEN]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *nonce;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// A made-up one.
    #[cfg(test)]
    pub fn testing(number: u64) -> Self {
        Self(number)
    }
}

/// A cookie, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub id: SealId,
    pub kept: Kept,
    /// Sealed with the key that seals now; otherwise it should be sealed anew.
    pub is_current: bool,
}

/// Seals a cookie with the ring's primary key: the values of its pieces. `None` where it does not
/// fit into [`pieces::MAX`] of them.
pub fn seal(
    ring: &Keyring,
    nonce: &[u8; NONCE_LEN],
    scope: &Scope<'_>,
    kept: &Kept,
) -> Option<Vec<String>> {
    let key = ring.sealing();
    let mut plain = postcard::to_stdvec(kept).ok()?;
    let characters = base64_len(HEADER + plain.len() + TAG_LEN);
    let count = pieces::count(scope.name, characters)?;
    let aad = scope.associated_data(key.id(), count);
    let tag = key.seal_in_place(Purpose::Cookie, nonce, &aad, &mut plain);
    let text = [&[VERSION][..], &key.id().0, nonce, &plain, &tag].concat();
    Some(pieces::split(scope.name, count, &base64::encode(&text)))
}

/// Opens a cookie.
///
/// # Errors
/// The reason why it is "no cookie"; never an error for the visitor.
pub fn open(ring: &Keyring, pieces: &Pieces<'_>, scope: &Scope<'_>) -> Result<Opened, Reject> {
    let (count, text) = pieces.join(scope.name)?;
    let mut bytes = vec![0; text.len() / 4 * 3 + 3];
    let len = base64::decode_canonical(&text, &mut bytes).ok_or(Reject::Malformed)?;
    bytes.truncate(len);
    let (header, sealed) = bytes.split_first_chunk_mut::<HEADER>().ok_or(Reject::Malformed)?;
    let [version, header @ ..] = *header;
    let (id, nonce) = header.split_first_chunk::<4>().ok_or(Reject::Malformed)?;
    let nonce = nonce.first_chunk().ok_or(Reject::Malformed)?;
    if version != VERSION {
        return Err(Reject::Malformed);
    }
    let key = ring.opening(KeyId(*id)).ok_or(Reject::UnknownKey)?;
    let (plain, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(Reject::Malformed)?;
    let aad = scope.associated_data(key.id(), count);
    key.open_in_place(Purpose::Cookie, nonce, &aad, plain, tag).ok_or(Reject::Forged)?;
    let kept = postcard::from_bytes(plain).map_err(|_| Reject::Malformed)?;
    Ok(Opened { id: SealId::of(nonce), kept, is_current: key.id() == ring.sealing().id() })
}

fn base64_len(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

#[cfg(test)]
#[path = "seal/tests.rs"]
mod tests;
