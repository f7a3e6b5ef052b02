//! What an answer does to the session: a pure step machine (PROTOCOL.md 7-12, 17-22, 25, 26).
//!
//! It asks for one store operation after another and is told each outcome; the shell carries
//! them out and holds the answer back until [`Step::Done`]. What it never does: write a record
//! that is not the one noted at admission, or two live records with one jar.

use crate::clock::UnixMillis;
use crate::session::binding::Binding;
use crate::session::event::{Cause, Event, NotMade};
use crate::session::exchange::{Bond, Held, Presented, Silence};
use crate::session::jar::{Edit, Jar};
use crate::session::outcome::{Created, Durability, Lookup, RecordKey, Replaced};
use crate::session::policy::Policy;
use crate::session::record::{Fresh, Record, Standing, State, UNSETTLED};

pub use self::step::{Answer, Effect, Issue, Outcome, Step, TicketEffect};

/// How often one answer tries again when others write the same record.
const TRIES: u8 = 16;

/// The machine.
#[derive(Debug)]
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
    left: Option<String>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The jar of the record is being written, back to `Live`, with this counter.
    Merge(Held, u32),
    /// The record is being read for its current ticket.
    Reissue(Held),
    /// The record is being ended.
    End(Held, Cause),
    /// Random values are under way for the record that takes this one's place.
    Succeed(Held),
    /// The old record is being moved.
    Move(Held, Fresh),
    /// Random values are under way for a record out of nothing but the answer.
    Make(Standing),
    /// A new record is being created.
    Create {
        old: Option<RecordKey>,
        fresh: Fresh,
        record: Box<Record>,
    },
    /// A login whose record was pending is looking whether it has moved by now.
    Recheck(RecordKey),
    Finished,
}

impl<'a> Settle<'a> {
    /// Begins to settle `answer` for an exchange that was admitted with `bond`.
    pub fn begin(
        policy: &'a Policy,
        bond: Bond,
        may_make: Result<(), NotMade>,
        answer: Answer,
        now: UnixMillis,
    ) -> (Self, Step) {
        let mut settle = Self::new(policy, may_make, answer, now);
        let step = settle.start(bond);
        (settle, step)
    }

    /// Settles an exchange that was aborted before its answer's head (rule 26). Whether it had
    /// been forwarded decides what a worker may have done.
    pub fn abort(
        policy: &'a Policy,
        bond: Bond,
        is_logout: bool,
        forwarded: bool,
        now: UnixMillis,
    ) -> (Self, Step) {
        let mut settle = Self::new(policy, Ok(()), Answer::default(), now);
        let step = match bond {
            // The worker may have logged the jar's session in (rule 20).
            Bond::Login(held) if forwarded => settle.end(held, Cause::LoginAborted),
            Bond::Login(held) => settle.merge(held),
            Bond::Live(held, _) if forwarded && is_logout => settle.end(held, Cause::Logout),
            Bond::Live(..) | Bond::Free | Bond::Silent(_) => settle.done(),
        };
        (settle, step)
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
            left: None,
        }
    }

    /// Goes on after the outcome of the last step.
    pub fn next(&mut self, outcome: Outcome) -> Step {
        let stage = std::mem::replace(&mut self.stage, Stage::Finished);
        match (stage, outcome) {
            (Stage::Merge(held, counter), Outcome::Replaced(replaced)) => {
                self.merged(held, counter, replaced)
            }
            (Stage::Merge(held, _), Outcome::Loaded(lookup)) => match self.reread(&held, lookup) {
                Reread::Same(held) if self.presented.is_some() => self.keep(*held),
                Reread::Same(held) => self.merge(*held),
                Reread::Other => self.fenced(&held),
                Reread::Unavailable => self.not_stored(&held),
            },
            (Stage::Reissue(held), Outcome::Loaded(lookup)) => {
                if let Reread::Same(held) = self.reread(&held, lookup) {
                    self.reissue(&held, held.record.counter);
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
            (Stage::Make(standing), Outcome::Fresh(fresh)) => {
                let record = self.new_record(&fresh, Jar::default(), standing, None);
                if record.jar.is_empty() {
                    return self.done();
                }
                self.create(None, fresh, Box::new(record))
            }
            (Stage::Create { old, fresh, record }, Outcome::Created(created)) => match created {
                Created::Created => self.created(old, fresh, *record),
                Created::Taken | Created::Unavailable => self.withhold(old),
            },
            (Stage::Recheck(_), Outcome::Loaded(Lookup::Found((_, record))))
                if matches!(record.state, State::Moved { .. }) =>
            {
                self.make(Standing::Authenticated)
            }
            (Stage::Recheck(_), Outcome::Loaded(Lookup::Unavailable)) => self.withhold(None),
            (Stage::Recheck(key), Outcome::Loaded(_)) => {
                self.events.push(Event::Fenced { id: key });
                self.done()
            }
            (_, Outcome::Refused(cause)) => {
                self.events.push(Event::NotMade { cause });
                self.done()
            }
            (stage, outcome) => unreachable!("{outcome:?} is no outcome of {stage:?}"),
        }
    }

    fn start(&mut self, bond: Bond) -> Step {
        if self.answer.is_login && !self.answer.logged_in {
            self.events.push(Event::LoginFailed);
        }
        if bond.record().is_some_and(|record| record.endpoint == self.answer.endpoint) {
            // It stayed where it was. Should another answer have failed over meanwhile, this late
            // one does not take the session back.
            self.answer.endpoint = None;
        }
        match bond {
            Bond::Login(held) if self.is_overdue(&held) => self.withhold(Some(held.key)),
            Bond::Login(held) if self.answer.logged_in => self.succeed(held),
            Bond::Login(held) => self.merge(held),
            Bond::Live(held, _) if self.answer.logged_out => self.end(held, Cause::Logout),
            Bond::Live(held, _) if self.answer.logged_in => self.succeed(held),
            Bond::Live(held, presented) => {
                self.presented = Some(presented);
                self.keep(held)
            }
            Bond::Silent(Silence::Moved(_) | Silence::Reused) if self.answer.logged_in => {
                self.make(Standing::Authenticated)
            }
            Bond::Silent(Silence::Pending(key)) if self.answer.logged_in => {
                self.stage = Stage::Recheck(key);
                Step::Load(key)
            }
            Bond::Free if self.answer.logged_in => self.make(Standing::Authenticated),
            Bond::Free => self.make(Standing::Anonymous),
            Bond::Silent(_) => self.done(),
        }
    }

    /// Rule 20: by now other nodes take the record for ended.
    fn is_overdue(&self, held: &Held) -> bool {
        matches!(held.record.state, State::Pending { since } if self.now.since(since) > UNSETTLED)
    }

    fn changes(&self, record: &Record) -> bool {
        let moves = self.answer.endpoint.is_some() && self.answer.endpoint != record.endpoint;
        moves || !self.answer.edits.is_empty()
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

    // A record keeps its place.

    /// A live record: write it if something changes, else see to its ticket.
    fn keep(&mut self, held: Held) -> Step {
        if self.changes(&held.record) || self.renewal(&held.record).is_some() {
            return self.merge(held);
        }
        if self.presented.is_some_and(|presented| presented.counter < held.record.counter) {
            // The ticket to send is chosen when the head leaves (rule 14).
            let key = held.key;
            self.stage = Stage::Reissue(held);
            return Step::Load(key);
        }
        self.done()
    }

    /// The record with its next ticket, if it is due and was presented with its current one.
    fn renewal(&self, record: &Record) -> Option<Record> {
        self.presented.filter(|presented| presented.counter == record.counter)?;
        record.renewed(self.policy.timeouts.renew_every, self.now)
    }

    /// Chooses the ticket with this counter, unless the request was admitted more than one
    /// generation ago (rule 14).
    fn reissue(&mut self, held: &Held, counter: u32) {
        if let Some(Presented { tag, selector, counter: old }) = self.presented
            && old.checked_add(1) == Some(counter)
        {
            let (secret, ends_at) = (held.record.secret(counter), held.record.ends_at);
            let issue = Issue { key: held.key, tag, selector, counter, secret, ends_at };
            self.ticket = TicketEffect::Set(issue);
        }
    }

    fn merge(&mut self, held: Held) -> Step {
        let jar = self.edited(held.record.jar.clone());
        if jar.is_empty() && !held.record.jar.is_empty() {
            return self.end(held, Cause::AppDeleted);
        }
        let renewed = self.renewal(&held.record);
        let mut record = renewed.unwrap_or_else(|| held.record.clone()).into_state(State::Live);
        record.jar = jar;
        if self.answer.endpoint.is_some() {
            record.endpoint.clone_from(&self.answer.endpoint);
        }
        let counter = record.counter;
        let step = replace(&held, record, Durability::Master);
        self.stage = Stage::Merge(held, counter);
        step
    }

    fn merged(&mut self, held: Held, counter: u32, replaced: Replaced) -> Step {
        match replaced {
            Replaced::Replaced => {
                self.leave(&held);
                if counter != held.record.counter {
                    self.events.push(Event::Renewed { id: held.key });
                }
                self.reissue(&held, counter);
                self.done()
            }
            // Losers read again; who renewed first has renewed for all (rule 13).
            Replaced::Conflict => self.again(held, |held| Stage::Merge(held, counter)),
            Replaced::Gone => self.fenced(&held),
            Replaced::Unavailable => self.not_stored(&held),
        }
    }

    fn end(&mut self, held: Held, cause: Cause) -> Step {
        let record = held.record.clone().into_state(State::Ended);
        let step = replace(&held, record, Durability::Replica);
        self.stage = Stage::End(held, cause);
        step
    }

    fn ended(&mut self, held: Held, cause: Cause, replaced: Replaced) -> Step {
        match replaced {
            Replaced::Replaced | Replaced::Gone => {
                self.events.push(Event::Ended { id: held.key, cause });
                self.ticket = TicketEffect::Expire;
                // A logout may begin a new anonymous session, with a message to show.
                self.make(Standing::Anonymous)
            }
            Replaced::Conflict => self.again(held, |held| Stage::End(held, cause)),
            Replaced::Unavailable => self.withhold(Some(held.key)),
        }
    }

    // A login: another record takes its place.

    fn succeed(&mut self, held: Held) -> Step {
        let mut jar = held.record.jar.clone();
        jar.apply(&self.answer.edits, self.policy.jar, self.now);
        if jar.is_empty() {
            return self.end(held, Cause::AppDeleted);
        }
        self.stage = Stage::Succeed(held);
        Step::Fresh(Standing::Authenticated)
    }

    fn move_to(&mut self, held: Held, fresh: Fresh) -> Step {
        let moved = State::Moved { successor: fresh.key, at: self.now };
        let step = replace(&held, held.record.clone().into_state(moved), Durability::Replica);
        self.stage = Stage::Move(held, fresh);
        step
    }

    fn moved(&mut self, held: Held, fresh: Fresh, replaced: Replaced) -> Step {
        match replaced {
            // Only the winner inherits the jar (rule 7).
            Replaced::Replaced => {
                self.leave(&held);
                let Record { jar, endpoint, .. } = held.record;
                let record = self.new_record(&fresh, jar, Standing::Authenticated, endpoint);
                self.create(Some(held.key), fresh, Box::new(record))
            }
            Replaced::Conflict => self.again(held, |held| Stage::Move(held, fresh)),
            Replaced::Gone | Replaced::Unavailable => self.withhold(Some(held.key)),
        }
    }

    // A new record.

    fn make(&mut self, standing: Standing) -> Step {
        if !self.answer.edits.iter().any(Edit::is_put) {
            return self.done();
        }
        if let (Standing::Anonymous, Err(cause)) = (standing, self.may_make) {
            self.events.push(Event::NotMade { cause });
            return self.done();
        }
        self.stage = Stage::Make(standing);
        Step::Fresh(standing)
    }

    /// Notes that the session leaves its endpoint for the one that gave this answer.
    fn leave(&mut self, held: &Held) {
        if self.answer.endpoint.is_some() && self.answer.endpoint != held.record.endpoint {
            self.left.clone_from(&held.record.endpoint);
        }
    }

    fn new_record(
        &mut self,
        fresh: &Fresh,
        jar: Jar,
        standing: Standing,
        endpoint: Option<String>,
    ) -> Record {
        let jar = self.edited(jar);
        let timeouts = &self.policy.timeouts;
        let mut record = Record::new(fresh.seed.clone(), jar, standing, timeouts, self.now);
        record.endpoint = self.answer.endpoint.clone().or(endpoint);
        let bound = self.policy.bind.zip(self.answer.bearer);
        record.binding = bound.map(|(bind, bearer)| Binding::of(bind.ties, &fresh.seed, &bearer));
        record
    }

    fn create(&mut self, old: Option<RecordKey>, fresh: Fresh, record: Box<Record>) -> Step {
        let step = Step::Create { fresh: fresh.clone(), record: record.clone() };
        self.stage = Stage::Create { old, fresh, record };
        step
    }

    fn created(&mut self, old: Option<RecordKey>, fresh: Fresh, record: Record) -> Step {
        self.events.push(match record.authenticated {
            Some(_) => Event::Login { old, new: fresh.key, subject: None },
            None => Event::Created { id: fresh.key },
        });
        let Fresh { key, tag, selector, .. } = fresh;
        let (counter, ends_at) = (record.counter, record.ends_at);
        let secret = record.secret(counter);
        self.ticket = TicketEffect::Set(Issue { key, tag, selector, counter, secret, ends_at });
        self.done()
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
    fn reread(&self, held: &Held, lookup: Lookup<(u64, Record)>) -> Reread {
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

    /// Only a session cookie that could not be stored is worth withholding an answer.
    fn not_stored(&mut self, held: &Held) -> Step {
        if self.answer.edits.is_empty() { self.done() } else { self.withhold(Some(held.key)) }
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
        let (events, left) = (std::mem::take(&mut self.events), self.left.take());
        Step::Done(Effect { ticket, withheld, events, left })
    }
}

enum Reread {
    Same(Box<Held>),
    Other,
    Unavailable,
}

fn replace(held: &Held, record: Record, durability: Durability) -> Step {
    Step::Replace { key: held.key, version: held.version, record: Box::new(record), durability }
}

mod step;
#[cfg(test)]
mod tests;
