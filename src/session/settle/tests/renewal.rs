//! The ticket that goes out with an answer (PROTOCOL.md 13-15).

use super::*;

/// PROTOCOL 15: a browser that only loses its claim is rid of its ticket with the next answer.
#[test]
fn an_outdated_ticket_is_expired_or_replaced() {
    let outdated = || Bond::Silent(Silence::Outdated);
    let mut store = live();
    assert!(expires(&store.settle(outdated(), setting(&[]))));
    assert!(expires(&store.settle(outdated(), failure(&[]))));
    assert_eq!(store.operations, 0, "its twin's session is none of its business");
    assert!(sets(&store.settle(outdated(), setting(&["EGG_SESS=own"]))));
    assert!(sets(&store.settle(outdated(), success(&["EGG_SESS=own"]))));
    assert_eq!(store.jars(), ["EGG_SESS=own", "EGG_SESS=own", "EGG_SESS=x"]);
    let mut store = Store { limit_reached: true, ..Store::default() };
    assert!(expires(&store.settle(outdated(), setting(&["EGG_SESS=own"]))));
}

/// PROTOCOL 13: one successor, with the record's next secret; cookies go into the same write.
#[test]
fn a_ticket_that_is_due_is_renewed_once() {
    for answer in [setting(&[]), setting(&["EGG_SESS=x2"])] {
        let mut store = due(4);
        let held = store.held();
        let effect = store.settle(Bond::Live(held.clone(), sent(4)), answer);
        assert_eq!(issued(&effect), Some(5));
        let record = &store.records[&OLD].1;
        assert_eq!((record.counter, record.presented), (5, None));
        let TicketEffect::Set(issue) = effect.ticket else { panic!("no ticket") };
        assert!(issue.secret.proves(&record.secret(5)));
        assert_eq!(store.operations, 1);

        // Another exchange that was admitted with the same ticket gets the same successor.
        let effect = store.settle(Bond::Live(held, sent(4)), setting(&[]));
        assert_eq!(issued(&effect), Some(5));
        assert_eq!(store.records[&OLD].1.counter, 5, "not a second one");
    }
}

/// PROTOCOL 14: the previous ticket is answered with the current one, an older one with none.
#[test]
fn lost_answers_are_repeated() {
    for answer in [setting(&[]), setting(&["EGG_SESS=x2"])] {
        let current = || Store::with(Record { counter: 5, ..record(State::Live) });
        let mut store = current();
        let held = store.held();
        let effect = store.settle(Bond::Live(held.clone(), sent(4)), answer.clone());
        assert_eq!(issued(&effect), Some(5));
        let effect = current().settle(Bond::Live(held.clone(), sent(3)), answer.clone());
        assert_eq!(issued(&effect), None, "more than one generation ago");
        let effect = current().settle(Bond::Live(held, sent(5)), answer);
        assert_eq!(issued(&effect), None, "it has the current one");
    }
}

/// PROTOCOL 8, 13: a renewal that could not be stored gives no ticket, and is no reason to
/// withhold anything.
#[test]
fn a_renewal_that_was_not_stored_is_no_renewal() {
    for fault in [Fault::Lost, Fault::AnswerLost] {
        let mut store = Store { faults: HashMap::from([(1, fault)]), ..due(4) };
        let held = store.held();
        let effect = store.settle(Bond::Live(held, sent(4)), setting(&[]));
        assert!(keeps(&effect) && !effect.withheld, "{fault:?}");
    }
}

/// PROTOCOL 14, 25: whatever took the record's place meanwhile, no ticket comes from before it.
#[test]
fn nothing_is_renewed_that_is_over() {
    for state in [State::Ended, State::Moved { successor: OLD, at: NOW }] {
        let mut store = due(4);
        let held = store.held();
        store.records.insert(OLD, (8, record(state.clone())));
        let effect = store.settle(Bond::Live(held.clone(), sent(4)), setting(&[]));
        assert!(keeps(&effect), "{state:?}");
        let effect = store.settle(Bond::Live(held, sent(3)), setting(&[]));
        assert!(keeps(&effect), "{state:?}");
    }
}
