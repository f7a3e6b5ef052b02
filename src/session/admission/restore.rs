//! Gives a session back that a login may have suspended without hearing of it. Nothing was forwarded,
//! so no worker has logged it in; left alone it would end (PROTOCOL.md 20).

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::session::exchange::Held;
use crate::session::outcome::Lookup;
use crate::session::record::{Record, State, UNSETTLED};

/// What is to be done about it, after a look at the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Write this in its place, unless it has another version by then.
    Write(Box<Record>),
    /// Look again after [`Restore::EVERY`].
    Again,
    /// It is not suspended, or not for this login, or too late.
    Over,
}

impl Restore {
    /// Between two looks.
    pub const EVERY: Duration = Duration::from_millis(100);

    /// `pending`: what the login has written, or may have.
    pub fn of(pending: &Held, lookup: Lookup<(u64, Arc<Record>)>, now: UnixMillis) -> Self {
        let State::Pending { since, .. } = pending.record.state else { return Self::Over };
        // By then it counts as ended everywhere.
        if now.since(since) > UNSETTLED {
            return Self::Over;
        }
        match lookup {
            Lookup::Unavailable => Self::Again,
            Lookup::Found((version, record))
                if version == pending.version && record == pending.record =>
            {
                Self::Write(Box::new(Arc::unwrap_or_clone(record).into_state(State::Live)))
            }
            Lookup::Found(_) | Lookup::NotFound | Lookup::Revoked => Self::Over,
        }
    }
}
