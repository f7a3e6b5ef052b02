//! Which sealed cookies an answer of this node has replaced or expired in the last minutes.
//!
//! An answer that was on its way meanwhile would bring the old one back (`session/seal/exchange.rs`).
//! For a while only: where the answer that replaced it was lost, the browser goes on with the old.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::session::seal::SealId;

/// How long a sealing is remembered at least: an answer that was asked for meanwhile has left.
const FOR: Duration = Duration::from_secs(60);
/// How many are remembered at least, of some 16 bytes each. Beyond, the oldest are forgotten.
const AT_LEAST: usize = 32 * 1024;

/// What was replaced lately.
#[derive(Debug, Default)]
pub struct ReplacedSeals {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    since: UnixMillis,
    young: HashSet<SealId>,
    old: HashSet<SealId>,
}

impl ReplacedSeals {
    /// Notes what an answer replaces.
    pub fn note(&self, replaced: impl Iterator<Item = SealId>, now: UnixMillis) {
        let mut replaced = replaced.peekable();
        if replaced.peek().is_some() {
            self.with(now, |generations| generations.young.extend(replaced));
        }
    }

    /// Whether a sealing was replaced lately.
    pub fn has(&self, id: SealId, now: UnixMillis) -> bool {
        self.with(now, |Generations { young, old, .. }| young.contains(&id) || old.contains(&id))
    }

    /// Each change is whole, so a panic elsewhere did no harm.
    fn with<T>(&self, now: UnixMillis, act: impl FnOnce(&mut Generations) -> T) -> T {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.turn(now);
        act(&mut generations)
    }
}

impl Generations {
    fn turn(&mut self, now: UnixMillis) {
        let age = now.since(self.since);
        if age < FOR && self.young.len() < AT_LEAST {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= FOR * 2 {
            self.old = HashSet::new();
        }
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

    #[test]
    fn what_was_replaced_is_remembered_for_a_minute_or_two() {
        let replaced = ReplacedSeals::default();
        let check = |id, seconds, expected| {
            let now = NOW.plus(Duration::from_secs(seconds));
            assert_eq!(replaced.has(SealId::testing(id), now), expected, "{id} after {seconds} s");
        };
        replaced.note([SealId::testing(1)].into_iter(), NOW);
        check(1, 59, true);
        check(2, 59, false);
        replaced.note([SealId::testing(2)].into_iter(), NOW.plus(Duration::from_secs(59)));
        check(1, 119, true);
        check(2, 119, true);
        check(1, 300, false);
        check(2, 300, false);
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let replaced = ReplacedSeals::default();
        replaced.note([SealId::testing(0)].into_iter(), NOW);
        let count = u64::try_from(AT_LEAST).expect("a small number");
        for id in 1..count {
            replaced.note([SealId::testing(id)].into_iter(), NOW);
        }
        assert!(replaced.has(SealId::testing(0), NOW), "so many are remembered");
        for id in count..3 * count {
            replaced.note([SealId::testing(id)].into_iter(), NOW);
        }
        assert!(!replaced.has(SealId::testing(0), NOW));
        let Generations { young, old, .. } = &*replaced.generations.lock().expect("no panic");
        assert!(young.len() + old.len() <= 2 * AT_LEAST);
    }
}
