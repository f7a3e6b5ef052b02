//! Logouts, and sessions that the application takes away (PROTOCOL.md 7, 25, 26).

use super::*;

#[test]
fn an_aborted_logout_ends_its_session() {
    let check = |is_logout, forwarded, state| {
        let mut store = live();
        let held = store.held();
        let policy = policy();
        store.run(Settle::abort(&policy, Bond::Live(held, SENT), is_logout, forwarded, NOW));
        assert_eq!(*store.state(), state);
    };
    check(true, true, State::Ended);
    check(true, false, State::Live);
    check(false, true, State::Live);
}

/// PROTOCOL 26: logout and deletion by the application end the session.
#[test]
fn logout_ends_the_session() {
    let mut store = live();
    let held = store.held();
    let effect = store.settle(Bond::Live(held, SENT), logout(&[]));
    assert!(expires(&effect));
    assert_eq!(*store.state(), State::Ended);
    assert_eq!(cookies(&store.records[&OLD].1), "");

    let mut store = live();
    let held = store.held();
    let effect = store.settle(Bond::Live(held, SENT), setting(&["EGG_SESS=; max-age=0"]));
    assert!(expires(&effect));
    assert_eq!(effect.events, [Event::Ended { id: OLD, cause: Cause::AppDeleted }]);

    // Rails answers a logout with a new anonymous session: that is a new record.
    let mut store = live();
    let held = store.held();
    let effect = store.settle(Bond::Live(held, SENT), logout(&["EGG_SESS=anonymous"]));
    assert!(sets(&effect));
    assert_eq!(*store.state(), State::Ended);
    assert_eq!(store.jars(), ["EGG_SESS=anonymous"]);
}

/// PROTOCOL 26: a logout that the store did not acknowledge is not acknowledged either.
#[test]
fn a_logout_that_was_not_stored_is_withheld() {
    let mut store = Store { faults: HashMap::from([(1, Fault::Lost)]), ..live() };
    let held = store.held();
    let effect = store.settle(Bond::Live(held, SENT), logout(&[]));
    assert!(effect.withheld && keeps(&effect));
}

/// PROTOCOL 7, 25: whoever finds its record gone took nothing away. Else each of two logouts whose
/// answers repeat the application's identifier would make a record with it.
#[test]
fn a_logout_whose_record_is_gone_makes_nothing() {
    let mut store = live();
    let held = store.held();
    store.records.clear();
    let effect = store.settle(Bond::Live(held, SENT), logout(&["EGG_SESS=x"]));
    assert!(keeps(&effect) && !effect.withheld);
    assert_eq!(store.jars(), [""; 0]);
    assert_eq!(effect.events, [Event::Fenced { id: OLD }]);
}
