//! How many anonymous sessions one network may begin in a minute (PROTOCOL.md 9).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::clock::UnixMillis;

/// Networks remembered at most; beyond, those that have used least of their share are forgotten.
const NETWORKS: usize = 65_536;

/// Counts new sessions by policy and network prefix (IPv4 /24, IPv6 /56) in whole minutes.
#[derive(Debug, Default)]
pub struct Limiter {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    minute: u64,
    made: HashMap<(String, u128), u32>,
}

impl Limiter {
    /// Whether one more may begin; counts it.
    pub fn admit(&self, policy: &str, client: IpAddr, per_minute: u32, now: UnixMillis) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.as_secs() / 60;
        if counts.minute != minute {
            counts.minute = minute;
            counts.made.clear();
        }
        if counts.made.len() >= NETWORKS {
            counts.made.retain(|_, made| *made * 2 > per_minute);
        }
        let made = counts.made.entry((policy.to_owned(), network(client))).or_default();
        if *made >= per_minute {
            return false;
        }
        *made += 1;
        true
    }
}

fn network(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits() >> 8),
        IpAddr::V6(v6) => (v6.to_bits() >> 72) | (1 << 127),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_shares_of_their_own() {
        let limiter = Limiter::default();
        let admit = |client: &str, secs: u64| {
            limiter.admit("shop", client.parse().unwrap(), 2, UnixMillis(secs * 1000))
        };
        assert!(admit("192.0.2.1", 60) && admit("192.0.2.99", 61));
        assert!(!admit("192.0.2.7", 62), "the same /24");
        assert!(!admit("::ffff:192.0.2.7", 62), "the same, mapped");
        assert!(admit("192.0.3.1", 62));
        assert!(admit("2001:db8:0:1::1", 62) && admit("2001:db8:0:ff::1", 62));
        assert!(!admit("2001:db8:0:2::1", 62), "the same /56");
        assert!(admit("2001:db8:1::1", 62));
        assert!(admit("192.0.2.1", 120), "another minute");
        assert!(limiter.admit("other", "192.0.3.1".parse().unwrap(), 1, UnixMillis(120_000)));
    }
}
