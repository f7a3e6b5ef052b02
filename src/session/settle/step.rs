//! The words between `settle` and the shell: steps, outcomes, and what becomes of the answer.

use std::sync::Arc;

use http::Method;

use crate::clock::UnixMillis;
use crate::routing::path::NormalPath;
use crate::session::binding::Bearer;
use crate::session::event::{Event, NotMade};
use crate::session::exchange::Presented;
use crate::session::jar::Edit;
use crate::session::matching::{Attempt, Head};
use crate::session::outcome::{
    Created, Durability, Epoch, Lookup, RecordKey, Removed, Replaced, Room,
};
use crate::session::parked::Guarding;
use crate::session::policy::Policy;
use crate::session::record::{Fresh, Record};
use crate::session::subject::{LoginClient, Subject};
use crate::session::ticket::{Secret, Selector};

/// What has happened to the session, by the rules or by what the application says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Happened {
    #[default]
    Nothing,
    /// A login rule holds, request part and success part.
    LoggedIn,
    LoggedOut,
    /// The application asks for the next ticket; this is the one that it is to replace.
    Renewed(Presented),
}

impl Happened {
    /// What the rules say of an answer. Nobody logs out with an attempt to log in.
    pub fn by_rules(
        policy: &Policy,
        attempt: Attempt,
        method: &Method,
        path: &NormalPath,
        answer: Head<'_>,
    ) -> Self {
        if attempt == Attempt::None && policy.has_logged_out(method, path, answer) {
            Self::LoggedOut
        } else if policy.has_logged_in(method, path, answer) {
            Self::LoggedIn
        } else {
            Self::Nothing
        }
    }
}

/// What is known of an answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Whether its request was to log in.
    pub attempt: Attempt,
    pub happened: Happened,
    /// Who logged in (rule 23).
    pub subject: Option<Subject>,
    /// Where that login came from.
    pub client: Option<LoginClient>,
    /// The application ends all sessions of the subject.
    pub revoke_subject: bool,
    /// What its session cookies ask of the jar.
    pub edits: Vec<Edit>,
    /// Whether others have written the record since the exchange was admitted.
    pub record: Since,
    /// How its deletions are taken (rule 29).
    pub guarding: Guarding,
    /// The endpoint that gave it, where the session is to stay there (`balance: session`).
    pub endpoint: Option<String>,
    /// Its browser leaves a page for it: what that page sent before is not waited for any more.
    pub leaves_page: bool,
    /// Who gets it; given where that matters to the policy.
    pub bearer: Option<Bearer>,
}

impl Answer {
    /// Whether somebody has logged in.
    pub fn logged_in(&self) -> bool {
        self.happened == Happened::LoggedIn
    }

    /// The ticket that is to be replaced because the application asks for that.
    pub fn renewed(&self) -> Option<Presented> {
        match self.happened {
            Happened::Renewed(presented) => Some(presented),
            Happened::Nothing | Happened::LoggedIn | Happened::LoggedOut => None,
        }
    }
}

/// What a new record is for: only those of users are not limited in number (rules 9, 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A visitor whom the application has given a session.
    Visitor,
    /// A session goes on after an attempt to log in that was no success.
    Attempt,
    /// Somebody has logged in.
    Login,
}

/// What a node knows of a record that an exchange was admitted with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Since {
    /// Nothing, without asking the store.
    #[default]
    Unknown,
    /// It is still the same.
    Unchanged,
}

/// What the shell is to do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Make random values for a new record, and for one with a subject learn the subject's epoch;
    /// [`Outcome::Refused`] where the limit on new anonymous records is reached,
    /// [`Outcome::Unavailable`] where the epoch is not to be had.
    Fresh {
        purpose: Purpose,
        subject: Option<String>,
    },
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
    /// As [`Step::Replace`], where the record was live and stays so: several answers of one session
    /// may be written at once ([`Settle::onto`](super::Settle::onto)).
    Merge {
        key: RecordKey,
        version: u64,
        record: Box<Record>,
    },
    /// End every session of a subject: replace its epoch (rule 27), and that of the tag of this record
    /// of its own, should that be another.
    RevokeSubject(String, Option<RecordKey>),
    /// Ask which of a subject's sessions are beyond its limit.
    Beyond(String, Room),
    /// End a record of another browser, with the durability of a revocation.
    Remove(RecordKey),
    Done(Effect),
}

/// What became of a step.
#[derive(Clone, Debug)]
pub enum Outcome {
    Fresh(Fresh),
    Refused(NotMade),
    /// The store did not answer for [`Step::Fresh`].
    Unavailable,
    /// The subject's new epoch.
    Revoked(Lookup<Epoch>),
    /// A bounded number of them at a time.
    Beyond(Lookup<Vec<RecordKey>>),
    Removed(Removed),
    Loaded(Lookup<(u64, Arc<Record>)>),
    Created(Created),
    Replaced(Replaced),
}

/// What the answer looks like to the browser.
#[derive(Clone, Debug, Default)]
pub struct Effect {
    pub ticket: TicketEffect,
    /// The answer is replaced by 503: its session could not be stored (rules 8, 19).
    pub withheld: bool,
    /// The answer is replaced by 403: its user has as many sessions as there may be (rule 22).
    pub refused: bool,
    /// The record that may have been parked at this settlement's `now`: somebody has to see to it.
    pub parks: Option<RecordKey>,
    pub events: Vec<Event>,
    /// The endpoint that the session was kept at until this answer, which came from another one.
    /// Exactly one answer says so, however many have failed over at a time.
    pub left: Option<String>,
}

impl Effect {
    /// Whether the answer leaves as it came.
    pub fn is_nothing(&self) -> bool {
        let Self { ticket, withheld, refused, parks, events, left } = self;
        matches!(ticket, TicketEffect::Keep)
            && !(*withheld || *refused)
            && (parks.is_none() && events.is_empty() && left.is_none())
    }
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
    /// Until when the browser is to keep it; absent: until it is closed.
    pub until: Option<UnixMillis>,
}
