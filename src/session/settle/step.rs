//! The words between `settle` and the shell: steps, outcomes, and what becomes of the answer.

use crate::clock::UnixMillis;
use crate::session::binding::Bearer;
use crate::session::event::{Event, NotMade};
use crate::session::jar::Edit;
use crate::session::outcome::{Created, Durability, Lookup, RecordKey, Replaced};
use crate::session::record::{Fresh, Record, Standing};
use crate::session::ticket::{Secret, Selector};

/// What is known of an answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Whether the request part of a login rule fitted.
    pub is_login: bool,
    /// A login rule holds, request part and success part.
    pub logged_in: bool,
    /// A logout rule holds.
    pub logged_out: bool,
    /// What its session cookies ask of the jar.
    pub edits: Vec<Edit>,
    /// The endpoint that gave it, where the session is to stay there (`balance: session`).
    pub endpoint: Option<String>,
    /// Who gets it; given where the policy binds its sessions.
    pub bearer: Option<Bearer>,
}

/// What the shell is to do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Make random values for a new record; [`Outcome::Refused`] where the limit on new
    /// anonymous records is reached.
    Fresh(Standing),
    Load(RecordKey),
    Create {
        fresh: Fresh,
        record: Box<Record>,
    },
    Replace {
        key: RecordKey,
        version: u64,
        record: Box<Record>,
        durability: Durability,
    },
    Done(Effect),
}

/// What became of a step.
#[derive(Clone, Debug)]
pub enum Outcome {
    Fresh(Fresh),
    Refused(NotMade),
    Loaded(Lookup<(u64, Record)>),
    Created(Created),
    Replaced(Replaced),
}

/// What the answer looks like to the browser.
#[derive(Clone, Debug, Default)]
pub struct Effect {
    pub ticket: TicketEffect,
    /// The answer is replaced by 503: its session could not be stored (rules 8, 19).
    pub withheld: bool,
    pub events: Vec<Event>,
    /// The endpoint that the session was kept at until this answer, which came from another one.
    /// Exactly one answer says so, however many have failed over at a time.
    pub left: Option<String>,
}

/// What happens to the browser's ticket.
#[derive(Clone, Debug, Default)]
pub enum TicketEffect {
    #[default]
    Keep,
    Set(Issue),
    Expire,
}

impl TicketEffect {
    /// Whether the session of this record is over: its streams end with it.
    pub fn replaces(&self, old: RecordKey) -> bool {
        match self {
            Self::Keep => false,
            Self::Set(issue) => issue.key != old,
            Self::Expire => true,
        }
    }
}

/// A ticket to be sealed and set.
#[derive(Clone, Copy, Debug)]
pub struct Issue {
    pub key: RecordKey,
    pub tag: [u8; 8],
    pub selector: Selector,
    pub counter: u32,
    pub secret: Secret,
    /// The record's absolute end.
    pub ends_at: UnixMillis,
}
