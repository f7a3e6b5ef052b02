//! Logins, whole or withheld (PROTOCOL.md 18-22).

use super::*;

/// PROTOCOL 19: success moves the old record, then makes the new one, then sets its ticket.
#[test]
fn a_login_moves_the_session_to_a_new_record() {
    let mut store = pending();
    let held = store.held();
    let effect = store.settle(Bond::Login(held), success(&["EGG_SESS.sig=s"]));
    let TicketEffect::Set(new) = &effect.ticket else { panic!("no new ticket") };
    assert_eq!(*store.state(), State::Moved { successor: new.key, at: NOW });
    assert_eq!(cookies(&store.records[&OLD].1), "", "jars are moved, never copied");
    assert_eq!(store.jars(), ["EGG_SESS=x; EGG_SESS.sig=s"]);
    assert!(store.records[&new.key].1.authenticated.is_some());
    assert_eq!(effect.events, [Event::Login { old: Some(OLD), new: new.key, subject: None }]);
}

/// PROTOCOL 19: where the rule says so, a failed attempt changes no ticket.
#[test]
fn a_failed_attempt_gives_the_session_back_where_only_a_success_moves_it() {
    let mut store = pending();
    let held = store.held();
    let effect = store.settle(Bond::Login(held), staying(&["EGG_SESS=y"]));
    assert!(keeps(&effect));
    assert_eq!(*store.state(), State::Live);
    assert_eq!(store.jars(), ["EGG_SESS=y"]);
    assert!(store.records[&OLD].1.authenticated.is_none());
}

/// PROTOCOL 19: whatever the store does at whichever step, there are never two live records with
/// X, and no ticket is set for a session that is not there.
#[test]
fn a_login_is_whole_or_withheld() {
    let answers = [success(&["EGG_SESS=x"]), failure(&["EGG_SESS=x"])];
    for (at, answer) in [(1, &answers[0]), (2, &answers[0]), (1, &answers[1]), (2, &answers[1])] {
        for fault in [Fault::Lost, Fault::AnswerLost] {
            let mut store = Store { faults: HashMap::from([(at, fault)]), ..pending() };
            let held = store.held();
            let effect = store.settle(Bond::Login(held), answer.clone());
            assert!(effect.withheld && keeps(&effect), "operation {at}: {fault:?}");
            assert!(store.jars().len() <= 1, "operation {at}: {fault:?}");
            assert_ne!(*store.state(), State::Live, "the worker may have logged X in");
        }
    }
}

/// PROTOCOL 20: a login that took longer than others wait is withheld.
#[test]
fn an_overdue_login_is_withheld() {
    let late = NOW.plus(UNSETTLED + Duration::from_millis(1));
    for answer in [success(&["EGG_SESS=x"]), failure(&[])] {
        let mut store = pending();
        let held = store.held();
        let effect = store.settle_at(Bond::Login(held), answer, late);
        assert!(effect.withheld);
        assert_eq!(store.jars(), [""; 0]);
    }
}

/// PROTOCOL 20, 26: a login cut off after it was forwarded ends its session; before, nothing
/// happened.
#[test]
fn an_aborted_login_ends_its_session() {
    let check = |forwarded, state| {
        let mut store = pending();
        let held = store.held();
        let policy = policy();
        store.run(Settle::abort(&policy, Bond::Login(held), false, forwarded, NOW));
        assert_eq!(*store.state(), state, "forwarded: {forwarded}");
    };
    check(true, State::Ended);
    check(false, State::Live);
}

/// PROTOCOL 20: what others take for ended does not come back.
#[test]
fn an_overdue_login_that_is_given_up_stays_ended() {
    let mut store = pending();
    let (held, before) = (store.held(), store.state().clone());
    let policy = policy();
    let late = NOW.plus(UNSETTLED + Duration::from_millis(1));
    store.run(Settle::abort(&policy, Bond::Login(held), false, false, late));
    assert_eq!(*store.state(), before);
}

/// PROTOCOL 18: while a login goes on, another writer's change makes it read again; whatever
/// took its place withholds it.
#[test]
fn a_login_survives_a_touch_but_no_rival() {
    let check = |change: Change, withheld: bool| {
        let mut store = Store { rival: Some((1, change)), ..pending() };
        let held = store.held();
        let effect = store.settle(Bond::Login(held), success(&["EGG_SESS.sig=s"]));
        assert_eq!(effect.withheld, withheld);
        assert_eq!(sets(&effect), !withheld);
        assert!(store.jars().len() <= 1);
    };
    check(|record| record.presented = Some(NOW), false);
    check(|record| record.idle_until = NOW.plus(Duration::from_secs(9000)), false);
    check(|record| record.state = State::Ended, true);
    check(|record| record.state = State::Moved { successor: OLD, at: NOW }, true);
    check(|record| record.state = State::Pending { since: UnixMillis(NOW.0 + 1), by: 0 }, true);
}

/// PROTOCOL 22: double submit and lost answers.
#[test]
fn a_login_on_a_moved_record_sets_a_ticket_with_its_own_cookies_only() {
    let moved = || {
        Store::with(
            record(State::Moved { successor: OLD, at: NOW })
                .into_state(State::Moved { successor: OLD, at: NOW }),
        )
    };
    // … and on one whose ticket was overtaken: its owner must be able to log in again (15).
    for silence in [Silence::Moved(OLD), Silence::Pending(OLD), Silence::Reused] {
        let mut store = moved();
        let effect = store.settle(Bond::Silent(silence), success(&["EGG_SESS=own"]));
        assert!(sets(&effect), "{silence:?}");
        assert_eq!(store.jars(), ["EGG_SESS=own"]);
        let effect = moved().settle(Bond::Silent(silence), failure(&["EGG_SESS=own"]));
        assert!(keeps(&effect));
        let effect = moved().settle(Bond::Silent(silence), setting(&["EGG_SESS=own"]));
        assert!(keeps(&effect));
    }
    // … and none while the first login is still on its way.
    let effect = pending().settle(Bond::Silent(Silence::Pending(OLD)), success(&["EGG_SESS=own"]));
    assert!(keeps(&effect) && !effect.withheld);
}

/// PROTOCOL 22: a double click, of which the browser dropped the first answer with its ticket.
#[test]
fn a_page_that_a_late_login_leads_to_finds_no_dead_ticket() {
    let moved = || Bond::Silent(Silence::Moved(OLD));
    let page = |answer| Answer { leaves_page: true, ..answer };
    let mut store = Store::default();
    assert!(expires(&store.settle(moved(), page(failure(&[])))));
    assert!(sets(&store.settle(moved(), page(failure(&["EGG_SESS=form"])))));
    assert_eq!(store.jars(), ["EGG_SESS=form"]);
    for other in [failure(&["EGG_SESS=x"]), page(setting(&["EGG_SESS=x"]))] {
        assert!(keeps(&store.settle(moved(), other)), "a script, or no login");
    }
}

/// PROTOCOL 21: where only the answer tells, the same steps are taken when it arrives.
#[test]
fn a_login_that_only_the_answer_tells_moves_the_live_record() {
    let mut store = live();
    let held = store.held();
    let answer = Answer { happened: Happened::LoggedIn, ..setting(&["EGG_SESS=y"]) };
    let effect = store.settle(Bond::Live(held, SENT), answer);
    assert!(sets(&effect));
    assert!(matches!(store.state(), State::Moved { .. }));
    assert_eq!(store.jars(), ["EGG_SESS=y"]);
}

/// `balance: session`: the endpoint stays with the session, through a login too.
#[test]
fn the_endpoint_is_kept_in_the_record() {
    let at = |answer: Answer, endpoint: &str| Answer { endpoint: Some(endpoint.into()), ..answer };
    let mut store = Store::default();
    let effect = store.settle(Bond::Free, at(setting(&["EGG_SESS=n"]), "127.0.0.1:7001"));
    let TicketEffect::Set(new) = &effect.ticket else { panic!("no ticket") };
    assert_eq!(store.records[&new.key].1.endpoint.as_deref(), Some("127.0.0.1:7001"));

    let mut store = live();
    let held = store.held();
    store.settle(Bond::Live(held, SENT), at(setting(&[]), "127.0.0.1:7002"));
    assert_eq!(store.records[&OLD].1.endpoint.as_deref(), Some("127.0.0.1:7002"));
    let held = store.held();
    let before = store.operations;
    store.settle(Bond::Live(held, SENT), at(setting(&[]), "127.0.0.1:7002"));
    assert_eq!(store.operations, before, "it stayed: nothing to write");
}
