//! Answers outside of logins: what they write, and when they must not (PROTOCOL.md 8, 9, 11, 25).

use super::*;

/// What is told without the machine is what the machine says.
#[test]
fn what_asks_nothing_needs_no_machine() {
    let policy = policy();
    let endpoint = |name: &str| Some(name.to_owned());
    let mut answers = vec![setting(&[]), setting(&["EGG_SESS=new"]), success(&[]), failure(&[])];
    answers.extend([
        logout(&[]),
        Answer { revoke_subject: true, ..Answer::default() },
        Answer { happened: Happened::Renewed(SENT), ..Answer::default() },
        Answer { endpoint: endpoint("a"), ..Answer::default() },
        Answer { endpoint: endpoint("b"), ..Answer::default() },
        Answer { guarding: Guarding::Park, ..Answer::default() },
    ]);
    let mut told = 0;
    for answer in answers {
        for (counter, secs, place) in
            [(0, 0, None), (1, 0, None), (0, 901, None), (0, 0, Some("a"))]
        {
            let record = Record {
                counter,
                presented: Some(NOW),
                endpoint: place.and_then(endpoint),
                ..record(State::Live)
            };
            let now = NOW.plus(Duration::from_secs(secs));
            let bond = Bond::Live(Store::with(record).held(), SENT);
            let asks_nothing = asks_nothing(&policy, &bond, &answer, now);
            let step = Settle::new(&policy, Ok(()), answer.clone(), now).start(bond);
            let nothing = matches!(&step, Step::Done(effect) if effect.is_nothing());
            assert_eq!(asks_nothing, nothing, "{answer:?} {counter} {secs} {place:?}: {step:?}");
            told += usize::from(nothing);
        }
    }
    assert_eq!(told, 5);
}

/// PROTOCOL 9: the first session cookie makes a record, nothing else does.
#[test]
fn a_session_begins_with_the_first_session_cookie() {
    let mut store = Store::default();
    let effect = store.settle(Bond::Free, setting(&["EGG_SESS=new"]));
    assert!(sets(&effect));
    assert_eq!(store.jars(), ["EGG_SESS=new"]);
    for nothing in [setting(&[]), setting(&["EGG_SESS=; max-age=0"]), success(&[])] {
        let mut store = Store::default();
        let effect = store.settle(Bond::Free, nothing);
        assert!(keeps(&effect) && !effect.withheld);
        assert_eq!(store.operations, 0, "nothing to store");
    }
}

#[test]
fn new_sessions_are_limited_but_logins_are_not() {
    let mut store = Store { limit_reached: true, ..Store::default() };
    let effect = store.settle(Bond::Free, setting(&["EGG_SESS=new"]));
    assert!(keeps(&effect) && !effect.withheld);
    assert_eq!(effect.events, [Event::NotMade { cause: NotMade::RateLimited }]);
    assert!(sets(&store.settle(Bond::Free, success(&["EGG_SESS=new"]))));

    let policy = policy();
    let cross_site = Err(NotMade::CrossSite);
    let answer = setting(&["EGG_SESS=new"]);
    let effect = store.run(Settle::begin(&policy, Bond::Free, cross_site, answer, NOW));
    assert_eq!(effect.events, [Event::NotMade { cause: NotMade::CrossSite }]);
}

/// PROTOCOL 8: an answer whose session cookie could not be stored is withheld; others are not.
#[test]
fn what_could_not_be_stored_is_withheld() {
    for fault in [Fault::Lost, Fault::AnswerLost] {
        let down = HashMap::from([(1, fault), (2, fault), (3, fault)]);
        let mut store = Store { faults: down.clone(), ..Store::default() };
        let effect = store.settle(Bond::Free, setting(&["EGG_SESS=new"]));
        assert!(effect.withheld && keeps(&effect));

        let mut store = Store { faults: down.clone(), ..live() };
        let held = store.held();
        let effect = store.settle(Bond::Live(held.clone(), SENT), setting(&["EGG_SESS=new"]));
        assert!(effect.withheld && keeps(&effect));
        let effect = store.settle(Bond::Live(held, SENT), setting(&[]));
        assert!(!effect.withheld, "nothing had to be stored");
    }
}

/// PROTOCOL 11: what merges is the single cookie, never the whole jar.
#[test]
fn two_writers_of_different_cookies_lose_nothing() {
    let mut store = live();
    let held = store.held();
    store.settle(Bond::Live(held.clone(), SENT), setting(&["EGG_SESS=x2"]));
    store.settle(Bond::Live(held, SENT), setting(&["EGG_SESS.sig=s2"]));
    assert_eq!(store.jars(), ["EGG_SESS=x2; EGG_SESS.sig=s2"]);
}

#[test]
fn an_answer_without_session_cookies_writes_nothing() {
    let mut store = live();
    let held = store.held();
    let effect = store.settle(Bond::Live(held, SENT), setting(&[]));
    assert_eq!(store.operations, 0);
    assert!(keeps(&effect));
}

/// Frameworks set their cookie with every answer. What others have done meanwhile is looked up: the last
/// answer still wins (PROTOCOL 11).
#[test]
fn what_is_set_again_as_it_was_is_not_written() {
    let again = || setting(&["EGG_SESS=x; httponly"]);
    let check = |mut store: Store, answer: Answer, operations: usize, version: u64| {
        let held = Held { version: 7, ..store.held() };
        let effect = store.settle(Bond::Live(held, SENT), answer);
        assert!(keeps(&effect) && !effect.withheld);
        assert_eq!((store.operations, store.records[&OLD].0), (operations, version));
        assert_eq!(store.jars(), ["EGG_SESS=x"]);
    };
    check(live(), again(), 1, 7);
    check(live(), Answer { record: Since::Unchanged, ..again() }, 0, 7);
    check(live(), setting(&["EGG_SESS=y", "EGG_SESS=x"]), 1, 7);
    // A store that does not answer is no reason to withhold what changes nothing.
    check(Store { faults: HashMap::from([(1, Fault::Lost)]), ..live() }, again(), 1, 7);
    let another: Change = |record| {
        record.jar.apply(&edits(&["EGG_SESS=y"]), policy().jar, NOW);
    };
    check(Store { rival: Some((1, another)), ..live() }, again(), 2, 9);
}

/// Two answers of one session that come together are one write, with the cookies of both; what would do
/// more than be written waits for the other one.
#[test]
fn answers_at_once_are_settled_on_top_of_each_other() {
    let policy = policy();
    let (store, mut written) = (live(), live());
    let begin = |answer| match Settle::begin(
        &policy,
        Bond::Live(store.held(), SENT),
        Ok(()),
        answer,
        NOW,
    ) {
        Begun::Goes(settle, Step::Merge { version, record, .. }) => {
            Ok((settle, version, Arc::new(*record)))
        }
        Begun::Goes(settle, _) => Err(settle),
        Begun::Done(effect) => panic!("{effect:?}"),
    };
    let (mut first, version, record) = begin(setting(&["EGG_SESS=x2"])).expect("a write");
    assert_eq!((version, cookies(&record).as_str()), (7, "EGG_SESS=x2"));
    let (second, ..) = begin(setting(&["EGG_SESS.sig=s2"])).expect("a write");
    let (mut second, both) = second.onto(version, &record).expect("it only writes");
    assert_eq!(cookies(&both), "EGG_SESS=x2; EGG_SESS.sig=s2");

    let outcome = written.carry_out(Step::Merge { key: OLD, version, record: both });
    let ControlFlow::Continue(Outcome::Replaced(replaced)) = outcome else { panic!("a write") };
    for settle in [&mut first, &mut second] {
        let Step::Done(effect) = settle.next(Outcome::Replaced(replaced)) else {
            panic!("one write")
        };
        assert!(keeps(&effect) && !effect.withheld && effect.events.is_empty());
    }
    assert_eq!(
        (written.records[&OLD].0, written.jars()),
        (8, vec!["EGG_SESS=x2; EGG_SESS.sig=s2".to_owned()])
    );

    // What ends the session, or has nothing left to write, is no write on top of another one.
    let logged_out = begin(logout(&["EGG_SESS=; max-age=0"])).expect_err("it ends the session");
    assert!(logged_out.onto(version, &record).is_none());
    let (same, ..) = begin(setting(&["EGG_SESS=x2"])).expect("a write");
    assert!(same.onto(version, &record).is_none(), "the other one has written it");
    let (late, ..) = begin(setting(&["EGG_SESS.sig=s"])).expect("a write");
    let gone = Arc::new(record.as_ref().clone().into_state(State::Ended));
    assert!(late.onto(version, &gone).is_none(), "nothing is written into a session that is over");
}

/// An idle deadline that was moved in the background meanwhile costs no cookie, and stays moved.
#[test]
fn an_answer_survives_a_touch() {
    let later = NOW.plus(Duration::from_secs(9000));
    let touch: Change = |record| record.idle_until = NOW.plus(Duration::from_secs(9000));
    let mut store = Store { rival: Some((1, touch)), ..live() };
    let held = store.held();
    let effect = store.settle(Bond::Live(held, SENT), setting(&["EGG_SESS.sig=s"]));
    assert!(!effect.withheld);
    let record = &store.records[&OLD].1;
    assert!(cookies(record).contains("EGG_SESS.sig=s"), "{}", cookies(record));
    assert_eq!(record.idle_until, later);
}

/// `balance: session`: of requests that fail over together one says so, and an answer that was on
/// its way from the old endpoint does not take the session back.
#[test]
fn a_session_leaves_its_endpoint_once() {
    let at = |endpoint: &str| Answer { endpoint: Some(endpoint.into()), ..setting(&["b=1"]) };
    let mut store = live();
    let held = store.held();
    assert_eq!(store.settle(Bond::Live(held, SENT), at("127.0.0.1:7001")).left, None, "its first");
    let (held, late) = (store.held(), store.held());
    let left = store.settle(Bond::Live(held.clone(), SENT), at("127.0.0.1:7002")).left;
    assert_eq!(left.as_deref(), Some("127.0.0.1:7001"));
    assert_eq!(store.settle(Bond::Live(held, SENT), at("127.0.0.1:7002")).left, None, "beside it");
    assert_eq!(store.settle(Bond::Live(late, SENT), at("127.0.0.1:7001")).left, None);
    assert_eq!(store.records[&OLD].1.endpoint.as_deref(), Some("127.0.0.1:7002"), "a late one");
}

/// PROTOCOL 25: a late answer changes nothing once its record was moved, ended or suspended.
#[test]
fn late_answers_are_fenced() {
    let moved = State::Moved { successor: OLD, at: NOW };
    for state in [moved, State::Ended, State::Pending { since: NOW, by: 0 }] {
        let mut store = live();
        let held = store.held();
        let now = record(State::Live).into_state(state.clone());
        store.records.insert(OLD, (8, now.clone()));
        let effect = store.settle(Bond::Live(held.clone(), SENT), setting(&["EGG_SESS=late"]));
        assert!(keeps(&effect) && !effect.withheld);
        assert_eq!(effect.events, [Event::Fenced { id: OLD }]);
        // … nor does a late logout or deletion.
        let effect = store.settle(Bond::Live(held.clone(), SENT), logout(&[]));
        assert!(keeps(&effect), "{state:?}");
        let effect = store.settle(Bond::Live(held, SENT), setting(&["EGG_SESS=; max-age=0"]));
        assert!(keeps(&effect), "{state:?}");
        assert_eq!(store.records[&OLD], (8, now));
    }
}

/// PROTOCOL 8: a record that is gone is not resurrected, and its ticket is not expired.
#[test]
fn a_late_answer_does_not_resurrect_what_is_gone() {
    let mut store = live();
    let held = store.held();
    store.records.clear();
    let effect = store.settle(Bond::Live(held, SENT), setting(&["EGG_SESS=late"]));
    assert!(keeps(&effect) && !effect.withheld);
    assert!(store.records.is_empty());
}
