//! PROTOCOL 29: what answers do to a session that is, was or will be parked.

use super::*;
use crate::session::parked::{Fate, Guarding, Resolution, resolve};
use crate::session::policy::CookiesHold;

const DELETION: &[&str] = &["EGG_SESS=; max-age=0"];

/// The answer to a safe method.
fn safe(guarding: Guarding, fields: &[&str]) -> Answer {
    Answer { guarding, ..setting(fields) }
}

fn parking(fields: &[&str]) -> Answer {
    safe(Guarding::Park, fields)
}

/// Somebody who logged in.
fn user() -> Store {
    let store = live();
    let (version, record) = store.records[&OLD].clone();
    let record = Record { authenticated: Some(NOW), ..record };
    Store { records: HashMap::from([(OLD, (version, record))]), ..store }
}

/// The same, after the application took the session away.
fn parked() -> Store {
    let mut store = user();
    let held = store.held();
    store.settle(Bond::Live(held, SENT), parking(DELETION));
    assert!(store.now().parked.is_some());
    store
}

impl Store {
    fn now(&self) -> &Record {
        &self.records[&OLD].1
    }

    fn answer(&mut self, answer: Answer) -> Effect {
        let held = self.held();
        self.settle(Bond::Live(held, SENT), answer)
    }
}

#[test]
fn a_deletion_applies_at_once_and_is_kept_aside() {
    let mut store = user();
    let effect = store.answer(parking(DELETION));
    assert!(keeps(&effect) && !effect.withheld, "the ticket stays good");
    assert_eq!(effect.parks, Some(OLD));
    assert_eq!(effect.events, [Event::Parked { id: OLD }]);
    assert_eq!(store.jars(), [""], "nothing is lent");
    assert_eq!((store.now().parked_at(), store.now().logged_in()), (Some(NOW), None));
    assert_eq!(store.operations, 1);
}

#[test]
fn deletions_apply_are_parked_or_are_ignored() {
    let check = |guarding, fields: &[&str], jar: &str, state: State, events: &[Event]| {
        let mut store = user();
        let effect = store.answer(safe(guarding, fields));
        assert_eq!(effect.events, events, "{guarding:?} {fields:?}");
        assert_eq!((cookies(store.now()).as_str(), store.state()), (jar, &state));
    };
    let ended = || Event::Ended { id: OLD, cause: Cause::AppDeleted };
    let (parked, ignored) = (Event::Parked { id: OLD }, Event::DeletionIgnored { id: OLD });
    check(Guarding::None, DELETION, "", State::Ended, &[ended()]);
    check(Guarding::Full, DELETION, "", State::Ended, &[ended()]);
    check(Guarding::Park, DELETION, "", State::Live, &[parked]);
    let ignored = std::slice::from_ref(&ignored);
    check(Guarding::Ignore, DELETION, "EGG_SESS=x", State::Live, ignored);
    // What takes nothing away goes through.
    for guarding in [Guarding::Park, Guarding::Ignore] {
        check(guarding, &["EGG_SESS=y"], "EGG_SESS=y", State::Live, &[]);
        check(guarding, &["a=1"], "EGG_SESS=x; a=1", State::Live, &[]);
        let other = &["EGG_SESS=; max-age=0", "a=1"];
        check(guarding, other, "a=1", State::Live, &[]);
    }
}

/// During a surge an answer that only deletes costs no write.
#[test]
fn what_is_ignored_is_not_written() {
    let mut store = user();
    let effect = store.answer(safe(Guarding::Ignore, DELETION));
    assert_eq!((store.operations, effect.parks), (0, None));
    assert!(keeps(&effect) && !effect.withheld);
}

#[test]
fn an_identifier_that_is_replaced_is_parked_too() {
    let identifiers = Policy { app_cookies_hold: CookiesHold::Identifier, ..policy() };
    let check = |guarding, expected: &str| {
        let mut store = user();
        let bond = Bond::Live(store.held(), SENT);
        let answer = safe(guarding, &["EGG_SESS=new", "a=1"]);
        store.run(Settle::begin(&identifiers, bond, Ok(()), answer, NOW));
        assert_eq!(cookies(store.now()), expected, "{guarding:?}");
        store
    };
    check(Guarding::Ignore, "EGG_SESS=x; a=1");
    let store = check(Guarding::Park, "EGG_SESS=new; a=1");
    let back = resolve(OLD, store.now().clone(), NOW, Fate::Restore, policy().jar);
    assert_eq!(back.map(|back| cookies(&back.record)).as_deref(), Some("EGG_SESS=x; a=1"));
}

/// While a session is parked, what safe answers set goes into the jar that is lent; an unsafe one
/// that sets something has the visitor move on.
#[test]
fn a_visitor_may_move_on() {
    let check = |answer: Answer, jar: &str, parked: bool, state: State, events: &[Event]| {
        let mut store = self::parked();
        let effect = store.answer(answer.clone());
        let now = store.now();
        assert_eq!((cookies(now).as_str(), &now.state), (jar, &state), "{answer:?}");
        assert_eq!((now.parked.is_some(), now.logged_in()), (parked, None), "{answer:?}");
        assert_eq!(effect.events, events, "{answer:?}");
    };
    let dropped = Event::Dropped { id: OLD };
    let ended = |cause| [Event::Ended { id: OLD, cause }];
    check(parking(&["EGG_SESS=y"]), "EGG_SESS=y", true, State::Live, &[]);
    check(parking(DELETION), "", true, State::Live, &[]);
    check(setting(&["EGG_SESS=y"]), "EGG_SESS=y", false, State::Live, &[dropped]);
    check(setting(DELETION), "", false, State::Ended, &ended(Cause::AppDeleted));
    check(logout(&[]), "", false, State::Ended, &ended(Cause::Logout));
    // A form that a failing application could not take.
    check(setting(&[]), "", true, State::Live, &[]);
}

/// A login leaves nothing parked, whichever way it ends.
#[test]
fn a_login_drops_what_is_parked() {
    let login = |answer| {
        let mut store = parked();
        let pending = store.now().clone().into_state(State::Pending { since: NOW, by: 0 });
        store.records.insert(OLD, (8, pending));
        let held = store.held();
        let effect = store.settle(Bond::Login(held), answer);
        assert_eq!(store.now().parked, None);
        (store, effect)
    };
    let (store, effect) = login(success(&["EGG_SESS=y"]));
    let TicketEffect::Set(new) = effect.ticket else { panic!("no ticket") };
    assert_eq!(store.jars(), ["EGG_SESS=y"]);
    assert!(store.records[&new.key].1.logged_in().is_some());
    let (store, effect) = login(staying(&[]));
    assert!(keeps(&effect) && !effect.withheld);
    assert_eq!((store.state(), store.now().logged_in()), (&State::Live, None));
    // There is nothing to move.
    let (store, effect) = login(failure(&[]));
    assert!(expires(&effect));
    assert_eq!(*store.state(), State::Ended);
}

/// PROTOCOL 25: an answer that was on its way when the session was parked, or came back, neither
/// undoes the one nor the other.
#[test]
fn late_safe_answers_are_fenced() {
    let fenced = [Event::Fenced { id: OLD }];
    for late in [&["EGG_SESS=x"][..], DELETION] {
        let admitted = user().held();
        let mut store = parked();
        let effect = store.settle(Bond::Live(admitted, SENT), parking(late));
        assert_eq!(effect.events, fenced);
        assert_eq!(store.jars(), [""], "the logout is not undone");

        let mut store = parked();
        let admitted = store.held();
        let back = resolve(OLD, store.now().clone(), NOW, Fate::Restore, policy().jar);
        let Resolution { record, .. } = back.expect("it is parked");
        store.records.insert(OLD, (admitted.version + 1, record));
        let answer = safe(Guarding::Ignore, &["EGG_SESS=anonymous"]);
        let effect = store.settle(Bond::Live(admitted, SENT), answer);
        assert_eq!(effect.events, fenced);
        assert_eq!(store.jars(), ["EGG_SESS=x"], "nor is the return");
    }
    // Answers to unsafe methods, and logouts, always apply.
    let mut store = parked();
    store.settle(Bond::Live(user().held(), SENT), setting(&["EGG_SESS=y"]));
    assert_eq!((store.jars(), &store.now().parked), (vec!["EGG_SESS=y".to_owned()], &None));
    let mut store = parked();
    store.settle(Bond::Live(user().held(), SENT), logout(&[]));
    assert_eq!(*store.state(), State::Ended);
}

/// An answer whose parking was not acknowledged is withheld, and seen to all the same.
#[test]
fn a_parking_that_may_have_been_stored_is_seen_to() {
    for fault in [Fault::Lost, Fault::AnswerLost] {
        let mut store = Store { faults: HashMap::from([(1, fault)]), ..user() };
        let effect = store.answer(parking(DELETION));
        assert!(effect.withheld && keeps(&effect), "{fault:?}");
        assert_eq!(effect.parks, Some(OLD), "{fault:?}");
        assert_eq!(effect.events, [Event::Withheld { id: Some(OLD) }]);
    }
}

/// PROTOCOL 13: a parked session's ticket is renewed as any other.
#[test]
fn a_parked_session_renews_its_ticket() {
    let mut store = parked();
    let long_ago = UnixMillis(NOW.0 - 900_000);
    let (version, record) = store.records[&OLD].clone();
    let record = Record { presented: Some(long_ago), renewed: long_ago, ..record };
    store.records.insert(OLD, (version, record));
    assert_eq!(issued(&store.answer(parking(&[]))), Some(1));
    assert!(store.now().parked.is_some());
}
