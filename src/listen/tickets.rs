//! Session tickets (RFC 8446 section 4.6.1; RFC 5077): sealed with keys that all who have the same secrets
//! derive alike, and that change by themselves.
//!
//! A ticket is a byte for the version, 4 bytes that name the secret, 4 for the period, 24 random ones, then what the
//! TLS library gave, sealed with the time: 8 bytes. It opens in its period and the next one, while it
//! is young enough, and for the same context alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hkdf::Hkdf;
use rand::TryRng;
use rand::rngs::SysRng;
use rustls::pki_types::UnixTime;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use sha2::{Digest, Sha256};
use xaes_256_gcm::aead::{Aead, KeyInit, Payload};
use xaes_256_gcm::{Nonce, Xaes256Gcm};
use zeroize::Zeroizing;

/// What keys are derived from; the first one seals, and all open.
pub type Secrets = Arc<dyn Fn() -> Vec<Zeroizing<[u8; 32]>> + Send + Sync>;

/// For so long one key seals.
const PERIOD_SECS: u64 = 6 * 3600;
/// What lies ahead of our clock is taken within this.
const SKEW_SECS: u64 = 300;
const VERSION: u8 = 1;
const HEAD: usize = 1 + 4 + 4 + 24;

/// Seals the tickets of one context.
pub struct Tickets {
    secrets: Secrets,
    /// Which server and which demands: what was agreed to under others means nothing here.
    context: [u8; 32],
    lifetime: Duration,
}

impl Tickets {
    pub fn new(secrets: Secrets, context: [u8; 32], lifetime: Duration) -> Self {
        Self { secrets, context, lifetime }
    }

    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let secrets = (self.secrets)();
        let secret = secrets.first()?;
        let mut nonce = [0; 24];
        SysRng.try_fill_bytes(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(HEAD + 8 + plain.len() + 16);
        ticket.push(VERSION);
        ticket.extend(name(secret));
        let period = u32::try_from(now / PERIOD_SECS).ok()?;
        ticket.extend(period.to_be_bytes());
        ticket.extend(nonce);
        let dated = Zeroizing::new([&now.to_be_bytes()[..], plain].concat());
        let payload = Payload { msg: &dated, aad: &ticket };
        let sealed = self.cipher(secret, period).encrypt(<&Nonce>::from(&nonce), payload).ok()?;
        ticket.extend(sealed);
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (head, sealed) = ticket.split_at_checked(HEAD)?;
        let (of, rest) = head.split_first_chunk::<5>()?;
        let (period, nonce) = rest.split_first_chunk::<4>()?;
        let nonce: &[u8; 24] = nonce.try_into().ok()?;
        let period = u32::from_be_bytes(*period);
        let newest = u64::from(period).saturating_mul(PERIOD_SECS);
        let is_current = newest <= now + SKEW_SECS && now < newest + 2 * PERIOD_SECS + SKEW_SECS;
        if of[0] != VERSION || !is_current {
            return None;
        }
        let secrets = (self.secrets)();
        let secret = secrets.iter().find(|secret| name(secret) == of[1..])?;
        let payload = Payload { msg: sealed, aad: head };
        let opened = self.cipher(secret, period).decrypt(<&Nonce>::from(nonce), payload).ok()?;
        fresh(&opened, self.lifetime, now)
    }

    fn cipher(&self, secret: &[u8; 32], period: u32) -> Xaes256Gcm {
        let mut key = Zeroizing::new([0; 32]);
        let info = [b"cloakroom/v1/tls-ticket", &self.context[..], &period.to_be_bytes()].concat();
        Hkdf::<Sha256>::new(None, secret)
            .expand(&info, key.as_mut_slice())
            .expect("32 bytes are within HKDF's limit");
        Xaes256Gcm::new((&*key).into())
    }
}

/// Which secret it is, to whoever has it.
fn name(secret: &[u8; 32]) -> [u8; 4] {
    let digest =
        Sha256::new().chain_update(b"cloakroom/v1/tls-name").chain_update(secret).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// What is behind the time, if that is not too long ago.
fn fresh(dated: &[u8], lifetime: Duration, now: u64) -> Option<Vec<u8>> {
    let (begun, plain) = dated.split_first_chunk::<8>()?;
    let begun = u64::from_be_bytes(*begun);
    let is_fresh = begun <= now + SKEW_SECS && now.saturating_sub(begun) <= lifetime.as_secs();
    is_fresh.then(|| plain.to_vec())
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, UnixTime::now().as_secs())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, UnixTime::now().as_secs())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets([redacted])")
    }
}

/// No tickets.
#[derive(Debug)]
pub struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Sessions that are kept here, for a time (nginx `ssl_session_cache`).
#[derive(Debug)]
pub struct Kept {
    sessions: Arc<ServerSessionMemoryCache>,
    lifetime: Duration,
}

impl Kept {
    pub fn new(sessions: usize, lifetime: Duration) -> Self {
        Self { sessions: ServerSessionMemoryCache::new(sessions), lifetime }
    }
}

impl StoresServerSessions for Kept {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let now = UnixTime::now().as_secs().to_be_bytes();
        self.sessions.put(key, [&now[..], &value].concat())
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        fresh(&self.sessions.get(key)?, self.lifetime, UnixTime::now().as_secs())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        fresh(&self.sessions.take(key)?, self.lifetime, UnixTime::now().as_secs())
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn tickets(secrets: &[u8], context: u8) -> Tickets {
        let secrets: Vec<_> = secrets.iter().map(|byte| Zeroizing::new([*byte; 32])).collect();
        Tickets::new(Arc::new(move || secrets.clone()), [context; 32], Duration::from_secs(600))
    }

    #[test]
    fn who_has_the_secret_opens_what_another_has_sealed() {
        let ticket = tickets(&[1], 0).seal(b"a session", NOW).expect("sealed");
        let opened = |by: &[u8], context, later| tickets(by, context).open(&ticket, NOW + later);
        assert_eq!(opened(&[1], 0, 0).as_deref(), Some(&b"a session"[..]));
        assert_eq!(opened(&[2, 1], 0, 600).as_deref(), Some(&b"a session"[..]), "it was rotated");
        assert_eq!(opened(&[1], 0, 601), None, "too old");
        assert_eq!(opened(&[2], 0, 0), None, "another secret");
        assert_eq!(opened(&[1], 1, 0), None, "another server's");
        assert_eq!(tickets(&[1], 0).open(&ticket, NOW - 301), None, "of the future");
    }

    #[test]
    fn a_period_over_no_key_opens_it() {
        let long = |secrets: Secrets| Tickets::new(secrets, [0; 32], Duration::from_secs(1 << 30));
        let secrets: Secrets = Arc::new(|| vec![Zeroizing::new([1; 32])]);
        let ticket = long(secrets.clone()).seal(b"x", NOW).expect("sealed");
        assert!(long(secrets.clone()).open(&ticket, NOW + PERIOD_SECS).is_some());
        assert!(long(secrets).open(&ticket, NOW + 2 * PERIOD_SECS + SKEW_SECS).is_none());
    }

    #[test]
    fn what_is_no_ticket_opens_nothing() {
        let tickets = tickets(&[1], 0);
        let ticket = tickets.seal(b"x", NOW).expect("sealed");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.open(&changed, NOW), None, "byte {at}");
            assert_eq!(tickets.open(&ticket[..at], NOW), None, "{at} bytes");
        }
        assert_ne!(tickets.seal(b"x", NOW), Some(ticket), "each has a nonce of its own");
    }
}
