//! What the store holds for a ticket (PROTOCOL.md 2, 6, 9, 20, 22).
//!
//! Encoded with a leading schema byte and sealed before it leaves the process. It carries its own
//! idle deadline and absolute end: the store's time to live only collects garbage.

use std::time::Duration;

use crate::clock::UnixMillis;
use crate::session::binding::Binding;
use crate::session::jar::Jar;
use crate::session::outcome::{Epoch, Listing, RecordKey};
use crate::session::parked::Parked;
use crate::session::policy::Timeouts;
pub use crate::session::seed::Seed;
use crate::session::subject::{LoginClient, Subject};
use crate::session::ticket::Selector;

pub use self::renewal::Age;
pub use self::touch::{Touch, idle_step};

const SCHEMA: u8 = 3;

/// A login that nobody settles within this has ended its session (rule 20), and a login whose
/// ticket was not seen within this may be repeated freely (rule 22).
pub const UNSETTLED: Duration = Duration::from_secs(30);
/// What an attempt to log in has left of a record is kept in the store for so long …
const ATTEMPT_KEPT: Duration = Duration::from_secs(60);
/// … and in the memory of nodes, where a failover of the store may lose it.
const ATTEMPT_REMEMBERED: Duration = Duration::from_secs(600);
/// What a piece on the heap takes besides its bytes.
pub(super) const HEAP_SLACK: usize = 16;
/// The store keeps a record this much longer than it is good for: clocks differ (rule 33).
const SLACK: Duration = Duration::from_secs(60);

/// Random values for a new session, made by the shell.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub tag: [u8; 8],
    pub selector: Selector,
    pub seed: Seed,
    /// The selector's store key.
    pub key: RecordKey,
    /// The epoch of the subject that it is for (rule 27).
    pub epoch: Option<Epoch>,
}

/// The state of a record (rule 6).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum State {
    Live,
    /// A login is on its way.
    Pending {
        since: UnixMillis,
        /// Which login: two may suspend a record in the same millisecond.
        by: u64,
    },
    /// A login took its place; the jar is gone.
    Moved {
        successor: RecordKey,
        at: UnixMillis,
    },
    Ended,
}

/// A session's record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    pub state: State,
    pub counter: u32,
    pub seed: Seed,
    pub created: UnixMillis,
    /// When the user logged in; absent: anonymous.
    pub authenticated: Option<UnixMillis>,
    /// The idle deadline.
    pub idle_until: UnixMillis,
    /// The absolute end.
    pub ends_at: UnixMillis,
    /// When the counter moved last.
    pub renewed: UnixMillis,
    /// When the ticket with this counter came back first; absent: not yet.
    pub presented: Option<UnixMillis>,
    /// The endpoint that holds the session in its memory (`balance: session`).
    pub endpoint: Option<String>,
    pub jar: Jar,
    /// The epoch of its subject that it was made in; absent: it has none (rule 27).
    pub epoch: Option<Epoch>,
    /// The fleet's era that it was made in; the store writes it when it is created.
    pub era: u32,
    /// The client that it belongs to, where the policy binds its sessions.
    pub binding: Option<Binding>,
    /// Who it belongs to (rule 23).
    pub subject: Option<Subject>,
    /// Where the login of its subject came from.
    pub client: Option<LoginClient>,
    /// The jar as it was before the application took the session away (rule 29).
    pub parked: Option<Parked>,
    /// The cookies whose life the ticket has (`remember: application`), by name: what the answer set
    /// that made the record. None: all of the jar.
    pub lasting: Vec<Vec<u8>>,
    /// What the browser looked like that its ticket was given to, where that may matter (rule 15).
    pub holder: Option<Binding>,
}

/// Fields at the end that records of this schema may lack: they were added later. Older nodes leave
/// them alone.
const LATER_FIELDS: usize = 2;

/// Whether a new record belongs to somebody who logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Anonymous,
    Authenticated,
}

impl Record {
    /// A new live record.
    pub fn new(
        seed: Seed,
        jar: Jar,
        standing: Standing,
        timeouts: &Timeouts,
        now: UnixMillis,
    ) -> Self {
        let idle = match standing {
            Standing::Anonymous => timeouts.idle.min(timeouts.anonymous),
            Standing::Authenticated => timeouts.idle,
        };
        Self {
            state: State::Live,
            counter: 0,
            seed,
            created: now,
            authenticated: (standing == Standing::Authenticated).then_some(now),
            idle_until: now.plus(idle),
            ends_at: now.plus(timeouts.absolute),
            renewed: now,
            presented: None,
            endpoint: None,
            jar,
            epoch: None,
            era: 0,
            binding: None,
            subject: None,
            client: None,
            parked: None,
            lasting: Vec::new(),
            holder: None,
        }
    }

    /// How it stands among the records of its subject. Only a subject that is confirmed counts, or
    /// anybody could use up another one's sessions; only a session that is in use, or a lost answer
    /// would (rule 22). A login on its way counts: it may fail, and the session goes on.
    pub fn listing(&self) -> Listing {
        match (&self.state, &self.subject) {
            (State::Ended | State::Moved { .. }, _) | (_, None) => Listing::Out,
            (State::Live | State::Pending { .. }, Some(subject)) => {
                let counts = subject.confirmed && self.was_seen();
                let since = || Listing::Counts(self.presented.unwrap_or(self.renewed));
                if counts { since() } else { Listing::Listed }
            }
        }
    }

    /// Whether the record is past its idle deadline or its absolute end.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        now >= self.idle_until || now >= self.ends_at
    }

    /// The same record in another state. Only live and pending records have a jar (rule 7), only
    /// live ones keep another aside: with a login the visitor has moved on (rule 29).
    pub fn into_state(mut self, state: State) -> Self {
        if state != State::Live {
            self = self.unparked();
        }
        if !matches!(state, State::Live | State::Pending { .. }) {
            self.jar = Jar::default();
        }
        self.state = state;
        self
    }

    /// What is left of the record when `successor` has taken its place.
    pub fn moved(self, successor: RecordKey, now: UnixMillis) -> Self {
        self.into_state(State::Moved { successor, at: now })
    }

    /// The same, where only somebody tried to log in. Who has the old ticket is nobody in either
    /// case; but guesses must not fill the store with what is left of them, nor push what a login
    /// or logout has left out of what nodes remember.
    pub fn moved_for_an_attempt(self, successor: RecordKey, now: UnixMillis) -> Self {
        let mut moved = self.moved(successor, now);
        moved.idle_until = moved.idle_until.min(now.plus(ATTEMPT_KEPT));
        moved.ends_at = moved.ends_at.min(now.plus(ATTEMPT_REMEMBERED));
        moved
    }

    /// The record in which this one's session goes on with another ticket, which gains it nothing:
    /// neither a standing nor time.
    pub fn carried_over(&self, seed: Seed, jar: Jar, timeouts: &Timeouts, now: UnixMillis) -> Self {
        let standing = match self.authenticated {
            Some(_) => Standing::Authenticated,
            None => Standing::Anonymous,
        };
        let fresh = Self::new(seed, jar, standing, timeouts, now);
        Self {
            created: self.created,
            authenticated: self.authenticated,
            idle_until: fresh.idle_until.min(self.ends_at),
            ends_at: self.ends_at,
            endpoint: self.endpoint.clone(),
            epoch: self.epoch,
            subject: self.subject.clone(),
            client: self.client.clone(),
            lasting: self.lasting.clone(),
            ..fresh
        }
    }

    /// What it has on the heap, in bytes: capacities, and 16 for each piece, which is about what an
    /// allocator rounds up by.
    pub fn heap_bytes(&self) -> usize {
        let text = |text: &String| text.capacity() + HEAP_SLACK;
        let client = |client: &LoginClient| text(&client.agent) + text(&client.network);
        self.jar.heap_bytes()
            + self.parked.as_ref().map_or(0, |parked| parked.jar.heap_bytes())
            + self.endpoint.as_ref().map_or(0, text)
            + self.subject.as_ref().map_or(0, Subject::heap_bytes)
            + self.client.as_ref().map_or(0, client)
            + self.lasting.iter().map(|name| name.capacity() + HEAP_SLACK).sum::<usize>()
            + self.lasting.capacity() * size_of::<Vec<u8>>()
    }

    /// How long the store has to keep it.
    pub fn keep(&self, now: UnixMillis) -> Duration {
        UnixMillis(self.idle_until.0.min(self.ends_at.0)).since(now) + SLACK
    }

    /// Schema byte and fields.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![SCHEMA]).expect("a vector takes any number of bytes")
    }

    /// Reads what [`Record::encode`] wrote; `None` where it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&SCHEMA, fields) => {
                let older = || postcard::from_bytes(&[fields, &[0; LATER_FIELDS]].concat());
                postcard::from_bytes(fields).or_else(|_| older()).ok()
            }
            _ => None,
        }
    }
}

mod renewal;
mod touch;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
    pub(super) const TIMEOUTS: Timeouts = Timeouts {
        idle: Duration::from_secs(1800),
        absolute: Duration::from_secs(3600),
        renew_every: Duration::from_secs(900),
        grace: Duration::from_secs(60),
        anonymous: Duration::from_secs(900),
    };

    pub(super) fn record(standing: Standing) -> Record {
        Record::new(Seed::new([7; 32]), Jar::default(), standing, &TIMEOUTS, NOW)
    }

    #[test]
    fn a_record_reads_back_and_rubbish_does_not() {
        let record = record(Standing::Authenticated);
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Some(record));
        assert!(bytes.len() < 120, "{} bytes", bytes.len());
        assert_eq!(Record::decode(&[]), None);
        assert_eq!(Record::decode(&[1, 0, 0]), None);
        assert_eq!(Record::decode(&bytes[..20]), None);
    }

    /// Nodes of two versions share a store while they are updated one after the other.
    #[test]
    fn a_record_reads_back_without_what_was_added_later() {
        let record = record(Standing::Authenticated);
        let bytes = record.encode();
        for lacking in 1..=LATER_FIELDS {
            let found = Record::decode(&bytes[..bytes.len() - lacking]);
            assert_eq!(found, Some(record.clone()), "{lacking}");
        }
        let lasting = Record { lasting: vec![b"sid".to_vec()], ..record };
        assert_eq!(Record::decode(&lasting.encode()), Some(lasting));
    }
}
