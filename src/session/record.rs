//! What the store holds for a ticket (PROTOCOL.md 2, 6, 9, 20, 22).
//!
//! Encoded with a leading schema byte and sealed before it leaves the process. It carries its own
//! idle deadline and absolute end: the store's time to live only collects garbage.

use std::fmt;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::crypto::seal;
use crate::session::jar::Jar;
use crate::session::outcome::RecordKey;
use crate::session::policy::Timeouts;
use crate::session::ticket::{Secret, Selector};

const SCHEMA: u8 = 1;

/// How long an anonymous record waits for its ticket to come back (rule 9).
pub const UNPRESENTED: Duration = Duration::from_secs(120);
/// A login that nobody settles within this has ended its session (rule 20), and a login whose
/// ticket was not seen within this may be repeated freely (rule 22).
pub const UNSETTLED: Duration = Duration::from_secs(30);
/// The store keeps a record this much longer than it is good for: clocks differ (rule 33).
const SLACK: Duration = Duration::from_secs(60);

/// Where secrets come from: 32 random bytes, sealed in the record.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Seed(pub [u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Random values for a new session, made by the shell.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub tag: [u8; 8],
    pub selector: Selector,
    pub seed: Seed,
    /// The selector's store key.
    pub key: RecordKey,
}

/// The state of a record (rule 6).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum State {
    Live,
    /// A login is on its way.
    Pending {
        since: UnixMillis,
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
    /// Whether its ticket has come back.
    pub presented: bool,
    /// The endpoint that holds the session in its memory (`balance: session`).
    pub endpoint: Option<String>,
    pub jar: Jar,
}

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
            Standing::Anonymous => timeouts.idle.min(UNPRESENTED),
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
            presented: false,
            endpoint: None,
            jar,
        }
    }

    /// The secret that a ticket with this counter carries: `HMAC-SHA-256(seed, n)`, 16 bytes.
    pub fn secret(&self, counter: u32) -> Secret {
        Secret(seal::hmac_sha256_16(&self.seed.0, &counter.to_be_bytes()))
    }

    /// Whether the record is past its idle deadline or its absolute end.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        now >= self.idle_until || now >= self.ends_at
    }

    /// The same record in another state. Only live and pending records have a jar (rule 7).
    pub fn into_state(mut self, state: State) -> Self {
        if !matches!(state, State::Live | State::Pending { .. }) {
            self.jar = Jar::default();
        }
        self.state = state;
        self
    }

    /// What a request with this record's ticket changes in it: it has been presented, and its
    /// idle deadline moves once a tenth of the idle time has passed. `None`: nothing.
    pub fn touched(&self, idle: Duration, now: UnixMillis) -> Option<Self> {
        let due = self.idle_until.since(now) < idle.mul_f32(0.9) && self.idle_until < self.ends_at;
        (!self.presented || due).then(|| Self {
            presented: true,
            idle_until: UnixMillis(now.plus(idle).0.min(self.ends_at.0)),
            ..self.clone()
        })
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
            (&SCHEMA, fields) => postcard::from_bytes(fields).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
    const TIMEOUTS: Timeouts = Timeouts {
        idle: Duration::from_secs(1800),
        absolute: Duration::from_secs(3600),
        renew_every: Duration::from_secs(900),
        grace: Duration::from_secs(60),
    };

    fn record(standing: Standing) -> Record {
        Record::new(Seed([7; 32]), Jar::default(), standing, &TIMEOUTS, NOW)
    }

    #[test]
    fn a_record_reads_back_and_rubbish_does_not() {
        let record = record(Standing::Authenticated);
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Some(record));
        assert!(bytes.len() < 120, "{} bytes", bytes.len());
        assert_eq!(Record::decode(&[]), None);
        assert_eq!(Record::decode(&[2, 0, 0]), None);
        assert_eq!(Record::decode(&bytes[..20]), None);
    }

    /// PROTOCOL 2: every node computes the same secret, another one for each counter.
    #[test]
    fn secrets_follow_from_seed_and_counter() {
        let record = record(Standing::Anonymous);
        assert!(record.secret(1).proves(&record.clone().secret(1)));
        assert!(!record.secret(1).proves(&record.secret(2)));
        let other = Record { seed: Seed([8; 32]), ..record.clone() };
        assert!(!record.secret(1).proves(&other.secret(1)));
    }

    /// PROTOCOL 9: a new anonymous record lives two minutes until its ticket comes back.
    #[test]
    fn an_anonymous_record_waits_two_minutes_for_its_ticket() {
        let anonymous = record(Standing::Anonymous);
        assert_eq!(anonymous.idle_until, NOW.plus(UNPRESENTED));
        let touched = anonymous.touched(TIMEOUTS.idle, NOW).expect("not presented yet");
        assert!(touched.presented);
        assert_eq!(touched.idle_until, NOW.plus(TIMEOUTS.idle));
        assert_eq!(record(Standing::Authenticated).idle_until, NOW.plus(TIMEOUTS.idle));
    }

    #[test]
    fn the_idle_deadline_moves_in_steps_and_never_past_the_end() {
        let record = Record { presented: true, ..record(Standing::Authenticated) };
        let at = |secs| NOW.plus(Duration::from_secs(secs));
        assert_eq!(record.touched(TIMEOUTS.idle, at(179)), None);
        let moved = record.touched(TIMEOUTS.idle, at(181)).expect("a tenth has passed");
        assert_eq!(moved.idle_until, at(1981));
        let moved = Record { idle_until: at(3500), ..record };
        assert_eq!(moved.touched(TIMEOUTS.idle, at(3000)).expect("due").idle_until, at(3600));
        let last = Record { idle_until: at(3600), ..moved };
        assert_eq!(last.touched(TIMEOUTS.idle, at(3500)), None, "it can't live any longer");
        assert!(!last.is_expired(at(3599)) && last.is_expired(at(3600)));
    }
}
