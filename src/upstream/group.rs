//! A group of endpoints and what is known of them: shared by all workers.
//!
//! One short lock for a choice and one for its outcome; nothing waits under it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::balance::{Load, SmoothWeight, by_address, smooth};
use super::health::{Health, Limits};
use super::{Balance, UpstreamSettings};
use crate::clock::UnixMillis;

/// A named group of endpoints at work. Endpoints go by their index in the settings.
#[derive(Debug)]
pub struct Group {
    settings: UpstreamSettings,
    limits: Limits,
    /// The endpoints' addresses as text, as sessions keep them.
    addresses: Vec<String>,
    weights: Vec<i64>,
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
    /// A group with nginx's limits of failures.
    pub fn new(settings: UpstreamSettings) -> Self {
        Self::with_limits(settings, Limits::default())
    }

    /// A group.
    pub fn with_limits(settings: UpstreamSettings, limits: Limits) -> Self {
        let addresses = settings.endpoints.iter().map(|e| e.address.to_string()).collect();
        let endpoints: Vec<Endpoint> = settings
            .endpoints
            .iter()
            .map(|e| Endpoint {
                turn: SmoothWeight::new(e.weight),
                health: Health::default(),
                active: 0,
            })
            .collect();
        let weights = endpoints.iter().map(|endpoint| endpoint.turn.weight()).collect();
        Self { settings, limits, addresses, weights, endpoints: Mutex::new(endpoints) }
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

    /// Chooses an endpoint that was not `tried` for this request yet. Where all of these are out,
    /// they are tried all the same: a failure is likelier than not, but no answer at all is certain.
    ///
    /// `None` where every endpoint was tried: 502.
    pub fn select(&self, hint: Hint<'_>, tried: &[usize], now: UnixMillis) -> Option<Pick> {
        let sticky = hint.sticky.filter(|_| self.settings.balance == Balance::Session);
        let mut endpoints = self.lock();
        for as_last_resort in [false, true] {
            let eligible: Eligible<'_> = &|index, endpoint| {
                !tried.contains(&index)
                    && (as_last_resort || endpoint.health.is_available(self.limits, now))
            };
            let kept = sticky.and_then(|address| self.find(address, &endpoints, eligible));
            let Some(index) = kept.or_else(|| self.balance(hint, &mut endpoints, eligible)) else {
                continue;
            };
            endpoints[index].health.chosen(self.limits, as_last_resort, now);
            return Some(Pick { index, moved: sticky.is_some() && kept.is_none() });
        }
        None
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
        }
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
        endpoint.turn.failed(self.limits.max_fails);
        endpoint.health.failed(self.limits, now)
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
                available: endpoint.health.is_available(self.limits, now),
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
    use super::super::{Address, EndpointSettings, Protocol, Timeouts};
    use super::*;

    const T0: UnixMillis = UnixMillis(1_000_000);

    fn group(balance: Balance, weights: &[u32]) -> Arc<Group> {
        let endpoints = (0u16..).zip(weights).map(|(n, weight)| EndpointSettings {
            address: Address::Inet(([127, 0, 0, 1], 7000 + n).into()),
            weight: *weight,
        });
        Arc::new(Group::new(UpstreamSettings {
            name: "shop".to_owned(),
            host: None,
            balance,
            protocol: Protocol::Http1,
            endpoints: endpoints.collect(),
            timeouts: Timeouts::default(),
            tls: None,
        }))
    }

    fn hint(sticky: Option<&str>) -> Hint<'_> {
        Hint { client: "127.0.0.1".parse().expect("an address"), sticky }
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
