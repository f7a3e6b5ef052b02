//! Whether the application is losing everybody's session at once (PROTOCOL.md 29).
//!
//! An application whose own store is down often answers 200 and deletes the session cookie that it
//! does not find any more (Django), or replaces it (Rails). One such answer looks like a logout; many
//! users within seconds do not. [`Guard`] counts, on (event, now) alone: which records of users who
//! logged in had an answer to a safe method, and which of these lost their session by it. Anonymous
//! records never count, so that nobody stages a surge without accounts. What becomes of a
//! session meanwhile is [`parked`](crate::session::parked)'s.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::session::outcome::RecordKey;
use crate::uniform::{self, Uniform};

/// What is counted is at most this old.
pub const WINDOW: Duration = Duration::from_secs(10);
/// A surge lasts this much longer than its condition holds.
const LINGER: Duration = Duration::from_secs(10);
/// As many users must have lost their session …
const LOST_MIN: usize = 3;
/// … and one in so many of those who were answered.
const ONE_IN: usize = 5;
/// Records remembered at most. Beyond, every second one counts, then every fourth …
const RECORDS_MAX: usize = 4096;
/// How often the condition is looked at again while it is known to hold.
const AGAIN: Duration = Duration::from_millis(100);

/// What an answer did to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is as it was, or has more.
    Kept,
    /// The application took it away.
    Lost,
}

/// The beginning or end of a surge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// So many of so many users lost their session; of every 2^n-th where they are very many.
    Begins {
        lost: usize,
        of: usize,
    },
    Ends,
}

/// Counts for one policy.
#[derive(Debug, Default)]
pub struct Guard {
    seen: HashMap<u64, Seen, Uniform>,
    /// Only records whose number ends in so many zero bits count.
    sampling: u32,
    /// Until when the surge lasts that was announced.
    surge: Option<UnixMillis>,
    looked: UnixMillis,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    answered: UnixMillis,
    lost: Option<UnixMillis>,
}

impl Guard {
    /// Notes the answer to a safe method that a record of somebody who logged in was given.
    pub fn note(&mut self, key: RecordKey, answered: Answered, now: UnixMillis) -> Option<Change> {
        // A record's identifier is a keyed hash already, which no visitor chooses.
        let number = uniform::number(&key.id);
        if self.is_sampled(number) {
            let lost = (answered == Answered::Lost).then_some(now);
            let seen = self.seen.entry(number).or_insert(Seen { answered: now, lost });
            *seen = Seen { answered: now, lost: lost.or(seen.lost) };
            self.bound(now);
        }
        let is_due = self.surge.is_none() || now.since(self.looked) >= AGAIN;
        if answered == Answered::Lost && is_due { self.look(now) } else { None }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: UnixMillis) -> Option<Change> {
        let until = self.surge?;
        self.look(now);
        if self.surge != Some(until) || lasts(until, now) {
            return None;
        }
        self.surge = None;
        Some(Change::Ends)
    }

    /// Whether deletions are to be ignored.
    pub fn is_surge(&self, now: UnixMillis) -> bool {
        self.surge.is_some_and(|until| lasts(until, now))
    }

    /// Whether there is an end to be announced yet.
    pub fn is_waiting(&self) -> bool {
        self.surge.is_some()
    }

    /// Looks whether the condition holds now.
    fn look(&mut self, now: UnixMillis) -> Option<Change> {
        self.looked = now;
        self.forget(now);
        let of = self.seen.len();
        let lost = self.seen.values().filter(|seen| seen.lost.is_some()).count();
        if lost << self.sampling < LOST_MIN || lost * ONE_IN < of {
            return None;
        }
        let was_calm = self.surge.replace(now.plus(LINGER)).is_none();
        was_calm.then_some(Change::Begins { lost, of })
    }

    /// Forgets what is older than the window.
    fn forget(&mut self, now: UnixMillis) {
        let is_old = |at: UnixMillis| now.since(at) >= WINDOW;
        self.seen.retain(|_, seen| {
            seen.lost = seen.lost.filter(|at| !is_old(*at));
            !is_old(seen.answered)
        });
        if self.seen.len() < RECORDS_MAX / 8 {
            self.sampling = self.sampling.saturating_sub(1);
        }
    }

    fn bound(&mut self, now: UnixMillis) {
        if self.seen.len() <= RECORDS_MAX {
            return;
        }
        self.forget(now);
        // Some room has to be gained, else the next record would ask for it again.
        while self.seen.len() > RECORDS_MAX / 4 * 3 {
            self.sampling += 1;
            let sampling = self.sampling;
            self.seen.retain(|number, _| number.trailing_zeros() >= sampling);
        }
    }

    fn is_sampled(&self, number: u64) -> bool {
        number.trailing_zeros() >= self.sampling
    }
}

/// Not beyond what it can last: a clock may have been set back.
fn lasts(until: UnixMillis, now: UnixMillis) -> bool {
    now < until && until.since(now) <= LINGER
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

    fn at(millis: u64) -> UnixMillis {
        UnixMillis(NOW.0 + millis)
    }

    /// The n-th user's record. Numbers are spread as those of real ones are.
    fn user(n: u64) -> RecordKey {
        let spread = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(spread ^ (spread >> 29)).to_be_bytes());
        RecordKey { tag: [0; 8], id, has_subject: false }
    }

    /// Answers of so many users who keep their session, then of others who lose it.
    fn guard(kept: u64, lost: u64) -> (Guard, Option<Change>) {
        let mut guard = Guard::default();
        for n in 0..kept {
            assert_eq!(guard.note(user(n), Answered::Kept, at(n % 1000)), None);
        }
        let mut change = None;
        for n in kept..kept + lost {
            change = change.or(guard.note(user(n), Answered::Lost, at(1000)));
        }
        (guard, change)
    }

    #[test]
    fn a_surge_is_three_users_and_a_fifth_of_all() {
        for (kept, lost, expected) in [
            (0, 1, false),
            (0, 2, false),
            (0, 3, true),
            (12, 3, true),
            (13, 3, false),
            (16, 4, true),
            (17, 4, false),
            (80, 20, true),
            (81, 20, false),
        ] {
            let (guard, change) = guard(kept, lost);
            assert_eq!(guard.is_surge(at(1000)), expected, "{lost} lost, {kept} kept");
            assert_eq!(change.is_some(), expected, "{lost} lost, {kept} kept");
        }
        assert_eq!(guard(12, 3).1, Some(Change::Begins { lost: 3, of: 15 }));
    }

    /// However often one user loses a session, it is one user.
    #[test]
    fn users_count_once() {
        let mut guard = Guard::default();
        for n in 0..100 {
            assert_eq!(guard.note(user(n % 2), Answered::Lost, at(n)), None);
        }
        assert!(!guard.is_surge(at(100)));
        // Who loses it and is then answered without it has lost it.
        guard.note(user(0), Answered::Kept, at(200));
        assert!(guard.note(user(2), Answered::Lost, at(200)).is_some());
    }

    #[test]
    fn the_window_slides() {
        let check = |third: u64, expected: bool| {
            let mut guard = Guard::default();
            guard.note(user(0), Answered::Lost, at(0));
            guard.note(user(1), Answered::Lost, at(5000));
            let change = guard.note(user(2), Answered::Lost, at(third));
            assert_eq!(change.is_some(), expected, "the third after {third} ms");
        };
        check(9_999, true);
        check(10_000, false);
        // Those who kept theirs leave the window as well.
        let (mut guard, _) = guard(100, 2);
        assert_eq!(guard.note(user(200), Answered::Lost, at(9_998)), None);
        assert!(guard.note(user(201), Answered::Lost, at(10_999)).is_some());
    }

    /// An end follows ten seconds after the condition last held.
    #[test]
    fn a_surge_ends_and_is_announced_once() {
        let (mut guard, begun) = guard(0, 3);
        assert!(begun.is_some());
        assert_eq!(guard.note(user(9), Answered::Lost, at(1200)), None, "it has begun already");
        for (millis, surges, ends) in [
            (5_000, true, false),
            // The last look at which three are in the window.
            (10_999, true, false),
            (11_300, true, false),
            (20_998, true, false),
            (20_999, false, true),
            (21_300, false, false),
        ] {
            assert_eq!(guard.is_surge(at(millis)), surges, "after {millis} ms");
            assert_eq!(guard.tick(at(millis)) == Some(Change::Ends), ends, "after {millis} ms");
        }
        assert!(!guard.is_waiting());
        assert_eq!(guard.note(user(0), Answered::Lost, at(30_000)), None);
        guard.note(user(1), Answered::Lost, at(30_000));
        assert!(guard.note(user(2), Answered::Lost, at(30_000)).is_some(), "another one");
    }

    #[test]
    fn a_surge_goes_on_while_sessions_are_lost() {
        let (mut guard, _) = guard(0, 3);
        for second in 2..60 {
            guard.note(user(second % 4), Answered::Lost, at(second * 1000));
            guard.tick(at(second * 1000 + 500));
            assert!(guard.is_surge(at(second * 1000 + 999)), "{second}");
        }
    }

    /// However many there are, memory is bounded and the fraction is right.
    #[test]
    fn very_many_users_are_sampled() {
        for (every, expected) in [(4, true), (6, false)] {
            let mut guard = Guard::default();
            for n in 0..12_000 {
                let answered = if n % every == 0 { Answered::Lost } else { Answered::Kept };
                guard.note(user(n), answered, at(1000));
                // The first ones alone would be a surge.
                if n < 1000 {
                    guard.surge = None;
                }
                assert!(guard.seen.len() <= RECORDS_MAX);
            }
            guard.surge = None;
            guard.look(at(1001));
            assert_eq!(guard.is_surge(at(1001)), expected, "one in {every}");
            // When they have gone, everybody counts again.
            for second in 20..40 {
                guard.forget(at(second * 1000));
            }
            assert_eq!((guard.sampling, guard.seen.len()), (0, 0));
        }
    }

    /// A clock that is set back neither panics nor keeps a surge alive for ever.
    #[test]
    fn a_clock_may_be_set_back() {
        let (mut guard, _) = guard(0, 3);
        assert_eq!(guard.tick(UnixMillis(0)), None);
        assert_eq!(guard.tick(at(60_000)), Some(Change::Ends));
        let (mut guard, _) = self::guard(0, 3);
        guard.seen.clear();
        assert!(!guard.is_surge(UnixMillis(0)));
        assert_eq!(guard.tick(UnixMillis(0)), Some(Change::Ends));
    }
}
