//! What becomes of a request whose look-up the store does not answer (PROTOCOL.md 8).
//!
//! Whatever it is, the browser keeps its ticket: nothing is stored, set, replaced or expired, so that
//! the session is there again when the store is.

use std::time::Duration;

use crate::session::decide::{Facts, Refusal, Verdict};
use crate::session::exchange::{Bond, Silence};

/// What a route wants for requests with a ticket while the store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStoreDown {
    /// 503, with `Retry-After`.
    #[default]
    Reject,
    /// They go on without a session.
    Anonymous,
    /// They go on with the session as this node knew it, at most so long ago; 503 where it knows
    /// none.
    Stale(Duration),
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutStore {
    Reject,
    Anonymous,
    Stale,
}

impl WithoutStore {
    /// Every one, in the order of declaration.
    pub const ALL: &'static [Self] = &[Self::Reject, Self::Anonymous, Self::Stale];

    /// Its name in the audit log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Anonymous => "anonymous",
            Self::Stale => "stale",
        }
    }

    /// What became of an exchange that was admitted; `None` where the store had answered.
    pub fn of(bond: &Bond) -> Option<Self> {
        match bond {
            Bond::Silent(Silence::Outage) => Some(Self::Anonymous),
            Bond::Free | Bond::Live(..) | Bond::Login(_) | Bond::Silent(_) => None,
        }
    }
}

/// Decides on a request whose look-up failed.
///
/// Logins and logouts are refused whatever the route wants: nothing could be suspended or ended, and
/// neither must seem to have happened. Who is logged in nobody knows, so no route that requires it
/// is open to the anonymous.
pub fn verdict(facts: Facts) -> Verdict {
    let refused = Verdict::Refuse(Refusal::StoreDown);
    if facts.is_login || facts.is_logout {
        return refused;
    }
    match facts.on_store_down {
        OnStoreDown::Anonymous if !facts.requires_login => {
            Verdict::Forward { bond: Bond::Silent(Silence::Outage), touch: None }
        }
        OnStoreDown::Reject | OnStoreDown::Anonymous | OnStoreDown::Stale(_) => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANONYMOUS: Facts = Facts { on_store_down: OnStoreDown::Anonymous, ..PLAIN };
    const PLAIN: Facts = Facts {
        is_login: false,
        is_logout: false,
        refuses_cross_site: false,
        is_cross_site: false,
        is_preflight: false,
        requires_login: false,
        takes_turns: false,
        attempt: 0,
        has_waited: false,
        is_beside_login: false,
        bearer: None,
        node: 0,
        on_store_down: OnStoreDown::Reject,
    };

    /// PROTOCOL 8: what the operator chose, but for what cannot be done without the store.
    #[test]
    fn a_route_says_what_an_outage_costs_its_visitors() {
        let refused = || Verdict::Refuse(Refusal::StoreDown);
        let check = |facts: Facts, expected: Verdict| {
            assert_eq!(verdict(facts), expected, "{facts:?}");
        };
        let silent = Verdict::Forward { bond: Bond::Silent(Silence::Outage), touch: None };
        check(PLAIN, refused());
        check(ANONYMOUS, silent);
        check(Facts { requires_login: true, ..ANONYMOUS }, refused());
        check(Facts { is_login: true, ..ANONYMOUS }, refused());
        check(Facts { is_logout: true, ..ANONYMOUS }, refused());
    }
}
