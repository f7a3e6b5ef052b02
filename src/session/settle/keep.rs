//! A record keeps its place, or ends: cookies are merged, its ticket is renewed or taken away
//! (PROTOCOL.md 11, 13-16, 26, 27).

use crate::clock::UnixMillis;
use crate::session::command::Ignored;
use crate::session::event::{Cause, Event};
use crate::session::exchange::{Held, Presented};
use crate::session::outcome::{Durability, Epoch, Lookup, RecordKey, Replaced};
use crate::session::policy::Policy;
use crate::session::record::{Record, State};

use super::{Chosen, Issue, Settle, Stage, Step, TicketEffect, repeats, replace};

impl Settle<'_> {
    fn changes(&self, record: &Record) -> bool {
        let moves = self.answer.endpoint.is_some() && self.answer.endpoint != record.endpoint;
        moves || !repeats(record, &self.answer.edits, self.now)
    }

    /// Whether it sets cookies, and changes nothing with that.
    pub(super) fn only_repeats(&self, held: &Held) -> bool {
        !self.answer.edits.is_empty()
            && !self.changes(&held.record)
            && self.renewal(&held.record).is_none()
    }

    /// A live record: write it if something changes, else see to its ticket.
    pub(super) fn keep(&mut self, held: Held) -> Step {
        self.spare(&held);
        if self.changes(&held.record) || self.renewal(&held.record).is_some() {
            return self.merge(held);
        }
        self.see_to_ticket(held)
    }

    fn see_to_ticket(&mut self, held: Held) -> Step {
        if self.presented.is_some_and(|presented| presented.counter < held.record.counter) {
            // The ticket to send is chosen when the head leaves (rule 14).
            let key = held.key;
            self.stage = Stage::Reissue(held);
            return Step::Load(key);
        }
        self.done()
    }

    /// The record with its next ticket, if it was presented with its current one and the next is
    /// due or was asked for.
    fn renewal(&self, record: &Record) -> Option<Record> {
        self.presented.filter(|presented| presented.counter == record.counter)?;
        match self.answer.renewed() {
            Some(_) => record.advanced(self.now),
            None => record.renewed(self.policy.timeouts.renew_every, self.now),
        }
    }

    /// Until when the browser is to keep the ticket of a record.
    pub(super) fn until(&self, record: &Record) -> Option<UnixMillis> {
        let Policy { cookie, timeouts, .. } = self.policy;
        record.ticket_until(cookie.remember, timeouts.idle, self.now)
    }

    /// Chooses this ticket, unless the request was admitted more than one generation ago (rule 14).
    /// The one that the request came with is sent again where browsers are to keep it for another
    /// time than before.
    pub(super) fn reissue(&mut self, held: &Held, chosen: Chosen) {
        let Chosen { counter, until, is_kept_otherwise } = chosen;
        if let Some(Presented { tag, selector, counter: old }) = self.presented
            && (old.checked_add(1) == Some(counter) || (is_kept_otherwise && old == counter))
        {
            let secret = held.record.secret(counter);
            let issue = Issue { key: held.key, tag, selector, counter, secret, until };
            self.ticket = TicketEffect::Set(issue);
        }
    }

    /// The ticket of a record as it is.
    pub(super) fn current(&self, record: &Record) -> Chosen {
        Chosen { counter: record.counter, until: self.until(record), is_kept_otherwise: false }
    }

    pub(super) fn merge(&mut self, held: Held) -> Step {
        let jar = self.edited(held.record.jar.clone());
        let record = match self.renewal(&held.record) {
            Some(renewed) => Record { holder: self.holder(&renewed.seed), ..renewed },
            None => Record::clone(&held.record),
        };
        let mut record = self.guarded(&held, record.into_state(State::Live));
        if jar.is_empty() && record.parked.is_none() && held.record.has_any_jar() {
            return self.end(held, Cause::AppDeleted);
        }
        record.jar = jar;
        if self.answer.endpoint.is_some() {
            record.endpoint.clone_from(&self.answer.endpoint);
        }
        if record == *held.record {
            // What it asks for does not fit the jar.
            return self.see_to_ticket(held);
        }
        let until = self.until(&record);
        // What is parked may come back, with the time that it had.
        let is_settled = record.parked.is_none() && held.record.parked.is_none();
        let is_kept_otherwise = is_settled && until != self.until(&held.record);
        let chosen = Chosen { counter: record.counter, until, is_kept_otherwise };
        let step = match held.record.state {
            State::Live => {
                Step::Merge { key: held.key, version: held.version, record: Box::new(record) }
            }
            State::Pending { .. } | State::Moved { .. } | State::Ended => {
                replace(&held, record, Durability::Master)
            }
        };
        self.stage = Stage::Merge(held, chosen);
        step
    }

    pub(super) fn merged(&mut self, held: Held, chosen: Chosen, replaced: Replaced) -> Step {
        match replaced {
            Replaced::Replaced => {
                self.events.extend(self.guarded.once_written.take());
                self.leave(&held);
                if chosen.counter != held.record.counter {
                    self.events.push(Event::Renewed { id: held.key });
                }
                self.reissue(&held, chosen);
                self.done()
            }
            // Losers read again; who renewed first has renewed for all (rule 13). A record that is
            // gone may have been carried into another epoch (rule 27).
            Replaced::Conflict | Replaced::Gone => {
                self.again(held, |held| Stage::Merge(held, chosen))
            }
            Replaced::Unavailable => self.not_stored(&held),
        }
    }

    pub(super) fn end(&mut self, held: Held, cause: Cause) -> Step {
        let record = Record::clone(&held.record).into_state(State::Ended);
        let step = replace(&held, record, Durability::Replica);
        self.stage = Stage::End(held, cause);
        step
    }

    pub(super) fn ended(&mut self, held: Held, cause: Cause, replaced: Replaced) -> Step {
        match replaced {
            Replaced::Replaced => self.over(held.key, cause),
            // Where somebody else took it away, only who did may make what comes after (rules 7,
            // 25); what was carried into another epoch ends there.
            Replaced::Conflict | Replaced::Gone => self.again(held, |held| Stage::End(held, cause)),
            Replaced::Unavailable => self.withhold(Some(held.key)),
        }
    }

    /// The record lends its jar no more: its ticket is taken away.
    fn over(&mut self, key: RecordKey, cause: Cause) -> Step {
        self.events.push(Event::Ended { id: key, cause });
        self.ticket = TicketEffect::Expire;
        if self.refused {
            return self.done();
        }
        // A logout may begin a new anonymous session, with a message to show.
        self.make_anonymous()
    }

    // `revoke-subject` without a login.

    /// Revokes all sessions of who logged in, or of who the record belongs to. A record that belongs
    /// to nobody has no others: it ends alone.
    pub(super) fn revoke_alone(&mut self, held: Option<Held>) -> Step {
        match (self.to_revoke(held.as_ref()), held) {
            (Some(subject), held) => {
                let hers = held.as_ref().filter(|held| is_of(held, &subject)).map(|held| held.key);
                self.stage = Stage::RevokeAlone(held, subject.clone());
                Step::RevokeSubject(subject, hers)
            }
            (None, Some(held)) => self.end(held, Cause::SubjectRevoked),
            (None, None) => {
                self.events.push(Event::CommandIgnored { cause: Ignored::NoSubject });
                self.done()
            }
        }
    }

    pub(super) fn revoked_alone(
        &mut self,
        held: Option<Held>,
        subject: String,
        lookup: &Lookup<Epoch>,
    ) -> Step {
        let id = held.as_ref().map(|held| held.key);
        if !matches!(lookup, Lookup::Found(_)) {
            return self.withhold(id);
        }
        let is_hers = held.as_ref().is_some_and(|held| is_of(held, &subject));
        self.events.push(Event::SubjectRevoked { id, subject });
        match held {
            None => self.done(),
            Some(held) if is_hers => self.over(held.key, Cause::SubjectRevoked),
            Some(held) => self.end(held, Cause::SubjectRevoked),
        }
    }

    /// Whose sessions `revoke-subject` means.
    pub(super) fn to_revoke(&self, held: Option<&Held>) -> Option<String> {
        let said = self.answer.subject.as_ref().filter(|_| self.answer.logged_in());
        let subject = said.or_else(|| held?.record.whose())?;
        Some(subject.name.clone())
    }
}

fn is_of(held: &Held, subject: &str) -> bool {
    held.record.subject.as_ref().is_some_and(|owner| owner.name == subject)
}
