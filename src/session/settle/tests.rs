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

mod answers;
mod attempts;
mod guarded;
mod logins;
mod logouts;
mod outage;
mod renewal;
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
