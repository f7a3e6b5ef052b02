//! Who of one session's exchanges has the turn, and who waits for it (PROTOCOL.md 32).
//!
//! A pure machine: it neither waits nor wakes anybody. The shell (`proxy/turn.rs`) keeps one for
//! each session behind a lock, gives each waiter something to be woken by, and wakes whom the
//! machine names. First come, first served; whoever leaves the queue loses nothing for others.

use std::collections::VecDeque;

/// How many of one session's requests may wait. Who comes later goes on out of turn: a browser
/// never has so many under way, and who does it on purpose gains nothing by it.
pub const WAITING_MAX: usize = 256;

/// Names one exchange in its session's order. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(u64);

/// The order of one session; `W` is what wakes a waiter.
#[derive(Debug)]
pub struct TurnQueue<W> {
    holder: Option<Number>,
    waiting: VecDeque<(Number, W)>,
    next: u64,
}

/// What became of asking for the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It was free.
    Held(Number),
    /// Others were there first.
    Queued(Number),
    /// Too many wait already.
    Full,
}

impl<W> Default for TurnQueue<W> {
    fn default() -> Self {
        Self { holder: None, waiting: VecDeque::new(), next: 0 }
    }
}

impl<W> TurnQueue<W> {
    /// Asks for the turn. `wake` is only asked for where there is a queue.
    pub fn ask(&mut self, wake: impl FnOnce() -> W) -> Asked {
        if self.waiting.len() >= WAITING_MAX {
            return Asked::Full;
        }
        let number = Number(self.next);
        self.next += 1;
        if self.holder.is_none() {
            self.holder = Some(number);
            return Asked::Held(number);
        }
        self.waiting.push_back((number, wake()));
        Asked::Queued(number)
    }

    /// Whether this exchange has the turn.
    pub fn is_held_by(&self, number: Number) -> bool {
        self.holder == Some(number)
    }

    /// Gives up the turn, or the place in the queue. Where the turn passes to somebody by that,
    /// returns what wakes him: from now on he has it, woken or not.
    pub fn leave(&mut self, number: Number) -> Option<W> {
        if self.holder != Some(number) {
            self.waiting.retain(|(waiting, _)| *waiting != number);
            return None;
        }
        let (next, wake) = self.waiting.pop_front().unzip();
        self.holder = next;
        wake
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `+a`: a asks; `-a`: a leaves. After each, who has the turn and who waits.
    fn check(script: &[(&str, &str)]) {
        let mut turns = TurnQueue::<char>::default();
        let mut names: Vec<(Number, char)> = Vec::new();
        for (step, (act, expected)) in script.iter().enumerate() {
            let name = act.chars().nth(1).expect("a name");
            if act.starts_with('+') {
                match turns.ask(|| name) {
                    Asked::Held(number) | Asked::Queued(number) => names.push((number, name)),
                    Asked::Full => panic!("step {step}: full"),
                }
            } else {
                let of = |wanted| names.iter().find(|(_, name)| *name == wanted).map(|(n, _)| *n);
                turns.leave(of(name).expect("it has asked"));
            }
            let name = |number| names.iter().find(|(n, _)| *n == number).map_or('?', |(_, c)| *c);
            let mut shown: String = turns.holder.map_or("-".to_owned(), |n| name(n).to_string());
            shown.extend(turns.waiting.iter().map(|(_, waker)| *waker));
            assert_eq!(shown, *expected, "step {step}, {act}");
        }
    }

    #[test]
    fn first_come_first_served() {
        check(&[("+a", "a"), ("-a", "-"), ("+b", "b"), ("-b", "-")]);
        check(&[("+a", "a"), ("+b", "ab"), ("+c", "abc"), ("-a", "bc"), ("-b", "c"), ("-c", "-")]);
    }

    #[test]
    fn who_leaves_the_queue_holds_nobody_up() {
        check(&[("+a", "a"), ("+b", "ab"), ("+c", "abc"), ("-b", "ac"), ("-a", "c")]);
        check(&[("+a", "a"), ("+b", "ab"), ("-b", "a"), ("-a", "-"), ("+c", "c")]);
    }

    #[test]
    fn leaving_twice_takes_nobody_s_turn() {
        check(&[("+a", "a"), ("+b", "ab"), ("-a", "b"), ("-a", "b"), ("+c", "bc"), ("-a", "bc")]);
    }

    #[test]
    fn the_queue_has_a_limit() {
        let mut turns = TurnQueue::<()>::default();
        let Asked::Held(first) = turns.ask(|| ()) else { panic!("the turn is free") };
        for _ in 0..WAITING_MAX {
            assert!(matches!(turns.ask(|| ()), Asked::Queued(_)));
        }
        assert_eq!(turns.ask(|| ()), Asked::Full);
        assert!(turns.leave(first).is_some());
        assert!(matches!(turns.ask(|| ()), Asked::Queued(_)), "there is room again");
    }

    proptest! {
        /// Whatever the order of asking and leaving: the turn is never idle while somebody waits,
        /// passes to the one who has waited longest, and who is woken is who has it.
        #[test]
        fn the_turn_is_never_lost(acts in prop::collection::vec((any::<bool>(), 0..8_usize), 0..60)) {
            let mut turns = TurnQueue::<usize>::default();
            // Who is there, in the order of asking.
            let mut model: Vec<(Number, usize)> = Vec::new();
            for (step, (asks, which)) in acts.into_iter().enumerate() {
                if asks {
                    let asked = turns.ask(|| step);
                    let is_first = model.is_empty();
                    match asked {
                        Asked::Held(number) => { prop_assert!(is_first); model.push((number, step)); }
                        Asked::Queued(number) => { prop_assert!(!is_first); model.push((number, step)); }
                        Asked::Full => prop_assert!(false, "sixty are not too many"),
                    }
                } else if which < model.len() {
                    let (number, _) = model.remove(which);
                    let woken = turns.leave(number);
                    let expected = if which == 0 { model.first().map(|(_, name)| *name) } else { None };
                    prop_assert_eq!(woken, expected);
                }
                prop_assert_eq!(turns.holder, model.first().map(|(number, _)| *number));
                prop_assert_eq!(turns.waiting.len(), model.len().saturating_sub(1));
            }
        }
    }
}
