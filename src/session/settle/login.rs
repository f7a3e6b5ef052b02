//! Another record takes a record's place, or there is none yet (PROTOCOL.md 9, 19, 21-23, 27).

use std::sync::Arc;

use crate::session::binding::Binding;
use crate::session::command::Ignored;
use crate::session::event::{Cause, Event};
use crate::session::exchange::Held;
use crate::session::jar::{Edit, Jar};
use crate::session::limit::{Beyond, SessionLimit};
use crate::session::outcome::{Durability, Epoch, Lookup, RecordKey, Removed, Replaced};
use crate::session::policy::Remember;
use crate::session::record::{Fresh, Record, Standing};

use super::{Issue, Purpose, Settle, Stage, Step, TicketEffect, replace};

impl Settle<'_> {
    /// Somebody has logged in: a new record takes the place of `old`, with its jar.
    pub(super) fn log_in(&mut self, old: Option<Held>) -> Step {
        if !self.has_something_to_keep(old.as_ref()) {
            return match old {
                old if self.answer.revoke_subject => self.revoke_alone(old),
                Some(held) => self.end(held, Cause::AppDeleted),
                None => self.done(),
            };
        }
        match self.limit() {
            Some((limit, subject)) if limit.beyond == Beyond::Refuse => {
                let room = limit.at_login(old.as_ref().map(|held| held.key));
                self.stage = Stage::Count(old);
                Step::Beyond(subject, room)
            }
            _ => self.succeed(old),
        }
    }

    fn has_something_to_keep(&self, old: Option<&Held>) -> bool {
        let Some(held) = old else { return self.answer.edits.iter().any(Edit::is_put) };
        let mut jar = held.record.jar.clone();
        jar.apply(&self.answer.edits, self.policy.jar, self.now);
        !jar.is_empty()
    }

    /// How many sessions who logged in may have. Where all others are revoked there are none to
    /// count; a claim counts for nothing (rule 23).
    fn limit(&self) -> Option<(SessionLimit, String)> {
        let limit = self.policy.session_limit.filter(|_| !self.answer.revoke_subject)?;
        let subject = self.answer.subject.as_ref().filter(|subject| subject.confirmed)?;
        Some((limit, subject.name.clone()))
    }

    pub(super) fn counted(&mut self, old: Option<Held>, lookup: &Lookup<Vec<RecordKey>>) -> Step {
        let (Lookup::Found(beyond), Some((_, subject))) = (lookup, self.limit()) else {
            return self.withhold(old.as_ref().map(|held| held.key));
        };
        if beyond.is_empty() {
            return self.succeed(old);
        }
        // The worker has logged its own identifier in, so nobody may bring that again.
        self.refused = true;
        self.events.push(Event::LoginRefused { subject });
        match old {
            Some(held) => self.end(held, Cause::TooMany),
            None => self.done(),
        }
    }

    fn succeed(&mut self, old: Option<Held>) -> Step {
        self.stage = match old {
            Some(held) => Stage::Succeed(held),
            None => Stage::Make(Purpose::Login),
        };
        let subject = self.answer.subject.as_ref().map(|subject| subject.name.clone());
        Step::Fresh { purpose: Purpose::Login, subject }
    }

    /// An attempt was no success, as far as its answer tells: the session goes on as it was, in
    /// another record, so that who has a copy of the old ticket is nobody if it was one.
    pub(super) fn go_on(&mut self, held: Held) -> Step {
        if !self.has_something_to_keep(Some(&held)) {
            return self.end(held, Cause::AppDeleted);
        }
        let subject = held.record.subject.as_ref().map(|subject| subject.name.clone());
        self.stage = Stage::Succeed(held);
        Step::Fresh { purpose: Purpose::Attempt, subject }
    }

    pub(super) fn move_to(&mut self, held: Held, fresh: Fresh) -> Step {
        let record = Record::clone(&held.record);
        let record = match self.answer.logged_in() {
            true => record.moved(fresh.key, self.now),
            false => record.moved_for_an_attempt(fresh.key, self.now),
        };
        let step = replace(&held, record, Durability::Replica);
        self.stage = Stage::Move(held, fresh);
        step
    }

    pub(super) fn moved(&mut self, held: Held, fresh: Fresh, replaced: Replaced) -> Step {
        match replaced {
            // Only the winner inherits the jar (rule 7).
            Replaced::Replaced => {
                self.leave(&held);
                if !self.answer.logged_in() {
                    let record = self.carried_over(&held.record, &fresh);
                    return self.create(Some(held.key), fresh, Box::new(record));
                }
                let subject = self.to_revoke(Some(&held));
                let Record { jar, endpoint, lasting, .. } = Arc::unwrap_or_clone(held.record);
                let mut record = self.new_record(&fresh, jar, Standing::Authenticated, endpoint);
                if record.lasting.is_empty() {
                    record.lasting = lasting;
                }
                self.establish(Some(held.key), fresh, record, subject)
            }
            Replaced::Conflict => self.again(held, |held| Stage::Move(held, fresh)),
            Replaced::Gone | Replaced::Unavailable => self.withhold(Some(held.key)),
        }
    }

    // A new record.

    /// The application has set a session cookie where there is no session.
    pub(super) fn make_anonymous(&mut self) -> Step {
        if !self.answer.edits.iter().any(Edit::is_put) {
            return self.done();
        }
        if let Err(cause) = self.may_make {
            self.events.push(Event::NotMade { cause });
            return self.done();
        }
        self.stage = Stage::Make(Purpose::Visitor);
        Step::Fresh { purpose: Purpose::Visitor, subject: None }
    }

    pub(super) fn made(&mut self, fresh: &Fresh, purpose: Purpose) -> Step {
        let is_login = purpose == Purpose::Login;
        let standing = if is_login { Standing::Authenticated } else { Standing::Anonymous };
        let record = self.new_record(fresh, Jar::default(), standing, None);
        match record.jar.is_empty() {
            true if is_login && self.answer.revoke_subject => self.revoke_alone(None),
            true => self.done(),
            false if is_login => {
                let subject = self.to_revoke(None);
                self.establish(None, fresh.clone(), record, subject)
            }
            false => self.create(None, fresh.clone(), Box::new(record)),
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
        if self.policy.cookie.remember == Remember::AsApplication {
            record.lasting =
                self.answer.edits.iter().filter_map(Edit::put).map(Vec::from).collect();
        }
        record.binding = bound.map(|(bind, bearer)| Binding::of(bind.ties, &fresh.seed, &bearer));
        record.holder = self.holder(&fresh.seed);
        if standing == Standing::Authenticated && self.answer.subject.is_some() {
            record.subject.clone_from(&self.answer.subject);
            record.client.clone_from(&self.answer.client);
            record.epoch = fresh.epoch;
        }
        record
    }

    /// The record in which a session goes on after an attempt: the same user, or nobody, with no
    /// more time than before. Its epoch is the one that it was made in, which may be over by now.
    fn carried_over(&mut self, old: &Record, fresh: &Fresh) -> Record {
        let jar = self.edited(old.jar.clone());
        let bound = old.binding.and(self.policy.bind).zip(self.answer.bearer);
        let timeouts = &self.policy.timeouts;
        let mut record = old.carried_over(fresh.seed.clone(), jar, timeouts, self.now);
        record.binding = bound.map(|(bind, bearer)| Binding::of(bind.ties, &fresh.seed, &bearer));
        record.holder = self.holder(&fresh.seed);
        if self.answer.endpoint.is_some() {
            record.endpoint.clone_from(&self.answer.endpoint);
        }
        record
    }

    /// Creates the record of a login, after revoking the other sessions of `subject` where the
    /// application asks for that.
    fn establish(
        &mut self,
        old: Option<RecordKey>,
        fresh: Fresh,
        record: Record,
        subject: Option<String>,
    ) -> Step {
        let record = Box::new(record);
        match subject {
            Some(subject) if self.answer.revoke_subject => {
                let step = Step::RevokeSubject(subject.clone(), None);
                self.stage = Stage::Revoke { old, fresh, record, subject };
                step
            }
            None if self.answer.revoke_subject => {
                self.events.push(Event::CommandIgnored { cause: Ignored::NoSubject });
                self.create(old, fresh, record)
            }
            _ => self.create(old, fresh, record),
        }
    }

    pub(super) fn revoked(
        &mut self,
        old: Option<RecordKey>,
        fresh: Fresh,
        mut record: Box<Record>,
        subject: String,
        lookup: &Lookup<Epoch>,
    ) -> Step {
        let Lookup::Found(epoch) = lookup else { return self.withhold(old) };
        self.events.push(Event::SubjectRevoked { id: old, subject });
        // Who logged in is who is revoked, if that was said: the new session is the first of the new
        // epoch.
        record.epoch = record.subject.as_ref().map(|_| *epoch);
        self.create(old, fresh, record)
    }

    fn create(&mut self, old: Option<RecordKey>, fresh: Fresh, record: Box<Record>) -> Step {
        let step = Step::Create { fresh: fresh.clone(), record: record.clone() };
        self.stage = Stage::Create { old, fresh, record };
        step
    }

    pub(super) fn created(&mut self, old: Option<RecordKey>, fresh: Fresh, record: Record) -> Step {
        let is_login = self.answer.logged_in();
        let subject = record.subject.as_ref().map(|subject| subject.name.clone());
        self.events.push(match old {
            _ if is_login => Event::Login { old, new: fresh.key, subject },
            Some(old) => Event::Moved { old, new: fresh.key },
            None => Event::Created { id: fresh.key },
        });
        let Fresh { key, tag, selector, .. } = fresh;
        let (counter, until) = (record.counter, self.until(&record));
        let secret = record.secret(counter);
        self.ticket = TicketEffect::Set(Issue { key, tag, selector, counter, secret, until });
        if is_login { self.trim(key) } else { self.done() }
    }

    // `beyond: end-oldest`

    /// Looks for those that are to make room for the new session, which does not count yet.
    fn trim(&mut self, new: RecordKey) -> Step {
        match self.limit() {
            Some((limit, subject)) if limit.beyond == Beyond::EndOldest => {
                self.stage = Stage::Trim(new);
                Step::Beyond(subject, limit.at_login(None))
            }
            _ => self.done(),
        }
    }

    pub(super) fn trimmed(&mut self, new: RecordKey, lookup: Lookup<Vec<RecordKey>>) -> Step {
        match lookup {
            Lookup::Found(oldest) if oldest.is_empty() => self.done(),
            Lookup::Found(oldest) => self.end_oldest(new, oldest),
            Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => self.withhold(Some(new)),
        }
    }

    fn end_oldest(&mut self, new: RecordKey, mut oldest: Vec<RecordKey>) -> Step {
        // Perhaps not all were told.
        let Some(key) = oldest.pop() else { return self.trim(new) };
        self.stage = Stage::EndOldest { new, key, others: oldest };
        Step::Remove(key)
    }

    pub(super) fn ended_oldest(
        &mut self,
        new: RecordKey,
        key: RecordKey,
        others: Vec<RecordKey>,
        removed: Removed,
    ) -> Step {
        match removed {
            Removed::Removed => {
                self.events.push(Event::Ended { id: key, cause: Cause::TooMany });
                self.end_oldest(new, others)
            }
            Removed::Unavailable => self.withhold(Some(key)),
        }
    }
}
