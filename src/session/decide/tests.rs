//! One request and one record at a time.

use super::*;
use crate::cookie::response::SetCookie;
use crate::session::binding::{Bearer, Bind, Binding, LOOKS, Ties};
use crate::session::facts::Turns;
use crate::session::jar::{Edit, Jar};
use crate::session::outage::OnStoreDown;
use crate::session::policy::CrossSite;
use crate::session::record::{Seed, Standing};
use crate::session::tests::policy;
use crate::session::ticket::{Secret, Selector};

const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
const KEY: RecordKey = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };
const NEXT: RecordKey = RecordKey { tag: [3; 8], id: [4; 16], has_subject: false };
const PLAIN: Facts<'static> = Facts {
    intent: Intent::Use,
    origin: Origin::Own,
    access: Access::Anybody,
    turns: Turns::None,
    attempt: 7,
    patience: Patience::Left,
    gate: GateState::Open,
    bearer: None,
    node: 0,
    on_store_down: OnStoreDown::Reject,
};
const LOGIN: Facts<'static> = Facts { intent: Intent::Login(CrossSite::Deny), ..PLAIN };

fn record() -> Record {
    let timeouts = policy().timeouts;
    let record =
        Record::new(Seed::new([7; 32]), Jar::default(), Standing::Authenticated, &timeouts, NOW);
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

fn on(record: Record, facts: Facts<'_>, secs: u64) -> Verdict {
    let ticket = ticket(&record);
    let claim = Claim { ticket: &ticket, key: KEY, lookup: Lookup::Found((9, Arc::new(record))) };
    decide(&policy(), claim, facts, NOW.plus(Duration::from_secs(secs))).0
}

fn state(state: State) -> Record {
    record().into_state(state)
}

/// A ticket is for the client that its record is bound to; what a policy does with others.
#[test]
fn a_bound_record_serves_its_own_client_only() {
    let bearer =
        |agent: &[u8]| Some(Bearer::new(Some(agent), std::net::IpAddr::from([192, 0, 2, 7]), None));
    let ties = Ties { user_agent: true, network: None, client_certificate: false };
    let (alice, thief) = (bearer(b"Firefox"), bearer(b"curl"));
    let bound = |bearer: Option<Bearer>| {
        let record = record();
        let binding = bearer.map(|bearer| Binding::of(ties, &record.seed, &bearer));
        Record { presented: None, binding, ..record }
    };
    let decide = |on_mismatch: Option<OnMismatch>, record: Record, facts: Facts<'_>| {
        let bind = on_mismatch.map(|on_mismatch| Bind { ties, on_mismatch });
        let (policy, ticket) = (Policy { bind, ..policy() }, ticket(&record));
        let claim =
            Claim { ticket: &ticket, key: KEY, lookup: Lookup::Found((9, Arc::new(record))) };
        decide(&policy, claim, facts, NOW)
    };
    fn from(bearer: &Option<Bearer>) -> Facts<'_> {
        Facts { bearer: bearer.as_ref(), ..PLAIN }
    }
    let is_forwarded = |(verdict, _): (Verdict, Option<Event>)| {
        matches!(verdict, Verdict::Forward { bond: Bond::Live(..), .. })
    };
    let mismatch = Some(Event::BindingMismatch { id: KEY });
    for on_mismatch in [OnMismatch::End, OnMismatch::Deny] {
        assert!(is_forwarded(decide(Some(on_mismatch), bound(alice), from(&alice))));
        assert!(is_forwarded(decide(Some(on_mismatch), bound(None), from(&thief))), "unbound");
    }
    assert!(is_forwarded(decide(None, bound(alice), from(&None))), "no longer asked for");
    for facts in [from(&thief), from(&None), Facts { intent: LOGIN.intent, ..from(&thief) }] {
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
    let Verdict::Forward { bond: Bond::Live(held, _), touch: None } = on(record(), PLAIN, 1) else {
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
        let facts = Facts { bearer: bearer.as_ref(), ..PLAIN };
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
    assert_eq!(pending.state, State::Pending { since: NOW.plus(Duration::from_secs(5)), by: 7 });
    let pending = || state(State::Pending { since: NOW, by: 7 });
    assert_eq!(on(pending(), PLAIN, 1), Verdict::Wait(KEY));
    assert_eq!(on(pending(), LOGIN, 1), Verdict::Wait(KEY), "a second login waits too");
    let silent = forward(Bond::Silent(Silence::Pending(KEY)));
    assert_eq!(on(record(), Facts { gate: GateState::Login, ..PLAIN }, 1), silent);
    assert_eq!(on(record(), Facts { gate: GateState::Login, ..LOGIN }, 1), silent);
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
        assert_eq!((bond, write.map(|record| record.state)), (Ok(Bond::Free), ends), "{lookup:?}");
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
