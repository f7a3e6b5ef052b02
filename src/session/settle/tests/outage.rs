//! Answers to requests that went on without the store (PROTOCOL.md 8).

use super::*;
use crate::session::exchange::Silence;

/// Settles where the store answers again: nothing may come of that. Says whether the answer is
/// withheld, and what happened.
#[track_caller]
fn check(bond: Bond, answer: Answer, expected: (bool, &[Event])) {
    let mut store = live();
    let before = store.records.clone();
    let effect = store.settle(bond, answer);
    assert!(matches!(effect.ticket, TicketEffect::Keep), "{:?}", effect.ticket);
    assert_eq!(store.records, before);
    assert_eq!(store.operations, 0, "the store is not asked for anything");
    assert_eq!((effect.withheld, effect.events.as_slice()), expected);
}

fn with(fields: &[&str]) -> Answer {
    Answer { edits: edits(fields), ..Answer::default() }
}

#[test]
fn a_session_begun_without_the_store_takes_no_tickets_place() {
    let anonymous = || Bond::Silent(Silence::Outage);
    let not_made = [Event::NotMade { cause: NotMade::StoreDown }];
    check(anonymous(), Answer::default(), (false, &[]));
    check(anonymous(), with(&["EGG_SESS=new"]), (false, &not_made));
    check(anonymous(), with(&["EGG_SESS=; Max-Age=0"]), (false, &[]));
}

/// What the application believes to have done must not seem to be done.
#[test]
fn nothing_that_needs_the_store_seems_to_have_happened() {
    let withheld = [Event::Withheld { id: None }];
    for answer in [
        Answer { happened: Happened::LoggedIn, ..with(&["EGG_SESS=new"]) },
        Answer { happened: Happened::LoggedOut, ..Answer::default() },
        Answer { revoke_subject: true, ..Answer::default() },
        Answer { happened: Happened::Renewed(SENT), ..Answer::default() },
    ] {
        check(Bond::Silent(Silence::Outage), answer.clone(), (true, &withheld));
        check(stale(), answer, (true, &[Event::Withheld { id: Some(OLD) }]));
    }
}

fn stale() -> Bond {
    Bond::Stale(live().held())
}

/// The jar holds `EGG_SESS=x`.
#[test]
fn what_is_set_again_as_it_was_needs_no_writing() {
    let withheld = [Event::Withheld { id: Some(OLD) }];
    for same in [
        &[][..],
        &["EGG_SESS=x"],
        &["EGG_SESS=x; Max-Age=1800"],
        &["EGG_SESS=; Max-Age=0", "EGG_SESS=x"],
        &["EGG_SESS.sig=; Max-Age=0"],
    ] {
        check(stale(), with(same), (false, &[]));
    }
    for other in [
        &["EGG_SESS=y"][..],
        &["EGG_SESS=; Max-Age=0"],
        &["EGG_SESS=x", "EGG_SESS=; Max-Age=0"],
        &["EGG_SESS=x; Path=/shop"],
        &["EGG_SESS=x", "EGG_SESS.sig=s"],
    ] {
        check(stale(), with(other), (true, &withheld));
    }
}

/// An endpoint that takes the session over keeps it only once that is written.
#[test]
fn a_session_that_is_not_written_stays_at_its_endpoint() {
    let elsewhere = Answer { endpoint: Some("10.0.0.2:80".to_owned()), ..Answer::default() };
    check(stale(), elsewhere, (false, &[]));
}

#[test]
fn what_is_broken_off_without_the_store_changes_nothing() {
    for is_logout in [false, true] {
        let policy = policy();
        let begun = Settle::abort(&policy, stale(), is_logout, true, NOW);
        let Begun::Done(effect) = begun else { panic!("{begun:?}") };
        assert!(matches!(effect.ticket, TicketEffect::Keep), "{:?}", effect.ticket);
    }
}
