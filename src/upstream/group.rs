//! A group of endpoints and what is known of them: shared by all workers.
//!
//! One short lock for a choice and one for its outcome; nothing waits under it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::balance::{Load, SmoothWeight, at_weight, by_address, smooth};
use super::hash::{Ring, by_key};
use super::health::Health;
use super::{Balance, EndpointSettings, UpstreamSettings};
use crate::clock::UnixMillis;

/// A named group of endpoints at work. Endpoints go by their index in the settings.
#[derive(Debug)]
pub struct Group {
    settings: UpstreamSettings,
    /// The endpoints' addresses as text, as sessions keep them.
    addresses: Vec<String>,
    /// Of those that are no backups, which have none.
    weights: Vec<i64>,
    /// Of [`Balance::Hash`] where that is consistent.
    ring: Ring,
    random: AtomicU64,
    endpoints: Mutex<Vec<Endpoint>>,
}

#[derive(Clone, Copy, Debug)]
struct Endpoint {
    turn: SmoothWeight,
    health: Health,
    active: usize,
}

/// What a request brings along that may decide on its endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Hint<'a> {
    pub client: IpAddr,
    /// The endpoint that the session's record names ([`Group::address_text`]).
    pub sticky: Option<&'a str>,
    /// What [`Balance::Hash`] goes by.
    pub key: &'a [u8],
}

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    pub index: usize,
    /// Under [`Balance::Session`]: the session had an endpoint, and this is another one, since that
    /// is gone from the configuration, failed, or was tried already.
    pub moved: bool,
}

/// How an endpoint is doing, for the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub address: String,
    pub weight: u32,
    pub available: bool,
    pub fails: u32,
    /// Requests under way.
    pub active: usize,
}

impl Group {
    /// A group.
    pub fn new(settings: UpstreamSettings) -> Self {
        let addresses: Vec<String> =
            settings.endpoints.iter().map(|e| e.address.to_string()).collect();
        let endpoints: Vec<Endpoint> = settings
            .endpoints
            .iter()
            .map(|e| Endpoint {
                turn: SmoothWeight::new(e.weight),
                health: Health::default(),
                active: 0,
            })
            .collect();
        let weight = |endpoint: &EndpointSettings| match endpoint.is_backup {
            true => 0,
            false => i64::from(endpoint.weight),
        };
        let weights: Vec<i64> = settings.endpoints.iter().map(weight).collect();
        let ring = match settings.balance {
            Balance::Hash { consistent: true } => {
                Ring::new(addresses.iter().map(String::as_str).zip(weights.iter().copied()))
            }
            _ => Ring::default(),
        };
        let random = AtomicU64::new(RandomState::new().build_hasher().finish());
        Self { settings, addresses, weights, ring, random, endpoints: Mutex::new(endpoints) }
    }

    /// What it was made from.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// An endpoint's address as a session keeps it.
    ///
    /// # Panics
    /// Where `index` is not one of a [`Pick`] of this group.
    pub fn address_text(&self, index: usize) -> &str {
        &self.addresses[index]
    }

    /// Chooses an endpoint that was not `tried` for this request yet: a backup where no other one is
    /// well. Where all of these are out, they are tried all the same: a failure is likelier than not,
    /// but no answer at all is certain.
    ///
    /// `None` where every endpoint was tried, is down, or has as many requests as it may have: 502.
    pub fn select(&self, hint: Hint<'_>, tried: &[usize], now: UnixMillis) -> Option<Pick> {
        let sticky = hint.sticky.filter(|_| self.settings.balance == Balance::Session);
        let mut endpoints = self.lock();
        for (as_last_resort, backups) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let eligible: Eligible<'_> = &|index, endpoint| {
                let settings = &self.settings.endpoints[index];
                settings.is_backup == backups
                    && !tried.contains(&index)
                    && settings.may_be_asked(endpoint.active)
                    && (as_last_resort || endpoint.health.is_available(settings.limits, now))
            };
            let kept = sticky.and_then(|address| self.find(address, &endpoints, eligible));
            let Some(index) = kept.or_else(|| self.balance(hint, &mut endpoints, eligible)) else {
                continue;
            };
            let limits = self.settings.endpoints[index].limits;
            endpoints[index].health.chosen(limits, as_last_resort, now);
            return Some(Pick { index, moved: sticky.is_some() && kept.is_none() });
        }
        None
    }

    /// Whether another endpoint than those `tried` could be asked.
    pub fn has_another(&self, tried: &[usize]) -> bool {
        let endpoints = self.lock();
        let settings = self.settings.endpoints.iter().zip(endpoints.iter()).enumerate();
        settings.into_iter().any(|(index, (settings, endpoint))| {
            !tried.contains(&index) && settings.may_be_asked(endpoint.active)
        })
    }

    fn find(&self, address: &str, endpoints: &[Endpoint], is: Eligible<'_>) -> Option<usize> {
        let mut known = self.addresses.iter().zip(endpoints).enumerate();
        known
            .find(|(index, (text, endpoint))| *text == address && is(*index, endpoint))
            .map(|(index, _)| index)
    }

    fn balance(
        &self,
        hint: Hint<'_>,
        endpoints: &mut [Endpoint],
        is: Eligible<'_>,
    ) -> Option<usize> {
        match self.settings.balance {
            Balance::RoundRobin | Balance::Session => take_turns(endpoints, is),
            Balance::LeastConn => {
                let least = endpoints
                    .iter()
                    .enumerate()
                    .filter(|(index, endpoint)| is(*index, endpoint))
                    .map(|(_, endpoint)| endpoint.load())
                    .min_by(|a, b| a.compare(*b))?;
                take_turns(endpoints, &|index, endpoint| {
                    is(index, endpoint) && endpoint.load().compare(least).is_eq()
                })
            }
            Balance::IpHash => {
                let hit =
                    by_address(hint.client, &self.weights, |index| is(index, &endpoints[index]));
                hit.or_else(|| take_turns(endpoints, is))
            }
            Balance::Hash { .. } if hint.key.is_empty() => take_turns(endpoints, is),
            Balance::Hash { consistent } => {
                let eligible = |index: usize| is(index, &endpoints[index]);
                let hit = match consistent {
                    true => self.ring.by_key(hint.key, eligible),
                    false => by_key(hint.key, &self.weights, eligible),
                };
                hit.or_else(|| take_turns(endpoints, is))
            }
            Balance::Random { two } => {
                let first = self.at_random(|index| is(index, &endpoints[index]));
                let second = first.filter(|_| two).and_then(|first| {
                    self.at_random(|index| index != first && is(index, &endpoints[index]))
                });
                let loads = |index: usize| endpoints[index].load();
                match (first, second) {
                    (Some(first), Some(second)) => {
                        let is_busier = loads(second).compare(loads(first)).is_gt();
                        Some(if is_busier { first } else { second })
                    }
                    _ => first.or_else(|| take_turns(endpoints, is)),
                }
            }
        }
    }

    /// One by weight. `None` where no eligible one was hit in a number of tries.
    fn at_random(&self, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        /// nginx's.
        const TRIES: usize = 20;
        let total = u64::try_from(self.weights.iter().sum::<i64>()).ok().filter(|sum| *sum > 0)?;
        let mut hits = (0..TRIES).map(|_| at_weight(&self.weights, self.random() % total));
        hits.find_map(|hit| hit.filter(|index| eligible(*index)))
    }

    /// The next number (splitmix64): nobody gains by knowing it.
    fn random(&self) -> u64 {
        let state = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Counts a request to an endpoint as under way until the returned value is dropped.
    #[must_use = "the request counts as long as this lives"]
    pub fn started(self: &Arc<Self>, index: usize) -> Active {
        if let Some(endpoint) = self.lock().get_mut(index) {
            endpoint.active += 1;
        }
        Active { group: Arc::clone(self), index }
    }

    /// An endpoint did not answer, or not as it should. Says whether that took it out.
    pub fn failed(&self, index: usize, now: UnixMillis) -> bool {
        let mut endpoints = self.lock();
        let Some(endpoint) = endpoints.get_mut(index) else { return false };
        let limits = self.settings.endpoints[index].limits;
        endpoint.turn.failed(limits.max_fails);
        endpoint.health.failed(limits, now)
    }

    /// An endpoint answered.
    pub fn succeeded(&self, index: usize) {
        if let Some(endpoint) = self.lock().get_mut(index) {
            endpoint.health.succeeded();
        }
    }

    /// How the endpoints are doing.
    pub fn status(&self, now: UnixMillis) -> Vec<Status> {
        let endpoints = self.lock();
        let described = self.settings.endpoints.iter().zip(&self.addresses).zip(endpoints.iter());
        described
            .map(|((settings, address), endpoint)| Status {
                address: address.clone(),
                weight: settings.weight,
                available: !settings.is_down && endpoint.health.is_available(settings.limits, now),
                fails: endpoint.health.fails(),
                active: endpoint.active,
            })
            .collect()
    }

    /// Counters are whole after every statement, so a panic elsewhere did no harm to them.
    fn lock(&self) -> MutexGuard<'_, Vec<Endpoint>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an endpoint may be chosen, by its index.
type Eligible<'a> = &'a dyn Fn(usize, &Endpoint) -> bool;

impl EndpointSettings {
    /// Whether it may have another request beside so many.
    fn may_be_asked(&self, active: usize) -> bool {
        !self.is_down && (self.max_conns == 0 || active < self.max_conns)
    }
}

impl Endpoint {
    fn load(&self) -> Load {
        Load { active: self.active, weight: self.turn.weight() }
    }
}

fn take_turns(endpoints: &mut [Endpoint], is: Eligible<'_>) -> Option<usize> {
    let eligible = endpoints.iter_mut().enumerate().filter(|(index, e)| is(*index, e));
    smooth(eligible.map(|(index, endpoint)| (index, &mut endpoint.turn)))
}

/// A request under way.
#[derive(Debug)]
pub struct Active {
    group: Arc<Group>,
    index: usize,
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(endpoint) = self.group.lock().get_mut(self.index) {
            endpoint.active = endpoint.active.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Address, NextUpstream, Protocol, Timeouts};
    use super::*;

    const T0: UnixMillis = UnixMillis(1_000_000);

    fn group(balance: Balance, weights: &[u32]) -> Arc<Group> {
        let endpoints = (0u16..).zip(weights).map(|(n, weight)| EndpointSettings {
            weight: *weight,
            ..EndpointSettings::new(Address::Inet(([127, 0, 0, 1], 7000 + n).into()))
        });
        Arc::new(Group::new(UpstreamSettings {
            name: "shop".to_owned(),
            host: None,
            balance,
            protocol: Protocol::Http1,
            endpoints: endpoints.collect(),
            timeouts: Timeouts::default(),
            next: NextUpstream::default(),
            tls: None,
        }))
    }

    fn hint(sticky: Option<&str>) -> Hint<'_> {
        Hint { client: "127.0.0.1".parse().expect("an address"), sticky, key: b"" }
    }

    fn after(secs: u64) -> UnixMillis {
        UnixMillis(T0.0 + secs * 1000)
    }

    #[track_caller]
    fn check(group: &Group, tried: &[usize], now: UnixMillis, expected: &[usize]) {
        let picks: Vec<usize> = expected
            .iter()
            .filter_map(|_| group.select(hint(None), tried, now))
            .map(|pick| pick.index)
            .collect();
        assert_eq!(picks, expected);
    }

    #[test]
    fn requests_take_turns_by_weight() {
        check(&group(Balance::RoundRobin, &[5, 1, 1]), &[], T0, &[0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn what_was_tried_is_not_chosen_again() {
        let group = group(Balance::RoundRobin, &[1, 1]);
        check(&group, &[0], T0, &[1, 1]);
        assert_eq!(group.select(hint(None), &[0, 1], T0), None);
        assert_eq!(self::group(Balance::RoundRobin, &[]).select(hint(None), &[], T0), None);
    }

    #[test]
    fn a_failed_endpoint_is_left_out_until_its_time_is_up() {
        let group = group(Balance::RoundRobin, &[1, 1]);
        assert!(group.failed(0, T0), "the first failure takes it out");
        check(&group, &[], after(10), &[1, 1, 1]);
        // Back with an effective weight of nothing: the other one is first in this round.
        check(&group, &[], after(11), &[1, 0, 1]);
        group.succeeded(0);
        assert!(group.status(after(11)).iter().all(|status| status.available));
    }

    #[test]
    fn where_all_are_out_all_are_tried() {
        let group = group(Balance::RoundRobin, &[1, 1]);
        group.failed(0, T0);
        group.failed(1, T0);
        assert!(group.select(hint(None), &[], T0).is_some());
        assert_eq!(group.select(hint(None), &[0], T0), Some(Pick { index: 1, moved: false }));
        group.succeeded(1);
        let available: Vec<bool> = group.status(T0).iter().map(|s| s.available).collect();
        assert!(available[1], "an answer brings it back at once");
    }

    #[test]
    fn sessions_stay_where_they_are() {
        let group = group(Balance::Session, &[1, 1, 1]);
        let second = group.address_text(1).to_owned();
        assert_eq!(second, "127.0.0.1:7001");
        for _ in 0..4 {
            let pick = group.select(hint(Some(&second)), &[], T0);
            assert_eq!(pick, Some(Pick { index: 1, moved: false }));
        }
        check(&group, &[], T0, &[0, 1, 2]);
    }

    #[test]
    fn sessions_move_only_where_they_must() {
        let group = group(Balance::Session, &[1, 1]);
        let moved = |sticky, tried: &[usize], now| {
            group.select(hint(Some(sticky)), tried, now).map(|pick| (pick.index, pick.moved))
        };
        assert_eq!(moved("127.0.0.1:7001", &[1], T0), Some((0, true)), "tried already");
        assert!(matches!(moved("127.0.0.1:9", &[], T0), Some((_, true))), "not configured");
        group.failed(1, T0);
        assert_eq!(moved("127.0.0.1:7001", &[], T0), Some((0, true)), "failed");
        assert_eq!(moved("127.0.0.1:7001", &[], after(11)), Some((1, false)), "tried again");
        group.failed(0, after(11));
        group.failed(1, after(11));
        assert_eq!(moved("127.0.0.1:7001", &[], after(11)), Some((1, false)), "all failed");
    }

    #[test]
    fn other_ways_of_balancing_ignore_the_session() {
        let group = group(Balance::RoundRobin, &[1, 1]);
        let pick = group.select(hint(Some("127.0.0.1:7001")), &[], T0);
        assert_eq!(pick, Some(Pick { index: 0, moved: false }));
    }

    #[test]
    fn the_least_busy_endpoint_is_chosen() {
        let group = group(Balance::LeastConn, &[1, 2, 1]);
        let _first = group.started(0);
        let second = group.started(1);
        let third = group.started(2);
        check(&group, &[], T0, &[1, 1]);
        let fourth = group.started(1);
        drop(third);
        check(&group, &[], T0, &[2]);
        assert_eq!(group.status(T0)[1].active, 2);
        drop((second, fourth));
        assert_eq!(group.status(T0)[1].active, 0);
        check(&group, &[1, 2], T0, &[0]);
    }

    #[test]
    fn equally_busy_endpoints_take_turns() {
        check(&group(Balance::LeastConn, &[2, 1]), &[], T0, &[0, 1, 0]);
    }

    #[test]
    fn a_clients_network_keeps_its_endpoint() {
        let group = group(Balance::IpHash, &[1, 1, 1]);
        check(&group, &[], T0, &[2, 2, 2]);
        let elsewhere = group.select(hint(None), &[2], T0).expect("two are left");
        assert_ne!(elsewhere.index, 2);
        group.failed(2, T0);
        assert_eq!(group.select(hint(None), &[], T0), Some(elsewhere), "always the same other one");
    }

    #[test]
    fn a_wrong_index_does_no_harm() {
        let group = group(Balance::RoundRobin, &[1]);
        assert!(!group.failed(7, T0));
        group.succeeded(7);
        drop(group.started(7));
        check(&group, &[], T0, &[0]);
    }

    #[test]
    fn addresses_are_written_as_configured() {
        for (address, expected) in [
            (Address::Inet(([127, 0, 0, 1], 80).into()), "127.0.0.1:80"),
            (Address::Inet("[::1]:80".parse().expect("an address")), "[::1]:80"),
            (Address::Unix("/run/app.sock".into()), "unix:/run/app.sock"),
        ] {
            assert_eq!(address.to_string(), expected);
        }
    }
}
