//! The endpoints that a group has at the moment, and what is known of each of them.

use std::sync::Arc;

use super::balance::{Load, SmoothWeight, smooth};
use super::changes::Said;
use super::check::{CheckSettings, Checked};
use super::endpoint::Endpoint;
use super::group::Standing;
use super::hash::Ring;
use super::health::Health;
use super::pace::Pace;
use super::{Address, Balance, EndpointSettings, UpstreamSettings};
use crate::clock::UnixMillis;

/// What one is in weights of endpoints some of which start slowly.
const FINE: i64 = 100;

/// The endpoints of a group, in the order in which they are balanced.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) list: Vec<Member>,
    /// Of those that are no backups, which have none.
    pub(super) weights: Vec<i64>,
    /// Where they are chosen on one.
    pub(super) ring: Option<Ring>,
    /// Of those that names bring, what an operator has taken away.
    pub(super) removed: Vec<Address>,
    /// What one is in the weights of those that take turns: finer where some start slowly.
    one: i64,
    check: Option<CheckSettings>,
    next_id: usize,
}

/// An endpoint, and what is known of it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) turn: SmoothWeight,
    pub(super) health: Health,
    /// What active checks say, where there are any.
    checked: Option<Checked>,
    pub(super) active: usize,
    pub(super) pace: Pace,
    pub(super) said: Said,
}

/// Whether an endpoint may be chosen.
pub(super) type Eligible<'a> = &'a dyn Fn(&Member) -> bool;

impl Members {
    pub(super) fn new(settings: &UpstreamSettings) -> Self {
        let has_ring = settings.balance == Balance::Hash { consistent: true };
        let names = settings.names.iter().map(|name| &name.endpoint);
        let starts_slowly = |endpoint: &EndpointSettings| !endpoint.slow_start.is_zero();
        let is_fine = settings.endpoints.iter().chain(names).any(starts_slowly);
        let mut members = Self {
            list: Vec::new(),
            weights: Vec::new(),
            ring: has_ring.then(Ring::default),
            removed: Vec::new(),
            one: if is_fine { FINE } else { 1 },
            check: settings.check.clone(),
            next_id: 0,
        };
        members.add(settings.endpoints.iter().cloned());
        members
    }

    /// Takes in how long those that start slowly have been at it.
    pub(super) fn grow(&mut self, now: UnixMillis) {
        if self.one > 1 {
            self.list.iter_mut().for_each(|member| member.turn.grow(now));
        }
    }

    /// Notes an active check. Says whether that changes the endpoint's state.
    pub(super) fn checked(&mut self, id: usize, is_good: bool, now: UnixMillis) -> bool {
        let Some(settings) = self.check.clone() else { return false };
        let Some(member) = self.get(id) else { return false };
        let has_changed = member.checked.as_mut().is_some_and(|it| it.note(is_good, &settings));
        if has_changed && is_good {
            member.recovers(now);
        }
        has_changed
    }

    /// The endpoint with this id.
    pub(super) fn get(&mut self, id: usize) -> Option<&mut Member> {
        let has_it = |member: &Member| member.endpoint.id == id;
        let is_at_its_place = self.list.get(id).is_some_and(has_it);
        let place = if is_at_its_place { Some(id) } else { self.list.iter().position(has_it) };
        place.map(|place| &mut self.list[place])
    }

    /// Puts what a name has now in place of what it had. Endpoints that remain keep what is known of
    /// them; new ones come last.
    pub(super) fn replace(&mut self, name: usize, mut found: Vec<EndpointSettings>) {
        let removed = &self.removed;
        found.retain(|new| !removed.contains(&new.address));
        self.list.retain_mut(|member| {
            let known = &member.endpoint.settings;
            if known.name != Some(name) {
                return true;
            }
            let place = found.iter().position(|new| new.address == known.address);
            if let Some(new) = place.map(|place| member.said.over(found.remove(place)))
                && new != *known
            {
                member.turn.weighs(new.weight);
                member.endpoint = Arc::new(Endpoint::new(member.endpoint.id, new));
            }
            place.is_some()
        });
        self.add(found.into_iter());
    }

    pub(super) fn add(&mut self, endpoints: impl Iterator<Item = EndpointSettings>) {
        for settings in endpoints {
            self.list.push(Member {
                turn: SmoothWeight::new(settings.weight, self.one),
                endpoint: Arc::new(Endpoint::new(self.next_id, settings)),
                health: Health::default(),
                checked: self.check.as_ref().map(Checked::new),
                active: 0,
                pace: Pace::default(),
                said: Said::default(),
            });
            self.next_id += 1;
        }
        self.weigh();
    }

    /// Takes in which endpoints there are, and what they weigh.
    pub(super) fn weigh(&mut self) {
        self.weights = self.list.iter().map(Member::weight).collect();
        if let Some(ring) = &mut self.ring {
            let servers = self.list.iter().map(|member| member.endpoint.settings.server.as_str());
            *ring = Ring::new(servers.zip(self.weights.iter().copied()));
        }
    }

    /// Those of the server that a key has on the ring take turns; of the next one, where none of them may
    /// be chosen.
    pub(super) fn on_ring(&mut self, key: &[u8], is: Eligible<'_>) -> Option<usize> {
        let Self { list, ring, .. } = self;
        ring.as_ref()?.from(key).find_map(|first| {
            let first = list[first].endpoint.clone();
            let is_of_server =
                |member: &Member| member.endpoint.settings.server == first.settings.server;
            let members = list.iter_mut().enumerate();
            let eligible = members.filter(|(_, member)| is_of_server(member) && is(member));
            smooth(eligible.map(|(place, member)| (place, &mut member.turn)))
        })
    }

    /// Smooth weighted round robin among those that may be chosen.
    pub(super) fn take_turns(&mut self, is: Eligible<'_>) -> Option<usize> {
        let eligible = self.list.iter_mut().enumerate().filter(|(_, member)| is(member));
        smooth(eligible.map(|(place, member)| (place, &mut member.turn)))
    }
}

impl Member {
    pub(super) fn load(&self) -> Load {
        Load { active: self.active, weight: self.turn.weight() }
    }

    /// Whether it may have another request beside those that it has.
    pub(super) fn has_room(&self) -> bool {
        let EndpointSettings { is_down, max_conns, .. } = self.endpoint.settings;
        !is_down && self.is_healthy() && (max_conns == 0 || self.active < max_conns)
    }

    /// Whether nothing speaks against it that active checks say.
    pub(super) fn is_healthy(&self) -> bool {
        self.checked.is_none_or(Checked::is_healthy)
    }

    /// Whether it is asked.
    pub(super) fn standing(&self, now: UnixMillis) -> Standing {
        let settings = &self.endpoint.settings;
        if settings.is_down {
            Standing::Down
        } else if !self.is_healthy() {
            Standing::Unhealthy
        } else if !self.health.is_available(settings.limits, now) {
            Standing::Failed
        } else if settings.is_draining {
            Standing::Draining
        } else {
            Standing::Up
        }
    }

    /// It is well again.
    pub(super) fn recovers(&mut self, now: UnixMillis) {
        self.health = Health::default();
        self.turn.starts(self.endpoint.settings.slow_start, now);
    }

    fn weight(&self) -> i64 {
        let settings = &self.endpoint.settings;
        if settings.is_backup { 0 } else { i64::from(settings.weight) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_name(name: usize, port: u16) -> EndpointSettings {
        let address = Address::Inet(([127, 0, 0, 1], port).into());
        EndpointSettings { name: Some(name), ..EndpointSettings::new(address) }
    }

    fn ids(members: &Members) -> Vec<(usize, &str)> {
        let endpoints = members.list.iter().map(|member| &member.endpoint);
        endpoints.map(|endpoint| (endpoint.id, endpoint.text.as_str())).collect()
    }

    fn members(endpoints: Vec<EndpointSettings>) -> Members {
        Members::new(&UpstreamSettings { endpoints, ..UpstreamSettings::direct() })
    }

    #[test]
    fn endpoints_that_remain_keep_what_is_known_of_them() {
        let fixed = EndpointSettings::new(Address::Inet(([127, 0, 0, 1], 1).into()));
        let mut members = members(vec![of_name(0, 7), fixed, of_name(1, 9)]);
        members.list[0].active = 3;
        members.replace(0, vec![of_name(0, 8), of_name(0, 7)]);
        let expected =
            [(0, "127.0.0.1:7"), (1, "127.0.0.1:1"), (2, "127.0.0.1:9"), (3, "127.0.0.1:8")];
        assert_eq!(ids(&members), expected);
        assert_eq!(members.list[0].active, 3);
        members.replace(0, vec![of_name(0, 8)]);
        assert_eq!(ids(&members), &expected[1..]);
        assert_eq!(members.weights, [1, 1, 1]);
        assert_eq!(members.get(3).map(|member| member.endpoint.id), Some(3));
        assert!(members.get(0).is_none(), "it is gone");
        members.replace(0, vec![of_name(0, 7), of_name(0, 8)]);
        assert_eq!(ids(&members)[3], (4, "127.0.0.1:7"), "ids are not used again");
    }

    #[test]
    fn a_changed_weight_counts_at_once() {
        let mut members = members(vec![of_name(0, 7)]);
        members.list[0].active = 2;
        members.replace(0, vec![EndpointSettings { weight: 5, ..of_name(0, 7) }]);
        assert_eq!((ids(&members), members.list[0].active), (vec![(0, "127.0.0.1:7")], 2));
        assert_eq!((&*members.weights, members.list[0].turn.weight()), (&[5][..], 5));
    }
}
