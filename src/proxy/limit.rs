//! How many anonymous sessions may begin: by one network in a minute, and by all at a time, so that
//! logins always find room in the store (PROTOCOL.md 9).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock::UnixMillis;

/// Anonymous sessions on their way to the store at a time: an eighth of what a connection to Redis
/// queues. The rest is for look-ups and logins.
const UNDER_WAY: usize = 512;

/// Networks remembered at most; beyond, those that have used least of their share are forgotten.
const NETWORKS: usize = 65_536;

/// Counts new sessions by policy and network prefix (IPv4 /24, IPv6 /56) in whole minutes.
#[derive(Debug)]
pub struct Limiter {
    counts: Mutex<Counts>,
    under_way: Semaphore,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { counts: Mutex::default(), under_way: Semaphore::new(UNDER_WAY) }
    }
}

#[derive(Debug, Default)]
struct Counts {
    minute: u64,
    made: HashMap<(String, u128), u32>,
}

impl Limiter {
    /// Lets one more begin, and counts it. The permit is to be kept until it is stored.
    pub fn admit(
        &self,
        policy: &str,
        client: IpAddr,
        per_minute: u32,
        now: UnixMillis,
    ) -> Option<SemaphorePermit<'_>> {
        let permit = self.under_way.try_acquire().ok()?;
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
            return None;
        }
        *made += 1;
        Some(permit)
    }
}

fn network(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits() >> 8),
        IpAddr::V6(v6) => (v6.to_bits() >> 72) | (1 << 127),
    }
}

/// The network of a client as text, for people: `192.0.2.0/24`, `2001:db8:0:100::/56`.
pub fn network_text(client: IpAddr) -> String {
    let (client, length) = match client.to_canonical() {
        v4 @ IpAddr::V4(_) => (v4, 24),
        v6 @ IpAddr::V6(_) => (v6, 56),
    };
    IpNet::new(client, length).map_or_else(|_| String::new(), |net| net.trunc().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_shares_of_their_own() {
        let limiter = Limiter::default();
        let admit = |client: &str, secs: u64| {
            let now = UnixMillis(secs * 1000);
            limiter.admit("shop", client.parse().unwrap(), 2, now).is_some()
        };
        assert!(admit("192.0.2.1", 60) && admit("192.0.2.99", 61));
        assert!(!admit("192.0.2.7", 62), "the same /24");
        assert!(!admit("::ffff:192.0.2.7", 62), "the same, mapped");
        assert!(admit("192.0.3.1", 62));
        assert!(admit("2001:db8:0:1::1", 62) && admit("2001:db8:0:ff::1", 62));
        assert!(!admit("2001:db8:0:2::1", 62), "the same /56");
        assert!(admit("2001:db8:1::1", 62));
        assert!(admit("192.0.2.1", 120), "another minute");
        let other = limiter.admit("other", "192.0.3.1".parse().unwrap(), 1, UnixMillis(120_000));
        assert!(other.is_some());
    }

    #[test]
    fn networks_have_names() {
        let check = |client: &str, expected: &str| {
            assert_eq!(network_text(client.parse().unwrap()), expected);
        };
        check("192.0.2.77", "192.0.2.0/24");
        check("::ffff:192.0.2.77", "192.0.2.0/24");
        check("2001:db8:0:1ff::1", "2001:db8:0:100::/56");
    }

    /// PROTOCOL 9: a share of the store is kept for logins.
    #[test]
    fn only_so_many_are_under_way_at_a_time() {
        let limiter = Limiter::default();
        let admit = || limiter.admit("shop", IpAddr::from([192, 0, 2, 1]), 9999, UnixMillis(0));
        let mut permits: Vec<_> = (0..UNDER_WAY).map(|_| admit()).collect();
        assert!(permits.iter().all(Option::is_some));
        assert!(admit().is_none());
        permits.pop();
        assert!(admit().is_some(), "one was stored");
    }
}
