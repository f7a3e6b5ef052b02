//! PROTOCOL 19: an attempt that is no success, as far as its answer tells, moves the session all the
//! same. Who had a copy of the old ticket is nobody then, and its user is who she was.

use super::*;
use crate::session::binding::{Bearer, Bind, Binding, OnMismatch, Ties};
use crate::session::subject::Subject;

/// A session that has been in use for ten minutes.
fn begun(change: Change) -> Store {
    let began = UnixMillis(NOW.0 - 600_000);
    let timeouts = policy().timeouts;
    let mut record = record(State::Pending { since: NOW, by: 0 });
    record.created = began;
    record.presented = Some(began);
    record.ends_at = began.plus(timeouts.absolute);
    record.idle_until = NOW.plus(timeouts.idle);
    change(&mut record);
    Store::with(record)
}

fn attempt(store: &mut Store, answer: Answer) -> (Effect, RecordKey, Record) {
    let held = store.held();
    let effect = store.settle(Bond::Login(held), answer);
    let TicketEffect::Set(issue) = &effect.ticket else { panic!("no ticket: {effect:?}") };
    let key = issue.key;
    let record = store.records[&key].1.clone();
    (effect, key, record)
}

#[test]
fn a_failed_attempt_moves_the_session_of_a_visitor() {
    let mut store = begun(|_| {});
    let (effect, new, record) = attempt(&mut store, failure(&["EGG_SESS.sig=s"]));
    assert_eq!(effect.events, [Event::LoginFailed, Event::Moved { old: OLD, new }]);
    assert_eq!(*store.state(), State::Moved { successor: new, at: NOW });
    assert_eq!(store.jars(), ["EGG_SESS=x; EGG_SESS.sig=s"], "in one record alone");
    assert_eq!(record.logged_in(), None);
    assert_eq!((record.presented, record.counter), (None, 0), "its ticket is to come back");
}

/// Nothing is gained by it, neither a name nor time.
#[test]
fn a_failed_attempt_leaves_a_user_who_she_was() {
    let mut store = begun(|record| {
        record.authenticated = Some(record.created);
        record.subject = Subject::confirmed("alice");
        record.epoch = Some(Epoch([0; 16]));
    });
    let before = store.records[&OLD].1.clone();
    let answer = Answer { subject: Subject::confirmed("mallory"), ..failure(&[]) };
    let (_, new, record) = attempt(&mut store, answer);
    assert!(new.has_subject, "it can be listed and revoked as before");
    let facts = |record: &Record| {
        (record.created, record.authenticated, record.ends_at, record.subject.clone())
    };
    assert_eq!(facts(&record), facts(&before));
    assert_eq!(store.jars(), ["EGG_SESS=x"]);
}

/// A revocation between the two writes holds for what comes after.
#[test]
fn a_failed_attempt_does_not_outlive_a_revocation() {
    let mut store = begun(|record| {
        record.authenticated = Some(record.created);
        record.subject = Subject::confirmed("alice");
        record.epoch = Some(Epoch([0; 16]));
    });
    store.epochs.insert("alice".to_owned(), 1);
    attempt(&mut store, failure(&[]));
    assert_eq!(store.jars(), [""; 0]);
}

#[test]
fn a_failed_attempt_stays_bound_to_its_client() {
    let ties = Ties { user_agent: true, network: None, client_certificate: false };
    let policy = Policy { bind: Some(Bind { ties, on_mismatch: OnMismatch::End }), ..policy() };
    let bearer = |agent: &str| Bearer::new(Some(agent.as_bytes()), [192, 0, 2, 1].into(), None);
    for was_bound in [true, false] {
        let mut store = begun(|_| {});
        let (_, record) = store.records.get_mut(&OLD).expect("the old record");
        let binding = Binding::of(ties, &record.seed, &bearer("Firefox"));
        record.binding = was_bound.then_some(binding);
        let bond = Bond::Login(store.held());
        let answer = Answer { bearer: Some(bearer("Firefox")), ..failure(&[]) };
        let effect = store.settle_under(&policy, bond, answer);
        let TicketEffect::Set(issue) = &effect.ticket else { panic!("no ticket: {effect:?}") };
        let record = &store.records[&issue.key].1;
        let holds = |agent| {
            record.binding.is_none_or(|binding| binding.holds(&record.seed, &bearer(agent)))
        };
        assert_eq!((holds("Firefox"), holds("curl")), (true, !was_bound));
    }
}

/// What is left of it neither fills the store nor the memory of nodes; what a login leaves stays.
#[test]
fn what_an_attempt_leaves_is_not_kept_for_long() {
    for (answer, kept) in [(failure(&[]), 120), (success(&[]), 1860)] {
        let mut store = begun(|_| {});
        attempt(&mut store, answer);
        assert_eq!(store.records[&OLD].1.keep(NOW), Duration::from_secs(kept));
    }
}

/// With the cookies of its session the application takes it away, and nothing is left to move.
#[test]
fn an_attempt_whose_answer_deletes_the_session_ends_it() {
    let mut store = begun(|_| {});
    let held = store.held();
    let effect = store.settle(Bond::Login(held), failure(&["EGG_SESS=; max-age=0"]));
    assert!(expires(&effect));
    assert_eq!(*store.state(), State::Ended);
}

/// The ticket of an attempt that the application answers with `renew` is new anyhow.
#[test]
fn a_renewal_beside_an_attempt_is_its_ticket() {
    let mut store = begun(|_| {});
    let answer = Answer { happened: Happened::Renewed(SENT), ..failure(&[]) };
    let (_, _, record) = attempt(&mut store, answer);
    assert_eq!(record.counter, 0);
}
