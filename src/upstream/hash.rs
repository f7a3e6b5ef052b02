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

/// Points on a ring, each a server's: all endpoints that a server's name stands for share its points.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    /// Sorted, each once; with the place of the first endpoint of its server.
    points: Vec<(u32, usize)>,
}

impl Ring {
    /// A ring of endpoints by the names of their servers (`HOST:PORT`, `unix:/PATH`) and weights.
    pub(super) fn new<'a>(endpoints: impl Iterator<Item = (&'a str, i64)>) -> Self {
        let mut servers: Vec<(usize, &str, i64)> = Vec::new();
        for (place, (name, weight)) in endpoints.enumerate() {
            match servers.iter_mut().find(|(_, known, _)| *known == name) {
                Some((_, _, known)) => *known = weight.max(*known),
                None => servers.push((place, name, weight)),
            }
        }
        let mut points = Vec::new();
        for (place, name, weight) in servers {
            let base = base(name);
            let mut previous: u32 = 0;
            for _ in 0..u32::try_from(weight).unwrap_or(0).saturating_mul(POINTS) {
                let mut hasher = base.clone();
                hasher.update(&previous.to_le_bytes());
                previous = hasher.finalize();
                points.push((previous, place));
            }
        }
        points.sort_by_key(|(hash, _)| *hash);
        points.dedup_by_key(|(hash, _)| *hash);
        Self { points }
    }

    /// The servers whose points come next, each by its first endpoint: as many as nginx looks at.
    pub(super) fn from(&self, key: &[u8]) -> impl Iterator<Item = usize> {
        let hash = crc32fast::hash(key);
        let first = self.points.partition_point(|(point, _)| *point < hash);
        let onwards = self.points.iter().cycle().skip(first).take(TRIES as usize + 1);
        onwards.map(|(_, place)| *place)
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
        let moved = (0..1000).filter(|n| {
            let key = n.to_string();
            let before = ring.from(key.as_bytes()).next();
            let after = ring.from(key.as_bytes()).find(|place| *place != 2);
            before != Some(2) && before != after
        });
        assert_eq!(moved.count(), 0);
        let hits = (0..3000).map(|n: u32| ring.from(n.to_string().as_bytes()).next());
        let of_first = hits.filter(|hit| *hit == Some(0)).count();
        assert!((600..1500).contains(&of_first), "{of_first}");
        assert_eq!(Ring::default().from(b"a").next(), None);
        let shared = Ring::new([("a:80", 1), ("b:80", 1), ("a:80", 1)].into_iter());
        assert_eq!(shared.points.len(), 2 * POINTS as usize, "a name has its points once");
    }
}
