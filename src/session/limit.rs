//! How many sessions a subject may have (PROTOCOL.md 22, 23, 27).
//!
//! Which of them count is written beside each record ([`Record::listing`]), and counting is the
//! store's. A record counts once its ticket has come back. That is when the limit is enforced for
//! good, since of two logins at once neither is seen by the other; what is done at the login itself
//! is done early.
//!
//! Which sessions end follows from what the store has, so that all nodes that look at the same time
//! choose the same ones.
//!
//! [`Record::listing`]: crate::session::record::Record::listing

use crate::session::outcome::{RecordKey, Room, Surplus};

/// `max_sessions_per_subject`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimit {
    /// At least one.
    pub sessions: usize,
    pub beyond: Beyond,
}

/// What becomes of a login too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It is refused.
    Refuse,
    /// The sessions that came first end.
    EndOldest,
}

/// What became of a session whose ticket has come back for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It goes on.
    Kept,
    /// It was one too many.
    Ended,
    /// The store does not answer.
    Unknown,
}

impl SessionLimit {
    /// Asks for those that leave no room for one more session besides `replaced`.
    pub fn at_login(self, replaced: Option<RecordKey>) -> Room {
        let others = self.sessions.saturating_sub(1);
        Room { sessions: others, besides: replaced, ends: self.ends() }
    }

    /// Asks for those that end now that another one's ticket has come back: with `refuse` the ones
    /// that came last.
    pub fn at_return(self) -> Room {
        Room { sessions: self.sessions, besides: None, ends: self.ends() }
    }

    fn ends(self) -> Surplus {
        match self.beyond {
            Beyond::Refuse => Surplus::Newest,
            Beyond::EndOldest => Surplus::Oldest,
        }
    }
}
