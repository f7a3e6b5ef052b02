//! Deletions where nobody asked for them (PROTOCOL.md 29): parked, ignored, or as they are.

use crate::session::event::Event;
use crate::session::exchange::Held;
use crate::session::outcome::RecordKey;
use crate::session::parked::{Guarding, is_loss};
use crate::session::record::Record;

use super::Settle;

/// What the machine notes of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Guarded {
    /// The record that it parks.
    pub(super) parks: Option<RecordKey>,
    /// What has happened when the record is written.
    pub(super) once_written: Option<Event>,
    has_ignored: bool,
}

impl Settle<'_> {
    /// Where deletions are ignored, it is as if the application had not sent them.
    pub(super) fn spare(&mut self, held: &Held) {
        if self.answer.guarding != Guarding::Ignore || !self.takes_all(&held.record) {
            return;
        }
        held.record.jar.spare(&mut self.answer.edits, self.policy.app_cookies_hold);
        if !std::mem::replace(&mut self.guarded.has_ignored, true) {
            self.events.push(Event::DeletionIgnored { id: held.key });
        }
    }

    /// `record`, which is about to be written in place of `held`, with what is kept aside. An
    /// answer to an unsafe method that changes the session drops what was: the visitor has moved on.
    /// One that changes nothing says nothing about that, such as a form that a failing application
    /// could not take.
    pub(super) fn guarded(&mut self, held: &Held, record: Record) -> Record {
        let is_guarded = self.answer.guarding != Guarding::None;
        let is_parked = record.parked.is_some();
        self.guarded.parks = None;
        self.guarded.once_written = None;
        if is_parked && !is_guarded && !self.answer.edits.is_empty() {
            self.guarded.once_written = Some(Event::Dropped { id: held.key });
            return record.unparked();
        }
        if !is_parked && self.answer.guarding == Guarding::Park && self.takes_all(&record) {
            self.guarded.parks = Some(held.key);
            self.guarded.once_written = Some(Event::Parked { id: held.key });
            return record.park(self.now);
        }
        record
    }

    /// Whether a session was parked or came back since this exchange was admitted. What it was
    /// answered with another jar changes nothing then: neither does a late answer undo a logout, nor
    /// one to a visitor without a session the return of it. Answers to unsafe methods always count.
    pub(super) fn is_overtaken(&self, admitted: &Held, now: &Held) -> bool {
        self.answer.guarding != Guarding::None
            && admitted.record.parked_at() != now.record.parked_at()
    }

    fn takes_all(&self, record: &Record) -> bool {
        is_loss(self.policy, &record.jar, &self.answer.edits, self.now)
    }
}
