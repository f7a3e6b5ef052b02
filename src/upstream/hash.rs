//! nginx's `hash`: an endpoint by a key, plainly or on a ring of points (`consistent`, ketama), in nginx's
//! own placement, so that caches stay warm when it is replaced.

use crc32fast::Hasher;

use super::balance::at_weight;

/// Points for each unit of weight.
const POINTS: u32 = 160;

/// nginx's: after so many endpoints that may not be chosen it takes turns.
const TRIES: u32 = 20;

/// The endpoint for a key. `None` where no eligible one was hit in a number of tries: the caller then takes
/// turns, as it does for an empty key.
pub(super) fn by_key(
    key: &[u8],
    weights: &[i64],
    eligible: impl Fn(usize) -> bool,
) -> Option<usize> {
    let total = u32::try_from(weights.iter().sum::<i64>()).ok().filter(|total| *total > 0)?;
    let mut sum: u32 = 0;
    for round in 0..=TRIES {
        let mut hasher = Hasher::new();
        if round > 0 {
            hasher.update(round.to_string().as_bytes());
        }
        hasher.update(key);
        sum = sum.wrapping_add((hasher.finalize() >> 16) & 0x7fff);
        let index = at_weight(weights, u64::from(sum % total))?;
        if eligible(index) {
            return Some(index);
        }
    }
    None
}

/// Points on a ring, each an endpoint's.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    /// Sorted, each once.
    points: Vec<(u32, usize)>,
}

impl Ring {
    /// A ring of endpoints by their names (`HOST:PORT`, `unix:/PATH`) and weights.
    pub(super) fn new<'a>(endpoints: impl Iterator<Item = (&'a str, i64)>) -> Self {
        let mut points = Vec::new();
        for (index, (name, weight)) in endpoints.enumerate() {
            let base = base(name);
            let mut previous: u32 = 0;
            for _ in 0..u32::try_from(weight).unwrap_or(0).saturating_mul(POINTS) {
                let mut hasher = base.clone();
                hasher.update(&previous.to_le_bytes());
                previous = hasher.finalize();
                points.push((previous, index));
            }
        }
        points.sort_by_key(|(hash, _)| *hash);
        points.dedup_by_key(|(hash, _)| *hash);
        Self { points }
    }

    /// The endpoint whose point comes next; after it, where that may not be chosen, those of the next ones.
    pub(super) fn by_key(&self, key: &[u8], eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let hash = crc32fast::hash(key);
        let first = self.points.partition_point(|(point, _)| *point < hash);
        let onwards = self.points.iter().cycle().skip(first).take(TRIES as usize + 1);
        onwards.map(|(_, index)| *index).find(|index| eligible(*index))
    }
}

/// Host, NUL, port.
fn base(name: &str) -> Hasher {
    let (host, port) = match name.strip_prefix("unix:") {
        Some(path) => (path, ""),
        None => match name.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
            _ => (name, ""),
        },
    };
    let mut hasher = Hasher::new();
    for part in [host.as_bytes(), b"\0", port.as_bytes()] {
        hasher.update(part);
    }
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_endpoints() {
        let of = |key: &str, weights: &[i64]| by_key(key.as_bytes(), weights, |_| true);
        // crc32("a") = e8b7be43: 0x68b7 mod 3 = 2.
        assert_eq!(of("a", &[1, 1, 1]), Some(2));
        assert_eq!(of("a", &[1, 1, 1]), of("a", &[1, 1, 1]));
        assert_eq!(of("a", &[]), None);
        let other = by_key(b"a", &[1, 1, 1], |index| index != 2);
        assert!(matches!(other, Some(0 | 1)), "{other:?}");
        assert_eq!(by_key(b"a", &[1, 1], |_| false), None);
    }

    #[test]
    fn a_ring_moves_few_keys_when_an_endpoint_goes() {
        let names = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];
        let ring = Ring::new(names.iter().map(|name| (*name, 1)));
        let all = |index: usize| index < 3;
        let moved = (0..1000).filter(|n| {
            let key = n.to_string();
            let before = ring.by_key(key.as_bytes(), all);
            let after = ring.by_key(key.as_bytes(), |index| index != 2);
            before != Some(2) && before != after
        });
        assert_eq!(moved.count(), 0);
        let hits = (0..3000).map(|n: u32| ring.by_key(n.to_string().as_bytes(), all));
        let of_first = hits.filter(|hit| *hit == Some(0)).count();
        assert!((600..1500).contains(&of_first), "{of_first}");
        assert_eq!(Ring::default().by_key(b"a", |_| true), None);
    }
}
