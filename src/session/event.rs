//! What happened to a session, as a value: the session core says it, telemetry writes it down.
//!
//! Pure data, no I/O. Events name records by their hashed key only; nothing here can carry a
//! ticket, a secret or a cookie-value.

use crate::session::command::Ignored;
use crate::session::outage::WithoutStore;
use crate::session::outcome::RecordKey;

/// Something that an auditor wants to know about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record was made for a visitor (rule 9).
    Created { id: RecordKey },
    /// A login succeeded: `old` was taken out of service before `new` was made (rule 19).
    Login { old: Option<RecordKey>, new: RecordKey, subject: Option<String> },
    /// A request matched a login rule, its answer was not a success.
    LoginFailed,
    /// Such a request left its session in another record (rule 19).
    Moved { old: RecordKey, new: RecordKey },
    /// A login was refused: too many attempts from its network were no success (rule 19).
    LoginLimited,
    /// A record's life is over (rule 26).
    Ended { id: RecordKey, cause: Cause },
    /// A ticket or a sealed cookie was presented that counts as none (rule 5).
    TicketRejected { reason: Reject },
    /// A request from another site was refused: a login (rule 24), or where the route refuses
    /// unsafe ones.
    CrossSiteRefused,
    /// A ticket was renewed (rule 13).
    Renewed { id: RecordKey },
    /// An older genuine ticket was presented (rule 15): somebody has a copy.
    Reused { id: RecordKey },
    /// A ticket came from another client than the one that its record is bound to: somebody has a
    /// copy, or the client has changed.
    BindingMismatch { id: RecordKey },
    /// A late response was kept from touching a record that was moved or ended (rule 25).
    Fenced { id: RecordKey },
    /// 503 in place of an answer whose session cookie could not be stored (rule 8).
    Withheld { id: Option<RecordKey> },
    /// No record was made, or no cookie sealed, though the application set a session cookie.
    NotMade { cause: NotMade },
    /// The application took a session away where nobody asked for it: it is kept aside (rule 29).
    Parked { id: RecordKey },
    /// A session came back from where it was kept aside: many were lost at once.
    Restored { id: RecordKey },
    /// What was kept aside of a session that goes on without it is gone.
    Dropped { id: RecordKey },
    /// The application's deletion of a session was ignored.
    DeletionIgnored { id: RecordKey },
    /// A request waited for another one of the same session (rules 18 and 32).
    Waited,
    /// A request of which the policy wants that it takes turns went on without (rule 32).
    OutOfTurn { cause: OutOfTurn },
    /// The user has as many sessions as there may be (rule 22).
    LoginRefused { subject: String },
    /// Every session of a subject was ended (rule 27); `id` is the one that this happened in.
    SubjectRevoked { id: Option<RecordKey>, subject: String },
    /// A `Cloakroom-Session` field made no sense.
    CommandIgnored { cause: Ignored },
    /// The store did not answer for a request with a ticket; `id` is the record that it was served
    /// with, if any.
    WithoutStore { id: Option<RecordKey>, action: WithoutStore },
}

impl Event {
    /// Its kind: the event without its data.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Created { .. } => EventKind::Created,
            Self::Login { .. } => EventKind::Login,
            Self::LoginFailed => EventKind::LoginFailed,
            Self::Moved { .. } => EventKind::Moved,
            Self::LoginLimited => EventKind::LoginLimited,
            Self::Ended { cause: Cause::Logout, .. } => EventKind::Logout,
            Self::Ended { .. } => EventKind::Ended,
            Self::TicketRejected { .. } => EventKind::TicketRejected,
            Self::CrossSiteRefused => EventKind::CrossSiteRefused,
            Self::Renewed { .. } => EventKind::Renewed,
            Self::Reused { .. } => EventKind::Reused,
            Self::BindingMismatch { .. } => EventKind::BindingMismatch,
            Self::Fenced { .. } => EventKind::Fenced,
            Self::Withheld { .. } => EventKind::Withheld,
            Self::NotMade { .. } => EventKind::NotMade,
            Self::Parked { .. } => EventKind::Parked,
            Self::Restored { .. } => EventKind::Restored,
            Self::Dropped { .. } => EventKind::Dropped,
            Self::DeletionIgnored { .. } => EventKind::DeletionIgnored,
            Self::Waited => EventKind::Waited,
            Self::OutOfTurn { .. } => EventKind::OutOfTurn,
            Self::LoginRefused { .. } => EventKind::LoginRefused,
            Self::SubjectRevoked { .. } => EventKind::SubjectRevoked,
            Self::CommandIgnored { .. } => EventKind::CommandIgnored,
            Self::WithoutStore { .. } => EventKind::WithoutStore,
        }
    }

    /// Its name in the audit log and in metrics.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }
}

/// An [`Event`] without its data, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Created,
    Login,
    LoginFailed,
    Moved,
    LoginLimited,
    Logout,
    Ended,
    TicketRejected,
    CrossSiteRefused,
    Renewed,
    Reused,
    BindingMismatch,
    Fenced,
    Withheld,
    NotMade,
    Parked,
    Restored,
    Dropped,
    DeletionIgnored,
    Waited,
    OutOfTurn,
    LoginRefused,
    SubjectRevoked,
    CommandIgnored,
    WithoutStore,
}

impl EventKind {
    /// Every kind, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::Created,
        Self::Login,
        Self::LoginFailed,
        Self::Moved,
        Self::LoginLimited,
        Self::Logout,
        Self::Ended,
        Self::TicketRejected,
        Self::CrossSiteRefused,
        Self::Renewed,
        Self::Reused,
        Self::BindingMismatch,
        Self::Fenced,
        Self::Withheld,
        Self::NotMade,
        Self::Parked,
        Self::Restored,
        Self::Dropped,
        Self::DeletionIgnored,
        Self::Waited,
        Self::OutOfTurn,
        Self::LoginRefused,
        Self::SubjectRevoked,
        Self::CommandIgnored,
        Self::WithoutStore,
    ];

    /// Its name in the audit log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::Moved => "moved",
            Self::LoginLimited => "login_limited",
            Self::Logout => "logout",
            Self::Ended => "ended",
            Self::TicketRejected => "ticket_rejected",
            Self::CrossSiteRefused => "cross_site_refused",
            Self::Renewed => "renewed",
            Self::Reused => "reused",
            Self::BindingMismatch => "binding_mismatch",
            Self::Fenced => "fenced",
            Self::Withheld => "withheld",
            Self::NotMade => "not_made",
            Self::Parked => "parked",
            Self::Restored => "restored",
            Self::Dropped => "dropped",
            Self::DeletionIgnored => "deletion_ignored",
            Self::Waited => "waited",
            Self::OutOfTurn => "out_of_turn",
            Self::LoginRefused => "login_refused",
            Self::SubjectRevoked => "subject_revoked",
            Self::CommandIgnored => "command_ignored",
            Self::WithoutStore => "without_store",
        }
    }
}

/// Why a record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody used it for the policy's idle time.
    Idle,
    /// It reached the policy's absolute end.
    Absolute,
    /// A logout rule.
    Logout,
    /// The application deleted its session cookies.
    AppDeleted,
    /// A login that nobody settled (rule 20).
    PendingTimedOut,
    /// A login that was cut after it had been forwarded: the worker may have logged the old
    /// identifier in.
    LoginAborted,
    /// The ticket of a login's new record never came back (rule 22).
    SuccessorUnseen,
    /// An older ticket of it was presented (rule 15).
    Reused,
    /// Its ticket came from another client.
    BindingMismatch,
    /// The application ended all sessions of its subject.
    SubjectRevoked,
    /// Its subject has more sessions than there may be (rule 22).
    TooMany,
}

impl Cause {
    /// Every cause, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::Idle,
        Self::Absolute,
        Self::Logout,
        Self::AppDeleted,
        Self::PendingTimedOut,
        Self::LoginAborted,
        Self::SuccessorUnseen,
        Self::Reused,
        Self::BindingMismatch,
        Self::SubjectRevoked,
        Self::TooMany,
    ];

    /// Its name in the audit log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Absolute => "absolute",
            Self::Logout => "logout",
            Self::AppDeleted => "app_deleted",
            Self::PendingTimedOut => "pending_timed_out",
            Self::LoginAborted => "login_aborted",
            Self::SuccessorUnseen => "successor_unseen",
            Self::Reused => "reused",
            Self::BindingMismatch => "binding_mismatch",
            Self::SubjectRevoked => "subject_revoked",
            Self::TooMany => "too_many",
        }
    }
}

/// Why a ticket is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Not canonical base64url, a wrong length or version.
    Malformed,
    /// Sealed with a key that is not in the ring.
    UnknownKey,
    /// It does not open: changed, or made for another host, policy or cookie.
    Forged,
    /// The request carries more than one.
    Duplicate,
    /// Longer than any ticket.
    Oversized,
    /// It opened, but its secret is none that its record ever had (rule 2).
    WrongSecret,
    /// A sealed cookie that opened, but whose time is over.
    TooOld,
}

impl Reject {
    /// Every reason, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::Malformed,
        Self::UnknownKey,
        Self::Forged,
        Self::Duplicate,
        Self::Oversized,
        Self::WrongSecret,
        Self::TooOld,
    ];

    /// Its name in the audit log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::Duplicate => "duplicate",
            Self::Oversized => "oversized",
            Self::WrongSecret => "wrong_secret",
            Self::TooOld => "too_old",
        }
    }
}

/// Why no record was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMade {
    /// The request was cross-site in a way that withholds tickets (rule 10).
    CrossSite,
    /// The network prefix has made too many (rule 9).
    RateLimited,
    /// The cookies do not fit a jar (rule 9).
    JarFull,
    /// The cookie is longer than sealed ones may be, cut into pieces.
    TooLarge,
    /// The cookie has a name that pieces of sealed ones have.
    ReservedName,
    /// The request has a ticket that the store did not answer for, and it is to stay good.
    StoreDown,
}

impl NotMade {
    /// Every cause, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::CrossSite,
        Self::RateLimited,
        Self::JarFull,
        Self::TooLarge,
        Self::ReservedName,
        Self::StoreDown,
    ];

    /// Its name in the audit log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossSite => "cross_site",
            Self::RateLimited => "rate_limited",
            Self::JarFull => "jar_full",
            Self::TooLarge => "too_large",
            Self::ReservedName => "reserved_name",
            Self::StoreDown => "store_down",
        }
    }
}

/// Why a request went on without its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfTurn {
    /// It had waited as long as it may.
    TimedOut,
    /// Too many waited already.
    QueueFull,
    /// The store, in which the fleet takes turns, does not answer.
    StoreDown,
}

impl OutOfTurn {
    /// Every cause, in the order of declaration.
    pub const ALL: &'static [Self] = &[Self::TimedOut, Self::QueueFull, Self::StoreDown];

    /// Its name in the audit log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::QueueFull => "queue_full",
            Self::StoreDown => "store_down",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_order_of_declaration_and_names_are_unique() {
        fn check<T: Copy>(all: &[T], index: fn(T) -> usize, name: fn(T) -> &'static str) {
            for (position, item) in all.iter().enumerate() {
                assert_eq!(index(*item), position, "{} is out of order", name(*item));
                let twins = all.iter().filter(|other| name(**other) == name(*item)).count();
                assert_eq!(twins, 1, "{} names two", name(*item));
            }
        }
        check(EventKind::ALL, |kind| kind as usize, EventKind::name);
        check(Cause::ALL, |cause| cause as usize, Cause::name);
        check(Reject::ALL, |reason| reason as usize, Reject::name);
        check(NotMade::ALL, |cause| cause as usize, NotMade::name);
        check(OutOfTurn::ALL, |cause| cause as usize, OutOfTurn::name);
        check(Ignored::ALL, |cause| cause as usize, Ignored::name);
        check(WithoutStore::ALL, |action| action as usize, WithoutStore::name);
        assert_eq!(
            EventKind::ALL.len(),
            EventKind::WithoutStore as usize + 1,
            "a kind is missing from the list"
        );
        assert_eq!(Cause::ALL.len(), Cause::TooMany as usize + 1);
        assert_eq!(Reject::ALL.len(), Reject::TooOld as usize + 1);
        assert_eq!(NotMade::ALL.len(), NotMade::StoreDown as usize + 1);
        assert_eq!(OutOfTurn::ALL.len(), OutOfTurn::StoreDown as usize + 1);
    }

    #[test]
    fn an_event_prints_no_whole_identifier() {
        let id = RecordKey { tag: [0xaa; 8], id: [0xbb; 16], has_subject: false };
        let printed = format!("{:?}", Event::Ended { id, cause: Cause::Idle });
        assert_eq!(printed, "Ended { id: bbbbbbbb.., cause: Idle }");
    }
}
