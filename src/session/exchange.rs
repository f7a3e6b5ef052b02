//! What is noted of a request when it is admitted (PROTOCOL.md 25).

use std::sync::Arc;

use crate::session::outcome::RecordKey;
use crate::session::record::Record;
use crate::session::ticket::Selector;

/// A record as it was read: its key and the version that compare-and-set refers to. Exchanges of a
/// session share what a node has read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub key: RecordKey,
    pub version: u64,
    pub record: Arc<Record>,
}

/// The ticket that an exchange was admitted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented {
    pub tag: [u8; 8],
    pub selector: Selector,
    pub counter: u32,
}

/// Why an exchange has an empty jar and sets no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// A login took its record's place (rule 22).
    Moved(RecordKey),
    /// A login of its record is still on its way after the wait (rule 18).
    Pending(RecordKey),
    /// A CORS preflight (rule 31).
    Preflight,
    /// An older ticket was presented, and the policy only logs that (rule 15).
    Reused,
    /// The ticket before the one in use was presented by a browser that looks like its holder, and
    /// the policy takes only this browser's claim away (rule 15): it sets none of the old session,
    /// but its ticket is expired or replaced.
    Outdated,
    /// The store does not answer, and the route wants it to go on (rule 8).
    Outage,
}

/// How an exchange is tied to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bond {
    /// To none; the application may make one.
    Free,
    /// To a live record, whose jar goes along.
    Live(Held, Presented),
    /// To a live record as this node knew it a while ago: the store does not answer. Its jar goes
    /// along, and nothing is written of it (rule 8).
    Stale(Held),
    /// It is a login: its record is pending, its jar goes along (rule 18).
    Login(Held),
    /// Neither jar nor ticket.
    Silent(Silence),
}

impl Bond {
    /// The record whose jar goes along.
    pub fn record(&self) -> Option<&Record> {
        self.held().map(|held| &*held.record)
    }

    /// The record that it holds, with key and version.
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Live(held, _) | Self::Stale(held) | Self::Login(held) => Some(held),
            Self::Free | Self::Silent(_) => None,
        }
    }
}
