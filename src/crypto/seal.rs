//! Sealing: XAES-256-GCM for tickets and records, HMAC-SHA-256 for what is derived or looked up.
//!
//! [XAES-256-GCM](https://c2sp.org/XAES-256-GCM) takes a nonce of 24 bytes, which may be random for
//! 2⁸⁰ messages; the counter-sized nonce of plain AES-GCM would be used up in days. Like GCM it
//! does not commit to its key: the key identifier belongs into the associated data, and one key is
//! tried, never several.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use xaes_256_gcm::aead::AeadInOut;
use xaes_256_gcm::{Nonce, Tag, Xaes256Gcm};
use zeroize::Zeroizing;

use super::keyring::{KeyId, Secret};

/// The length of a nonce in bytes.
pub const NONCE_LEN: usize = 24;
/// What sealing adds to the plain text, in bytes.
pub const TAG_LEN: usize = 16;

/// What is sealed. Each purpose has a key of its own, derived from the one in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Ticket,
    Record,
    /// A session cookie of the application, in the browser.
    Cookie,
    /// What belongs to certificates that are ordered: accounts, private keys.
    Certificate,
}

impl Purpose {
    /// Every purpose, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Ticket, Self::Record, Self::Cookie, Self::Certificate];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Record => "record",
            Self::Cookie => "cookie",
            Self::Certificate => "certificate",
        }
    }
}

/// One key of the ring, expanded for all purposes.
#[derive(Clone)]
pub struct SealKey {
    id: KeyId,
    ticket: Xaes256Gcm,
    record: Xaes256Gcm,
    cookie: Xaes256Gcm,
    certificate: Xaes256Gcm,
    tls: Zeroizing<[u8; 32]>,
    opened: Arc<Opened>,
}

/// How often a key opened something genuine, by purpose. Goes from a ring to the next one of the
/// process, so that whoever reads it sees when nothing needs the key any more.
#[derive(Debug, Default)]
struct Opened([AtomicU64; Purpose::ALL.len()]);

impl SealKey {
    pub(super) fn derive(id: KeyId, master: &Secret) -> Self {
        let bytes = |info: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            Hkdf::<Sha256>::new(None, master.as_bytes())
                .expand(info, key.as_mut_slice())
                .expect("32 bytes are within HKDF's limit");
            key
        };
        let expand = |info: &[u8]| Xaes256Gcm::new((&*bytes(info)).into());
        Self {
            id,
            ticket: expand(b"cloakroom/v1/ticket"),
            record: expand(b"cloakroom/v1/record"),
            cookie: expand(b"cloakroom/v1/cookie"),
            certificate: expand(b"cloakroom/v1/certificate"),
            tls: bytes(b"cloakroom/v1/tls"),
            opened: Arc::default(),
        }
    }

    /// What keys of TLS session tickets are derived from.
    pub fn tls_secret(&self) -> &Zeroizing<[u8; 32]> {
        &self.tls
    }

    /// Goes on counting where the same key of an earlier ring stands.
    pub(super) fn count_on(&mut self, earlier: &Self) {
        self.opened = earlier.opened.clone();
    }

    /// Counts something genuine that this key would have opened.
    pub fn count(&self, purpose: Purpose) {
        self.opened.0[purpose as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often this key opened something genuine, since the process began.
    pub fn opened(&self, purpose: Purpose) -> u64 {
        self.opened.0[purpose as usize].load(Ordering::Relaxed)
    }

    /// The identifier by which a ticket or record names this key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn cipher(&self, purpose: Purpose) -> &Xaes256Gcm {
        match purpose {
            Purpose::Ticket => &self.ticket,
            Purpose::Record => &self.record,
            Purpose::Cookie => &self.cookie,
            Purpose::Certificate => &self.certificate,
        }
    }

    /// Seals `plain`: the cipher text, of the same length, then the tag of 16 bytes.
    ///
    /// `nonce` is random and used once. `aad` is authenticated, not kept: whoever opens must give
    /// the same ([`length_prefixed`] puts several fields into one).
    pub fn seal(
        &self,
        purpose: Purpose,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plain: &[u8],
    ) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(plain.len() + TAG_LEN);
        sealed.extend_from_slice(plain);
        let tag = self.seal_in_place(purpose, nonce, aad, &mut sealed);
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens what [`SealKey::seal`] made; `None` where anything about it differs.
    pub fn open(
        &self,
        purpose: Purpose,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let (text, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
        let mut plain = text.to_vec();
        self.open_in_place(purpose, nonce, aad, &mut plain, tag)?;
        Some(plain)
    }

    /// Replaces the plain text in `buffer` by the cipher text and returns the tag. Allocates nothing.
    #[must_use = "without its tag the text cannot be opened"]
    pub fn seal_in_place(
        &self,
        purpose: Purpose,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> [u8; TAG_LEN] {
        self.cipher(purpose)
            .encrypt_inout_detached(<&Nonce>::from(nonce), aad, buffer.into())
            .expect("what is sealed here is far below 64 GiB")
            .into()
    }

    /// Replaces the cipher text in `buffer` by the plain text; `None` where it is not genuine, and
    /// `buffer` is then as it was. Allocates nothing.
    #[must_use = "a text that is not genuine must not be used"]
    pub fn open_in_place(
        &self,
        purpose: Purpose,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Option<()> {
        self.cipher(purpose)
            .decrypt_inout_detached(<&Nonce>::from(nonce), aad, buffer.into(), <&Tag>::from(tag))
            .ok()?;
        self.count(purpose);
        Some(())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey")
            .field("id", &self.id)
            .field("key", &format_args!("[redacted]"))
            .finish()
    }
}

/// The key that hashes selectors and subjects into store keys. It is not rotated (PROTOCOL 3).
#[derive(Clone)]
pub struct IndexKey {
    id: KeyId,
    /// Keyed once; each use clones it, which saves hashing the key again.
    keyed: Hmac<Sha256>,
}

impl IndexKey {
    pub(super) fn derive(id: KeyId, master: &Secret) -> Self {
        Self { id, keyed: hmac(master.as_bytes()) }
    }

    /// The identifier of this key in the ring.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The first 16 bytes of HMAC-SHA-256 over `label`, prefixed with its length (four bytes,
    /// big-endian), and `data`. The label keeps uses apart: `selector`, `subject` ….
    pub fn mac(&self, label: &[u8], data: &[u8]) -> [u8; 16] {
        let mut mac = self.keyed.clone();
        mac.update(&length(label));
        mac.update(label);
        mac.update(data);
        first_half(mac)
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexKey")
            .field("id", &self.id)
            .field("key", &format_args!("[redacted]"))
            .finish()
    }
}

/// The first 16 bytes of HMAC-SHA-256 (RFC 2104, truncated as its section 5 allows).
pub fn hmac_sha256_16(key: &[u8; 32], message: &[u8]) -> [u8; 16] {
    let mut mac = hmac(key);
    mac.update(message);
    first_half(mac)
}

/// Joins fields into one string that no other list of fields gives: before each, its length in
/// four bytes, big-endian.
pub fn length_prefixed(fields: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(fields.iter().map(|field| 4 + field.len()).sum());
    for field in fields {
        joined.extend_from_slice(&length(field));
        joined.extend_from_slice(field);
    }
    joined
}

/// Compares secrets in a time that depends on their lengths alone.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The same for secrets of one length that are kept in words.
pub fn same_words<const N: usize>(a: &[u64; N], b: &[u64; N]) -> bool {
    a.ct_eq(b).into()
}

fn length(field: &[u8]) -> [u8; 4] {
    u32::try_from(field.len()).expect("fields are far below 4 GiB").to_be_bytes()
}

fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn first_half(mac: Hmac<Sha256>) -> [u8; 16] {
    let whole: [u8; 32] = mac.finalize().into_bytes().into();
    *whole.first_chunk().expect("32 bytes hold 16")
}

#[cfg(test)]
mod tests {
    use sha3::Shake128;
    use sha3::digest::{ExtendableOutput, Update, XofReader};

    use super::*;

    fn key(byte: u8) -> SealKey {
        SealKey::derive(KeyId([byte; 4]), &Secret::from([byte; 32]))
    }

    /// A key whose cipher is keyed directly, as the published vectors are.
    fn raw(key: [u8; 32]) -> SealKey {
        let cipher = Xaes256Gcm::new((&key).into());
        let (ticket, record) = (cipher.clone(), cipher.clone());
        SealKey {
            id: KeyId([0; 4]),
            ticket,
            record,
            cookie: cipher.clone(),
            certificate: cipher,
            tls: Zeroizing::new([0; 32]),
            opened: Arc::default(),
        }
    }

    #[test]
    fn single_vectors_of_c2sp() {
        #[track_caller]
        fn check(key: u8, aad: &str, expected: &str) {
            let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
            let key = raw([key; 32]);
            let sealed = key.seal(Purpose::Ticket, nonce, aad.as_bytes(), b"XAES-256-GCM");
            assert_eq!(hex::encode(&sealed), expected);
            assert_eq!(
                key.open(Purpose::Ticket, nonce, aad.as_bytes(), &sealed).as_deref(),
                Some(&b"XAES-256-GCM"[..])
            );
        }
        check(1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        check(
            3,
            "c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        );
    }

    #[test]
    fn ten_thousand_random_vectors_of_c2sp() {
        let mut stream = Shake128::default().finalize_xof();
        let mut digest = Shake128::default();
        for _ in 0..10_000 {
            let (mut key, mut nonce) = ([0; 32], [0; 24]);
            stream.read(&mut key);
            stream.read(&mut nonce);
            let mut read_vector = || {
                let mut len = [0];
                stream.read(&mut len);
                let mut bytes = vec![0; len[0].into()];
                stream.read(&mut bytes);
                bytes
            };
            let (plain, aad) = (read_vector(), read_vector());
            let key = raw(key);
            let sealed = key.seal(Purpose::Ticket, &nonce, &aad, &plain);
            digest.update(&sealed);
            assert_eq!(key.open(Purpose::Ticket, &nonce, &aad, &sealed), Some(plain));
        }
        let mut sum = [0; 32];
        digest.finalize_xof().read(&mut sum);
        assert_eq!(
            hex::encode(sum),
            "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
        );
    }

    #[test]
    fn nothing_opens_when_one_thing_differs() {
        let (nonce, aad, plain) = ([7; 24], b"scope".as_slice(), b"fifty bytes or so".as_slice());
        let sealed = key(1).seal(Purpose::Ticket, &nonce, aad, plain);
        assert_eq!(sealed.len(), plain.len() + TAG_LEN);
        let open = |key: SealKey, purpose, nonce, aad: &[u8], sealed: &[u8]| {
            key.open(purpose, &nonce, aad, sealed)
        };
        assert_eq!(
            open(key(1), Purpose::Ticket, nonce, aad, &sealed).as_deref(),
            Some(plain),
            "unchanged"
        );
        assert_eq!(open(key(2), Purpose::Ticket, nonce, aad, &sealed), None, "key");
        assert_eq!(open(key(1), Purpose::Record, nonce, aad, &sealed), None, "purpose");
        assert_eq!(open(key(1), Purpose::Cookie, nonce, aad, &sealed), None, "purpose");
        assert_eq!(open(key(1), Purpose::Ticket, [8; 24], aad, &sealed), None, "nonce");
        assert_eq!(open(key(1), Purpose::Ticket, nonce, b"scopE", &sealed), None, "scope");
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(key(1), Purpose::Ticket, nonce, aad, &forged), None, "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(open(key(1), Purpose::Ticket, nonce, aad, &sealed[..len]), None, "{len}");
        }
    }

    #[test]
    fn a_forged_text_is_left_as_it_was() {
        let (nonce, mut buffer) = ([7; 24], *b"fifty bytes");
        let tag = key(1).seal_in_place(Purpose::Ticket, &nonce, b"", &mut buffer);
        let sealed = buffer;
        let opened = key(1).open_in_place(Purpose::Ticket, &nonce, b"no", &mut buffer, &tag);
        assert_eq!((opened, buffer), (None, sealed));
        let opened = key(1).open_in_place(Purpose::Ticket, &nonce, b"", &mut buffer, &tag);
        assert_eq!((opened, &buffer), (Some(()), b"fifty bytes"));
    }

    #[test]
    fn purposes_have_keys_of_their_own_which_never_change() {
        // Computed with another implementation. Where these change, every session there is ends.
        let sealed = |purpose| hex::encode(key(1).seal(purpose, &[0; 24], b"", b""));
        assert_eq!(sealed(Purpose::Ticket), "6684b5abc1ba93d6bbf14ea01c52632d");
        assert_eq!(sealed(Purpose::Record), "3cc77d60b5c9d14d13b3156017e83118");
        assert_eq!(sealed(Purpose::Cookie), "18c5ee17f2fe24f7236ca06eee05124b");
    }

    #[test]
    fn macs_of_rfc_4231_and_by_label() {
        // RFC 4231 has no key of 32 bytes; zeros behind a shorter one change nothing (RFC 2104).
        let mut padded = [0; 32];
        padded[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hex::encode(hmac_sha256_16(&padded, b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c7"
        );
        let index = IndexKey::derive(KeyId([0; 4]), &Secret::from(padded));
        assert_eq!(index.mac(b"a", b"bc"), hmac_sha256_16(&padded, b"\0\0\0\x01abc"));
        assert_ne!(index.mac(b"a", b"bc"), index.mac(b"ab", b"c"));
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        assert_eq!(length_prefixed(&[b"ab", b""]), b"\0\0\0\x02ab\0\0\0\0");
        assert_ne!(length_prefixed(&[b"ab", b"c"]), length_prefixed(&[b"a", b"bc"]));
        assert_eq!(length_prefixed(&[]), b"");
    }

    #[test]
    fn what_a_key_opens_is_counted_by_purpose() {
        let (key, mut later) = (key(1), key(1));
        let sealed = key.seal(Purpose::Record, &[2; 24], b"", b"text");
        assert!(key.open(Purpose::Record, &[2; 24], b"", &sealed).is_some());
        assert!(key.open(Purpose::Ticket, &[2; 24], b"", &sealed).is_none(), "not genuine there");
        later.count_on(&key);
        assert!(later.open(Purpose::Record, &[2; 24], b"", &sealed).is_some());
        assert_eq!(Purpose::ALL.map(|purpose| later.opened(purpose)), [0, 2, 0, 0]);
        for (at, purpose) in Purpose::ALL.into_iter().enumerate() {
            assert_eq!(purpose as usize, at, "{} is out of order", purpose.name());
        }
    }

    #[test]
    fn comparison_sees_every_byte_and_the_length() {
        assert!(same(b"", b""));
        assert!(same(b"secret", b"secret"));
        assert!(!same(b"secret", b"secreT"));
        assert!(!same(b"Secret", b"secret"));
        assert!(!same(b"secret", b"secret1"));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", key(1)), "SealKey { id: 01010101, key: [redacted] }");
        let index = IndexKey::derive(KeyId([2; 4]), &Secret::from([9; 32]));
        assert_eq!(format!("{index:?}"), "IndexKey { id: 02020202, key: [redacted] }");
    }
}
