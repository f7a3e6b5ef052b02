//! What an operator changes of a group while the process runs. It counts until the process ends, whatever
//! an endpoint's name resolves to meanwhile.

use super::endpoint::Endpoint;
use super::health::Health;
use super::members::Members;
use super::{Address, EndpointSettings};

/// So many endpoints one upstream may have beside those that its names bring; and so many may be removed.
const MEMBERS_MAX: usize = 1024;

/// A change of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only who is sticky to it still goes there.
    Drain,
    /// It is asked again: it drains no more, is not down, and its failures are forgotten.
    Enable,
    /// At least 1.
    Weight(u32),
    /// A new one.
    Add(Box<EndpointSettings>),
    /// It is gone for new requests. Those that are there are finished.
    Remove,
}

/// Why a change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The group has no such endpoint.
    Unknown,
    /// The group has it already.
    Known,
    /// No other one is left.
    LastOne,
    TooMany,
}

/// What an operator has said of an endpoint, whatever its settings say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) is_draining: Option<bool>,
    pub(super) is_down: Option<bool>,
    pub(super) weight: Option<u32>,
}

impl Said {
    /// The settings as they count.
    pub(super) fn over(self, settings: EndpointSettings) -> EndpointSettings {
        EndpointSettings {
            is_draining: self.is_draining.unwrap_or(settings.is_draining),
            is_down: self.is_down.unwrap_or(settings.is_down),
            weight: self.weight.unwrap_or(settings.weight),
            ..settings
        }
    }
}

impl Members {
    /// Carries a change out.
    pub(super) fn change(&mut self, address: &Address, change: Change) -> Result<(), Refused> {
        let place = self.list.iter().position(|member| member.endpoint.address() == address);
        match change {
            Change::Add(settings) => {
                if place.is_some() {
                    return Err(Refused::Known);
                }
                if self.list.len() >= MEMBERS_MAX {
                    return Err(Refused::TooMany);
                }
                self.removed.retain(|removed| removed != address);
                self.add(std::iter::once(*settings));
                return Ok(());
            }
            Change::Remove => {
                let place = place.ok_or(Refused::Unknown)?;
                if self.list.len() == 1 {
                    return Err(Refused::LastOne);
                }
                let is_of_name = self.list[place].endpoint.settings.name.is_some();
                if is_of_name && self.removed.len() >= MEMBERS_MAX {
                    return Err(Refused::TooMany);
                }
                self.list.remove(place);
                if is_of_name {
                    self.removed.push(address.clone());
                }
                self.weigh();
                return Ok(());
            }
            Change::Drain | Change::Enable | Change::Weight(_) => {}
        }
        let member = &mut self.list[place.ok_or(Refused::Unknown)?];
        match change {
            Change::Drain => member.said.is_draining = Some(true),
            Change::Enable => {
                member.said.is_draining = Some(false);
                member.said.is_down = Some(false);
                member.health = Health::default();
            }
            Change::Weight(weight) => member.said.weight = Some(weight.max(1)),
            Change::Add(_) | Change::Remove => {}
        }
        let settings = member.said.over(member.endpoint.settings.clone());
        if settings.weight != member.endpoint.settings.weight {
            member.turn.weighs(settings.weight);
        }
        member.endpoint = std::sync::Arc::new(Endpoint::new(member.endpoint.id, settings));
        self.weigh();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::UpstreamSettings;
    use super::*;

    fn address(port: u16) -> Address {
        Address::Inet(([127, 0, 0, 1], port).into())
    }

    fn fixed(port: u16) -> EndpointSettings {
        EndpointSettings::new(address(port))
    }

    fn of_name(port: u16) -> EndpointSettings {
        EndpointSettings { name: Some(0), ..fixed(port) }
    }

    fn members(endpoints: Vec<EndpointSettings>) -> Members {
        Members::new(&UpstreamSettings { endpoints, ..UpstreamSettings::direct() })
    }

    fn shown(members: &Members) -> Vec<(String, u32, bool)> {
        let endpoints = members.list.iter().map(|member| &member.endpoint);
        endpoints.map(|it| (it.text.clone(), it.settings.weight, it.settings.is_draining)).collect()
    }

    fn line(port: u16, weight: u32, is_draining: bool) -> (String, u32, bool) {
        (format!("127.0.0.1:{port}"), weight, is_draining)
    }

    #[test]
    fn endpoints_are_changed_one_by_one() {
        let mut members = members(vec![fixed(1), fixed(2)]);
        let mut change = |port, change| members.change(&address(port), change);
        assert_eq!(change(1, Change::Drain), Ok(()));
        assert_eq!(change(2, Change::Weight(7)), Ok(()));
        assert_eq!(change(3, Change::Add(Box::new(fixed(3)))), Ok(()));
        assert_eq!(change(3, Change::Add(Box::new(fixed(3)))), Err(Refused::Known));
        for what in [Change::Drain, Change::Enable, Change::Weight(2), Change::Remove] {
            assert_eq!(change(9, what), Err(Refused::Unknown));
        }
        assert_eq!(shown(&members), [line(1, 1, true), line(2, 7, false), line(3, 1, false)]);
        assert_eq!(members.weights, [1, 7, 1]);
        assert_eq!(members.change(&address(1), Change::Enable), Ok(()));
        assert_eq!(members.change(&address(2), Change::Remove), Ok(()));
        assert_eq!(shown(&members), [line(1, 1, false), line(3, 1, false)]);
        assert_eq!(members.weights, [1, 1]);
        assert_eq!(members.change(&address(1), Change::Remove), Ok(()));
        assert_eq!(members.change(&address(3), Change::Remove), Err(Refused::LastOne));
        assert_eq!(members.get(2).map(|member| member.endpoint.id), Some(2), "ids stay");
    }

    #[test]
    fn what_was_said_outlives_what_a_name_resolves_to() {
        let mut members = members(vec![fixed(1), of_name(2), of_name(3), of_name(4)]);
        members.change(&address(2), Change::Drain).expect("it is there");
        members.change(&address(3), Change::Weight(5)).expect("it is there");
        members.change(&address(4), Change::Remove).expect("it is there");
        members.replace(0, vec![of_name(2), of_name(3), of_name(4), of_name(5)]);
        let expected = [line(1, 1, false), line(2, 1, true), line(3, 5, false), line(5, 1, false)];
        assert_eq!(shown(&members), expected);
        let back = Change::Add(Box::new(fixed(4)));
        assert_eq!(members.change(&address(4), back), Ok(()));
        members.replace(0, vec![of_name(2), of_name(3)]);
        let expected = [line(1, 1, false), line(2, 1, true), line(3, 5, false), line(4, 1, false)];
        assert_eq!(shown(&members), expected);
    }

    #[test]
    fn who_is_enabled_is_not_down_any_more() {
        let mut members = members(vec![EndpointSettings { is_down: true, ..fixed(1) }]);
        assert!(!members.list[0].has_room());
        members.change(&address(1), Change::Enable).expect("it is there");
        assert!(members.list[0].has_room());
    }
}
