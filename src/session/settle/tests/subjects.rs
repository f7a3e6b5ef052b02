//! Who logged in, what the application says, how many sessions a user may have (PROTOCOL.md 21-23,
//! 27).

use super::*;
use crate::session::limit::{Beyond, SessionLimit};
use crate::session::subject::{LoginClient, Subject};

fn confirmed(name: &str) -> Option<Subject> {
    Subject::confirmed(name)
}

/// A login of somebody whom the application names.
fn login_of(name: &str, fields: &[&str]) -> Answer {
    Answer { subject: confirmed(name), ..success(fields) }
}

fn revoking(answer: Answer) -> Answer {
    Answer { revoke_subject: true, ..answer }
}

fn renewing(answer: Answer, counter: u32) -> Answer {
    Answer { happened: Happened::Renewed(sent(counter)), ..answer }
}

/// A live record of this subject, whose ticket came back, and its key.
fn session_of(name: &str, n: u8, age_secs: u64) -> (RecordKey, Record) {
    let began = UnixMillis(NOW.0 - age_secs * 1000);
    let key = RecordKey { tag: [n; 8], id: [n; 16], has_subject: true };
    let mut jar = Jar::default();
    jar.apply(&edits(&[&format!("EGG_SESS=other{n}")]), policy().jar, NOW);
    let timeouts = policy().timeouts;
    let record = Record::new(Seed::new([n; 32]), jar, Standing::Authenticated, &timeouts, began);
    let epoch = Some(Epoch([0; 16]));
    (key, Record { subject: confirmed(name), epoch, presented: Some(began), ..record })
}

impl Store {
    /// … beside sessions of Alice's that began so many seconds ago.
    fn beside(mut self, ages: &[u64]) -> Self {
        for (n, age) in (50..).zip(ages) {
            let (key, record) = session_of("alice", n, *age);
            self.records.insert(key, (1, record));
        }
        self
    }

    fn made(&self, effect: &Effect) -> Record {
        let TicketEffect::Set(issue) = &effect.ticket else { panic!("no ticket: {effect:?}") };
        self.records[&issue.key].1.clone()
    }
}

/// A store whose old record is Alice's.
fn live_of_alice() -> Store {
    Store::with(Record {
        epoch: Some(Epoch([0; 16])),
        subject: confirmed("alice"),
        ..record(State::Live)
    })
}

fn limited(sessions: usize, beyond: Beyond) -> Policy {
    Policy { session_limit: Some(SessionLimit { sessions, beyond }), ..policy() }
}

/// PROTOCOL 23: who logged in stands in the new record, with the epoch; a login without a name is
/// nobody's, whoever it was before.
#[test]
fn a_login_puts_its_subject_into_the_new_record() {
    let client = Some(LoginClient::new(b"Mozilla/5.0", "192.0.2.0/24".to_owned()));
    for bond in [Bond::Login(pending().held()), Bond::Free] {
        let mut store = pending();
        let answer = Answer { client: client.clone(), ..login_of("Alice", &["EGG_SESS=x"]) };
        let effect = store.settle(bond, answer);
        let made = store.made(&effect);
        assert_eq!(made.subject, confirmed("Alice"));
        assert_eq!((made.epoch, made.client), (Some(Epoch([0; 16])), client.clone()));
        let TicketEffect::Set(issue) = effect.ticket else { panic!("no ticket") };
        assert!(issue.key.has_subject);
        let named = matches!(&effect.events[..], [Event::Login { subject: Some(name), .. }] if name == "alice");
        assert!(named, "{:?}", effect.events);
    }
    for name in [None, Some("bob")] {
        let mut store = live_of_alice();
        let held = store.held();
        let subject = name.and_then(Subject::confirmed);
        let answer = Answer { subject: subject.clone(), ..success(&["EGG_SESS=x"]) };
        let effect = store.settle(Bond::Live(held, SENT), answer);
        let made = store.made(&effect);
        assert_eq!((made.epoch.is_some(), made.subject), (name.is_some(), subject));
        assert_eq!(made.client, None);
    }
}

/// PROTOCOL 23: a session before the login is nobody's.
#[test]
fn an_anonymous_session_has_no_subject() {
    let mut store = Store::default();
    let answer = Answer { subject: confirmed("alice"), ..setting(&["EGG_SESS=x"]) };
    let effect = store.settle(Bond::Free, answer);
    assert_eq!(store.made(&effect).subject, None);
}

/// PROTOCOL 13, 14: the application asks for the next ticket; whoever comes second gets the same.
#[test]
fn a_renewal_that_is_asked_for_comes_at_once() {
    let mut store = live();
    let held = store.held();
    for _ in 0..2 {
        let effect = store.settle(Bond::Live(held.clone(), sent(0)), renewing(setting(&[]), 0));
        assert_eq!(issued(&effect), Some(1));
        assert_eq!(store.records[&OLD].1.counter, 1, "one successor");
    }
    // Where only a success moves it, a login that goes on for another step keeps its record, with
    // another ticket.
    let mut store = pending();
    let held = store.held();
    let effect = store.settle(Bond::Login(held), renewing(staying(&["EGG_SESS=half"]), 0));
    assert_eq!(issued(&effect), Some(1));
    assert_eq!(*store.state(), State::Live);
    assert_eq!(store.jars(), ["EGG_SESS=half"]);
}

/// A renewal that the application asked for was for a reason.
#[test]
fn a_renewal_that_was_asked_for_and_not_stored_is_withheld() {
    for fault in [Fault::Lost, Fault::AnswerLost] {
        let mut store = Store { faults: HashMap::from([(1, fault)]), ..live() };
        let held = store.held();
        let effect = store.settle(Bond::Live(held, sent(0)), renewing(setting(&[]), 0));
        assert!(effect.withheld && keeps(&effect), "{fault:?}");
    }
    let mut store = pending();
    store.rival = Some((1, |record| record.presented = Some(NOW)));
    let held = store.held();
    store.settle(Bond::Login(held), renewing(staying(&[]), 0));
    assert_eq!(*store.state(), State::Live, "given back after reading again");
}

/// PROTOCOL 27: every session of the subject is over, this one too.
#[test]
fn revoking_a_subject_ends_all_of_its_sessions() {
    let mut store = live_of_alice().beside(&[60, 120]);
    let held = store.held();
    let effect = store.settle(Bond::Live(held, SENT), revoking(setting(&[])));
    assert!(expires(&effect));
    assert_eq!(store.jars(), [""; 0]);
    let revoked = Event::SubjectRevoked { id: Some(OLD), subject: "alice".to_owned() };
    let ended = Event::Ended { id: OLD, cause: Cause::SubjectRevoked };
    assert_eq!(effect.events, [revoked, ended]);

    // A session of nobody has no others; without a session there is nothing to end.
    let mut store = live().beside(&[60]);
    let held = store.held();
    let effect = store.settle(Bond::Live(held, SENT), revoking(logout(&[])));
    assert!(expires(&effect));
    assert_eq!(store.jars(), ["EGG_SESS=other50"]);
    let effect = store.settle(Bond::Free, revoking(setting(&[])));
    assert_eq!(effect.events, [Event::CommandIgnored { cause: Ignored::NoSubject }]);
}

/// A password was changed: all others end, this session is new.
#[test]
fn a_login_beside_a_revocation_belongs_to_the_new_epoch() {
    let bonds: [fn(&Store) -> Bond; 3] = [
        |store| Bond::Live(store.held(), SENT),
        |_| Bond::Free,
        |_| Bond::Silent(Silence::Moved(OLD)),
    ];
    for bond in bonds {
        let mut store = live_of_alice().beside(&[60, 120]);
        let bond = bond(&store);
        let effect = store.settle(bond, revoking(login_of("alice", &["EGG_SESS=new"])));
        assert_eq!(store.made(&effect).epoch, Some(Epoch([1; 16])));
        assert_eq!(store.jars(), ["EGG_SESS=new"]);
    }
    // Who logs in is who is revoked, whoever it was before.
    let mut store = live_of_alice().beside(&[60]);
    let held = store.held();
    let effect = store.settle(Bond::Live(held, SENT), revoking(login_of("bob", &["EGG_SESS=b"])));
    assert_eq!(store.made(&effect).subject, confirmed("bob"));
    assert_eq!(store.jars(), ["EGG_SESS=b", "EGG_SESS=other50"]);
    // … and where that is not said, whoever it was.
    let mut store = live_of_alice().beside(&[60]);
    let held = store.held();
    let effect = store.settle(Bond::Live(held, SENT), revoking(success(&["EGG_SESS=n"])));
    assert_eq!(store.made(&effect).epoch, None);
    assert_eq!(store.jars(), ["EGG_SESS=n"]);
    // A reset without a session cookie revokes all the same.
    let mut store = Store::default().beside(&[60]);
    let effect = store.settle(Bond::Free, revoking(login_of("alice", &[])));
    assert!(keeps(&effect) && !effect.withheld);
    assert_eq!(store.jars(), [""; 0]);
}

/// PROTOCOL 22: beyond the limit the login is refused; its session can't be brought again.
#[test]
fn a_login_too_many_is_refused() {
    let policy = limited(2, Beyond::Refuse);
    let mut store = pending().beside(&[60, 120]);
    let held = store.held();
    let effect = store.settle_under(&policy, Bond::Login(held), login_of("alice", &["EGG_SESS=x"]));
    assert!(effect.refused && !effect.withheld && !sets(&effect));
    assert_eq!(*store.state(), State::Ended, "the worker has logged X in");
    assert_eq!(store.jars(), ["EGG_SESS=other50", "EGG_SESS=other51"]);
    let refused = Event::LoginRefused { subject: "alice".to_owned() };
    assert_eq!(effect.events, [refused, Event::Ended { id: OLD, cause: Cause::TooMany }]);

    let mut store = Store::default().beside(&[60, 120]);
    let effect = store.settle_under(&policy, Bond::Free, login_of("alice", &["EGG_SESS=x"]));
    assert!(effect.refused && keeps(&effect));
    assert_eq!(store.records.len(), 2, "nothing was made");

    // Others, claims, those who revoke all of theirs, and a second login in one browser may.
    for answer in [
        login_of("bob", &["EGG_SESS=x"]),
        Answer { subject: Subject::claimed("alice"), ..success(&["EGG_SESS=x"]) },
        revoking(login_of("alice", &["EGG_SESS=x"])),
    ] {
        let mut store = Store::default().beside(&[60, 120]);
        let effect = store.settle_under(&policy, Bond::Free, answer);
        assert!(sets(&effect) && !effect.refused);
    }
    let mut store = Store::with(session_of("alice", 1, 60).1).beside(&[60]);
    let held = store.held();
    let again = login_of("alice", &["EGG_SESS=x"]);
    assert!(sets(&store.settle_under(&policy, Bond::Live(held, SENT), again)));
}

/// PROTOCOL 22: or the oldest sessions end.
#[test]
fn the_oldest_sessions_end() {
    let policy = limited(2, Beyond::EndOldest);
    let mut store = pending().beside(&[60, 180, 120]);
    let held = store.held();
    let effect = store.settle_under(&policy, Bond::Login(held), login_of("alice", &["EGG_SESS=x"]));
    assert!(sets(&effect));
    assert_eq!(store.jars(), ["EGG_SESS=other50", "EGG_SESS=x"]);
    let too_many = |event: &&Event| matches!(event, Event::Ended { cause: Cause::TooMany, .. });
    assert_eq!(effect.events.iter().filter(too_many).count(), 2);
}

/// PROTOCOL 8, 19: whatever the store does at whichever step, X is in one live record at most, no
/// ticket is set for a session that is not there, and what the application asked for is done or
/// the answer is withheld.
#[test]
fn a_login_with_a_subject_is_whole_or_withheld() {
    let answers = [
        (policy(), login_of("alice", &["EGG_SESS=x"]), 3),
        (policy(), revoking(login_of("alice", &["EGG_SESS=x"])), 4),
        (limited(2, Beyond::Refuse), login_of("alice", &["EGG_SESS=x"]), 4),
        (limited(1, Beyond::EndOldest), login_of("alice", &["EGG_SESS=x"]), 6),
        (limited(1, Beyond::Refuse), login_of("alice", &["EGG_SESS=x"]), 2),
    ];
    for (policy, answer, steps) in answers {
        for at in 1..=steps + 1 {
            for fault in [Fault::Lost, Fault::AnswerLost] {
                let what = format!("operation {at} of {steps}: {fault:?} {answer:?}");
                let mut store = pending().beside(&[60]);
                store.faults = HashMap::from([(at, fault)]);
                let held = store.held();
                let effect = store.settle_under(&policy, Bond::Login(held), answer.clone());
                assert_eq!(effect.withheld, at <= steps, "{what}");
                assert!(!effect.withheld || keeps(&effect), "{what}");
                let mine = store.jars().iter().filter(|jar| *jar == "EGG_SESS=x").count();
                assert!(mine <= 1, "{what}");
                assert_ne!(*store.state(), State::Live, "{what}");
            }
        }
    }
}

#[test]
fn a_revocation_is_acknowledged_or_withheld() {
    for fault in [Fault::Lost, Fault::AnswerLost] {
        let mut store = Store { faults: HashMap::from([(1, fault)]), ..live_of_alice() };
        let held = store.held();
        let effect = store.settle(Bond::Live(held, SENT), revoking(setting(&[])));
        assert!(effect.withheld && keeps(&effect), "{fault:?}");
    }
}

/// A password reset whose answer overtakes another login still revokes.
#[test]
fn a_revocation_is_not_lost_where_the_login_is_fenced() {
    let mut store = pending().beside(&[60]);
    let answer = revoking(login_of("alice", &["EGG_SESS=own"]));
    let effect = store.settle(Bond::Silent(Silence::Pending(OLD)), answer);
    assert!(keeps(&effect) && !effect.withheld);
    assert_eq!(store.epoch("alice"), Epoch([1; 16]));
}

/// What the application says goes for logins that a rule began, too.
#[test]
fn a_logout_ends_a_login_that_is_on_its_way() {
    let mut store = pending();
    let held = store.held();
    let effect = store.settle(Bond::Login(held), Answer { attempt: Attempt::Moves, ..logout(&[]) });
    assert!(expires(&effect));
    assert_eq!(*store.state(), State::Ended);
}
