//! Sessions that the application took away where nobody asked for it (PROTOCOL.md 29).
//!
//! Such a deletion takes effect at once: the record lends what is left. The jar as it was is kept
//! aside in the record, until the node that parked it knows whether many lost theirs at the same
//! time ([`guard`](crate::session::mass_logout)): then it comes back, else it is dropped. A parked jar is
//! never lent, and lives in a live record only.

use std::time::Duration;

use crate::clock::UnixMillis;
use crate::session::event::{Cause, Event};
use crate::session::jar::{Edit, Jar};
use crate::session::outcome::{Durability, RecordKey};
use crate::session::policy::{CookiesHold, JarLimits, Policy};
use crate::session::record::{Record, State};
use crate::session::subject::Subject;

/// How long a jar is kept aside.
pub const PARKED: Duration = Duration::from_secs(10);
/// After this, whoever reads the record drops what is parked: the node that parked it is gone.
/// Five seconds more, since clocks differ (rule 33) and a sweep takes its time.
pub const OVERDUE: Duration = Duration::from_secs(15);

/// A jar that is kept aside.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Parked {
    pub jar: Jar,
    /// When; also what tells it from one that is parked later.
    pub at: UnixMillis,
}

/// How an answer's deletions are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarding {
    /// As they are: the method was unsafe, a login or logout rule fits, or the policy has no guard.
    #[default]
    None,
    /// The session is parked.
    Park,
    /// They are ignored: there is a surge, or the policy keeps such sessions.
    Ignore,
    /// As they are, since the node has no room to see to one more.
    Full,
}

/// What becomes of a parked jar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes back.
    Restore,
    /// It is gone, and the session with it where nothing else is left.
    Drop,
}

/// How a parked record is to be written, and what has then happened.
#[derive(Clone, Debug)]
pub struct Resolution {
    pub record: Record,
    pub durability: Durability,
    pub event: Event,
}

/// Whether these edits take the application's session out of a jar. Where cookies hold content, it
/// is gone when nothing is left: single cookies come and go (a message that was shown). Where they
/// hold identifiers, each one that is deleted or replaced is a session lost.
pub fn is_loss(policy: &Policy, jar: &Jar, edits: &[Edit], now: UnixMillis) -> bool {
    if edits.is_empty() || !jar.has_unexpired(now) {
        return false;
    }
    let mut after = jar.clone();
    after.apply(edits, policy.jar, now);
    match policy.app_cookies_hold {
        CookiesHold::Content => after.is_empty(),
        CookiesHold::Identifier => !jar.is_whole_in(&after, now),
    }
}

impl Record {
    /// When the user logged in, as far as that counts now: a record whose session is kept aside is
    /// anonymous.
    pub fn logged_in(&self) -> Option<UnixMillis> {
        self.authenticated.filter(|_| self.parked.is_none())
    }

    /// Whose it is, as far as that counts now.
    pub fn whose(&self) -> Option<&Subject> {
        self.subject.as_ref().filter(|_| self.parked.is_none())
    }

    /// The record with its session kept aside. What is left of the jar is the caller's to say.
    pub fn park(self, now: UnixMillis) -> Self {
        let parked = Parked { jar: self.jar.clone(), at: now };
        Self { parked: Some(parked), ..self }
    }

    /// The record without what was parked: whoever had logged in has been logged out. It stays in
    /// the epoch of its subject, which its key names.
    pub fn unparked(self) -> Self {
        match self.parked {
            None => self,
            Some(_) => {
                Self { parked: None, authenticated: None, subject: None, client: None, ..self }
            }
        }
    }

    /// Whether nobody has seen to what is parked.
    pub fn is_overdue(&self, now: UnixMillis) -> bool {
        self.parked.as_ref().is_some_and(|parked| now.since(parked.at) > OVERDUE)
    }

    /// Whether it has a jar with something in it, lent or kept aside.
    pub fn has_any_jar(&self) -> bool {
        !self.jar.is_empty() || self.parked.is_some()
    }

    /// When what is parked was parked.
    pub fn parked_at(&self) -> Option<UnixMillis> {
        self.parked.as_ref().map(|parked| parked.at)
    }
}

/// Settles the jar that was parked in a record at `at`. `None`: something else has become of it.
pub fn resolve(
    key: RecordKey,
    record: Record,
    at: UnixMillis,
    fate: Fate,
    limits: JarLimits,
) -> Option<Resolution> {
    if record.state != State::Live {
        return None;
    }
    let Parked { jar, .. } = record.parked.clone().filter(|parked| parked.at == at)?;
    let live = |record, event| Resolution { record, durability: Durability::Master, event };
    Some(match fate {
        Fate::Restore => {
            let jar = jar.and(&record.jar, limits);
            live(Record { jar, parked: None, ..record }, Event::Restored { id: key })
        }
        Fate::Drop if record.jar.is_empty() => Resolution {
            record: record.into_state(State::Ended),
            durability: Durability::Replica,
            event: Event::Ended { id: key, cause: Cause::AppDeleted },
        },
        Fate::Drop => live(record.unparked(), Event::Dropped { id: key }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::response::SetCookie;
    use crate::session::record::{Seed, Standing};
    use crate::session::tests::policy;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
    const KEY: RecordKey = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };

    fn edits(fields: &[&str]) -> Vec<Edit> {
        let read = |field: &&str| {
            let parsed = SetCookie::parse(field.as_bytes()).expect("a readable field");
            Edit::read(&parsed, "h", b"/", NOW)
        };
        fields.iter().map(read).collect()
    }

    fn jar(fields: &[&str]) -> Jar {
        let mut jar = Jar::default();
        jar.apply(&edits(fields), JarLimits::default(), NOW);
        jar
    }

    fn sent(jar: &Jar) -> String {
        jar.written("h", "/", NOW)
    }

    fn record(jar: Jar) -> Record {
        Record::new(Seed::new([7; 32]), jar, Standing::Authenticated, &policy().timeouts, NOW)
    }

    #[test]
    fn a_loss_depends_on_what_cookies_hold() {
        let check = |before: &[&str], answer: &[&str], content: bool, identifier: bool| {
            for (app_cookies_hold, expected) in
                [(CookiesHold::Content, content), (CookiesHold::Identifier, identifier)]
            {
                let policy = Policy { app_cookies_hold, ..policy() };
                let lost = is_loss(&policy, &jar(before), &edits(answer), NOW);
                assert_eq!(lost, expected, "{before:?} {answer:?} {app_cookies_hold:?}");
            }
        };
        check(&["a=1"], &[], false, false);
        check(&["a=1"], &["a=1"], false, false);
        check(&["a=1"], &["b=2"], false, false);
        check(&["a=1"], &["a=2"], false, true);
        check(&["a=1"], &["a=; max-age=0"], true, true);
        check(&["a=1"], &["b=; max-age=0"], false, false);
        check(&["a=1"], &["a=; max-age=0", "b=2"], false, true);
        check(&["a=1"], &["a=; max-age=0", "a=1"], false, false);
        check(&["a=1"], &["b=2", "b=; max-age=0", "a=; max-age=0"], true, true);
        check(&["a=1", "b=2"], &["b=; max-age=0"], false, true);
        check(&["a=1", "b=2"], &["a=; max-age=0", "b=; max-age=0"], true, true);
        check(&[], &["a=; max-age=0"], false, false);
        check(&[], &["a=1"], false, false);
    }

    /// That time takes a cookie away is no deletion.
    #[test]
    fn expiry_is_no_loss() {
        let later = NOW.plus(Duration::from_secs(20));
        for app_cookies_hold in [CookiesHold::Content, CookiesHold::Identifier] {
            let policy = Policy { app_cookies_hold, ..policy() };
            let short = jar(&["a=1; max-age=10"]);
            assert!(!is_loss(&policy, &short, &edits(&["a=; max-age=0"]), later));
        }
    }

    /// The jar that comes back goes before what the application set meanwhile.
    #[test]
    fn a_parked_jar_comes_back_or_is_dropped() {
        let check = |left: &[&str], fate, expected: Option<(&str, bool, bool)>| {
            let parked = record(jar(&["sid=1", "cart=x"])).park(NOW);
            let parked = Record { jar: jar(left), ..parked };
            assert_eq!(parked.logged_in(), None, "meanwhile it is anonymous");
            let done = resolve(KEY, parked, NOW, fate, JarLimits::default());
            let done = done.map(|Resolution { record, .. }| {
                assert_eq!(record.parked, None);
                (sent(&record.jar), record.state == State::Live, record.logged_in().is_some())
            });
            let expected = expected.map(|(jar, live, user)| (jar.to_owned(), live, user));
            assert_eq!(done, expected, "{left:?} {fate:?}");
        };
        check(&[], Fate::Restore, Some(("sid=1; cart=x", true, true)));
        check(&["sid=2", "b=2"], Fate::Restore, Some(("sid=1; cart=x; b=2", true, true)));
        check(&[], Fate::Drop, Some(("", false, false)));
        check(&["b=2"], Fate::Drop, Some(("b=2", true, false)));
    }

    #[test]
    fn another_parking_or_state_is_left_alone() {
        let parked = || record(jar(&["sid=1"])).park(NOW);
        let limits = JarLimits::default();
        let later = NOW.plus(Duration::from_millis(1));
        for fate in [Fate::Restore, Fate::Drop] {
            assert!(resolve(KEY, parked(), later, fate, limits).is_none());
            assert!(resolve(KEY, record(jar(&["sid=1"])), NOW, fate, limits).is_none());
            let state = State::Pending { since: NOW, by: 0 };
            let pending = Record { state, ..parked() };
            assert!(resolve(KEY, pending, NOW, fate, limits).is_none());
        }
    }

    /// PROTOCOL 7: a jar that is kept aside goes with the state that lends one.
    #[test]
    fn nothing_stays_parked_in_another_state() {
        for state in [
            State::Pending { since: NOW, by: 0 },
            State::Moved { successor: KEY, at: NOW },
            State::Ended,
        ] {
            let record = record(jar(&["sid=1"])).park(NOW).into_state(state);
            assert_eq!((record.parked, record.authenticated), (None, None));
        }
        let live = record(jar(&["sid=1"])).park(NOW).into_state(State::Live);
        assert!(live.parked.is_some(), "a renewal changes nothing");
    }

    /// PROTOCOL 30: workers are told of nobody while a session is parked, nor when it is gone.
    #[test]
    fn a_parked_session_is_nobodys() {
        let alice = Subject::confirmed("alice");
        assert!(alice.is_some());
        let hers = Record { subject: alice.clone(), ..record(jar(&["sid=1"])) };
        assert_eq!(hers.whose(), alice.as_ref());
        let parked = hers.park(NOW);
        assert_eq!((parked.whose(), parked.logged_in()), (None, None));
        let limits = JarLimits::default();
        let back = resolve(KEY, parked.clone(), NOW, Fate::Restore, limits).expect("parked");
        assert_eq!(back.record.whose(), alice.as_ref());
        let goes_on = Record { jar: jar(&["b=2"]), ..parked };
        let gone = resolve(KEY, goes_on, NOW, Fate::Drop, limits).expect("parked");
        assert_eq!(gone.record.whose(), None);
    }

    #[test]
    fn what_is_parked_becomes_overdue() {
        let parked = record(jar(&["sid=1"])).park(NOW);
        assert!(!parked.is_overdue(NOW.plus(OVERDUE)));
        assert!(parked.is_overdue(NOW.plus(OVERDUE + Duration::from_millis(1))));
        assert!(!parked.unparked().is_overdue(NOW.plus(OVERDUE * 2)));
    }
}
