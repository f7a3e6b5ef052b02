//! What becomes of a request whose look-up the store does not answer (PROTOCOL.md 8).
//!
//! Whatever it is, the browser keeps its ticket: nothing is stored, set, replaced or expired, so that
//! the session is there again when the store is.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::session::decide::{Refusal, Verdict};
use crate::session::exchange::{Bond, Held, Silence};
use crate::session::facts::{Access, Facts, GateState, Intent};
use crate::session::outcome::RecordKey;
use crate::session::policy::Policy;
use crate::session::record::{Age, Record, State};
use crate::session::ticket::Ticket;

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
            Bond::Stale(_) => Some(Self::Stale),
            Bond::Free | Bond::Live(..) | Bond::Login(_) | Bond::Silent(_) => None,
        }
    }
}

/// Decides on a request whose look-up failed.
///
/// Logins and logouts are refused whatever the route wants: nothing could be suspended or ended, and
/// neither must seem to have happened. Who is logged in nobody knows, so no route that requires it
/// is open to the anonymous.
pub fn verdict(facts: Facts<'_>) -> Verdict {
    match facts.on_store_down {
        OnStoreDown::Stale(max) if !changes_session(facts) => Verdict::Recall(max),
        OnStoreDown::Stale(_) | OnStoreDown::Reject | OnStoreDown::Anonymous => {
            match without_record(facts) {
                Ok(bond) => Verdict::Forward { bond, touch: None },
                Err(refusal) => Verdict::Refuse(refusal),
            }
        }
    }
}

/// The same, where nothing that is remembered will do.
///
/// # Errors
/// The request is refused.
pub fn without_record(facts: Facts<'_>) -> Result<Bond, Refusal> {
    let is_refused = changes_session(facts) || facts.access == Access::LoggedIn;
    match facts.on_store_down {
        OnStoreDown::Anonymous if !is_refused => Ok(Bond::Silent(Silence::Outage)),
        OnStoreDown::Anonymous | OnStoreDown::Reject | OnStoreDown::Stale(_) => {
            Err(Refusal::StoreDown)
        }
    }
}

/// A login or a logout would have to be written down.
fn changes_session(facts: Facts<'_>) -> bool {
    match facts.intent {
        Intent::Login(_) | Intent::Logout => true,
        Intent::Use | Intent::Preflight => false,
    }
}

/// Decides on a request whose record is remembered, or is not.
///
/// Only what is beyond doubt is served: a live record and a ticket of its, within all deadlines, of
/// its own client, with no login on its way and nothing kept aside. Whatever else may be true of the
/// session, it could not be written down.
///
/// # Errors
/// Why the request is refused.
pub fn recalled(
    policy: &Policy,
    ticket: &Ticket,
    key: RecordKey,
    remembered: Option<(u64, Arc<Record>)>,
    facts: Facts<'_>,
    now: UnixMillis,
) -> Result<Bond, Refusal> {
    let Some((version, record)) =
        remembered.filter(|(_, record)| is_beyond_doubt(policy, ticket, record, facts, now))
    else {
        return Err(Refusal::StoreDown);
    };
    // A ticket never belongs to a session that logs in later: that one has another.
    if facts.access == Access::LoggedIn && record.logged_in().is_none() {
        return Err(Refusal::LoginRequired);
    }
    Ok(Bond::Stale(Held { key, version, record }))
}

fn is_beyond_doubt(
    policy: &Policy,
    ticket: &Ticket,
    record: &Record,
    facts: Facts<'_>,
    now: UnixMillis,
) -> bool {
    let is_its_client = match (&policy.bind, &record.binding) {
        (Some(_), Some(binding)) => {
            facts.bearer.is_some_and(|bearer| binding.holds(&record.seed, bearer))
        }
        _ => true,
    };
    record.state == State::Live
        && record.parked.is_none()
        && !record.is_expired(now)
        && ticket.secret.proves(&record.secret(ticket.counter))
        && record.age_of(ticket.counter, policy.timeouts.grace, now) != Age::Reused
        && is_its_client
        && facts.gate == GateState::Open
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::binding::{Bearer, Bind, Binding, OnMismatch, Ties};
    use crate::session::facts::{Origin, Patience, Turns};
    use crate::session::jar::Jar;
    use crate::session::policy::CrossSite;
    use crate::session::record::{Seed, Standing};
    use crate::session::tests::policy;
    use crate::session::ticket::{Secret, Selector};

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
    const KEY: RecordKey = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };
    const MAX: Duration = Duration::from_secs(30);
    const ANONYMOUS: Facts<'static> = Facts { on_store_down: OnStoreDown::Anonymous, ..PLAIN };
    const STALE: Facts<'static> = Facts { on_store_down: OnStoreDown::Stale(MAX), ..PLAIN };
    const PLAIN: Facts<'static> = Facts {
        intent: Intent::Use,
        origin: Origin::Own,
        access: Access::Anybody,
        turns: Turns::None,
        attempt: 0,
        patience: Patience::Left,
        gate: GateState::Open,
        bearer: None,
        node: 0,
        on_store_down: OnStoreDown::Reject,
    };

    /// PROTOCOL 8: what the operator chose, but for what cannot be done without the store.
    #[test]
    fn a_route_says_what_an_outage_costs_its_visitors() {
        let refused = || Verdict::Refuse(Refusal::StoreDown);
        let check = |facts: Facts<'_>, expected: Verdict| {
            assert_eq!(verdict(facts), expected, "{facts:?}");
        };
        let silent = Verdict::Forward { bond: Bond::Silent(Silence::Outage), touch: None };
        check(PLAIN, refused());
        check(ANONYMOUS, silent);
        check(Facts { access: Access::LoggedIn, ..ANONYMOUS }, refused());
        check(Facts { intent: Intent::Login(CrossSite::Deny), ..ANONYMOUS }, refused());
        check(Facts { intent: Intent::Logout, ..ANONYMOUS }, refused());
        check(STALE, Verdict::Recall(MAX));
        check(Facts { access: Access::LoggedIn, ..STALE }, Verdict::Recall(MAX));
        check(Facts { intent: Intent::Login(CrossSite::Deny), ..STALE }, refused());
        check(Facts { intent: Intent::Logout, ..STALE }, refused());
    }

    fn record() -> Record {
        let timeouts = policy().timeouts;
        let record = Record::new(
            Seed::new([7; 32]),
            Jar::default(),
            Standing::Authenticated,
            &timeouts,
            NOW,
        );
        Record { counter: 5, presented: Some(NOW), ..record }
    }

    fn ticket(counter: u32) -> Ticket {
        Ticket {
            tag: KEY.tag,
            selector: Selector([5; 16]),
            counter,
            secret: record().secret(counter),
            issued: NOW.as_secs(),
            flags: 0,
        }
    }

    /// Says whether the record is served.
    fn serves(record: Record, ticket: &Ticket, facts: Facts<'_>, secs: u64) -> bool {
        let policy = policy();
        let now = NOW.plus(Duration::from_secs(secs));
        match recalled(&policy, ticket, KEY, Some((9, Arc::new(record))), facts, now) {
            Ok(bond) => {
                assert!(matches!(&bond, Bond::Stale(held) if held.key == KEY), "{bond:?}");
                true
            }
            Err(refusal) => {
                assert_eq!(refusal, Refusal::StoreDown);
                false
            }
        }
    }

    #[test]
    fn what_is_remembered_is_served_if_nothing_speaks_against_it() {
        let check = |record: Record, ticket: &Ticket, facts, secs, expected| {
            let what = format!("{record:?} with {} after {secs} s", ticket.counter);
            assert_eq!(serves(record, ticket, facts, secs), expected, "{what}");
        };
        check(record(), &ticket(5), STALE, 1, true);
        check(record(), &ticket(4), STALE, 59, true);
        check(record(), &ticket(4), STALE, 60, false);
        check(record(), &ticket(3), STALE, 1, false);
        // Another node has renewed it; the seed proves that.
        check(record(), &ticket(6), STALE, 1, true);
        let forged = Ticket { secret: Secret([0; 16]), ..ticket(5) };
        check(record(), &forged, STALE, 1, false);
        check(record(), &ticket(5), STALE, 1799, true);
        check(record(), &ticket(5), STALE, 1800, false);
        let ends_soon = Record { ends_at: NOW.plus(Duration::from_secs(5)), ..record() };
        check(ends_soon, &ticket(5), STALE, 5, false);
        check(record().park(NOW), &ticket(5), STALE, 1, false);
        let pending = State::Pending { since: NOW, by: 7 };
        for state in [pending, State::Moved { successor: KEY, at: NOW }, State::Ended] {
            check(record().into_state(state), &ticket(5), STALE, 1, false);
        }
        check(record(), &ticket(5), Facts { gate: GateState::Login, ..STALE }, 1, false);
    }

    #[test]
    fn what_is_not_remembered_is_refused() {
        let recalled = recalled(&policy(), &ticket(5), KEY, None, STALE, NOW);
        assert_eq!(recalled, Err(Refusal::StoreDown));
    }

    /// PROTOCOL 31.
    #[test]
    fn what_is_remembered_may_be_logged_in() {
        let required = Facts { access: Access::LoggedIn, ..STALE };
        assert!(serves(record(), &ticket(5), required, 1));
        let anonymous = Some((9, Arc::new(Record { authenticated: None, ..record() })));
        let recalled = recalled(&policy(), &ticket(5), KEY, anonymous, required, NOW);
        assert_eq!(recalled, Err(Refusal::LoginRequired));
    }

    #[test]
    fn what_is_remembered_is_for_its_own_client() {
        let bearer = |agent: &[u8]| {
            Some(Bearer::new(Some(agent), std::net::IpAddr::from([192, 0, 2, 7]), None))
        };
        let ties = Ties { user_agent: true, network: None, client_certificate: false };
        let policy = Policy { bind: Some(Bind { ties, on_mismatch: OnMismatch::End }), ..policy() };
        let owner = bearer(b"Firefox").expect("one that says who it is");
        let binding = Some(Binding::of(ties, &record().seed, &owner));
        let bound = || Some((9, Arc::new(Record { binding, ..record() })));
        for (who, expected) in [(b"Firefox".as_slice(), true), (b"curl", false)] {
            let presented = bearer(who);
            let facts = Facts { bearer: presented.as_ref(), ..STALE };
            let recalled = recalled(&policy, &ticket(5), KEY, bound(), facts, NOW);
            assert_eq!(recalled.is_ok(), expected, "{}", who.escape_ascii());
        }
    }
}
