//! The machine against a small store that fails when told to.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::*;
use crate::cookie::response::SetCookie;
use crate::session::jar::Edit;
use crate::session::outcome::{Epoch, Listing, Removed, Replaced, Room, Surplus};
use crate::session::parked::Guarding;
use crate::session::record::{Seed, Standing};
use crate::session::tests::policy;
use crate::session::ticket::Selector;

mod attempts;
mod guarded;
mod outage;
mod subjects;

const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
const OLD: RecordKey = RecordKey { tag: [1; 8], id: [1; 16], has_subject: false };

/// The ticket that the old record was presented with.
const SENT: Presented = Presented { tag: OLD.tag, selector: Selector([9; 16]), counter: 0 };

/// What one store operation meets besides the store itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is not carried out and not answered.
    Lost,
    /// It is carried out, but the answer is lost.
    AnswerLost,
}

type Change = fn(&mut Record);

#[derive(Default)]
struct Store {
    records: HashMap<RecordKey, (u64, Record)>,
    /// The fault of the n-th operation.
    faults: HashMap<usize, Fault>,
    /// Another writer gets in before the n-th operation.
    rival: Option<(usize, Change)>,
    operations: usize,
    made: u8,
    limit_reached: bool,
    /// The epochs of subjects, by how often they were revoked.
    epochs: HashMap<String, u8>,
}

impl Store {
    fn with(record: Record) -> Self {
        Self { records: HashMap::from([(OLD, (7, record))]), ..Self::default() }
    }

    fn held(&self) -> Held {
        let (version, record) = self.records[&OLD].clone();
        Held { key: OLD, version, record: Arc::new(record) }
    }

    fn state(&self) -> &State {
        &self.records[&OLD].1.state
    }

    fn epoch(&self, name: &str) -> Epoch {
        Epoch([self.epochs.get(name).copied().unwrap_or_default(); 16])
    }

    /// Whether a record is of its subject's epoch.
    fn is_current(&self, record: &Record) -> bool {
        let owner = record.subject.as_ref().zip(record.epoch);
        owner.is_none_or(|(subject, epoch)| epoch.is(self.epoch(&subject.name)))
    }

    /// Which of a subject's records have no room.
    fn beyond(&self, name: &str, room: Room) -> Vec<RecordKey> {
        let all = self.records.iter();
        let hers = all
            .filter(|(_, (_, record))| record.subject.as_ref().is_some_and(|who| who.name == name))
            .filter(|(key, (_, record))| {
                self.is_current(record) && room.besides.is_none_or(|besides| besides != **key)
            });
        let mut counted: Vec<_> = hers
            .filter_map(|(key, (_, record))| match record.listing() {
                Listing::Counts(since) => Some((since, *key)),
                Listing::Out | Listing::Listed => None,
            })
            .collect();
        counted.sort_unstable();
        if room.ends == Surplus::Oldest {
            counted.reverse();
        }
        counted.into_iter().skip(room.sessions).map(|(_, key)| key).collect()
    }

    /// The jars of all records that lend theirs.
    fn jars(&self) -> Vec<String> {
        let mut jars: Vec<String> = self
            .records
            .values()
            .filter(|(_, record)| record.state == State::Live && self.is_current(record))
            .map(|(_, record)| cookies(record))
            .collect();
        jars.sort();
        jars
    }

    fn carry_out(&mut self, step: Step) -> ControlFlow<Effect, Outcome> {
        let is_operation = match &step {
            Step::Done(_) => false,
            Step::Fresh { subject, .. } => subject.is_some(),
            _ => true,
        };
        if is_operation {
            self.operations += 1;
            if let Some((at, change)) = self.rival
                && at == self.operations
            {
                let (version, record) = self.records.get_mut(&OLD).expect("the old record");
                *version += 1;
                change(record);
            }
        }
        let fault = self.faults.get(&self.operations).copied();
        let lost = fault == Some(Fault::Lost);
        ControlFlow::Continue(match step {
            Step::Done(effect) => return ControlFlow::Break(effect),
            Step::Fresh { purpose: Purpose::Visitor, .. } if self.limit_reached => {
                Outcome::Refused(NotMade::RateLimited)
            }
            Step::Fresh { subject: Some(_), .. } if fault.is_some() => Outcome::Unavailable,
            Step::Fresh { subject, .. } => {
                self.made += 1;
                let n = 100 + self.made;
                let has_subject = subject.is_some();
                let key = RecordKey { tag: [n; 8], id: [n; 16], has_subject };
                let (tag, selector) = ([n; 8], Selector([n; 16]));
                let epoch = subject.map(|name| self.epoch(&name));
                Outcome::Fresh(Fresh { tag, selector, seed: Seed::new([n; 32]), key, epoch })
            }
            Step::RevokeSubject(name, _) => {
                if !lost {
                    *self.epochs.entry(name.clone()).or_default() += 1;
                }
                let epoch = self.epoch(&name);
                Outcome::Revoked(if fault.is_some() {
                    Lookup::Unavailable
                } else {
                    Lookup::Found(epoch)
                })
            }
            Step::Beyond(..) if fault.is_some() => Outcome::Beyond(Lookup::Unavailable),
            Step::Beyond(name, room) => Outcome::Beyond(Lookup::Found(self.beyond(&name, room))),
            Step::Remove(key) => {
                if !lost {
                    self.records.remove(&key);
                }
                let removed = if fault.is_some() { Removed::Unavailable } else { Removed::Removed };
                Outcome::Removed(removed)
            }
            Step::Load(_) if fault.is_some() => Outcome::Loaded(Lookup::Unavailable),
            Step::Load(key) => Outcome::Loaded(match self.records.get(&key).cloned() {
                Some((version, record)) => Lookup::Found((version, Arc::new(record))),
                None => Lookup::NotFound,
            }),
            Step::Create { fresh, record } => {
                if !lost {
                    self.records.insert(fresh.key, (1, *record));
                }
                Outcome::Created(if fault.is_some() {
                    Created::Unavailable
                } else {
                    Created::Created
                })
            }
            Step::Replace { key, version, record, .. } | Step::Merge { key, version, record } => {
                let found = self.records.get(&key).map(|(version, _)| *version);
                let replaced = match found {
                    None => Replaced::Gone,
                    Some(found) if found != version => Replaced::Conflict,
                    Some(_) => {
                        if !lost {
                            self.records.insert(key, (version + 1, *record));
                        }
                        Replaced::Replaced
                    }
                };
                Outcome::Replaced(if fault.is_some() { Replaced::Unavailable } else { replaced })
            }
        })
    }

    fn run(&mut self, begun: Begun<'_>) -> Effect {
        let (mut settle, mut step) = match begun {
            Begun::Done(effect) => return effect,
            Begun::Goes(settle, step) => (settle, step),
        };
        loop {
            match self.carry_out(step) {
                ControlFlow::Break(effect) => return effect,
                ControlFlow::Continue(outcome) => step = settle.next(outcome),
            }
        }
    }

    fn settle(&mut self, bond: Bond, answer: Answer) -> Effect {
        self.settle_at(bond, answer, NOW)
    }

    fn settle_under(&mut self, policy: &Policy, bond: Bond, answer: Answer) -> Effect {
        self.run(Settle::begin(policy, bond, Ok(()), answer, NOW))
    }

    fn settle_at(&mut self, bond: Bond, answer: Answer, now: UnixMillis) -> Effect {
        let policy = policy();
        self.run(Settle::begin(&policy, bond, Ok(()), answer, now))
    }
}

fn cookies(record: &Record) -> String {
    record.jar.written("h", "/", NOW)
}

fn edits(fields: &[&str]) -> Vec<Edit> {
    let read = |field: &&str| {
        let parsed = SetCookie::parse(field.as_bytes()).expect("a readable field");
        Edit::read(&parsed, "h", b"/", NOW)
    };
    fields.iter().map(read).collect()
}

fn record(state: State) -> Record {
    let mut jar = Jar::default();
    jar.apply(&edits(&["EGG_SESS=x"]), policy().jar, NOW);
    let timeouts = policy().timeouts;
    Record { state, ..Record::new(Seed::new([1; 32]), jar, Standing::Anonymous, &timeouts, NOW) }
}

fn live() -> Store {
    Store::with(record(State::Live))
}

fn pending() -> Store {
    Store::with(record(State::Pending { since: NOW, by: 0 }))
}

fn setting(fields: &[&str]) -> Answer {
    Answer { edits: edits(fields), ..Answer::default() }
}

fn success(fields: &[&str]) -> Answer {
    Answer { happened: Happened::LoggedIn, ..failure(fields) }
}

fn failure(fields: &[&str]) -> Answer {
    Answer { attempt: Attempt::Moves, ..setting(fields) }
}

/// A failed attempt where only a success moves the session.
fn staying(fields: &[&str]) -> Answer {
    Answer { attempt: Attempt::Stays, ..setting(fields) }
}

fn logout(fields: &[&str]) -> Answer {
    Answer { happened: Happened::LoggedOut, ..setting(fields) }
}

fn sets(effect: &Effect) -> bool {
    matches!(effect.ticket, TicketEffect::Set(_))
}

fn expires(effect: &Effect) -> bool {
    matches!(effect.ticket, TicketEffect::Expire)
}

fn keeps(effect: &Effect) -> bool {
    matches!(effect.ticket, TicketEffect::Keep)
}

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

/// A record whose ticket `counter` is due for renewal.
fn due(counter: u32) -> Store {
    let long_ago = UnixMillis(NOW.0 - 900_000);
    let record = record(State::Live);
    Store::with(Record { counter, presented: Some(long_ago), renewed: long_ago, ..record })
}

fn sent(counter: u32) -> Presented {
    Presented { counter, ..SENT }
}

fn issued(effect: &Effect) -> Option<u32> {
    match effect.ticket {
        TicketEffect::Set(issue) => Some(issue.counter),
        TicketEffect::Keep | TicketEffect::Expire => None,
    }
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
