//! Closed sets of label values, so that a metric is found by index and never by a string.

use crate::cookie::finding::Finding;
use crate::session::event::{Cause, EventKind, NotMade, OutOfTurn, Reject};
use crate::session::outage::WithoutStore;
use crate::session::outcome::{Created, Leased, Lookup, Removed, Replaced};

/// A label whose values are all known when the program is written.
pub trait Label: Copy + 'static {
    /// Every value, in the order of declaration.
    const ALL: &'static [Self];

    /// The value's place in [`Label::ALL`].
    fn index(self) -> usize;

    /// The value as Prometheus sees it.
    fn value(self) -> &'static str;
}

/// Declares an enum that is a [`Label`].
macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $value:literal,)+ })+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$note])* $variant,)+ }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn index(self) -> usize {
                self as usize
            }

            fn value(self) -> &'static str {
                match self { $(Self::$variant => $value,)+ }
            }
        }
    )+ };
}

labels! {
    /// What kind of route answered.
    RouteKind {
        /// Forwarded, without a session policy.
        Plain = "plain",
        /// Forwarded, under a session policy.
        Session = "session",
        /// Static files.
        Files = "files",
        /// The answer of a listener that redirects to `https`.
        Redirect = "redirect",
        /// No route: malformed, misdirected or unknown.
        Unrouted = "unrouted",
    }

    /// The first digit of a status code.
    StatusClass {
        Informational = "1xx",
        Success = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
        /// The client left before there was a status.
        Unanswered = "none",
    }

    /// What a store was asked for.
    StoreOp {
        Load = "load",
        Create = "create",
        Replace = "replace",
        Remove = "remove",
        Lease = "lease",
        /// The epoch of a subject.
        Epoch = "epoch",
        /// All sessions of a subject.
        Revoke = "revoke",
        List = "list",
        /// The sessions of a subject that are beyond a limit.
        Count = "count",
        Ping = "ping",
    }

    /// What a store answered.
    StoreOutcome {
        Ok = "ok",
        /// There is no such record.
        Absent = "absent",
        /// Somebody else wrote first, or has the key or the lease.
        Conflict = "conflict",
        Unavailable = "unavailable",
    }

    /// How much was revoked at once.
    Revocation {
        Session = "session",
        Subject = "subject",
        /// All of a subject's but the one that asked for it.
        Others = "others",
        All = "all",
    }

    /// What went wrong with an attempt at an endpoint.
    UpstreamFailure {
        /// No connection: refused, unreachable, TLS.
        Connect = "connect",
        /// One of the upstream's deadlines.
        Timeout = "timeout",
        /// Broken off, or an answer that is no HTTP.
        Broken = "broken",
    }
}

impl StatusClass {
    /// The class of a status code; 0 stands for none.
    pub fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::Unanswered,
        }
    }
}

impl<T> From<&Lookup<T>> for StoreOutcome {
    fn from(lookup: &Lookup<T>) -> Self {
        match lookup {
            Lookup::Found(_) => Self::Ok,
            Lookup::NotFound | Lookup::Revoked => Self::Absent,
            Lookup::Unavailable => Self::Unavailable,
        }
    }
}

impl From<Created> for StoreOutcome {
    fn from(created: Created) -> Self {
        match created {
            Created::Created => Self::Ok,
            Created::Taken => Self::Conflict,
            Created::Unavailable => Self::Unavailable,
        }
    }
}

impl From<Replaced> for StoreOutcome {
    fn from(replaced: Replaced) -> Self {
        match replaced {
            Replaced::Replaced => Self::Ok,
            Replaced::Conflict => Self::Conflict,
            Replaced::Gone => Self::Absent,
            Replaced::Unavailable => Self::Unavailable,
        }
    }
}

impl From<Removed> for StoreOutcome {
    fn from(removed: Removed) -> Self {
        match removed {
            Removed::Removed => Self::Ok,
            Removed::Unavailable => Self::Unavailable,
        }
    }
}

impl From<Leased> for StoreOutcome {
    fn from(leased: Leased) -> Self {
        match leased {
            Leased::Taken => Self::Ok,
            Leased::Busy => Self::Conflict,
            Leased::Unavailable => Self::Unavailable,
        }
    }
}

/// The lists of cookies and of the session core are labels too.
macro_rules! session_labels {
    ($($name:ident),+) => { $(
        impl Label for $name {
            const ALL: &'static [Self] = $name::ALL;

            fn index(self) -> usize {
                self as usize
            }

            fn value(self) -> &'static str {
                self.name()
            }
        }
    )+ };
}

session_labels!(EventKind, Cause, Reject, NotMade, OutOfTurn, WithoutStore, Finding);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_fall_into_their_class() {
        for (status, class) in [
            (0, "none"),
            (101, "1xx"),
            (200, "2xx"),
            (302, "3xx"),
            (499, "4xx"),
            (503, "5xx"),
            (999, "none"),
        ] {
            assert_eq!(StatusClass::of(status).value(), class, "{status}");
        }
    }

    #[test]
    fn an_unavailable_store_is_never_counted_as_an_answer() {
        for outcome in [
            StoreOutcome::from(&Lookup::<()>::Unavailable),
            Created::Unavailable.into(),
            Replaced::Unavailable.into(),
            Removed::Unavailable.into(),
            Leased::Unavailable.into(),
        ] {
            assert_eq!(outcome, StoreOutcome::Unavailable);
        }
    }
}
