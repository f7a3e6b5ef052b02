//! Opens tickets, and remembers those that it opened (PROTOCOL.md 1, 4).
//!
//! A browser sends one ticket with every request, for minutes. It is told again what it says where
//! all is the same: the text, compared in constant time, what it is good for, and the key ring.
//! Only genuine tickets are remembered, each in the place of another: no stranger fills the table,
//! and it does not grow.

use std::fmt;
use std::sync::{Arc, Mutex, TryLockError};

use crate::crypto::keyring::{KeyId, Keyring};
use crate::crypto::ring_source::RingSource;
use crate::crypto::seal::{self, Purpose};
use crate::proxy::settle::scope;
use crate::session::event::Reject;
use crate::session::outcome::RecordKey;
use crate::session::policy::Policy;
use crate::session::ticket::{self, Ticket};

/// Tickets that are remembered at most, of some 300 bytes each. A power of two.
const PLACES: usize = 1 << 14;

/// A ticket and the key of its record.
#[derive(Clone, Debug)]
pub struct Opened {
    pub ticket: Ticket,
    pub key: RecordKey,
}

/// The tickets that this process has opened.
pub struct TicketCache {
    places: Box<[Mutex<Option<Box<Known>>>]>,
}

struct Known {
    text: Text,
    policy: Arc<Policy>,
    /// The exact host, or the domain of a policy that spans subdomains.
    site: String,
    sealed_by: KeyId,
    /// The ring that it was opened with, by its number.
    ring: u64,
    opened: Opened,
}

impl TicketCache {
    /// Opens a ticket with the ring as it is.
    ///
    /// # Errors
    /// The reason why it is "no session" (rule 5).
    pub fn open(
        &self,
        ring: &RingSource,
        value: &[u8],
        policy: &Arc<Policy>,
        host: &str,
    ) -> Result<Opened, Reject> {
        let scope = scope(policy, host);
        let text = Text::read(value);
        let number = ring.number();
        let current = ring.current();
        if let Some(text) = &text
            && let Some(opened) = self.recall(text, policy, scope.site, number, &current)
        {
            return Ok(opened);
        }
        let ticket = Ticket::open(&current, value, &scope)?;
        let key = ticket.key(&current);
        let opened = Opened { ticket, key };
        if let (Some(text), Some(sealed_by)) = (text, ticket::sealed_by(value)) {
            self.remember(Known {
                text,
                policy: policy.clone(),
                site: scope.site.to_owned(),
                sealed_by,
                ring: number,
                opened: opened.clone(),
            });
        }
        Ok(opened)
    }

    fn recall(
        &self,
        text: &Text,
        policy: &Arc<Policy>,
        site: &str,
        number: u64,
        ring: &Keyring,
    ) -> Option<Opened> {
        // Who finds it taken opens the ticket himself.
        let mut place = self.place(text).try_lock().ok()?;
        let known = place.as_mut()?;
        let is_same = known.text.is(text)
            && known.ring == number
            && known.site == site
            && is_same_scope(&known.policy, policy);
        if !is_same {
            return None;
        }
        known.policy = policy.clone();
        // The key is needed as much as if it had been used.
        ring.opening(known.sealed_by)?.count(Purpose::Ticket);
        Some(known.opened.clone())
    }

    fn remember(&self, known: Known) {
        match self.place(&known.text).try_lock() {
            Ok(mut place) => *place = Some(Box::new(known)),
            // Nobody leaves a place half written.
            Err(TryLockError::Poisoned(place)) => *place.into_inner() = Some(Box::new(known)),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    fn place(&self, text: &Text) -> &Mutex<Option<Box<Known>>> {
        &self.places[text.number() % self.places.len()]
    }
}

/// After a reload a policy may be another value that says the same of its tickets.
fn is_same_scope(known: &Arc<Policy>, policy: &Arc<Policy>) -> bool {
    Arc::ptr_eq(known, policy) || known.name == policy.name && known.cookie == policy.cookie
}

impl Default for TicketCache {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect() }
    }
}

impl fmt::Debug for TicketCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketCache").finish_non_exhaustive()
    }
}

/// The text of a ticket in words, of which the last is filled up with zeros.
struct Text([u64; ticket::TEXT.div_ceil(8)]);

impl Text {
    /// `None` where it is not as long as a ticket.
    fn read(value: &[u8]) -> Option<Self> {
        if value.len() != ticket::TEXT {
            return None;
        }
        let mut words = [0; ticket::TEXT.div_ceil(8)];
        for (word, bytes) in words.iter_mut().zip(value.chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(eight);
        }
        Some(Self(words))
    }

    fn is(&self, other: &Self) -> bool {
        seal::same_words(&self.0, &other.0)
    }

    /// Uniform among genuine tickets: eight characters of the nonce, mixed.
    fn number(&self) -> usize {
        let mixed = self.0[2].wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::clock::UnixMillis;
    use crate::session::tests::policy;
    use crate::session::ticket::{Secret, Selector};

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
    const HERE: &str = "shop.example.com";

    struct Bench {
        _folder: tempfile::TempDir,
        path: PathBuf,
        ring: RingSource,
        tickets: TicketCache,
        policy: Arc<Policy>,
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keyring.json");
        Keyring::generate(NOW).expect("randomness").save_new(&path).expect("a new file");
        let ring = RingSource::open(path.clone()).expect("a ring");
        let policy = Arc::new(policy());
        Bench { _folder: folder, path, ring, tickets: TicketCache::default(), policy }
    }

    impl Bench {
        /// A ticket of the n-th session.
        fn seal(&self, n: u8) -> String {
            let ticket = Ticket {
                tag: [1; 8],
                selector: Selector([n; 16]),
                counter: 3,
                secret: Secret([4; 16]),
                issued: NOW.as_secs(),
                flags: 0,
            };
            ticket.seal(&self.ring.current(), &[n; 24], &scope(&self.policy, HERE))
        }

        /// Whose ticket it is.
        fn open(&self, text: &str) -> Result<u8, Reject> {
            self.open_at(text, &self.policy, HERE)
        }

        fn open_at(&self, text: &str, policy: &Arc<Policy>, host: &str) -> Result<u8, Reject> {
            let opened = self.tickets.open(&self.ring, text.as_bytes(), policy, host)?;
            assert_eq!(opened.key, opened.ticket.key(&self.ring.current()));
            Ok(opened.ticket.selector.0[0])
        }

        fn recalls(&self, text: &str) -> bool {
            let text = Text::read(text.as_bytes()).expect("as long as a ticket");
            let (number, ring) = (self.ring.number(), self.ring.current());
            self.tickets.recall(&text, &self.policy, HERE, number, &ring).is_some()
        }

        /// Changes the ring, as the command line does.
        fn change(&self, change: impl FnOnce(&mut Keyring)) {
            let mut ring = Keyring::load(&self.path).expect("a ring");
            change(&mut ring);
            ring.replace(&self.path).expect("it can be written");
            self.ring.reload().expect("a ring");
        }
    }

    #[test]
    fn a_ticket_is_remembered_where_all_is_the_same() {
        let bench = bench();
        let (text, other) = (bench.seal(1), bench.seal(2));
        assert!(!bench.recalls(&text), "nothing was opened yet");
        for _ in 0..2 {
            assert_eq!((bench.open(&text), bench.open(&other)), (Ok(1), Ok(2)));
            assert!(bench.recalls(&text) && bench.recalls(&other));
        }
        let admin = Arc::new(Policy { name: "admin".to_owned(), ..policy() });
        let forged = Err(Reject::Forged);
        assert_eq!(bench.open_at(&text, &admin, HERE), forged, "another policy");
        assert_eq!(bench.open_at(&text, &bench.policy, "shop.example.org"), forged, "another site");
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).expect("text");
            assert!(!bench.recalls(&altered), "character {at}");
            assert!(bench.open(&altered).is_err(), "character {at}");
        }
        assert_eq!(bench.open(&text), Ok(1), "what was refused takes no place");
        assert!(bench.recalls(&text));
    }

    /// PROTOCOL 4: a key that is taken away opens nothing, also what it has opened before.
    #[test]
    fn a_retired_key_is_forgotten() {
        let bench = bench();
        let (text, old) = (bench.seal(1), bench.ring.current().sealing().id());
        assert_eq!(bench.open(&text), Ok(1));
        bench.change(|ring| {
            let fresh = ring.rotate(NOW).expect("randomness");
            ring.promote(fresh).expect("an accepted key");
        });
        assert!(!bench.recalls(&text), "the ring is another");
        assert_eq!(bench.open(&text), Ok(1), "it is accepted still");
        bench.change(|ring| ring.retire(old).expect("an accepted key"));
        assert_eq!(bench.open(&text), Err(Reject::UnknownKey));
    }

    /// Who retires keys looks at what they have opened.
    #[test]
    fn every_use_counts_for_the_key() {
        let bench = bench();
        let text = bench.seal(1);
        for _ in 0..3 {
            assert_eq!(bench.open(&text), Ok(1));
        }
        assert_eq!(bench.ring.current().sealing().opened(Purpose::Ticket), 3);
    }
}
