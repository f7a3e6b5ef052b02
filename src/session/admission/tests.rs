//! Scripts: what it asks for, what it is told, and what it asks for then.

use std::sync::Arc;

use super::*;
use crate::session::event::Reject;
use crate::session::facts::{Access, Intent};
use crate::session::jar::Jar;
use crate::session::limit::Place;
use crate::session::outage::OnStoreDown;
use crate::session::outcome::{Durability, Lookup, Replaced};
use crate::session::policy::{CrossSite, OnReuse};
use crate::session::record::{Record, Seed, Standing, State};
use crate::session::tests::policy;
use crate::session::ticket::Selector;

const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
const KEY: RecordKey = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };
const NEXT: RecordKey = RecordKey { tag: [3; 8], id: [4; 16], has_subject: false };

/// A live record whose ticket has come back already.
fn seen() -> Record {
    Record { presented: Some(NOW), ..unseen() }
}

fn unseen() -> Record {
    let timeouts = policy().timeouts;
    Record::new(Seed::new([7; 32]), Jar::default(), Standing::Authenticated, &timeouts, NOW)
}

fn suspended() -> Record {
    seen().into_state(State::Pending { since: NOW, by: 1 })
}

fn moved() -> Record {
    let long_ago = UnixMillis(NOW.0 - 60_000);
    seen().into_state(State::Moved { successor: NEXT, at: long_ago })
}

fn login() -> Facts<'static> {
    Facts { intent: Intent::Login(CrossSite::Deny), attempt: 7, ..Facts::default() }
}

fn in_turn(requests: Serialize) -> (Policy, Facts<'static>) {
    let mut policy = policy();
    policy.serialize.requests = requests;
    policy.serialize.wait = Duration::from_secs(10);
    (policy, Facts { turns: Turns::Takes, ..Facts::default() })
}

// Outcomes.

fn entered() -> Outcome {
    Outcome::Entered { gate: GateState::Open, has_waited: false }
}

fn after_waiting() -> Outcome {
    Outcome::Entered { gate: GateState::Open, has_waited: true }
}

fn beside_login() -> Outcome {
    Outcome::Entered { gate: GateState::Login, has_waited: true }
}

fn loaded(lookup: Lookup<(u64, Arc<Record>)>) -> Outcome {
    Outcome::Loaded { lookup, now: NOW }
}

fn found(version: u64, record: Record) -> Outcome {
    loaded(Lookup::Found((version, Arc::new(record))))
}

fn turn(hold: Hold, has_waited: bool, millis: u64) -> Outcome {
    Outcome::Turn { hold, has_waited, elapsed: Duration::from_millis(millis) }
}

fn closed(closed: Closed, has_waited: bool, millis: u64) -> Outcome {
    Outcome::Closed { closed, has_waited, elapsed: Duration::from_millis(millis) }
}

fn paused(millis: u64) -> Outcome {
    Outcome::Paused { elapsed: Duration::from_millis(millis) }
}

const WRITTEN: Outcome = Outcome::Replaced(Replaced::Replaced);
const CONFLICT: Outcome = Outcome::Replaced(Replaced::Conflict);
const LOST: Outcome = Outcome::Replaced(Replaced::Unavailable);

/// A step in a few words; times in milliseconds.
fn said(step: &Step) -> String {
    let held = |held: &Held| format!("{} {}", state(&held.record), held.version);
    match step {
        Step::TakeTurn { until } => format!("turn until {}", until.as_millis()),
        Step::Enter { until, grace } if grace.is_zero() => {
            format!("enter until {}", until.as_millis())
        }
        Step::Enter { until, grace } => {
            format!("enter until {} for {}", until.as_millis(), grace.as_millis())
        }
        Step::LookUp { how: How::Kept } => "look up".to_owned(),
        Step::LookUp { how: How::Anew } => "look up anew".to_owned(),
        Step::CloseGate { patience } => format!("close for {}", patience.as_millis()),
        Step::Wait { pause, until } => {
            format!("wait {} until {}", pause.as_millis(), until.as_millis())
        }
        Step::Replace { key, version, record, durability } => {
            let whose = if *key == KEY { "" } else { " of successor" };
            let how = match durability {
                Durability::Master => "",
                Durability::Replica => " durably",
            };
            format!("write {}{whose} over {version}{how}", state(record))
        }
        Step::End { version, record, .. } => format!("write {} over {version}", state(record)),
        Step::Join(joining) => format!("join {}", held(joining)),
        Step::Recall { max, .. } => format!("recall {}", max.as_millis()),
        Step::AskSuccessor(key) => {
            assert_eq!(*key, NEXT);
            "ask successor".to_owned()
        }
        Step::Admit(Granted { bond, touch, at, has_waited }) => {
            assert_eq!(*at, NOW);
            let bond = match bond {
                Bond::Free => "free".to_owned(),
                Bond::Live(live, _) => held(live),
                Bond::Stale(stale) => format!("stale {}", stale.version),
                Bond::Login(pending) => format!("login {}", held(pending)),
                Bond::Silent(silence) => format!("{silence:?}"),
            };
            let touch = touch.as_ref().map_or("", |_| ", touch");
            let waited = if *has_waited { ", waited" } else { "" };
            format!("admit {bond}{touch}{waited}")
        }
        Step::Refuse(refusal) => format!("refuse {refusal:?}"),
        Step::RestoreAndRefuse(pending, refusal) => {
            format!("restore {}, refuse {refusal:?}", held(pending))
        }
    }
}

fn state(record: &Record) -> &'static str {
    match record.state {
        State::Live => "live",
        State::Pending { .. } => "pending",
        State::Moved { .. } => "moved",
        State::Ended => "ended",
    }
}

/// Begins with `first`; each outcome leads to the step beside it. Returns what has happened.
fn check(policy: &Policy, facts: Facts<'_>, first: &str, script: &[(Outcome, &str)]) -> Vec<Event> {
    let seed = Seed::new([7; 32]);
    let (secret, issued) = (seed.secret(0), NOW.as_secs());
    let ticket =
        Ticket { tag: KEY.tag, selector: Selector([5; 16]), counter: 0, secret, issued, flags: 0 };
    let (mut admission, step) = Admission::begin(policy, &ticket, KEY, facts);
    assert_eq!(said(&step), first);
    let mut heard = Vec::new();
    for (number, (outcome, expected)) in script.iter().enumerate() {
        let step = admission.next(outcome.clone());
        heard.extend(admission.events());
        assert_eq!(said(&step), *expected, "step {number}, after {outcome:?}");
    }
    heard
}

/// The same, over and over.
fn times(round: &[(Outcome, &'static str)], number: u32) -> Vec<(Outcome, &'static str)> {
    (0..number).flat_map(|_| round.iter().cloned()).collect()
}

const ENTER: &str = "enter until 2000";

#[test]
fn a_page_enters_the_gate_and_looks_up_what_is_kept() {
    for (lookup, expected) in [
        (found(9, seen()), "admit live 9"),
        (loaded(Lookup::NotFound), "admit free"),
        (loaded(Lookup::Unavailable), "refuse StoreDown"),
    ] {
        let script = [(entered(), "look up"), (lookup, expected)];
        assert_eq!(check(&policy(), Facts::default(), ENTER, &script), []);
    }
}

#[test]
fn what_is_refused_or_told_is_the_decision_s() {
    let wrong = Record { seed: Seed::new([8; 32]), ..seen() };
    let script = [(entered(), "look up"), (found(9, wrong), "admit free")];
    let heard = check(&policy(), Facts::default(), ENTER, &script);
    assert_eq!(heard, [Event::TicketRejected { reason: Reject::WrongSecret }]);
    let facts = Facts { access: Access::LoggedIn, ..Facts::default() };
    let anonymous = Record { authenticated: None, ..seen() };
    let script = [(entered(), "look up"), (found(9, anonymous), "refuse LoginRequired")];
    check(&policy(), facts, ENTER, &script);
}

/// PROTOCOL 32: first the turn, then the gate, then the look-up, which is the store's: others have
/// written the record meanwhile.
#[test]
fn a_turn_comes_before_the_gate_and_the_gate_before_the_look_up() {
    let live = (found(9, seen()), "admit live 9");
    let waited = (found(9, seen()), "admit live 9, waited");
    let out = |cause| Event::OutOfTurn { cause };
    for (requests, outcome, enter, look_up, admitted, heard) in [
        // What follows the turn may take two seconds more.
        (
            Serialize::All,
            turn(Hold::Whole, false, 0),
            "enter until 2000 for 10000",
            "look up anew",
            &live,
            None,
        ),
        (
            Serialize::Unsafe,
            turn(Hold::Whole, true, 700),
            "enter until 2700 for 10000",
            "look up anew",
            &waited,
            None,
        ),
        (
            Serialize::All,
            turn(Hold::Here(OutOfTurn::StoreDown), false, 300),
            "enter until 2300 for 10000",
            "look up anew",
            &live,
            Some(out(OutOfTurn::StoreDown)),
        ),
        (
            Serialize::All,
            turn(Hold::None(OutOfTurn::QueueFull), false, 0),
            "enter until 2000 for 10000",
            "look up",
            &live,
            Some(out(OutOfTurn::QueueFull)),
        ),
        // It has had its time.
        (
            Serialize::All,
            turn(Hold::None(OutOfTurn::TimedOut), false, 10_000),
            "enter until 10000 for 10000",
            "look up anew",
            &waited,
            Some(out(OutOfTurn::TimedOut)),
        ),
        (
            Serialize::All,
            turn(Hold::Here(OutOfTurn::TimedOut), true, 10_000),
            "enter until 10000 for 10000",
            "look up anew",
            &waited,
            Some(out(OutOfTurn::TimedOut)),
        ),
    ] {
        let (policy, facts) = in_turn(requests);
        let script = [(outcome, enter), (entered(), look_up), admitted.clone()];
        let events = check(&policy, facts, "turn until 10000", &script);
        assert_eq!(events, Vec::from_iter(heard));
    }
}

#[test]
fn only_the_store_s_word_will_do_after_a_wait() {
    let script = [(after_waiting(), "look up anew"), (found(9, seen()), "admit live 9, waited")];
    check(&policy(), Facts::default(), ENTER, &script);
    let script = [
        (entered(), "look up"),
        (found(9, suspended()), "wait 20 until 2000"),
        (paused(20), ENTER),
        (entered(), "look up anew"),
        (found(10, seen()), "admit live 10, waited"),
    ];
    assert_eq!(check(&policy(), Facts::default(), ENTER, &script), [Event::Waited]);
    // Others had to finish first.
    let script = [
        (entered(), "look up"),
        (found(9, seen()), "close for 2000"),
        (closed(Closed::Alone, true, 500), "look up anew"),
        (found(10, seen()), "write pending over 10"),
        (WRITTEN, "admit login pending 11, waited"),
    ];
    check(&policy(), login(), ENTER, &script);
}

/// PROTOCOL 18: two seconds, and then without.
#[test]
fn a_wait_for_a_login_has_an_end_and_is_told_once() {
    let silent = "admit Pending(02020202..), waited";
    let script = [
        (entered(), "look up"),
        (found(9, suspended()), "wait 20 until 2000"),
        (paused(1990), ENTER),
        (entered(), "look up anew"),
        (found(9, suspended()), "wait 20 until 2000"),
        (paused(2000), ENTER),
        (entered(), "look up anew"),
        (found(9, suspended()), silent),
    ];
    assert_eq!(check(&policy(), Facts::default(), ENTER, &script), [Event::Waited]);
    // At a gate that stays closed.
    let script = [(beside_login(), "look up anew"), (found(9, seen()), silent)];
    check(&policy(), Facts::default(), ENTER, &script);
    let script = [
        (entered(), "look up"),
        (found(9, suspended()), "wait 20 until 2000"),
        (paused(20), ENTER),
        (beside_login(), "look up anew"),
        (found(9, suspended()), silent),
    ];
    check(&policy(), Facts::default(), ENTER, &script);
    let mut patient = policy();
    patient.serialize.wait = Duration::from_secs(5);
    check(&patient, Facts::default(), "enter until 5000", &[]);
}

/// PROTOCOL 18: what is in flight finishes first, and may have written the record.
#[test]
fn a_login_closes_the_gate_before_it_suspends_the_record() {
    let script = [
        (entered(), "look up"),
        (found(9, seen()), "close for 2000"),
        (closed(Closed::Alone, false, 0), "look up"),
        (found(9, seen()), "write pending over 9"),
        (WRITTEN, "admit login pending 10"),
    ];
    assert_eq!(check(&policy(), login(), ENTER, &script), []);
    let mut off = policy();
    off.serialize.requests = Serialize::Off;
    let script = [(entered(), "look up"), (found(9, seen()), "write pending over 9")];
    check(&off, login(), ENTER, &script);
}

/// PROTOCOL 18: while it waits for another node's login the gate is open, and somebody may have come in.
#[test]
fn a_login_that_waited_for_another_node_closes_the_gate_again() {
    let script = [
        (entered(), "look up"),
        (found(9, seen()), "close for 2000"),
        (closed(Closed::Alone, false, 0), "look up"),
        (found(9, seen()), "write pending over 9"),
        (CONFLICT, "look up"),
        (found(10, suspended()), "wait 20 until 2000"),
        (paused(20), ENTER),
        (entered(), "look up anew"),
        (found(11, seen()), "close for 2000"),
        (closed(Closed::Alone, false, 30), "look up anew"),
        (found(11, seen()), "write pending over 11"),
    ];
    check(&policy(), login(), ENTER, &script);
}

#[test]
fn a_login_waits_for_another_one_that_closed_the_gate() {
    let begins = [(entered(), "look up"), (found(9, seen()), "close for 2000")];
    let in_time = [
        (closed(Closed::Taken, false, 100), ENTER),
        (after_waiting(), "look up anew"),
        (found(10, seen()), "close for 2000"),
        (closed(Closed::Alone, false, 600), "look up anew"),
        (found(10, seen()), "write pending over 10"),
    ];
    check(&policy(), login(), ENTER, &[&begins[..], &in_time].concat());
    // Out of patience: nobody is waited for any more.
    let late = [
        (closed(Closed::Taken, false, 2000), ENTER),
        (entered(), "look up anew"),
        (found(10, seen()), "write pending over 10"),
    ];
    check(&policy(), login(), ENTER, &[&begins[..], &late].concat());
    let beside = [
        (closed(Closed::Taken, false, 100), ENTER),
        (beside_login(), "look up anew"),
        (found(10, seen()), "admit Pending(02020202..), waited"),
    ];
    check(&policy(), login(), ENTER, &[&begins[..], &beside].concat());
}

/// PROTOCOL 9, 22.
#[test]
fn the_first_presentation_is_written_and_then_counts() {
    let begins = [(entered(), "look up"), (found(9, unseen()), "write live over 9")];
    let joins = [(WRITTEN, "join live 10")];
    for (ends, heard) in [
        (vec![(Outcome::Joined(Place::Kept), "admit live 10")], vec![]),
        (vec![(Outcome::Joined(Place::Unknown), "refuse StoreDown")], vec![]),
        // What has become of it is looked at again.
        (
            vec![
                (Outcome::Joined(Place::Ended), "look up"),
                (loaded(Lookup::Revoked), "admit free"),
            ],
            vec![],
        ),
    ] {
        let script = [&begins[..], &joins, &ends].concat();
        assert_eq!(check(&policy(), Facts::default(), ENTER, &script), heard);
    }
    // The next request is the first.
    check(&policy(), Facts::default(), ENTER, &[&begins[..], &[(LOST, "admit live 9")]].concat());
}

#[test]
fn a_session_that_comes_back_with_a_login_counts_too() {
    let begins = [
        (entered(), "look up"),
        (found(9, unseen()), "close for 2000"),
        (closed(Closed::Alone, false, 0), "look up"),
        (found(9, unseen()), "write pending over 9"),
        (WRITTEN, "join pending 10"),
    ];
    for (outcome, expected) in [
        (Outcome::Joined(Place::Kept), "admit login pending 10"),
        (Outcome::Joined(Place::Ended), "look up"),
        (Outcome::Joined(Place::Unknown), "restore pending 10, refuse StoreDown"),
    ] {
        check(&policy(), login(), ENTER, &[&begins[..], &[(outcome, expected)]].concat());
    }
}

#[test]
fn what_others_have_written_meanwhile_is_looked_at_again() {
    for conflict in [CONFLICT, Outcome::Replaced(Replaced::Gone)] {
        let script = [
            (entered(), "look up"),
            (found(9, unseen()), "write live over 9"),
            (conflict.clone(), "look up"),
            (found(10, seen()), "admit live 10"),
        ];
        check(&policy(), Facts::default(), ENTER, &script);
        let script = [
            (entered(), "look up"),
            (found(9, seen()), "close for 2000"),
            (closed(Closed::Alone, false, 0), "look up"),
            (found(9, seen()), "write pending over 9"),
            (conflict, "look up"),
            (found(10, suspended()), "wait 20 until 2000"),
        ];
        check(&policy(), login(), ENTER, &script);
    }
}

/// A page goes on with what it has: only its mark is missing. A login does not.
#[test]
fn races_are_lost_so_often_and_no_more() {
    let begins = [(entered(), "look up")];
    let lost = [(found(9, unseen()), "write live over 9"), (CONFLICT, "look up")];
    let last = [(found(9, unseen()), "write live over 9"), (CONFLICT, "admit live 9")];
    let script = [&begins[..], &times(&lost, TRIES), &last].concat();
    check(&policy(), Facts::default(), ENTER, &script);

    let mut off = policy();
    off.serialize.requests = Serialize::Off;
    let lost = [(found(9, seen()), "write pending over 9"), (CONFLICT, "look up")];
    let last = [(found(9, seen()), "write pending over 9"), (CONFLICT, "refuse StoreDown")];
    check(&off, login(), ENTER, &[&begins[..], &times(&lost, TRIES - 1), &last].concat());

    let old = || Record { counter: 2, ..seen() };
    let lost = [(found(9, old()), "write ended over 9"), (CONFLICT, "look up")];
    let last = [(found(9, old()), "write ended over 9"), (CONFLICT, "refuse StoreDown")];
    let script = [&begins[..], &times(&lost, TRIES - 1), &last].concat();
    check(&policy(), Facts::default(), ENTER, &script);

    let begins = [(entered(), "look up"), (found(9, moved()), "ask successor")];
    let write = "write ended of successor over 1 durably";
    let lost = [(found(1, unseen()), write), (CONFLICT, "ask successor")];
    let last = [(found(1, unseen()), write), (CONFLICT, "refuse StoreDown")];
    let script = [&begins[..], &times(&lost, TRIES - 1), &last].concat();
    check(&policy(), Facts::default(), ENTER, &script);
}

/// PROTOCOL 20: nothing was forwarded, so the session goes on.
#[test]
fn a_suspension_whose_answer_is_lost_is_taken_back() {
    let script = [
        (entered(), "look up"),
        (found(9, seen()), "close for 2000"),
        (closed(Closed::Alone, false, 0), "look up"),
        (found(9, seen()), "write pending over 9"),
        (LOST, "restore pending 10, refuse StoreDown"),
    ];
    check(&policy(), login(), ENTER, &script);
}

/// PROTOCOL 15.
#[test]
fn a_session_is_ended_before_anything_is_forwarded() {
    let begins =
        [(entered(), "look up"), (found(9, Record { counter: 2, ..seen() }), "write ended over 9")];
    let reused = Event::Reused { id: KEY };
    let ended = Event::Ended { id: KEY, cause: Cause::Reused };
    let written = [(WRITTEN, "look up"), (loaded(Lookup::Revoked), "admit free")];
    let script = [&begins[..], &written].concat();
    let heard = check(&policy(), Facts::default(), ENTER, &script);
    assert_eq!(heard, [reused.clone(), ended]);
    let script = [&begins[..], &[(LOST, "refuse StoreDown")]].concat();
    assert_eq!(check(&policy(), Facts::default(), ENTER, &script), std::slice::from_ref(&reused));
    let logs = Policy { on_reuse: OnReuse::Log, ..policy() };
    let free =
        [(entered(), "look up"), (found(9, Record { counter: 2, ..seen() }), "admit Reused")];
    assert_eq!(check(&logs, Facts::default(), ENTER, &free), [reused]);
}

/// PROTOCOL 22: a successor that nobody has presented ends with the ticket before it.
#[test]
fn who_comes_late_asks_what_became_of_the_successor() {
    let begins = [(entered(), "look up"), (found(9, moved()), "ask successor")];
    let write = "write ended of successor over 1 durably";
    let ends = (found(1, unseen()), write);
    let ended = Event::Ended { id: NEXT, cause: Cause::SuccessorUnseen };
    for (script, heard) in [
        (vec![(found(1, seen()), "admit free")], None),
        (vec![(loaded(Lookup::NotFound), "admit free")], None),
        (vec![(loaded(Lookup::Unavailable), "refuse StoreDown")], None),
        (vec![ends.clone(), (WRITTEN, "admit free")], Some(ended)),
        (vec![ends.clone(), (Outcome::Replaced(Replaced::Gone), "admit free")], None),
        (vec![ends.clone(), (LOST, "refuse StoreDown")], None),
        // It was presented just now.
        (vec![ends, (CONFLICT, "ask successor"), (found(2, seen()), "admit free")], None),
    ] {
        let script = [&begins[..], &script].concat();
        let events = check(&policy(), Facts::default(), ENTER, &script);
        assert_eq!(events, Vec::from_iter(heard));
    }
}

#[test]
fn what_this_node_knew_is_asked_for_where_the_route_wants_that() {
    let max = Duration::from_secs(30);
    let facts = Facts { on_store_down: OnStoreDown::Stale(max), ..Facts::default() };
    let begins = [(entered(), "look up"), (loaded(Lookup::Unavailable), "recall 30000")];
    for (remembered, expected) in [
        (Some((9, Arc::new(seen()))), "admit stale 9"),
        (Some((9, Arc::new(suspended()))), "refuse StoreDown"),
        (None, "refuse StoreDown"),
    ] {
        let script = [&begins[..], &[(Outcome::Remembered(remembered), expected)]].concat();
        check(&policy(), facts, ENTER, &script);
    }
}

/// Nobody waits for an idle deadline to be moved.
#[test]
fn a_later_idle_deadline_is_written_some_time_soon() {
    let idle_until = UnixMillis(NOW.0 + 1_000);
    let script = [
        (entered(), "look up"),
        (found(9, Record { idle_until, ..seen() }), "admit live 9, touch"),
    ];
    check(&policy(), Facts::default(), ENTER, &script);
}

/// PROTOCOL 20.
#[test]
fn only_what_this_login_has_suspended_is_given_back() {
    let pending = Held { key: KEY, version: 10, record: Arc::new(suspended()) };
    let other = seen().into_state(State::Pending { since: NOW, by: 2 });
    let found = |version, record: Record| Lookup::Found((version, Arc::new(record)));
    let live = || Restore::Write(Box::new(seen()));
    for (lookup, secs, expected) in [
        (found(10, suspended()), 0, live()),
        (found(10, suspended()), 30, live()),
        (found(10, suspended()), 31, Restore::Over),
        (Lookup::Unavailable, 30, Restore::Again),
        (Lookup::Unavailable, 31, Restore::Over),
        // It was not suspended, or not by this one.
        (found(9, seen()), 0, Restore::Over),
        (found(10, other), 0, Restore::Over),
        (found(11, suspended()), 0, Restore::Over),
        (Lookup::NotFound, 0, Restore::Over),
        (Lookup::Revoked, 0, Restore::Over),
    ] {
        let what = format!("{lookup:?} after {secs} s");
        let now = NOW.plus(Duration::from_secs(secs));
        assert_eq!(Restore::of(&pending, lookup, now), expected, "{what}");
    }
}
