//! A session policy: the named set of rules that routes refer to.

use std::time::Duration;

use http::Method;

use crate::cookie::appearance::Appearance;
use crate::cookie::enforce::SameSite;
use crate::routing::path::PathRule;
use crate::session::answer_body::BodyPattern;
use crate::session::binding::Bind;
use crate::session::limit::SessionLimit;
use crate::session::order::Order;
use crate::session::outage::OnStoreDown;
use crate::session::subject::User;
use crate::session::subject::source::Source;

/// How a policy treats the application's session cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They never reach the browser; they live in the record.
    Vault,
    /// They reach the browser sealed, and the worker as it made them. No store.
    Seal(Appearance),
    /// They reach the browser under a prefix and with better attributes.
    Harden {
        appearance: Appearance,
        /// Nothing is changed, only told.
        report_only: bool,
    },
}

/// The ticket's cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketCookie {
    /// The whole cookie-name with its prefix: `__Host-shop`, `__Secure-shop`, or `shop` where
    /// `insecure_cookies` is on.
    pub name: String,
    pub same_site: SameSite,
    /// The `Domain` of a policy that spans subdomains; the scope of the ticket is then this
    /// domain, else the exact host.
    pub domain: Option<String>,
    /// `Secure` is left out only under `insecure_cookies`.
    pub secure: bool,
    pub remember: Remember,
}

/// Whether a ticket survives the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remember {
    /// It ends with the browser.
    Never,
    /// It is kept until the record's absolute end.
    Always,
    /// As the application's own cookies, never beyond that end.
    AsApplication,
}

/// Lifetimes (OWASP's terms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub idle: Duration,
    pub absolute: Duration,
    pub renew_every: Duration,
    pub grace: Duration,
    /// How long a new anonymous record waits for its ticket to come back (rule 9).
    pub anonymous: Duration,
}

/// The request part of a rule: a method and a path.
#[derive(Clone, Debug)]
pub struct RequestPart {
    /// Any method where `None`.
    pub method: Option<Method>,
    pub path: PathRule,
}

/// The success part of a rule: all that is given must hold for the response.
#[derive(Clone, Debug, Default)]
pub struct SuccessPart {
    /// One of these status codes; any where empty.
    pub status: Vec<u16>,
    /// `Location` leads to this path (its query and, where it is absolute, its origin aside).
    pub location: Option<PathRule>,
    /// A response header is present, with this value where one is given.
    pub header: Option<(http::HeaderName, Option<String>)>,
    /// A cookie of this name is set (not deleted).
    pub sets_cookie: Option<String>,
}

/// What makes a request a login, and a response a success (rule 17).
#[derive(Clone, Debug)]
pub struct LoginRule {
    /// `None`: the success part alone decides (rule 21).
    pub request: Option<RequestPart>,
    pub success: SuccessPart,
    /// … and none of these holds for the answer.
    pub failure: Vec<FailurePart>,
    pub rotate: Rotate,
    /// Cross-site login requests are refused unless allowed (rule 24).
    pub cross_site: CrossSite,
    /// Where it finds who logged in (rule 23).
    pub subject: Option<Source>,
}

/// What tells the answer to a failed attempt: all that is given must hold for it.
#[derive(Clone, Debug, Default)]
pub struct FailurePart {
    /// One of these status codes; any where empty.
    pub status: Vec<u16>,
    /// `Location` leads to this path, as in [`SuccessPart`].
    pub location: Option<PathRule>,
    /// The beginning of the body has this in it, or cannot be read.
    pub body: Option<BodyPattern>,
}

/// Which answers to a login rule's requests move the session to another record and ticket (rule 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotate {
    /// All of them: whether the worker has logged somebody in is not left to a guess.
    Always,
    /// Those that are a success, for endpoints that do other things as well.
    OnSuccess,
}

/// Whether cross-site login requests are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossSite {
    Deny,
    Allow,
}

/// What makes a request a logout. Its success defaults to any status below 400.
#[derive(Clone, Debug)]
pub struct LogoutRule {
    pub request: RequestPart,
    pub success: SuccessPart,
    /// What the browser is asked to forget with it.
    pub clear_site_data: Vec<SiteData>,
}

/// What `Clear-Site-Data` names (W3C Clear Site Data, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteData {
    Cache,
    /// Of the whole registrable domain, so only where the operator asks for it (rule 28).
    Cookies,
    Storage,
}

impl SiteData {
    /// As it stands in the field: a quoted string.
    pub fn quoted(self) -> &'static str {
        match self {
            Self::Cache => "\"cache\"",
            Self::Cookies => "\"cookies\"",
            Self::Storage => "\"storage\"",
        }
    }
}

/// What becomes of a session one of whose older tickets is presented (rule 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReuse {
    /// It ends: somebody has a copy of a ticket.
    Revoke,
    /// One that is exactly one generation old, of a browser that looks like the one with the ticket
    /// in use, only loses its own claim: a profile was copied or set back. Any other ends it.
    Recent,
    /// It goes on; the old ticket gains nothing and is written to the audit trail.
    Log,
}

/// What becomes of a session that the application takes away in answer to a safe method, outside
/// logout rules (rule 29).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAppDelete {
    /// It ends.
    End,
    /// It is kept aside for a while, and comes back where many lose theirs at once.
    Guard,
    /// It goes on.
    Keep,
}

/// What the application's session cookies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookiesHold {
    /// Something that changes from answer to answer, perhaps the whole session.
    Content,
    /// Names of sessions: another value is another session.
    Identifier,
}

/// What a jar holds at most (rule 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JarLimits {
    pub cookies: usize,
    pub bytes: usize,
}

impl Default for JarLimits {
    fn default() -> Self {
        Self { cookies: 64, bytes: 8 * 1024 }
    }
}

/// A checked session policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name in the configuration; part of every ticket's associated data.
    pub name: String,
    pub mode: Mode,
    pub cookie: TicketCookie,
    /// Cookie-names that make up the application's session. A trailing `*` matches any rest.
    pub app_cookies: Vec<String>,
    pub app_cookies_hold: CookiesHold,
    pub timeouts: Timeouts,
    /// Whether traffic on streams is use of the session, as requests are.
    pub idle_counts_streams: bool,
    pub on_reuse: OnReuse,
    pub on_app_delete: OnAppDelete,
    pub login: Vec<LoginRule>,
    pub logout: Vec<LogoutRule>,
    pub serialize: Order,
    pub jar: JarLimits,
    /// New anonymous records per minute and network prefix (/24, /56).
    pub anonymous_per_minute: u32,
    /// Anonymous records whose tickets have not come back, of one node.
    pub anonymous_waiting: u32,
    /// Attempts to log in that are no success, per minute and network prefix.
    pub login_attempts_per_minute: u32,
    /// The namespace of its users: whoever has one name in it is one user (rule 27).
    pub users: String,
    /// What ties a session to its client; none by default.
    pub bind: Option<Bind>,
    /// How many sessions a confirmed subject may have (rule 22); absent: any number.
    pub session_limit: Option<SessionLimit>,
    /// Whether users may list and end their own sessions ([`own::PATH`](crate::session::own::PATH)).
    pub own_sessions: bool,
    /// What its routes want where they say nothing themselves.
    pub on_store_down: OnStoreDown,
    /// What workers are told of its sessions.
    pub identity: Told,
}

/// What workers are told of a session, each by a field `X-Session-…` (rule 30).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub id: bool,
    /// Only a confirmed one.
    pub subject: bool,
    pub age: bool,
    pub created: bool,
    pub authenticated: bool,
}

impl Told {
    /// Nothing.
    pub const NOTHING: Self =
        Self { id: false, subject: false, age: false, created: false, authenticated: false };
}

impl Default for Told {
    fn default() -> Self {
        Self { id: true, subject: true, age: true, ..Self::NOTHING }
    }
}

impl Policy {
    /// What session cookies wear outside; nothing where they stay here.
    pub fn appearance(&self) -> Option<&Appearance> {
        match &self.mode {
            Mode::Vault => None,
            Mode::Seal(appearance) | Mode::Harden { appearance, .. } => Some(appearance),
        }
    }

    /// The user of this normalised name.
    pub fn user<'a>(&'a self, name: &'a str) -> User<'a> {
        User { namespace: &self.users, name }
    }

    /// Whether sessions are records that a ticket leads to.
    pub fn has_tickets(&self) -> bool {
        matches!(self.mode, Mode::Vault)
    }

    /// The idle time that traffic on a stream keeps a session for; none where it does not count.
    pub fn stream_idle(&self) -> Option<Duration> {
        self.idle_counts_streams.then_some(self.timeouts.idle)
    }

    /// Whether session cookies leave sealed.
    pub fn seals(&self) -> bool {
        matches!(self.mode, Mode::Seal(_))
    }

    /// Whether nothing is changed, neither of requests nor of answers.
    pub fn only_reports(&self) -> bool {
        matches!(self.mode, Mode::Harden { report_only: true, .. })
    }

    /// Whether it matters who presents a ticket.
    pub fn knows_clients(&self) -> bool {
        self.bind.is_some() || self.on_reuse == OnReuse::Recent
    }

    /// Whether a cookie of this name belongs to the application's session.
    pub fn owns(&self, cookie_name: &[u8]) -> bool {
        self.app_cookies.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => cookie_name.starts_with(prefix.as_bytes()),
            None => cookie_name == pattern.as_bytes(),
        })
    }
}
