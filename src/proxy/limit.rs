//! How many anonymous sessions may begin: by one network in a minute, and by all at a time, so that
//! logins always find room in the store (PROTOCOL.md 9). And how many attempts to log in that are no
//! success one network has in a minute, each of which leaves something in the store (PROTOCOL.md 19).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock::UnixMillis;

/// Anonymous sessions on their way to the store at a time: an eighth of what a connection to Redis
/// queues. The rest is for look-ups and logins.
const UNDER_WAY: usize = 512;

/// Networks remembered at most; beyond, those that have used least of their share are forgotten.
const NETWORKS: usize = 65_536;

/// Counts by policy and network prefix (IPv4 /24, IPv6 /56) in whole minutes.
#[derive(Debug)]
pub struct Limiter {
    sessions: Mutex<Counts>,
    attempts: Mutex<Counts>,
    waiting: Mutex<HashMap<String, VecDeque<UnixMillis>>>,
    under_way: Semaphore,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            sessions: Mutex::default(),
            attempts: Mutex::default(),
            waiting: Mutex::default(),
            under_way: Semaphore::new(UNDER_WAY),
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    minute: u64,
    made: HashMap<(String, u128), u32>,
}

impl Limiter {
    /// Lets one more session begin, and counts it. The permit is to be kept until it is stored.
    pub fn admit(
        &self,
        policy: &str,
        client: IpAddr,
        per_minute: u32,
        now: UnixMillis,
    ) -> Option<SemaphorePermit<'_>> {
        let permit = self.under_way.try_acquire().ok()?;
        lock(&self.sessions).count(policy, client, per_minute, now).then_some(permit)
    }

    /// Lets one more anonymous session wait for its ticket to come back, for `life` at most, where
    /// fewer than `most` of a policy do.
    pub fn may_wait(&self, policy: &str, most: u32, life: Duration, now: UnixMillis) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = waiting.entry(policy.to_owned()).or_default();
        while waiting.front().is_some_and(|until| *until <= now) {
            waiting.pop_front();
        }
        let has_room = waiting.len() < usize::try_from(most).unwrap_or(usize::MAX);
        if has_room {
            waiting.push_back(now.plus(life));
        }
        has_room
    }

    /// The ticket of an anonymous session came back. Which one does not matter for their number: the
    /// oldest stands for it, so that none is counted for longer than it waits.
    pub fn came_back(&self, policy: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get_mut(policy).and_then(VecDeque::pop_front);
    }

    /// Counts an attempt to log in that was no success.
    pub fn attempted(&self, policy: &str, client: IpAddr, per_minute: u32, now: UnixMillis) {
        lock(&self.attempts).count(policy, client, per_minute, now);
    }

    /// Whether a network has had all of its attempts.
    pub fn is_out_of_attempts(
        &self,
        policy: &str,
        client: IpAddr,
        per_minute: u32,
        now: UnixMillis,
    ) -> bool {
        lock(&self.attempts).of(policy, client, now) >= per_minute
    }
}

impl Counts {
    /// Counts one more, unless there are `per_minute`.
    fn count(&mut self, policy: &str, client: IpAddr, per_minute: u32, now: UnixMillis) -> bool {
        self.begin(now);
        if self.made.len() >= NETWORKS {
            self.made.retain(|_, made| *made * 2 > per_minute);
        }
        let made = self.made.entry((policy.to_owned(), network(client))).or_default();
        let has_room = *made < per_minute;
        *made += u32::from(has_room);
        has_room
    }

    fn of(&mut self, policy: &str, client: IpAddr, now: UnixMillis) -> u32 {
        self.begin(now);
        self.made.get(&(policy.to_owned(), network(client))).copied().unwrap_or_default()
    }

    fn begin(&mut self, now: UnixMillis) {
        let minute = now.as_secs() / 60;
        if self.minute != minute {
            self.minute = minute;
            self.made.clear();
        }
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// PROTOCOL 9: their number is bounded, however many networks there are.
    #[test]
    fn so_many_sessions_wait_for_their_tickets_and_no_more() {
        const LIFE: Duration = Duration::from_secs(900);
        let limiter = Limiter::default();
        let may =
            |policy: &str, secs: u64| limiter.may_wait(policy, 2, LIFE, UnixMillis(secs * 1000));
        assert!(may("shop", 60) && may("shop", 70));
        assert!(!may("shop", 80), "two wait");
        assert!(may("other", 80));
        limiter.came_back("shop");
        assert!(may("shop", 90), "one came back");
        assert!(!may("shop", 969), "until then two wait");
        assert!(may("shop", 970), "one is over");
        assert!(!may("shop", 971));
        limiter.came_back("nobody's");
    }

    /// PROTOCOL 19: what a guesser costs the store is bounded, and is no other network's affair.
    #[test]
    fn attempts_that_are_no_success_are_counted() {
        let limiter = Limiter::default();
        let at = |secs: u64| UnixMillis(secs * 1000);
        let (here, near, far) = ("192.0.2.1", "192.0.2.99", "192.0.3.1");
        let is_out = |client: &str, secs: u64| {
            limiter.is_out_of_attempts("shop", client.parse().unwrap(), 2, at(secs))
        };
        for secs in [60, 61, 62] {
            assert_eq!(is_out(near, secs), secs == 62, "{secs}");
            limiter.attempted("shop", here.parse().unwrap(), 2, at(secs));
        }
        assert!(!is_out(far, 62) && !is_out(here, 120), "another network, another minute");
        assert!(limiter.admit("shop", near.parse().unwrap(), 2, at(120)).is_some());
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
