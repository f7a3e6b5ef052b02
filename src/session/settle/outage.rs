//! Answers to requests that went on without the store (PROTOCOL.md 8): nothing is written, set or
//! expired, whether or not the store answers by now.

use crate::session::event::{Event, NotMade};
use crate::session::exchange::Held;
use crate::session::jar::Edit;

use super::{Happened, Settle, Step};

impl Settle<'_> {
    /// The worker was shown no session, though the browser has one.
    pub(super) fn without_session(&mut self) -> Step {
        if self.says_something_happened() {
            return self.withhold(None);
        }
        if self.answer.edits.iter().any(Edit::is_put) {
            // Its ticket would take the place of one that is good.
            self.events.push(Event::NotMade { cause: NotMade::StoreDown });
        }
        self.done()
    }

    /// The worker was shown the session as it was a while ago. What it sets again as it was needs
    /// no writing; an expiry that it moves waits for the store.
    pub(super) fn without_writing(&mut self, held: &Held) -> Step {
        if self.says_something_happened() || held.record.jar.would_change(&self.answer.edits) {
            return self.withhold(Some(held.key));
        }
        self.done()
    }

    /// A login, a logout, a revocation, a renewal: what the application says it has done must not
    /// seem to be done.
    fn says_something_happened(&self) -> bool {
        self.answer.happened != Happened::Nothing || self.answer.revoke_subject
    }
}
