//! One pure step from what is known of a request to what is to be done with it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::cookie::enforce::SameSite;
use crate::session::binding::{Bearer, OnMismatch};
use crate::session::event::{Cause, Event, NotMade, Reject};
use crate::session::exchange::{Bond, Held, Presented, Silence};
use crate::session::outage::{self, OnStoreDown};
use crate::session::outcome::{Lookup, RecordKey};
use crate::session::policy::{CrossSite, OnReuse, Policy, Timeouts};
use crate::session::record::{Age, Record, State, Touch, UNSETTLED, idle_step};
use crate::session::ticket::Ticket;

/// What a request asks of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intent {
    /// To be served with it.
    #[default]
    Use,
    /// The request part of a login rule fits; whether other sites may send it (rule 24).
    Login(CrossSite),
    /// The request part of a logout rule fits, and of no login rule.
    Logout,
    /// Nothing: it is a CORS preflight (rule 31).
    Preflight,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Not from another site, as far as is known. Nobody asks of requests with a ticket that write
    /// nothing.
    #[default]
    Own,
    CrossSite,
}

/// Whom a route is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    Anybody,
    /// `require: login` (rule 31).
    LoggedIn,
}

/// Whether a request takes turns with others of its session (rule 32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turns {
    #[default]
    None,
    Takes,
}

/// Whether a request may wait for a login any longer (rule 18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    #[default]
    Left,
    Over,
}

/// What goes on at the gate of the session on this node (rule 18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    #[default]
    Open,
    /// A login is about to suspend the record, and did not let this request wait any longer.
    Login,
}

/// What is known of a request besides its ticket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    pub intent: Intent,
    pub origin: Origin,
    pub access: Access,
    pub turns: Turns,
    /// A random number that tells this login from all others.
    pub attempt: u64,
    pub patience: Patience,
    pub gate: Gate,
    /// Whoever presents the ticket; given where that matters to the policy.
    pub bearer: Option<Bearer>,
    /// The node's number, by which it moves idle deadlines at other times than others do.
    pub node: u16,
    /// What the route wants while the store does not answer.
    pub on_store_down: OnStoreDown,
}

impl Facts {
    /// Whether it tries to log in.
    pub fn is_login(&self) -> bool {
        matches!(self.intent, Intent::Login(_))
    }

    /// Whether it is a login that comes from where it must not.
    fn is_foreign_login(&self) -> bool {
        self.intent == Intent::Login(CrossSite::Deny) && self.origin == Origin::CrossSite
    }
}

/// A ticket that opened and the record that it selects.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    pub ticket: &'a Ticket,
    pub key: RecordKey,
    pub lookup: Lookup<(u64, Arc<Record>)>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward; where `touch` is given, write it: an attempt, whose failure does not matter.
    Forward {
        bond: Bond,
        touch: Option<Touch>,
    },
    /// A login: make the record `pending` in the store, then forward with [`Bond::Login`].
    /// Look up and decide again if another version is there.
    Suspend {
        held: Held,
        pending: Box<Record>,
    },
    /// A login of this record is on its way: look again, at most two seconds long.
    Wait(RecordKey),
    /// An older ticket was presented (rule 15), or another client's, or the application took the
    /// session away and nobody was left to see to it (rule 29): end its record in the store, then
    /// go on without a session. Look up and decide again if another version is there.
    End {
        held: Held,
        ended: Box<Record>,
        cause: Cause,
    },
    /// The record was moved a while ago: should this successor never have been presented, it ends.
    /// Look the successor up and ask [`successor`].
    AskSuccessor(RecordKey),
    /// The store does not answer, and what this node knew of the record at most so long ago will
    /// do. Look there and ask [`outage::recalled`].
    Recall(Duration),
    Refuse(Refusal),
}

/// Why a request does not reach a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 503, with `Retry-After`.
    StoreDown,
    /// 403 (rule 24).
    CrossSiteLogin,
    /// 403: the ticket belongs to another client.
    BindingMismatch,
    /// A redirect for navigations, 401 for everything else (rule 31).
    LoginRequired,
}

/// Decides on a request with a ticket that opened.
pub fn decide(
    policy: &Policy,
    claim: Claim<'_>,
    facts: Facts,
    now: UnixMillis,
) -> (Verdict, Option<Event>) {
    match beforehand(facts) {
        Some(Ok(bond)) => (forward(bond), None),
        Some(Err(refusal)) => (Verdict::Refuse(refusal), None),
        None => {
            let (verdict, event) = on_claim(policy, claim, facts, now);
            (require(verdict, facts), event)
        }
    }
}

/// Decides on a request of which no ticket opened.
///
/// # Errors
/// Why it is refused.
pub fn without_ticket(facts: Facts) -> Result<Bond, Refusal> {
    beforehand(facts).unwrap_or_else(|| free(facts))
}

/// What needs no look at a session.
fn beforehand(facts: Facts) -> Option<Result<Bond, Refusal>> {
    if facts.intent == Intent::Preflight {
        Some(Ok(Bond::Silent(Silence::Preflight)))
    } else if facts.is_foreign_login() {
        Some(Err(Refusal::CrossSiteLogin))
    } else {
        None
    }
}

fn free(facts: Facts) -> Result<Bond, Refusal> {
    match facts.access {
        Access::Anybody => Ok(Bond::Free),
        Access::LoggedIn => Err(Refusal::LoginRequired),
    }
}

/// Decides on a request whose record was moved a while ago, once its successor was looked up
/// (rule 22): the ticket counts as none. A successor that nobody has presented is to be ended first,
/// as the record returned.
pub fn successor(
    lookup: &Lookup<(u64, Arc<Record>)>,
    facts: Facts,
) -> (Result<Bond, Refusal>, Option<Record>) {
    match lookup {
        // What was moved has no jar to lend, however well it is remembered.
        Lookup::Unavailable => (outage::without_record(facts), None),
        Lookup::Found((_, record)) if record.state == State::Live && !record.was_seen() => {
            (free(facts), Some(Record::clone(record).into_state(State::Ended)))
        }
        Lookup::Found(_) | Lookup::NotFound | Lookup::Revoked => (free(facts), None),
    }
}

/// Whether the application may make a session in answer to a request without a ticket: not where
/// `SameSite` may have held the ticket back, which a new one would overwrite (rule 10).
pub fn may_make(same_site: SameSite, is_safe: bool, facts: Facts) -> Result<(), NotMade> {
    let withheld = facts.origin == Origin::CrossSite
        && match same_site {
            SameSite::Strict => true,
            SameSite::Lax => !is_safe,
            SameSite::None => false,
        };
    if withheld && !facts.is_login() { Err(NotMade::CrossSite) } else { Ok(()) }
}

fn forward(bond: Bond) -> Verdict {
    Verdict::Forward { bond, touch: None }
}

fn end(held: Held, cause: Cause) -> Verdict {
    let ended = Box::new(Record::clone(&held.record).into_state(State::Ended));
    Verdict::End { held, ended, cause }
}

fn require(verdict: Verdict, facts: Facts) -> Verdict {
    match &verdict {
        Verdict::Forward { bond, .. }
            if facts.access == Access::LoggedIn
                && bond.record().is_none_or(|record| record.logged_in().is_none()) =>
        {
            Verdict::Refuse(Refusal::LoginRequired)
        }
        _ => verdict,
    }
}

fn on_claim(
    policy: &Policy,
    claim: Claim<'_>,
    facts: Facts,
    now: UnixMillis,
) -> (Verdict, Option<Event>) {
    let Claim { ticket, key, lookup } = claim;
    let (version, record) = match lookup {
        Lookup::Found(found) => found,
        Lookup::Unavailable => return (outage::verdict(facts), None),
        // Never merely expired: a late request must not kill the ticket that came after it.
        Lookup::NotFound | Lookup::Revoked => return (forward(Bond::Free), None),
    };
    if !ticket.secret.proves(&record.secret(ticket.counter)) {
        let event = Event::TicketRejected { reason: Reject::WrongSecret };
        return (forward(Bond::Free), Some(event));
    }
    let ended = |cause| (forward(Bond::Free), Some(Event::Ended { id: key, cause }));
    let is_past_end = now >= record.ends_at;
    match record.state {
        State::Ended => (forward(Bond::Free), None),
        // Nothing ends: what an attempt to log in has left is not kept for long.
        State::Moved { .. } if is_past_end => (forward(Bond::Free), None),
        State::Live | State::Pending { .. } if is_past_end => ended(Cause::Absolute),
        State::Moved { successor, at } if now.since(at) > UNSETTLED => {
            (Verdict::AskSuccessor(successor), None)
        }
        State::Moved { .. } => (forward(Bond::Silent(Silence::Moved(key))), None),
        State::Pending { since, .. } if now.since(since) > UNSETTLED => {
            ended(Cause::PendingTimedOut)
        }
        State::Pending { .. } if facts.patience == Patience::Over => {
            (forward(Bond::Silent(Silence::Pending(key))), None)
        }
        State::Pending { .. } => (Verdict::Wait(key), None),
        State::Live if now >= record.idle_until => ended(Cause::Idle),
        State::Live => on_live(policy, ticket, Held { key, version, record }, facts, now),
    }
}

fn on_live(
    policy: &Policy,
    ticket: &Ticket,
    mut held: Held,
    facts: Facts,
    now: UnixMillis,
) -> (Verdict, Option<Event>) {
    let Timeouts { idle, grace, .. } = policy.timeouts;
    let is_overdue = held.record.is_overdue(now);
    if is_overdue {
        held.record = Arc::new(Arc::unwrap_or_clone(held.record).unparked());
    }
    let age = held.record.age_of(ticket.counter, grace, now);
    let touch = match age {
        Age::Current | Age::Previous => {
            let step = idle_step(idle, held.key, facts.node);
            let touch = held.record.touched(age, idle, step, now);
            if is_overdue { touch.map(|touch| Touch::Now(touch.into_record())) } else { touch }
        }
        Age::Newer => Some(Touch::Now(Box::new(held.record.repaired(ticket.counter, now)))),
        Age::Reused => {
            let event = Some(Event::Reused { id: held.key });
            return match policy.on_reuse {
                // By then no request is late: its user is to be able to log in (rule 22).
                OnReuse::Log
                    if now.since(held.record.overtaken(ticket.counter, grace)) > UNSETTLED =>
                {
                    (forward(Bond::Free), event)
                }
                OnReuse::Log => (forward(Bond::Silent(Silence::Reused)), event),
                OnReuse::Recent if held.record.is_twin(ticket.counter, facts.bearer.as_ref()) => {
                    (forward(Bond::Silent(Silence::Outdated)), event)
                }
                OnReuse::Revoke | OnReuse::Recent => (end(held, Cause::Reused), event),
            };
        }
    };
    if let Some(bind) = &policy.bind
        && let Some(binding) = &held.record.binding
        && !facts.bearer.is_some_and(|bearer| binding.holds(&held.record.seed, &bearer))
    {
        let event = Some(Event::BindingMismatch { id: held.key });
        return match bind.on_mismatch {
            OnMismatch::Deny => (Verdict::Refuse(Refusal::BindingMismatch), event),
            OnMismatch::End => (end(held, Cause::BindingMismatch), event),
        };
    }
    if is_overdue && held.record.jar.is_empty() {
        return (end(held, Cause::AppDeleted), None);
    }
    let written = || Touch::Now(Box::new(Record::clone(&held.record)));
    let touch = touch.or_else(|| is_overdue.then(written));
    if facts.gate == Gate::Login {
        return (forward(Bond::Silent(Silence::Pending(held.key))), None);
    }
    if facts.is_login() {
        let pending =
            touch.map_or_else(|| Record::clone(&held.record), |touch| *touch.into_record());
        let state = State::Pending { since: now, by: facts.attempt };
        let pending = Box::new(pending.into_state(state));
        return (Verdict::Suspend { held, pending }, None);
    }
    let Ticket { tag, selector, counter, .. } = *ticket;
    let bond = Bond::Live(held, Presented { tag, selector, counter });
    (Verdict::Forward { bond, touch }, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::response::SetCookie;
    use crate::session::binding::{Bind, Binding, LOOKS, Ties};
    use crate::session::jar::{Edit, Jar};
    use crate::session::record::{Seed, Standing};
    use crate::session::tests::policy;
    use crate::session::ticket::{Secret, Selector};

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
    const KEY: RecordKey = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };
    const NEXT: RecordKey = RecordKey { tag: [3; 8], id: [4; 16], has_subject: false };
    const PLAIN: Facts = Facts {
        intent: Intent::Use,
        origin: Origin::Own,
        access: Access::Anybody,
        turns: Turns::None,
        attempt: 7,
        patience: Patience::Left,
        gate: Gate::Open,
        bearer: None,
        node: 0,
        on_store_down: OnStoreDown::Reject,
    };
    const LOGIN: Facts = Facts { intent: Intent::Login(CrossSite::Deny), ..PLAIN };

    fn record() -> Record {
        let timeouts = policy().timeouts;
        let record = Record::new(
            Seed::new([7; 32]),
            Jar::default(),
            Standing::Authenticated,
            &timeouts,
            NOW,
        );
        Record { presented: Some(NOW), ..record }
    }

    fn ticket(record: &Record) -> Ticket {
        Ticket {
            tag: KEY.tag,
            selector: Selector([5; 16]),
            counter: 0,
            secret: record.secret(0),
            issued: NOW.as_secs(),
            flags: 0,
        }
    }

    fn on(record: Record, facts: Facts, secs: u64) -> Verdict {
        let ticket = ticket(&record);
        let claim =
            Claim { ticket: &ticket, key: KEY, lookup: Lookup::Found((9, Arc::new(record))) };
        decide(&policy(), claim, facts, NOW.plus(Duration::from_secs(secs))).0
    }

    fn state(state: State) -> Record {
        record().into_state(state)
    }

    /// A ticket is for the client that its record is bound to; what a policy does with others.
    #[test]
    fn a_bound_record_serves_its_own_client_only() {
        let bearer = |agent: &[u8]| {
            Some(Bearer::new(Some(agent), std::net::IpAddr::from([192, 0, 2, 7]), None))
        };
        let ties = Ties { user_agent: true, network: None, client_certificate: false };
        let (alice, thief) = (bearer(b"Firefox"), bearer(b"curl"));
        let bound = |bearer: Option<Bearer>| {
            let record = record();
            let binding = bearer.map(|bearer| Binding::of(ties, &record.seed, &bearer));
            Record { presented: None, binding, ..record }
        };
        let decide = |on_mismatch: Option<OnMismatch>, record: Record, facts: Facts| {
            let bind = on_mismatch.map(|on_mismatch| Bind { ties, on_mismatch });
            let (policy, ticket) = (Policy { bind, ..policy() }, ticket(&record));
            let claim =
                Claim { ticket: &ticket, key: KEY, lookup: Lookup::Found((9, Arc::new(record))) };
            decide(&policy, claim, facts, NOW)
        };
        let from = |bearer| Facts { bearer, ..PLAIN };
        let is_forwarded = |(verdict, _): (Verdict, Option<Event>)| {
            matches!(verdict, Verdict::Forward { bond: Bond::Live(..), .. })
        };
        let mismatch = Some(Event::BindingMismatch { id: KEY });
        for on_mismatch in [OnMismatch::End, OnMismatch::Deny] {
            assert!(is_forwarded(decide(Some(on_mismatch), bound(alice), from(alice))));
            assert!(is_forwarded(decide(Some(on_mismatch), bound(None), from(thief))), "unbound");
        }
        assert!(is_forwarded(decide(None, bound(alice), from(None))), "no longer asked for");
        for facts in [from(thief), from(None), Facts { intent: LOGIN.intent, ..from(thief) }] {
            let (verdict, event) = decide(Some(OnMismatch::Deny), bound(alice), facts);
            assert_eq!(verdict, Verdict::Refuse(Refusal::BindingMismatch));
            assert_eq!(event, mismatch);
            let (verdict, event) = decide(Some(OnMismatch::End), bound(alice), facts);
            let Verdict::End { ended, cause: Cause::BindingMismatch, .. } = verdict else {
                panic!("{verdict:?}")
            };
            assert_eq!((ended.state, event), (State::Ended, mismatch.clone()));
        }
    }

    #[test]
    fn without_a_ticket_there_is_no_session() {
        assert_eq!(without_ticket(PLAIN), Ok(Bond::Free));
        assert_eq!(without_ticket(LOGIN), Ok(Bond::Free));
        let required = Facts { access: Access::LoggedIn, ..PLAIN };
        assert_eq!(without_ticket(required), Err(Refusal::LoginRequired));
    }

    #[test]
    fn a_live_record_goes_along() {
        let Verdict::Forward { bond: Bond::Live(held, _), touch: None } = on(record(), PLAIN, 1)
        else {
            panic!("not forwarded with its record");
        };
        assert_eq!((held.key, held.version), (KEY, 9));
    }

    /// PROTOCOL 9: the first time that a ticket comes back is noted.
    #[test]
    fn the_first_presentation_is_written() {
        let unseen = Record { presented: None, ..record() };
        let Verdict::Forward { touch: Some(Touch::Now(touched)), .. } = on(unseen, PLAIN, 1) else {
            panic!("nothing to write");
        };
        assert!(touched.presented.is_some());
    }

    /// Nobody waits for an idle deadline to be moved, unless something else is written with it.
    #[test]
    fn an_idle_deadline_is_moved_in_the_background() {
        let Verdict::Forward { bond: Bond::Live(held, _), touch: Some(Touch::Soon(touched)) } =
            on(record(), PLAIN, 500)
        else {
            panic!("it is not due, or waited for");
        };
        assert_eq!(*held.record, record(), "what is held is what the store has");
        let idle_until = NOW.plus(Duration::from_secs(2300));
        assert_eq!(*touched, Record { idle_until, ..record() });
        let Verdict::Suspend { pending, .. } = on(record(), LOGIN, 500) else { panic!("no login") };
        assert_eq!(pending.idle_until, idle_until, "a login writes anyway");
    }

    /// PROTOCOL 8: an outage refuses; "not there" does not.
    #[test]
    fn unavailable_is_not_not_found() {
        let ticket = ticket(&record());
        let check = |lookup, expected| {
            let claim = Claim { ticket: &ticket, key: KEY, lookup };
            assert_eq!(decide(&policy(), claim, PLAIN, NOW).0, expected);
        };
        check(Lookup::Unavailable, Verdict::Refuse(Refusal::StoreDown));
        check(Lookup::NotFound, forward(Bond::Free));
        check(Lookup::Revoked, forward(Bond::Free));
    }

    #[test]
    fn a_wrong_secret_is_no_session() {
        let record = record();
        for wrong in [
            Ticket { secret: Secret([0; 16]), ..ticket(&record) },
            Ticket { counter: 1, ..ticket(&record) },
        ] {
            let claim = Claim {
                ticket: &wrong,
                key: KEY,
                lookup: Lookup::Found((9, Arc::new(record.clone()))),
            };
            let (verdict, event) = decide(&policy(), claim, PLAIN, NOW);
            assert_eq!(verdict, forward(Bond::Free));
            assert_eq!(event, Some(Event::TicketRejected { reason: Reject::WrongSecret }));
        }
    }

    /// PROTOCOL 14, 15: the previous ticket goes on, a newer one repairs, an older one ends the
    /// session, or is only logged.
    #[test]
    fn tickets_of_other_generations() {
        let record = Record { counter: 5, ..record() };
        let on = |counter, on_reuse, secs| {
            let secret = record.secret(counter);
            let ticket = Ticket { counter, secret, ..ticket(&record) };
            let lookup = Lookup::Found((9, Arc::new(record.clone())));
            let claim = Claim { ticket: &ticket, key: KEY, lookup };
            let policy = Policy { on_reuse, ..policy() };
            decide(&policy, claim, PLAIN, NOW.plus(Duration::from_secs(secs)))
        };
        let (previous, event) = on(4, OnReuse::Revoke, 1);
        assert!(matches!(previous, Verdict::Forward { bond: Bond::Live(..), touch: None }));
        assert_eq!(event, None);

        let (newer, _) = on(6, OnReuse::Revoke, 1);
        let Verdict::Forward { touch: Some(Touch::Now(repaired)), .. } = newer else {
            panic!("{newer:?}")
        };
        assert_eq!(repaired.counter, 6);

        let reused = Some(Event::Reused { id: KEY });
        let (old, event) = on(3, OnReuse::Revoke, 1);
        let Verdict::End { ended, .. } = old else { panic!("{old:?}") };
        assert_eq!((ended.state, event), (State::Ended, reused.clone()));
        let (late, _) = on(4, OnReuse::Revoke, 60);
        assert!(matches!(late, Verdict::End { .. }), "its grace is over");
        let silent = forward(Bond::Silent(Silence::Reused));
        for (counter, secs, expected) in [
            (3, 1, silent.clone()),
            (3, 30, silent.clone()),
            (3, 31, forward(Bond::Free)),
            // Its grace was over after a minute.
            (4, 90, silent),
            (4, 91, forward(Bond::Free)),
        ] {
            let (verdict, event) = on(counter, OnReuse::Log, secs);
            assert_eq!((verdict, event), (expected, reused.clone()), "{counter} after {secs} s");
        }
    }

    /// PROTOCOL 15: `recent` spares the session of a profile that was copied or set back, one
    /// generation ago and nowhere else.
    #[test]
    fn a_recent_ticket_of_a_twin_costs_only_its_own_claim() {
        let bearer = |agent: &str, last| {
            Bearer::new(Some(agent.as_bytes()), std::net::IpAddr::from([192, 0, 2, last]), None)
        };
        let firefox = bearer("Firefox", 7);
        let record = Record { counter: 5, ..record() };
        let held = Some(Binding::of(LOOKS, &record.seed, &firefox));
        let far = Bearer::new(Some(b"Firefox"), std::net::IpAddr::from([198, 51, 100, 7]), None);
        for (counter, holder, bearer, is_spared) in [
            (4, held, Some(firefox), true),
            (4, held, Some(bearer("Firefox", 200)), true),
            (4, held, Some(bearer("curl", 7)), false),
            (4, held, Some(far), false),
            (4, held, None, false),
            (4, None, Some(firefox), false),
            (3, held, Some(firefox), false),
        ] {
            let record = Record { holder, ..record.clone() };
            let ticket = Ticket { counter, secret: record.secret(counter), ..ticket(&record) };
            let claim =
                Claim { ticket: &ticket, key: KEY, lookup: Lookup::Found((9, Arc::new(record))) };
            let policy = Policy { on_reuse: OnReuse::Recent, ..policy() };
            let facts = Facts { bearer, ..PLAIN };
            let (verdict, event) = decide(&policy, claim, facts, NOW.plus(Duration::from_secs(61)));
            assert_eq!(event, Some(Event::Reused { id: KEY }));
            let expected = forward(Bond::Silent(Silence::Outdated));
            let what = format!("{counter} {bearer:?} {holder:?}: {verdict:?}");
            assert_eq!(verdict == expected, is_spared, "{what}");
            let has_ended = matches!(verdict, Verdict::End { cause: Cause::Reused, .. });
            assert_eq!(has_ended, !is_spared, "{what}");
        }
    }

    #[test]
    fn expiry_is_decided_from_now() {
        let free = forward(Bond::Free);
        assert_ne!(on(record(), PLAIN, 1799), free);
        assert_eq!(on(record(), PLAIN, 1800), free);
        let busy = Record { idle_until: NOW.plus(Duration::from_secs(50_000)), ..record() };
        assert_ne!(on(busy.clone(), PLAIN, 43_199), free);
        assert_eq!(on(busy, PLAIN, 43_200), free);
    }

    /// PROTOCOL 18, 20: a login suspends its record; others wait, then go without.
    #[test]
    fn a_login_makes_its_record_pending() {
        let Verdict::Suspend { held, pending } = on(record(), LOGIN, 5) else {
            panic!("the login is not suspended");
        };
        assert_eq!(held.version, 9);
        assert_eq!(
            pending.state,
            State::Pending { since: NOW.plus(Duration::from_secs(5)), by: 7 }
        );
        let pending = || state(State::Pending { since: NOW, by: 7 });
        assert_eq!(on(pending(), PLAIN, 1), Verdict::Wait(KEY));
        assert_eq!(on(pending(), LOGIN, 1), Verdict::Wait(KEY), "a second login waits too");
        let silent = forward(Bond::Silent(Silence::Pending(KEY)));
        assert_eq!(on(record(), Facts { gate: Gate::Login, ..PLAIN }, 1), silent);
        assert_eq!(on(record(), Facts { gate: Gate::Login, ..LOGIN }, 1), silent);
        let waited = Facts { patience: Patience::Over, ..PLAIN };
        assert_eq!(on(pending(), waited, 3), forward(Bond::Silent(Silence::Pending(KEY))));
        assert_eq!(on(pending(), PLAIN, 31), forward(Bond::Free));
    }

    /// PROTOCOL 22: a moved record's ticket has neither jar nor ticket, and counts as none when no
    /// request can be late any more, whatever became of the successor.
    #[test]
    fn a_moved_record_is_silent_for_half_a_minute() {
        let moved = || state(State::Moved { successor: NEXT, at: NOW });
        let silent = forward(Bond::Silent(Silence::Moved(KEY)));
        assert_eq!(on(moved(), PLAIN, 1), silent);
        assert_eq!(on(moved(), LOGIN, 1), silent);
        assert_eq!(on(moved(), PLAIN, 30), silent);
        assert_eq!(on(moved(), PLAIN, 31), Verdict::AskSuccessor(NEXT));

        let found = |record: Record| Lookup::Found((1, Arc::new(record)));
        let unseen = Record { presented: None, ..record() };
        let moved_on = state(State::Moved { successor: KEY, at: NOW });
        for (lookup, ends) in [
            (found(record()), None),
            (found(moved_on), None),
            (found(state(State::Pending { since: NOW, by: 1 })), None),
            (found(unseen), Some(State::Ended)),
            (Lookup::NotFound, None),
            (Lookup::Revoked, None),
        ] {
            let (bond, write) = successor(&lookup, PLAIN);
            assert_eq!(
                (bond, write.map(|record| record.state)),
                (Ok(Bond::Free), ends),
                "{lookup:?}"
            );
            let required = Facts { access: Access::LoggedIn, ..PLAIN };
            assert_eq!(successor(&lookup, required).0, Err(Refusal::LoginRequired));
        }
        for (on_store_down, expected) in [
            (OnStoreDown::Reject, Err(Refusal::StoreDown)),
            (OnStoreDown::Stale(Duration::from_secs(30)), Err(Refusal::StoreDown)),
            (OnStoreDown::Anonymous, Ok(Bond::Silent(Silence::Outage))),
        ] {
            let facts = Facts { on_store_down, ..PLAIN };
            assert_eq!(successor(&Lookup::Unavailable, facts), (expected, None));
        }
    }

    #[test]
    fn what_has_ended_is_no_session() {
        assert_eq!(on(state(State::Ended), PLAIN, 1), forward(Bond::Free));
        let moved_and_over = state(State::Moved { successor: NEXT, at: NOW });
        assert_eq!(on(moved_and_over, PLAIN, 43_200), forward(Bond::Free));
    }

    /// PROTOCOL 31: only a record that logged in satisfies `require: login`.
    #[test]
    fn require_needs_a_login() {
        let required = Facts { access: Access::LoggedIn, ..PLAIN };
        let refused = Verdict::Refuse(Refusal::LoginRequired);
        assert!(matches!(on(record(), required, 1), Verdict::Forward { .. }));
        let anonymous = Record { authenticated: None, ..record() };
        assert_eq!(on(anonymous, required, 1), refused);
        assert_eq!(on(state(State::Moved { successor: NEXT, at: NOW }), required, 1), refused);
        let preflight = Facts { intent: Intent::Preflight, ..required };
        assert_eq!(on(record(), preflight, 1), forward(Bond::Silent(Silence::Preflight)));
    }

    /// PROTOCOL 29: a session that is kept aside is nobody's; one that nobody saw to ends.
    #[test]
    fn a_parked_session_is_anonymous_and_does_not_stay() {
        let required = Facts { access: Access::LoggedIn, ..PLAIN };
        let refused = Verdict::Refuse(Refusal::LoginRequired);
        let parked = || record().park(NOW);
        let Verdict::Forward { bond: Bond::Live(held, _), touch: None } = on(parked(), PLAIN, 15)
        else {
            panic!("it does not go on");
        };
        assert_eq!(*held.record, parked());
        assert_eq!(on(parked(), required, 15), refused);
        let Verdict::Suspend { pending, .. } = on(parked(), LOGIN, 5) else { panic!("no login") };
        assert_eq!((pending.parked, pending.authenticated), (None, None));

        let Verdict::End { ended, cause, .. } = on(parked(), PLAIN, 16) else {
            panic!("nobody saw to it, and it goes on");
        };
        assert_eq!((ended.state, cause), (State::Ended, Cause::AppDeleted));
        let other = SetCookie::parse(b"EGG_SESS=new").expect("a readable field");
        let other = Edit::read(&other, "h", b"/", NOW);
        let mut goes_on = parked();
        goes_on.jar.apply(&[other], policy().jar, NOW);
        let Verdict::Forward { bond: Bond::Live(held, _), touch: Some(Touch::Now(touch)) } =
            on(goes_on.clone(), PLAIN, 16)
        else {
            panic!("what was set meanwhile is a session of its own");
        };
        assert_eq!((touch.parked.as_ref(), touch.authenticated), (None, None));
        assert_eq!((&*touch, &touch.jar), (&*held.record, &goes_on.jar));
        assert_eq!(on(goes_on, required, 16), refused);
    }

    /// PROTOCOL 24 and 10.
    #[test]
    fn cross_site_requests_neither_log_in_nor_make_sessions() {
        let login = Facts { origin: Origin::CrossSite, ..LOGIN };
        let refused = Verdict::Refuse(Refusal::CrossSiteLogin);
        assert_eq!(on(record(), login, 1), refused);
        assert_eq!(without_ticket(login), Err(Refusal::CrossSiteLogin));
        let allowed = Facts { intent: Intent::Login(CrossSite::Allow), ..login };
        assert_eq!(without_ticket(allowed), Ok(Bond::Free));

        let foreign = Facts { origin: Origin::CrossSite, ..PLAIN };
        let check = |same_site, is_safe, facts, expected| {
            assert_eq!(may_make(same_site, is_safe, facts), expected, "{same_site:?} {is_safe}");
        };
        check(SameSite::Lax, true, foreign, Ok(()));
        check(SameSite::Lax, false, foreign, Err(NotMade::CrossSite));
        check(SameSite::Strict, true, foreign, Err(NotMade::CrossSite));
        check(SameSite::None, false, foreign, Ok(()));
        check(SameSite::Lax, false, PLAIN, Ok(()));
        check(SameSite::Lax, false, allowed, Ok(()));
    }
}
