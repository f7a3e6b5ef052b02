//! A group of endpoints and what is known of them: shared by all workers.
//!
//! One short lock for a choice and one for its outcome; nothing waits under it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::balance::{at_weight, by_address};
use super::changes::{Change, Refused};
use super::endpoint::Endpoint;
use super::hash::by_key;
use super::members::{Eligible, Member, Members};
use super::pace::Until;
use super::queue::Queue;
use super::{Address, Balance, EndpointSettings, UpstreamSettings};
use crate::clock::UnixMillis;

/// A named group of endpoints at work. Which ones it has may change while it is.
#[derive(Debug)]
pub struct Group {
    settings: UpstreamSettings,
    random: AtomicU64,
    members: Mutex<Members>,
    queue: Option<Queue>,
}

/// What a request brings along that may decide on its endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Hint<'a> {
    pub client: IpAddr,
    /// The endpoint that the session's record names ([`Endpoint::text`]).
    pub sticky: Option<&'a str>,
    /// The endpoint that the client sticks to ([`Endpoint::route`]).
    pub route: Option<&'a [u8]>,
    /// What [`Balance::Hash`] goes by.
    pub key: &'a [u8],
}

/// A choice.
#[derive(Clone, Debug)]
pub struct Pick {
    pub endpoint: Arc<Endpoint>,
    /// Under [`Balance::Session`]: the session had an endpoint, and this is another one, since that
    /// is gone from the configuration, failed, or was tried already.
    pub moved: bool,
}

/// How an endpoint is doing, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub address: String,
    /// As the configuration has it: a name may have several addresses.
    pub server: String,
    pub weight: u32,
    pub is_backup: bool,
    pub standing: Standing,
    /// Failures of requests that are not forgotten.
    pub fails: u32,
    /// Requests under way, and how many there may be; 0: as many as there are.
    pub active: usize,
    pub max_conns: usize,
}

/// Whether an endpoint is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Up,
    /// Only by who is sticky to it.
    Draining,
    /// Not for a while: requests failed.
    Failed,
    /// Not before checks say that it is well.
    Unhealthy,
    /// Not at all: the configuration says so.
    Down,
}

impl Standing {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Unhealthy => "unhealthy",
            Self::Down => "down",
        }
    }

    /// Whether requests may go there that nothing binds to it.
    pub fn is_up(self) -> bool {
        self == Self::Up
    }
}

impl Group {
    /// A group.
    pub fn new(settings: UpstreamSettings) -> Self {
        let members = Mutex::new(Members::new(&settings));
        let random = AtomicU64::new(RandomState::new().build_hasher().finish());
        let queue = settings.queue.map(Queue::new);
        Self { settings, random, members, queue }
    }

    /// Where requests wait, if they do.
    pub fn queue(&self) -> Option<&Queue> {
        self.queue.as_ref()
    }

    /// Endpoints that no upstream has: of one request.
    pub fn direct(endpoints: Vec<EndpointSettings>) -> Self {
        Self::new(UpstreamSettings { endpoints, ..UpstreamSettings::direct() })
    }

    /// What it was made from.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// Puts what a name has now in place of the endpoints that it had. Those that remain keep what is
    /// known of them.
    pub fn replace(&self, name: usize, found: Vec<EndpointSettings>) {
        self.lock().replace(name, found);
        self.queue.iter().for_each(Queue::free_all);
    }

    /// Carries an operator's change out.
    ///
    /// # Errors
    /// Why there is nothing to be changed.
    pub fn change(&self, address: &Address, change: Change) -> Result<(), Refused> {
        let changed = self.lock().change(address, change);
        // Who waits for room may have some now.
        self.queue.iter().for_each(Queue::free_all);
        changed
    }

    /// Chooses an endpoint that was not `tried` for this request yet: a backup where no other one is
    /// well. Where all of these are out, they are tried all the same: a failure is likelier than not,
    /// but no answer at all is certain.
    ///
    /// `None` where every endpoint was tried, is down, or has as many requests as it may have: 502.
    pub fn select(&self, hint: Hint<'_>, tried: &[Arc<Endpoint>], now: UnixMillis) -> Option<Pick> {
        let sticky = hint.sticky.filter(|_| self.settings.balance == Balance::Session);
        let mut members = self.lock();
        members.grow(now);
        if let Some(pick) = hint.route.and_then(|route| stuck_to(&mut members, route, tried, now)) {
            return Some(pick);
        }
        for (as_last_resort, backups) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let may_stay: Eligible<'_> = &|member| {
                let Endpoint { id, settings, .. } = &*member.endpoint;
                settings.is_backup == backups
                    && !tried.iter().any(|tried| tried.id == *id)
                    && member.has_room()
                    && (as_last_resort || member.health.is_available(settings.limits, now))
            };
            let eligible: Eligible<'_> =
                &|member| !member.endpoint.settings.is_draining && may_stay(member);
            let kept = sticky.and_then(|address| {
                let is_it = |endpoint: &Endpoint| endpoint.text == address;
                members.list.iter().position(|member| is_it(&member.endpoint) && may_stay(member))
            });
            let Some(place) = kept.or_else(|| self.balance(hint, &mut members, eligible, now))
            else {
                continue;
            };
            let chosen = &mut members.list[place];
            chosen.health.chosen(chosen.endpoint.settings.limits, as_last_resort, now);
            let moved = sticky.is_some() && kept.is_none();
            return Some(Pick { endpoint: chosen.endpoint.clone(), moved });
        }
        None
    }

    /// Whether another endpoint than those `tried` could be asked.
    pub fn has_another(&self, tried: &[Arc<Endpoint>]) -> bool {
        self.lock().list.iter().any(|member| {
            !tried.iter().any(|tried| tried.id == member.endpoint.id)
                && !member.endpoint.settings.is_draining
                && member.has_room()
        })
    }

    /// The place of the endpoint that is chosen.
    fn balance(
        &self,
        hint: Hint<'_>,
        members: &mut Members,
        is: Eligible<'_>,
        now: UnixMillis,
    ) -> Option<usize> {
        let hit = match self.settings.balance {
            Balance::RoundRobin | Balance::Session => None,
            Balance::LeastConn => return least_busy(members, is),
            Balance::LeastTime { with_those_under_way, .. } => {
                return fastest(members, is, with_those_under_way.then_some(now));
            }
            Balance::IpHash => {
                by_address(hint.client, &members.weights, |place| is(&members.list[place]))
            }
            Balance::Hash { .. } if hint.key.is_empty() => None,
            Balance::Hash { consistent: true } => members.on_ring(hint.key, is),
            Balance::Hash { consistent: false } => {
                by_key(hint.key, &members.weights, |place| is(&members.list[place]))
            }
            Balance::Random { two } => self.at_random(members, two, is),
        };
        hit.or_else(|| members.take_turns(is))
    }

    /// One by weight; of two the less busy one, where that is asked for.
    fn at_random(&self, members: &Members, two: bool, is: Eligible<'_>) -> Option<usize> {
        let first = self.one_at_random(&members.weights, |place| is(&members.list[place]))?;
        let is_another = |place: usize| place != first && is(&members.list[place]);
        let second = two.then(|| self.one_at_random(&members.weights, is_another)).flatten();
        let Some(second) = second else { return Some(first) };
        let load = |place: usize| members.list[place].load();
        Some(if load(second).compare(load(first)).is_gt() { first } else { second })
    }

    /// One by weight. `None` where no eligible one was hit in a number of tries.
    fn one_at_random(&self, weights: &[i64], eligible: impl Fn(usize) -> bool) -> Option<usize> {
        /// nginx's.
        const TRIES: usize = 20;
        let total = u64::try_from(weights.iter().sum::<i64>()).ok().filter(|sum| *sum > 0)?;
        let mut hits = (0..TRIES).map(|_| at_weight(weights, self.random() % total));
        hits.find_map(|hit| hit.filter(|place| eligible(*place)))
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
    pub fn started(self: &Arc<Self>, endpoint: &Endpoint, now: UnixMillis) -> Active {
        if let Some(member) = self.lock().get(endpoint.id) {
            member.active += 1;
            member.pace.begins(now);
        }
        Active { group: Arc::clone(self), id: endpoint.id, begun: now }
    }

    /// So much of an answer took so long.
    pub fn took(&self, endpoint: &Endpoint, what: Until, time: Duration) {
        let Balance::LeastTime { until, .. } = self.settings.balance else { return };
        if until == what
            && let Some(member) = self.lock().get(endpoint.id)
        {
            member.pace.took(time);
        }
    }

    /// An endpoint did not answer, or not as it should. Says whether that took it out.
    pub fn failed(&self, endpoint: &Endpoint, now: UnixMillis) -> bool {
        let mut members = self.lock();
        let Some(member) = members.get(endpoint.id) else { return false };
        let limits = member.endpoint.settings.limits;
        member.turn.failed(limits.max_fails);
        member.health.failed(limits, now)
    }

    /// An endpoint answered.
    pub fn succeeded(&self, endpoint: &Endpoint, now: UnixMillis) {
        if let Some(member) = self.lock().get(endpoint.id)
            && member.health.succeeded(member.endpoint.settings.limits)
        {
            member.recovers(now);
        }
    }

    /// An endpoint was asked how it is. Says whether that changes its state.
    pub fn checked(&self, endpoint: &Endpoint, is_good: bool, now: UnixMillis) -> bool {
        let has_changed = self.lock().checked(endpoint.id, is_good, now);
        if has_changed {
            self.queue.iter().for_each(Queue::free_all);
        }
        has_changed
    }

    /// Those that there are at the moment.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.lock().list.iter().map(|member| member.endpoint.clone()).collect()
    }

    /// How the endpoints are doing.
    pub fn status(&self, now: UnixMillis) -> Vec<Status> {
        let described = |member: &Member| {
            let Endpoint { text, settings, .. } = &*member.endpoint;
            Status {
                address: text.clone(),
                server: settings.server.clone(),
                weight: settings.weight,
                is_backup: settings.is_backup,
                standing: member.standing(now),
                fails: member.health.fails(),
                active: member.active,
                max_conns: settings.max_conns,
            }
        };
        self.lock().list.iter().map(described).collect()
    }

    /// Counters are whole after every statement, so a panic elsewhere did no harm to them.
    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The endpoint that a client sticks to, where that is well. The balance of all others is as if nothing had
/// been asked.
fn stuck_to(
    members: &mut Members,
    route: &[u8],
    tried: &[Arc<Endpoint>],
    now: UnixMillis,
) -> Option<Pick> {
    let member = members.list.iter_mut().find(|member| {
        let endpoint = &*member.endpoint;
        endpoint.route().as_bytes() == route
            && !tried.iter().any(|tried| tried.id == endpoint.id)
            && member.has_room()
            && member.health.is_available(endpoint.settings.limits, now)
    })?;
    member.health.chosen(member.endpoint.settings.limits, false, now);
    Some(Pick { endpoint: member.endpoint.clone(), moved: false })
}

/// Those with the fewest requests take turns.
fn least_busy(members: &mut Members, is: Eligible<'_>) -> Option<usize> {
    let eligible = members.list.iter().filter(|member| is(member));
    let least = eligible.map(Member::load).min_by(|a, b| a.compare(*b))?;
    members.take_turns(&|member| is(member) && member.load().compare(least).is_eq())
}

/// Those that answer soonest for their weights, and for what they have to do, take turns. One of which
/// nothing is known is taken to be like the others.
fn fastest(members: &mut Members, is: Eligible<'_>, now: Option<UnixMillis>) -> Option<usize> {
    let time = |member: &Member| match now {
        Some(now) => member.pace.with_those_under_way(member.active, now),
        None => member.pace.average(),
    };
    let known: Vec<Duration> = members.list.iter().filter_map(time).collect();
    let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
    let usual = known.iter().sum::<Duration>().checked_div(count).unwrap_or_default();
    // A thousandth of a millisecond at least: who answers at once is still told by how busy it is.
    let cost = |member: &Member| {
        let micros = time(member).unwrap_or(usual).as_micros().max(1);
        (micros.saturating_mul(member.active as u128 + 1), member.load().weight.unsigned_abs())
    };
    let compare = |one: (u128, u64), other: (u128, u64)| {
        let cross = |cost: u128, weight: u64| cost.saturating_mul(u128::from(weight));
        cross(one.0, other.1).cmp(&cross(other.0, one.1))
    };
    let eligible = members.list.iter().filter(|member| is(member));
    let least = eligible.map(cost).min_by(|one, other| compare(*one, *other))?;
    members.take_turns(&|member| is(member) && compare(cost(member), least).is_eq())
}

/// A request under way.
#[derive(Debug)]
pub struct Active {
    group: Arc<Group>,
    id: usize,
    begun: UnixMillis,
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(member) = self.group.lock().get(self.id) {
            member.active = member.active.saturating_sub(1);
            member.pace.ends(self.begun);
        }
        self.group.queue.iter().for_each(Queue::free);
    }
}

#[cfg(test)]
mod tests;
