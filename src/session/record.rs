//! What the store holds for a ticket (PROTOCOL.md 2, 6, 9, 20, 22).
//!
//! Encoded with a leading schema byte and sealed before it leaves the process. It carries its own
//! idle deadline and absolute end: the store's time to live only collects garbage.

use std::time::Duration;

use crate::clock::UnixMillis;
use crate::session::binding::{Bearer, Binding};
use crate::session::jar::Jar;
use crate::session::outcome::{Epoch, Listing, RecordKey};
use crate::session::parked::Parked;
use crate::session::policy::{Remember, Timeouts};
pub use crate::session::seed::Seed;
use crate::session::subject::{Client, Subject};
use crate::session::ticket::{Secret, Selector};

const SCHEMA: u8 = 3;

/// A login that nobody settles within this has ended its session (rule 20), and a login whose
/// ticket was not seen within this may be repeated freely (rule 22).
pub const UNSETTLED: Duration = Duration::from_secs(30);
/// What an attempt to log in has left of a record is kept in the store for so long …
const ATTEMPT_KEPT: Duration = Duration::from_secs(60);
/// … and in the memory of nodes, where a failover of the store may lose it.
const ATTEMPT_REMEMBERED: Duration = Duration::from_secs(600);
/// A cookie that is kept for less, or for less than the idle time, is no sign that its user is to be
/// remembered where others in the jar live longer: a message that is shown once, say.
const PASSING: Duration = Duration::from_secs(24 * 60 * 60);
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
    pub client: Option<Client>,
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

/// What a request changes in its record, besides what its answer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// What others are told or refused by: to be written before the request is forwarded.
    Now(Box<Record>),
    /// Only the idle deadline moves: nobody has to wait for that.
    Soon(Box<Record>),
}

impl Touch {
    /// The record as it is to be written.
    pub fn into_record(self) -> Box<Record> {
        match self {
            Self::Now(record) | Self::Soon(record) => record,
        }
    }
}

/// How much of the idle time passes before the deadline is moved: a tenth, but ten seconds at least
/// and five minutes at most, give or take a tenth of that, which follows from record and node, so
/// that neither the sessions of a node nor the nodes of a session are all due at once. Never more
/// than half of the idle time.
pub fn idle_step(idle: Duration, key: RecordKey, node: u16) -> Duration {
    const LEAST: Duration = Duration::from_secs(10);
    const MOST: Duration = Duration::from_secs(300);
    // The hashed selector is uniform.
    let share = u16::from_be_bytes([key.id[6], key.id[7]]) ^ node;
    let part = 0.9 + 0.2 * f64::from(share) / f64::from(u16::MAX);
    (idle / 10).clamp(LEAST, MOST).mul_f64(part).min(idle / 2)
}

/// How old a ticket is against its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Newer than the record: the store has lost a renewal.
    Newer,
    Current,
    /// One renewal old, and still good.
    Previous,
    /// Older than that.
    Reused,
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

    /// The secret that a ticket with this counter carries.
    pub fn secret(&self, counter: u32) -> Secret {
        self.seed.secret(counter)
    }

    /// How old a genuine ticket with this counter is (rules 13 to 15).
    pub fn age_of(&self, counter: u32, grace: Duration, now: UnixMillis) -> Age {
        let in_grace = self.presented.is_none_or(|first| now.since(first) < grace);
        match self.counter.checked_sub(counter) {
            None => Age::Newer,
            Some(0) => Age::Current,
            Some(1) if in_grace => Age::Previous,
            Some(_) => Age::Reused,
        }
    }

    /// Since when a ticket is too old (rule 15), at the latest.
    pub fn overtaken(&self, counter: u32, grace: Duration) -> UnixMillis {
        match (self.counter.checked_sub(counter), self.presented) {
            (Some(1), Some(first)) => first.plus(grace),
            _ => self.renewed,
        }
    }

    /// Whether a ticket is one generation old and comes from a browser that looks like the one that
    /// holds its successor.
    pub fn is_twin(&self, counter: u32, bearer: Option<&Bearer>) -> bool {
        self.counter.checked_sub(counter) == Some(1)
            && bearer
                .zip(self.holder.as_ref())
                .is_some_and(|(bearer, holder)| holder.holds(&self.seed, bearer))
    }

    /// Whether the browser has ever brought a ticket of this record (rule 22).
    pub fn was_seen(&self) -> bool {
        self.presented.is_some() || self.counter > 0
    }

    /// The record with its next counter, once that is due.
    pub fn renewed(&self, every: Duration, now: UnixMillis) -> Option<Self> {
        if self.is_renewal_due(every, now) { self.advanced(now) } else { None }
    }

    /// Whether its ticket has been in use for long enough.
    pub fn is_renewal_due(&self, every: Duration, now: UnixMillis) -> bool {
        self.presented.is_some() && now.since(self.renewed) >= every
    }

    /// The record with its next counter. Counters never wrap.
    pub fn advanced(&self, now: UnixMillis) -> Option<Self> {
        let counter = self.counter.checked_add(1)?;
        Some(Self { counter, renewed: now, presented: None, ..self.clone() })
    }

    /// The record as a ticket with a newer counter proves that it was, before a failover of the
    /// store lost that write (rule 15).
    pub fn repaired(&self, counter: u32, now: UnixMillis) -> Self {
        Self { counter, renewed: now, presented: Some(now), ..self.clone() }
    }

    /// Until when browsers keep its ticket; `None`: until they are closed.
    pub fn ticket_until(
        &self,
        remember: Remember,
        idle: Duration,
        now: UnixMillis,
    ) -> Option<UnixMillis> {
        let until = match remember {
            Remember::Never => None,
            Remember::Always => Some(self.ends_at),
            Remember::AsApplication => {
                self.jar.lasts_until(&self.lasting, now.plus(idle.min(PASSING)), now)
            }
        };
        until.map(|until| until.min(self.ends_at))
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

    /// What a request with this record's ticket changes in it: the ticket was presented, if it is
    /// the current one, and the idle deadline moves once `step` of the idle time has passed
    /// ([`idle_step`]). `None`: nothing.
    pub fn touched(
        &self,
        age: Age,
        idle: Duration,
        step: Duration,
        now: UnixMillis,
    ) -> Option<Touch> {
        let lags = self.idle_until.since(now) < idle.saturating_sub(step);
        let first = age == Age::Current && self.presented.is_none();
        let touched = || {
            Box::new(Self {
                presented: if first { Some(now) } else { self.presented },
                idle_until: UnixMillis(now.plus(idle).0.min(self.ends_at.0)),
                ..self.clone()
            })
        };
        if first {
            Some(Touch::Now(touched()))
        } else if lags && self.idle_until < self.ends_at {
            Some(Touch::Soon(touched()))
        } else {
            None
        }
    }

    /// What it has on the heap, in bytes: capacities, and 16 for each piece, which is about what an
    /// allocator rounds up by.
    pub fn heap_bytes(&self) -> usize {
        let text = |text: &String| text.capacity() + HEAP_SLACK;
        let client = |client: &Client| text(&client.agent) + text(&client.network);
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
    const TIMEOUTS: Timeouts = Timeouts {
        idle: Duration::from_secs(1800),
        absolute: Duration::from_secs(3600),
        renew_every: Duration::from_secs(900),
        grace: Duration::from_secs(60),
        anonymous: Duration::from_secs(900),
    };

    const STEP: Duration = Duration::from_secs(180);

    fn record(standing: Standing) -> Record {
        Record::new(Seed::new([7; 32]), Jar::default(), standing, &TIMEOUTS, NOW)
    }

    /// A tenth, give or take a tenth of it, within bounds.
    #[test]
    fn idle_deadlines_are_moved_in_steps_of_their_own() {
        let key = |share: u16| {
            let mut id = [0; 16];
            id[6..8].copy_from_slice(&share.to_be_bytes());
            RecordKey { tag: [1; 8], id, has_subject: false }
        };
        for (idle, least, most) in [
            (1800, 162.0, 198.0),
            (60, 9.0, 11.0),
            (12 * 3600, 270.0, 330.0),
            (20, 9.0, 10.0),
            (2, 1.0, 1.0),
        ] {
            let step = |share, node| idle_step(Duration::from_secs(idle), key(share), node);
            assert_eq!(step(0, 0).as_secs_f64(), least, "{idle}");
            assert_eq!(step(u16::MAX, 0).as_secs_f64(), most, "{idle}");
            assert_eq!(step(u16::MAX, u16::MAX), step(0, 0), "nodes differ");
            assert_eq!(step(0x1234, 7), step(0x1234, 7), "it can be told beforehand");
        }
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

    /// PROTOCOL 9: a new anonymous record has a life of its own until its ticket comes back.
    #[test]
    fn an_anonymous_record_waits_for_its_ticket_as_long_as_the_policy_says() {
        let anonymous = record(Standing::Anonymous);
        assert_eq!(anonymous.idle_until, NOW.plus(TIMEOUTS.anonymous));
        let touched = anonymous.touched(Age::Current, TIMEOUTS.idle, STEP, NOW);
        let Some(Touch::Now(touched)) = touched else { panic!("{touched:?}") };
        assert_eq!(touched.presented, Some(NOW));
        assert_eq!(touched.idle_until, NOW.plus(TIMEOUTS.idle));
        assert_eq!(record(Standing::Authenticated).idle_until, NOW.plus(TIMEOUTS.idle));
    }

    #[test]
    fn the_idle_deadline_moves_in_steps_and_never_past_the_end() {
        let record = Record { presented: Some(NOW), ..record(Standing::Authenticated) };
        let at = |secs| NOW.plus(Duration::from_secs(secs));
        let touched = |record: &Record, secs| {
            let touch = record.touched(Age::Current, TIMEOUTS.idle, STEP, at(secs))?;
            let Touch::Soon(record) = touch else { panic!("{touch:?}") };
            Some(record.idle_until)
        };
        assert_eq!(touched(&record, 179), None);
        assert_eq!(touched(&record, 181), Some(at(1981)), "a tenth has passed");
        let moved = Record { idle_until: at(3500), ..record };
        assert_eq!(touched(&moved, 3000), Some(at(3600)));
        let last = Record { idle_until: at(3600), ..moved };
        assert_eq!(touched(&last, 3500), None, "it can't live any longer");
        assert!(!last.is_expired(at(3599)) && last.is_expired(at(3600)));
    }

    /// PROTOCOL 13 to 15: by counter, by whether the current ticket was presented, by grace.
    #[test]
    fn tickets_age_with_the_counter() {
        let at = |secs| NOW.plus(Duration::from_secs(secs));
        let fresh = record(Standing::Authenticated);
        let record = |counter, presented| Record { counter, presented, ..fresh.clone() };
        let check = |record: &Record, counter, secs, expected| {
            let age = record.age_of(counter, TIMEOUTS.grace, at(secs));
            assert_eq!(age, expected, "{counter} against {record:?} after {secs} s");
        };
        let unseen = record(5, None);
        check(&unseen, 6, 0, Age::Newer);
        check(&unseen, 5, 0, Age::Current);
        check(&unseen, 4, 100_000, Age::Previous);
        check(&unseen, 3, 0, Age::Reused);
        let seen = record(5, Some(NOW));
        check(&seen, 5, 100_000, Age::Current);
        check(&seen, 4, 59, Age::Previous);
        check(&seen, 4, 60, Age::Reused);
        check(&seen, 0, 0, Age::Reused);
        check(&record(0, None), 0, 0, Age::Current);
    }

    /// PROTOCOL 13: one successor, only after the ticket has been in use for `renew_every`.
    #[test]
    fn a_ticket_is_renewed_when_it_is_due() {
        let every = TIMEOUTS.renew_every;
        let unseen = record(Standing::Authenticated);
        assert_eq!(unseen.renewed(every, NOW.plus(every)), None, "never came back");
        let seen = Record { presented: Some(NOW), ..unseen };
        let early = NOW.plus(every - Duration::from_millis(1));
        assert_eq!(seen.renewed(every, early), None);
        let renewed = seen.renewed(every, NOW.plus(every)).expect("due");
        assert_eq!((renewed.counter, renewed.presented), (1, None));
        assert!(renewed.was_seen() && !record(Standing::Anonymous).was_seen());
        let last = Record { counter: u32::MAX, ..seen };
        assert_eq!(last.renewed(every, NOW.plus(every)), None, "counters never wrap");
    }
}
