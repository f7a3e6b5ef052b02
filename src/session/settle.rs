//! What an answer does to the session: a pure step machine (PROTOCOL.md 7-12, 17-22, 25, 26).
//!
//! It asks for one store operation after another and is told each outcome; the shell carries
//! them out and holds the answer back until [`Step::Done`]. What it never does: write a record
//! that is not the one noted at admission, or two live records with one jar.
//!
//! Here: where it begins, and which stage follows which. `keep` is about a record that keeps its
//! place or ends, `login` about one that another takes the place of, `outage` about none that can
//! be written.

use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::session::binding::{Binding, LOOKS};
use crate::session::command::Ignored;
use crate::session::event::{Cause, Event, NotMade};
use crate::session::exchange::{Bond, Held, Presented, Silence};
use crate::session::jar::{Edit, Jar};
use crate::session::matching::Attempt;
use crate::session::outcome::{Created, Durability, Lookup, RecordKey};
use crate::session::policy::{OnReuse, Policy};
use crate::session::record::{Fresh, Record, Seed, State, UNSETTLED};

use self::guarded::Guarded;
pub use self::step::{
    Answer, Effect, Happened, Issue, Outcome, Purpose, Since, Step, TicketEffect,
};

/// How often one answer tries again when others write the same record.
const TRIES: u8 = 16;

/// The machine.
#[derive(Clone, Debug)]
pub struct Settle<'a> {
    policy: &'a Policy,
    answer: Answer,
    /// Whether a new session may be made for a request without one (rule 10).
    may_make: Result<(), NotMade>,
    /// The ticket of a live record: what may be renewed.
    presented: Option<Presented>,
    now: UnixMillis,
    stage: Stage,
    tries: u8,
    events: Vec<Event>,
    ticket: TicketEffect,
    /// The login goes beyond the limit on sessions (rule 22).
    refused: bool,
    /// The endpoint that the session has left.
    left: Option<String>,
    guarded: Guarded,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The record is being read: whether the answer only says again what is in its jar.
    Look(Held),
    /// The jar of the record is being written, back to `Live`, and this will be its ticket.
    Merge(Held, Chosen),
    /// The record is being read for its current ticket.
    Reissue(Held),
    /// The record is being ended.
    End(Held, Cause),
    /// Every session of this subject is being revoked, and there is no login beside it.
    RevokeAlone(Option<Held>, String),
    /// The sessions of who logged in are being counted.
    Count(Option<Held>),
    /// Random values are under way for the record that takes this one's place.
    Succeed(Held),
    /// The old record is being moved.
    Move(Held, Fresh),
    /// Random values are under way for a record out of nothing but the answer.
    Make(Purpose),
    /// Every other session of the subject is being revoked before this one is created.
    Revoke {
        old: Option<RecordKey>,
        fresh: Fresh,
        record: Box<Record>,
        subject: String,
    },
    /// A new record is being created.
    Create {
        old: Option<RecordKey>,
        fresh: Fresh,
        record: Box<Record>,
    },
    /// The new session is made; those of its subject beyond the limit are being looked for …
    Trim(RecordKey),
    /// … and this one is being ended; then the others.
    EndOldest {
        new: RecordKey,
        key: RecordKey,
        others: Vec<RecordKey>,
    },
    /// A login whose record was pending is looking whether it has moved by now.
    Recheck(RecordKey),
    Finished,
}

/// What became of a settlement's beginning.
#[derive(Debug)]
pub enum Begun<'a> {
    /// Most answers ask for nothing.
    Done(Effect),
    /// The first step is to be taken.
    Goes(Box<Settle<'a>>, Step),
}

impl<'a> Settle<'a> {
    /// Begins to settle `answer` for an exchange that was admitted with `bond`.
    pub fn begin(
        policy: &'a Policy,
        bond: Bond,
        may_make: Result<(), NotMade>,
        answer: Answer,
        now: UnixMillis,
    ) -> Begun<'a> {
        if asks_nothing(policy, &bond, &answer, now) {
            return Begun::Done(Effect::default());
        }
        let mut settle = Self::new(policy, may_make, answer, now);
        let step = settle.start(bond);
        settle.goes(step)
    }

    /// Settles an exchange that was aborted before its answer's head (rule 26). Whether it had
    /// been forwarded decides what a worker may have done.
    pub fn abort(
        policy: &'a Policy,
        bond: Bond,
        is_logout: bool,
        forwarded: bool,
        now: UnixMillis,
    ) -> Begun<'a> {
        let mut settle = Self::new(policy, Ok(()), Answer::default(), now);
        let step = match bond {
            // The worker may have logged the jar's session in (rule 20).
            Bond::Login(held) if forwarded => settle.end(held, Cause::LoginAborted),
            // By now it counts as ended everywhere.
            Bond::Login(held) if settle.is_overdue(&held) => settle.done(),
            Bond::Login(held) => settle.merge(held),
            Bond::Live(held, _) if forwarded && is_logout => settle.end(held, Cause::Logout),
            Bond::Live(..) | Bond::Stale(_) | Bond::Free | Bond::Silent(_) => settle.done(),
        };
        settle.goes(step)
    }

    fn goes(self, step: Step) -> Begun<'a> {
        match step {
            Step::Done(effect) => Begun::Done(effect),
            step => Begun::Goes(Box::new(self), step),
        }
    }

    fn new(
        policy: &'a Policy,
        may_make: Result<(), NotMade>,
        answer: Answer,
        now: UnixMillis,
    ) -> Self {
        Self {
            policy,
            answer,
            may_make,
            presented: None,
            now,
            stage: Stage::Finished,
            tries: 0,
            events: Vec::new(),
            ticket: TicketEffect::Keep,
            refused: false,
            left: None,
            guarded: Guarded::default(),
        }
    }

    /// Goes on after the outcome of the last step.
    pub fn next(&mut self, outcome: Outcome) -> Step {
        let stage = std::mem::replace(&mut self.stage, Stage::Finished);
        match (stage, outcome) {
            (Stage::Look(held), Outcome::Loaded(lookup)) => match self.reread(&held, lookup) {
                Reread::Same(now) if self.is_overtaken(&held, &now) => self.fenced(&now),
                Reread::Same(held) => self.keep(*held),
                Reread::Other => self.fenced(&held),
                // As far as this node knows it changes nothing.
                Reread::Unavailable => self.done(),
            },
            (Stage::Merge(held, chosen), Outcome::Replaced(replaced)) => {
                self.merged(held, chosen, replaced)
            }
            (Stage::Merge(held, _), Outcome::Loaded(lookup)) => match self.reread(&held, lookup) {
                Reread::Same(now) if self.is_overtaken(&held, &now) => self.fenced(&now),
                Reread::Same(held) if held.record.state == State::Live => self.keep(*held),
                Reread::Same(held) => self.merge(*held),
                Reread::Other => self.fenced(&held),
                Reread::Unavailable => self.not_stored(&held),
            },
            (Stage::Reissue(held), Outcome::Loaded(lookup)) => {
                match self.reread(&held, lookup) {
                    Reread::Same(held) => self.reissue(&held, self.current(&held.record)),
                    Reread::Other => {}
                    Reread::Unavailable => return self.not_stored(&held),
                }
                self.done()
            }
            (Stage::End(held, cause), Outcome::Replaced(replaced)) => {
                self.ended(held, cause, replaced)
            }
            (Stage::End(held, cause), Outcome::Loaded(lookup)) => {
                match self.reread(&held, lookup) {
                    Reread::Same(held) => self.end(*held, cause),
                    Reread::Other => self.fenced(&held),
                    Reread::Unavailable => self.withhold(Some(held.key)),
                }
            }
            (Stage::Succeed(held), Outcome::Fresh(fresh)) => self.move_to(held, fresh),
            (Stage::Move(held, fresh), Outcome::Replaced(replaced)) => {
                self.moved(held, fresh, replaced)
            }
            (Stage::Move(held, fresh), Outcome::Loaded(lookup)) => {
                match self.reread(&held, lookup) {
                    Reread::Same(held) => self.move_to(*held, fresh),
                    Reread::Other | Reread::Unavailable => self.withhold(Some(held.key)),
                }
            }
            (Stage::Make(purpose), Outcome::Fresh(fresh)) => self.made(&fresh, purpose),
            (Stage::Succeed(held), Outcome::Unavailable) => self.withhold(Some(held.key)),
            (Stage::Make(_), Outcome::Unavailable) => self.withhold(None),
            (Stage::Create { old, fresh, record }, Outcome::Created(created)) => match created {
                Created::Created => self.created(old, fresh, *record),
                Created::Taken | Created::Unavailable => self.withhold(old),
            },
            (Stage::RevokeAlone(held, subject), Outcome::Revoked(lookup)) => {
                self.revoked_alone(held, subject, &lookup)
            }
            (Stage::Revoke { old, fresh, record, subject }, Outcome::Revoked(lookup)) => {
                self.revoked(old, fresh, record, subject, &lookup)
            }
            (Stage::Count(old), Outcome::Beyond(lookup)) => self.counted(old, &lookup),
            (Stage::Trim(new), Outcome::Beyond(lookup)) => self.trimmed(new, lookup),
            (Stage::EndOldest { new, key, others }, Outcome::Removed(removed)) => {
                self.ended_oldest(new, key, others, removed)
            }
            (Stage::Recheck(_), Outcome::Loaded(Lookup::Found((_, record))))
                if matches!(record.state, State::Moved { .. }) =>
            {
                self.log_in(None)
            }
            (Stage::Recheck(_), Outcome::Loaded(Lookup::Unavailable)) => self.withhold(None),
            (Stage::Recheck(key), Outcome::Loaded(_)) => {
                self.events.push(Event::Fenced { id: key });
                if self.answer.revoke_subject { self.revoke_alone(None) } else { self.done() }
            }
            (_, Outcome::Refused(cause)) => {
                self.events.push(Event::NotMade { cause });
                self.done()
            }
            (stage, outcome) => unreachable!("{outcome:?} is no outcome of {stage:?}"),
        }
    }

    /// The same settlement of a live record, on top of what another one is about to write, and the
    /// record with the cookies of both. `None` where it would do anything else than to be written
    /// with it: then it has to see the other one written first.
    pub fn onto(&self, version: u64, record: &Arc<Record>) -> Option<(Self, Box<Record>)> {
        let Stage::Merge(held, _) = &self.stage else { return None };
        let mut settle = self.clone();
        let now = Lookup::Found((version, record.clone()));
        let step = match settle.reread(held, now) {
            Reread::Same(now) if !settle.is_overtaken(held, &now) => settle.keep(*now),
            Reread::Same(_) | Reread::Other | Reread::Unavailable => return None,
        };
        match step {
            Step::Merge { record, .. } => Some((settle, record)),
            _ => None,
        }
    }

    fn start(&mut self, bond: Bond) -> Step {
        if self.answer.attempt != Attempt::None && !self.answer.logged_in() {
            self.events.push(Event::LoginFailed);
        }
        if bond.record().is_some_and(|record| record.endpoint == self.answer.endpoint) {
            // It stayed where it was. Should another answer have failed over meanwhile, this late
            // one does not take the session back.
            self.answer.endpoint = None;
        }
        let Answer { happened, revoke_subject, .. } = self.answer;
        let logged_in = self.answer.logged_in();
        match bond {
            Bond::Stale(held) => self.without_writing(&held),
            Bond::Login(held) | Bond::Live(held, _) if revoke_subject && !logged_in => {
                self.revoke_alone(Some(held))
            }
            Bond::Login(held) if self.is_overdue(&held) => self.withhold(Some(held.key)),
            Bond::Login(held) | Bond::Live(held, _) if happened == Happened::LoggedOut => {
                self.end(held, Cause::Logout)
            }
            Bond::Login(held) | Bond::Live(held, _) if logged_in => self.log_in(Some(held)),
            // Whatever the answer looks like, the worker may have logged X in (rule 19).
            Bond::Login(held) if self.answer.attempt == Attempt::Moves => self.go_on(held),
            Bond::Login(held) => {
                self.presented = self.answer.renewed();
                self.merge(held)
            }
            Bond::Live(held, presented) => {
                self.presented = Some(presented);
                if self.answer.record == Since::Unknown && self.only_repeats(&held) {
                    let key = held.key;
                    self.stage = Stage::Look(held);
                    return Step::Load(key);
                }
                self.keep(held)
            }
            Bond::Silent(Silence::Preflight) => self.done(),
            Bond::Silent(Silence::Outage) => self.without_session(),
            Bond::Free | Bond::Silent(_) if revoke_subject && !logged_in => {
                self.events.push(Event::CommandIgnored { cause: Ignored::NoSubject });
                self.without(&bond)
            }
            Bond::Free | Bond::Silent(_) => self.without(&bond),
        }
    }

    /// Settles an exchange that holds no record.
    fn without(&mut self, bond: &Bond) -> Step {
        match bond {
            Bond::Silent(Silence::Moved(_) | Silence::Reused) | Bond::Free
                if self.answer.logged_in() =>
            {
                self.log_in(None)
            }
            Bond::Silent(Silence::Pending(key)) if self.answer.logged_in() => {
                self.stage = Stage::Recheck(*key);
                Step::Load(*key)
            }
            // A double click: the browser has dropped the answer of the first login, and its ticket
            // would be good for nothing in the form that it is led to.
            Bond::Silent(Silence::Moved(_))
                if self.answer.attempt != Attempt::None && self.answer.leaves_page =>
            {
                self.replace_ticket()
            }
            Bond::Silent(Silence::Outdated) => self.replace_ticket(),
            Bond::Free => self.make_anonymous(),
            _ => self.done(),
        }
    }

    /// The browser's ticket is good for nothing: it is taken away, unless there is a new one.
    fn replace_ticket(&mut self) -> Step {
        self.ticket = TicketEffect::Expire;
        if self.answer.logged_in() { self.log_in(None) } else { self.make_anonymous() }
    }

    /// Rule 20: by now other nodes take the record for ended.
    fn is_overdue(&self, held: &Held) -> bool {
        matches!(held.record.state, State::Pending { since, .. } if self.now.since(since) > UNSETTLED)
    }

    /// The record's jar with the answer's cookies. Those that do not fit are left out.
    fn edited(&mut self, mut jar: Jar) -> Jar {
        let full = Event::NotMade { cause: NotMade::JarFull };
        if jar.apply(&self.answer.edits, self.policy.jar, self.now) > 0
            && !self.events.contains(&full)
        {
            self.events.push(full);
        }
        jar
    }

    /// What the browser looks like that is about to be given a ticket of a record with this seed.
    fn holder(&self, seed: &Seed) -> Option<Binding> {
        let bearer = self.answer.bearer.filter(|_| self.policy.on_reuse == OnReuse::Recent)?;
        Some(Binding::of(LOOKS, seed, &bearer))
    }

    /// Notes that the session leaves its endpoint for the one that gave this answer.
    fn leave(&mut self, held: &Held) {
        if self.answer.endpoint.is_some() && self.answer.endpoint != held.record.endpoint {
            self.left.clone_from(&held.record.endpoint);
        }
    }

    // Common ends.

    fn again(&mut self, held: Held, stage: impl FnOnce(Held) -> Stage) -> Step {
        self.tries += 1;
        if self.tries > TRIES {
            return self.withhold(Some(held.key));
        }
        let key = held.key;
        self.stage = stage(held);
        Step::Load(key)
    }

    /// What is there now: the record of the admission, changed by others of its kind, or
    /// something that fences this exchange.
    fn reread(&self, held: &Held, lookup: Lookup<(u64, Arc<Record>)>) -> Reread {
        match lookup {
            Lookup::Unavailable => Reread::Unavailable,
            Lookup::Found((version, record)) if record.state == held.record.state => {
                Reread::Same(Box::new(Held { key: held.key, version, record }))
            }
            Lookup::Found(_) | Lookup::NotFound | Lookup::Revoked => Reread::Other,
        }
    }

    fn fenced(&mut self, held: &Held) -> Step {
        self.events.push(Event::Fenced { id: held.key });
        self.done()
    }

    /// Only a session cookie that could not be stored is worth withholding an answer, or a ticket
    /// that the application asked for.
    fn not_stored(&mut self, held: &Held) -> Step {
        if self.answer.edits.is_empty() && self.answer.renewed().is_none() {
            self.done()
        } else {
            self.withhold(Some(held.key))
        }
    }

    fn withhold(&mut self, id: Option<RecordKey>) -> Step {
        self.events.push(Event::Withheld { id });
        self.finish(true)
    }

    fn done(&mut self) -> Step {
        self.finish(false)
    }

    fn finish(&mut self, withheld: bool) -> Step {
        let ticket = std::mem::take(&mut self.ticket);
        let ticket = if withheld { TicketEffect::Keep } else { ticket };
        let refused = self.refused && !withheld;
        let (events, left) = (std::mem::take(&mut self.events), self.left.take());
        let parks = self.guarded.parks;
        Step::Done(Effect { ticket, withheld, refused, parks, events, left })
    }
}

/// Whether an answer to a request of a live session changes nothing of it: most do not, and need no
/// machine. Where it says no, the machine may come to the same.
fn asks_nothing(policy: &Policy, bond: &Bond, answer: &Answer, now: UnixMillis) -> bool {
    let Bond::Live(Held { record, .. }, presented) = bond else { return false };
    answer.attempt == Attempt::None
        && answer.happened == Happened::Nothing
        && !answer.revoke_subject
        && (answer.edits.is_empty()
            || (answer.record == Since::Unchanged && repeats(record, &answer.edits, now)))
        && (answer.endpoint.is_none() || answer.endpoint == record.endpoint)
        && presented.counter == record.counter
        && !record.is_renewal_due(policy.timeouts.renew_every, now)
}

/// A record's ticket, if one is to be sent.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    counter: u32,
    until: Option<UnixMillis>,
    /// Browsers have the same ticket for another time.
    is_kept_otherwise: bool,
}

/// Whether session cookies say again what is in the jar. With a session that is kept aside they say
/// that the visitor has moved on (rule 29).
fn repeats(record: &Record, edits: &[Edit], now: UnixMillis) -> bool {
    edits.is_empty() || (record.parked.is_none() && record.jar.has_already(edits, now))
}

enum Reread {
    Same(Box<Held>),
    Other,
    Unavailable,
}

fn replace(held: &Held, record: Record, durability: Durability) -> Step {
    Step::Replace { key: held.key, version: held.version, record: Box::new(record), durability }
}

mod guarded;
mod keep;
mod login;
mod outage;
mod step;
#[cfg(test)]
mod tests;
