//! The ways to choose among endpoints, on plain numbers. All of them are nginx's.

use std::net::IpAddr;
use std::time::Duration;

use crate::clock::UnixMillis;

/// The changing weights of one endpoint in smooth weighted round robin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SmoothWeight {
    /// What it has when it is well.
    whole: i64,
    /// What it has now: less while it starts slowly.
    weight: i64,
    /// Lowered by failures, raised by one each time that the endpoint might have been chosen.
    effective: i64,
    current: i64,
    /// What one is, where weights are finer than they are written.
    one: i64,
    /// Since when it starts slowly, and how long that takes.
    starting: Option<(UnixMillis, Duration)>,
}

impl SmoothWeight {
    /// A weight in parts of `one`: all endpoints of a group have the same.
    pub(super) fn new(weight: u32, one: i64) -> Self {
        let whole = i64::from(weight.max(1)) * one;
        Self { whole, weight: whole, effective: whole, current: 0, one, starting: None }
    }

    pub(super) fn weight(&self) -> i64 {
        self.weight
    }

    /// Another weight counts from now on.
    pub(super) fn weighs(&mut self, weight: u32) {
        self.whole = i64::from(weight.max(1)) * self.one;
        self.weight = self.whole;
        self.effective = self.whole;
    }

    /// Lowers the effective weight, so that an endpoint which comes back is not flooded.
    pub(super) fn failed(&mut self, max_fails: u32) {
        if max_fails > 0 {
            self.effective = (self.effective - self.weight / i64::from(max_fails)).max(0);
        }
    }

    /// It is well again, and has its whole weight after so long.
    pub(super) fn starts(&mut self, takes: Duration, now: UnixMillis) {
        if !takes.is_zero() {
            self.starting = Some((now, takes));
            self.grow(now);
            self.effective = self.weight;
        }
    }

    /// Takes in how long it has been starting.
    pub(super) fn grow(&mut self, now: UnixMillis) {
        let Some((since, takes)) = self.starting else { return };
        let elapsed = now.since(since);
        if now < since || elapsed >= takes {
            self.starting = None;
            self.weight = self.whole;
            return;
        }
        let part = i128::from(self.whole) * elapsed.as_millis().cast_signed();
        let part = part / takes.as_millis().cast_signed().max(1);
        self.weight = i64::try_from(part).unwrap_or(self.whole).clamp(1, self.whole);
    }
}

/// Smooth weighted round robin: every eligible endpoint gains its weight, the richest is chosen and
/// pays what all have gained. So weights 5, 1, 1 give `a a b a c a a` and no long runs.
pub(super) fn smooth<'t>(
    turns: impl Iterator<Item = (usize, &'t mut SmoothWeight)>,
) -> Option<usize> {
    let mut total = 0;
    let mut best: Option<(usize, &mut SmoothWeight)> = None;
    for (index, turn) in turns {
        turn.current += turn.effective;
        total += turn.effective;
        turn.effective = (turn.effective + turn.one).min(turn.weight);
        if best.as_ref().is_none_or(|(_, richest)| turn.current > richest.current) {
            best = Some((index, turn));
        }
    }
    let (index, turn) = best?;
    turn.current -= total;
    Some(index)
}

/// How busy an endpoint is: requests under way for its weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) active: usize,
    pub(super) weight: i64,
}

impl Load {
    /// Compares without dividing.
    pub(super) fn compare(self, other: Self) -> std::cmp::Ordering {
        let cross = |active: usize, weight: i64| active as u128 * u128::from(weight.unsigned_abs());
        cross(self.active, other.weight).cmp(&cross(other.active, self.weight))
    }
}

/// The endpoint for a client's address, by nginx's `ip_hash`. `None` where no eligible one was hit
/// in a number of tries: the caller then takes turns.
pub(super) fn by_address(
    client: IpAddr,
    weights: &[i64],
    eligible: impl Fn(usize) -> bool,
) -> Option<usize> {
    /// nginx's, after which it takes turns too.
    const TRIES: usize = 20;
    let total = u64::try_from(weights.iter().sum::<i64>()).ok().filter(|total| *total > 0)?;
    let (bytes, length) = match client.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            ([a, b, c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 3)
        }
        IpAddr::V6(address) => (address.octets(), 16),
    };
    let mut hash: u64 = 89;
    for _ in 0..=TRIES {
        hash = bytes[..length].iter().fold(hash, |h, byte| (h * 113 + u64::from(*byte)) % 6271);
        let index = at_weight(weights, hash % total)?;
        if eligible(index) {
            return Some(index);
        }
    }
    None
}

/// The endpoint in whose share of the total weight a number lies.
pub(super) fn at_weight(weights: &[i64], number: u64) -> Option<usize> {
    let mut end = 0;
    weights.iter().position(|weight| {
        end += weight.unsigned_abs();
        number < end
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rounds(weights: &[u32], rounds: usize) -> Vec<usize> {
        let mut turns: Vec<SmoothWeight> =
            weights.iter().map(|weight| SmoothWeight::new(*weight, 1)).collect();
        (0..rounds).filter_map(|_| smooth(turns.iter_mut().enumerate())).collect()
    }

    #[test]
    fn turns_come_in_nginx_order() {
        for (weights, expected) in [
            (&[5, 1, 1][..], &[0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0][..]),
            (&[1, 1, 1], &[0, 1, 2, 0, 1, 2]),
            (&[2, 1], &[0, 1, 0, 0, 1, 0]),
            (&[1], &[0, 0]),
            (&[0, 1], &[0, 1]),
        ] {
            assert_eq!(rounds(weights, expected.len()), expected, "{weights:?}");
        }
        assert_eq!(smooth(std::iter::empty()), None);
    }

    #[test]
    fn an_endpoint_that_failed_comes_back_slowly() {
        let mut turns = [SmoothWeight::new(10, 1), SmoothWeight::new(10, 1)];
        turns[0].failed(1);
        assert_eq!(turns[0].effective, 0);
        let picks: Vec<_> = (0..12).filter_map(|_| smooth(turns.iter_mut().enumerate())).collect();
        let of_first = picks.iter().filter(|index| **index == 0).count();
        assert!((1..6).contains(&of_first), "fewer than half, but not none: {picks:?}");
        assert_eq!(turns[0].effective, 10);
    }

    #[test]
    fn an_endpoint_that_starts_slowly_has_more_from_second_to_second() {
        let mut turns = [SmoothWeight::new(1, 100), SmoothWeight::new(1, 100)];
        turns[0].starts(Duration::from_secs(10), UnixMillis(0));
        let shares = [0, 2, 5, 9, 10, 11].map(|second: u64| {
            turns.iter_mut().for_each(|turn| turn.grow(UnixMillis(second * 1000)));
            let picks = (0..100).filter_map(|_| smooth(turns.iter_mut().enumerate()));
            picks.filter(|index| *index == 0).count()
        });
        assert!(shares.is_sorted(), "{shares:?}");
        assert!(shares[0] <= 2 && (15..=18).contains(&shares[1]), "{shares:?}");
        assert!((48..=52).contains(&shares[5]), "{shares:?}");
    }

    proptest! {
        #[test]
        fn each_gets_its_share(weights in proptest::collection::vec(1u32..20, 1..8)) {
            let total = usize::try_from(weights.iter().sum::<u32>()).expect("small");
            let picks = rounds(&weights, total);
            for (index, weight) in weights.iter().enumerate() {
                let count = picks.iter().filter(|pick| **pick == index).count();
                prop_assert_eq!(count, usize::try_from(*weight).expect("small"));
            }
        }
    }

    #[test]
    fn loads_are_compared_by_weight() {
        let load = |active, weight| Load { active, weight };
        assert!(load(1, 2).compare(load(1, 1)).is_lt());
        assert!(load(2, 2).compare(load(1, 1)).is_eq());
        assert!(load(0, 1).compare(load(0, 9)).is_eq());
    }

    #[test]
    fn clients_of_one_network_share_an_endpoint() {
        let weights = [1, 1, 1];
        let hit = |ip: &str| by_address(ip.parse().expect("an address"), &weights, |_| true);
        assert_eq!(hit("192.0.2.1"), hit("192.0.2.255"));
        assert_eq!(hit("192.0.2.1"), hit("::ffff:192.0.2.1"));
        // nginx's loop by hand: 89 → 3913 → 3199 → 4040, each (h · 113 + octet) mod 6271; 4040 mod 3.
        assert_eq!(hit("127.0.0.1"), Some(2));
        let mut seen: Vec<_> = (0..40).map(|n| hit(&format!("10.{n}.0.1"))).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn other_endpoints_are_tried_where_the_clients_own_is_out() {
        let client = "127.0.0.1".parse().expect("an address");
        let found = by_address(client, &[1, 1, 1], |index| index != 2);
        assert!(matches!(found, Some(0 | 1)), "{found:?}");
        assert_eq!(by_address(client, &[1, 1, 1], |_| false), None);
        assert_eq!(by_address(client, &[], |_| true), None);
    }
}
