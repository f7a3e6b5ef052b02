//! How many sessions a subject may have (PROTOCOL.md 22, 23).
//!
//! Only confirmed subjects are counted: a claim would let anybody use up another one's sessions. A
//! record counts once its ticket has come back. That is when the limit is enforced for good, since of
//! two logins at once neither is seen by the other; what is done at the login itself is done early.
//!
//! Which sessions end follows from the records alone, so that all nodes that look at the same time
//! choose the same ones.

use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::session::outcome::RecordKey;
use crate::session::record::{Record, State};

/// `max_sessions_per_subject`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimit {
    /// At least one.
    pub sessions: usize,
    pub beyond: Beyond,
}

/// What becomes of a login too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It is refused.
    Refuse,
    /// The sessions that began first end.
    EndOldest,
}

/// A record of a subject, as it was listed.
pub type Listed = (RecordKey, u64, Arc<Record>);

impl SessionLimit {
    /// Whether there is room for one more session besides `replaced`.
    pub fn has_room(
        self,
        listed: &[Listed],
        name: &str,
        replaced: Option<RecordKey>,
        now: UnixMillis,
    ) -> bool {
        let others = counted(listed, name, now).filter(|(key, ..)| Some(*key) != replaced);
        others.count() < self.sessions
    }

    /// Those that end, oldest first, to make room for the new session `new`.
    pub fn oldest(
        self,
        listed: &[Listed],
        name: &str,
        new: RecordKey,
        now: UnixMillis,
    ) -> Vec<RecordKey> {
        let others = counted(listed, name, now).filter(|(key, ..)| *key != new);
        beyond(others, self.sessions.saturating_sub(1), began)
    }

    /// Those that end now that another one's ticket has come back: with `refuse` the ones that came
    /// last.
    pub fn excess(self, listed: &[Listed], name: &str, now: UnixMillis) -> Vec<RecordKey> {
        let counted = counted(listed, name, now);
        match self.beyond {
            Beyond::EndOldest => beyond(counted, self.sessions, began),
            Beyond::Refuse => beyond(counted, self.sessions, |record| u64::MAX - seen(record)),
        }
    }
}

/// The subject's sessions that count. A login on its way counts: it may fail, and its session goes
/// on.
fn counted<'a>(
    listed: &'a [Listed],
    name: &'a str,
    now: UnixMillis,
) -> impl Iterator<Item = &'a Listed> {
    listed.iter().filter(move |(_, _, record)| {
        matches!(record.state, State::Live | State::Pending { .. })
            && !record.is_expired(now)
            && record.was_seen()
            && record.subject.as_ref().is_some_and(|who| who.confirmed && who.name == name)
    })
}

/// All but `room` of them, in this order.
fn beyond<'a>(
    counted: impl Iterator<Item = &'a Listed>,
    room: usize,
    order: impl Fn(&Record) -> u64,
) -> Vec<RecordKey> {
    let mut all: Vec<(u64, RecordKey)> =
        counted.map(|(key, _, record)| (order(record), *key)).collect();
    all.sort_unstable();
    let ending = all.len().saturating_sub(room);
    all.into_iter().take(ending).map(|(_, key)| key).collect()
}

fn began(record: &Record) -> u64 {
    record.authenticated.unwrap_or(record.created).0
}

/// When its first ticket came back. A record that was renewed has forgotten, and is older.
fn seen(record: &Record) -> u64 {
    match record.presented {
        Some(first) if record.counter == 0 => first.0,
        _ => began(record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::jar::Jar;
    use crate::session::record::{Seed, Standing};
    use crate::session::subject::Subject;
    use crate::session::tests::policy;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

    fn key(n: u8) -> RecordKey {
        RecordKey { tag: [0; 8], id: [n; 16], has_subject: true }
    }

    /// A session that began and came back so many seconds ago.
    fn session(n: u8, began: u64, seen: Option<u64>) -> Listed {
        let ago = |secs: u64| UnixMillis(NOW.0 - secs * 1000);
        let timeouts = policy().timeouts;
        let (seed, jar, at) = (Seed::new([n; 32]), Jar::default(), ago(began));
        let record = Record::new(seed, jar, Standing::Authenticated, &timeouts, at);
        let subject = Subject::confirmed("alice");
        (key(n), 1, Arc::new(Record { subject, presented: seen.map(ago), ..record }))
    }

    fn with(listed: Listed, change: impl FnOnce(&mut Record)) -> Listed {
        let (key, version, mut record) = listed;
        change(Arc::make_mut(&mut record));
        (key, version, record)
    }

    const TWO: SessionLimit = SessionLimit { sessions: 2, beyond: Beyond::Refuse };
    const LAST_TWO: SessionLimit = SessionLimit { sessions: 2, beyond: Beyond::EndOldest };

    #[test]
    fn sessions_that_are_in_use_count() {
        let check = |listed: Listed, counts: bool| {
            let all = [session(1, 60, Some(50)), listed.clone()];
            assert_eq!(TWO.has_room(&all, "alice", None, NOW), !counts, "{listed:?}");
        };
        check(session(2, 10, Some(9)), true);
        check(session(2, 10, None), false);
        check(with(session(2, 10, None), |record| record.counter = 1), true);
        check(with(session(2, 10, Some(9)), |record| record.state = State::Ended), false);
        let pending = State::Pending { since: NOW, by: 0 };
        check(with(session(2, 10, Some(9)), |record| record.state = pending), true);
        check(session(2, 1800, Some(1799)), false);
        let claimed = |record: &mut Record| record.subject = Subject::claimed("alice");
        check(with(session(2, 10, Some(9)), claimed), false);
        let other = |record: &mut Record| record.subject = Subject::confirmed("bob");
        check(with(session(2, 10, Some(9)), other), false);
    }

    #[test]
    fn the_session_that_is_replaced_does_not_count() {
        let all = [session(1, 60, Some(50)), session(2, 10, Some(9))];
        assert!(!TWO.has_room(&all, "alice", None, NOW));
        assert!(!TWO.has_room(&all, "alice", Some(key(3)), NOW));
        assert!(TWO.has_room(&all, "alice", Some(key(2)), NOW));
    }

    #[test]
    fn the_oldest_make_room_for_a_new_one() {
        let all = [
            session(1, 60, Some(50)),
            session(2, 90, Some(80)),
            session(3, 70, Some(60)),
            session(4, 0, None),
        ];
        assert_eq!(LAST_TWO.oldest(&all, "alice", key(4), NOW), [key(2), key(3)]);
        assert_eq!(LAST_TWO.oldest(&all[..1], "alice", key(4), NOW), []);
    }

    /// Two logins at once: neither saw the other, both came back.
    #[test]
    fn whoever_looks_chooses_the_same() {
        let all = [session(1, 60, Some(50)), session(2, 9, Some(3)), session(3, 9, Some(4))];
        let mut turned = all.clone();
        turned.reverse();
        for all in [&all, &turned] {
            assert_eq!(TWO.excess(all, "alice", NOW), [key(2)], "the one that came back last");
            assert_eq!(LAST_TWO.excess(all, "alice", NOW), [key(1)], "the one that began first");
        }
        let twins = [session(1, 9, Some(4)), session(2, 9, Some(4)), session(3, 9, Some(4))];
        for limit in [TWO, LAST_TWO] {
            assert_eq!(limit.excess(&twins, "alice", NOW).len(), 1);
        }
        assert_eq!(TWO.excess(&all[..2], "alice", NOW), []);
        let renewed = with(session(1, 60, None), |record| record.counter = 4);
        let all = [renewed, session(2, 9, Some(3)), session(3, 9, Some(4))];
        assert_eq!(TWO.excess(&all, "alice", NOW), [key(2)], "a renewed one came back long ago");
    }
}
