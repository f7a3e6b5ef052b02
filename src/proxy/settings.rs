//! Servers and routes as the proxy wants them: checked, names resolved.

use std::sync::Arc;

use http::Method;

use crate::downstream::HeadLimits;
use crate::downstream::delivery::Delivery;
use crate::downstream::keepalive::KeepAlive;
use crate::headers::compression::Compression;
use crate::headers::cross_site::{CrossSite, Exceptions};
use crate::listen::{CertificateSettings, OrderedSettings, OwnTls};
use crate::proxy::added::AnswerSettings;
use crate::proxy::error_page::ErrorPages;
use crate::proxy::file_settings::{FileSettings, Lies, OwnTexts, TryFiles};
use crate::proxy::guards::Guard;
use crate::proxy::guards::limits::Limits;
use crate::proxy::origins::Origins;
use crate::proxy::pacing::PaceSettings;
use crate::proxy::passed::Passed;
use crate::proxy::request_body::BodySettings;
use crate::proxy::request_headers::{SetHeader, WorkerRequest};
use crate::proxy::rewriting::Rewriting;
use crate::proxy::worker_answer::AnswerEdits;
use crate::routing::table::{Ambiguous, Listens, Restricts};
use crate::session::outage::OnStoreDown;
use crate::session::policy::Policy;
use crate::telemetry::access_logs::AccessLogs;
use crate::variables::matcher::Matcher;

/// What a route does with its requests.
#[derive(Clone, Debug)]
pub enum Target {
    /// Forwards them to an upstream, by its index in the configuration's list.
    Upstream(usize),
    /// Forwards them to what a text with variables names.
    Passed(Arc<Passed>),
    /// Serves files.
    Files(Arc<FileSettings>),
    /// What users ask of their own sessions; the proxy answers by itself.
    OwnSessions,
    /// Nothing: routes inside it may have something (404).
    Nothing,
}

impl Target {
    /// Whether a worker answers.
    pub fn has_workers(&self) -> bool {
        matches!(self, Self::Upstream(_) | Self::Passed(_))
    }
}

/// What a route asks of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Require {
    Nothing,
    Login,
}

/// What a visitor without the required login gets (rule 31).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// 401 for everybody.
    Unauthorized,
    /// Navigations are redirected there, everything else gets 401.
    Redirect(String),
}

/// What stands in place of a route's path in what workers are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// As paths are compared: decoded.
    pub prefix: Box<[u8]>,
    /// As it is sent.
    pub by: Box<[u8]>,
}

/// What counts in a route for all methods but some.
#[derive(Clone, Debug)]
pub struct Excepted {
    pub methods: Vec<Method>,
    pub route: Arc<Route>,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its path as configured, with nginx's modifiers. Of what no route has, which is the server's own,
    /// it is empty.
    pub path: String,
    /// The route that it lies in, by its index in the server's list.
    pub outer: Option<usize>,
    /// What it restricts counts for the path in exactly this spelling only.
    pub exact: bool,
    pub target: Target,
    /// Files that are looked for before its target answers.
    pub try_files: Option<Arc<TryFiles>>,
    pub session: Option<Arc<Policy>>,
    /// Whether `Cloakroom-Session` in its answers is believed (rule 30).
    pub session_header: bool,
    pub require: Require,
    pub denied: Denied,
    /// Who is let in, sessions aside; each of them is asked.
    pub guards: Vec<Arc<Guard>>,
    /// How many requests there may be.
    pub limits: Option<Arc<Limits>>,
    /// How fast its answers go.
    pub pace: Option<Arc<PaceSettings>>,
    pub origins: Origins,
    /// What other sites may do here through a visitor's browser.
    pub cross_site: CrossSite,
    /// What becomes of requests with a ticket while the store does not answer.
    pub on_store_down: OnStoreDown,
    /// Its exchanges are streams, whatever their heads look like: long polls.
    pub stream: bool,
    /// Fields of the operator's own for workers.
    pub request_headers: Vec<SetHeader>,
    /// Workers hear from us alone who the client is; else they hear what came.
    pub forwarded_headers: bool,
    /// How bodies of requests are taken in.
    pub body: BodySettings,
    /// What a client is slow to take is kept, so much of it in a file; else its worker waits.
    pub is_spooled: bool,
    pub spool_max: u64,
    /// What workers are asked for in place of the route's own path.
    pub replaced: Option<Replaced>,
    /// What is shown in place of errors.
    pub error_pages: ErrorPages,
    /// An error inside an error page has its page, too.
    pub recursive_error_pages: bool,
    /// Errors of workers have pages as well (nginx `proxy_intercept_errors`).
    pub intercept_errors: bool,
    /// Only redirects inside lead here (nginx `internal`).
    pub internal: bool,
    /// What is run once it was found (nginx `rewrite` and its like).
    pub rewriting: Option<Arc<Rewriting>>,
    /// What counts for other methods than these (nginx `limit_except`).
    pub excepted: Option<Arc<Excepted>>,
    /// The pattern that its path is, for the groups.
    pub matcher: Option<Matcher>,
    /// Where its files would lie (`$document_root`), whoever answers.
    pub lies: Option<Lies>,
    pub own_texts: Arc<OwnTexts>,
    pub answers: AnswerSettings,
    /// `None`: answers go as they are.
    pub compression: Option<Arc<Compression>>,
    /// How connections go on; else as `limits` say.
    pub keepalive: Option<Arc<KeepAlive>>,
    /// How answers are carried; else as `limits` say.
    pub delivery: Option<Arc<Delivery>>,
    /// What is changed in workers' answers.
    pub edits: AnswerEdits,
    /// What workers are asked for in another way.
    pub asks: Option<Box<WorkerRequest>>,
    /// Largest request body in bytes, 0 for no limit (nginx `client_max_body_size`): 413.
    pub body_bytes_max: u64,
    pub access_log: AccessLogs,
}

impl Route {
    /// Whether a request for its path without the slash at the end is redirected (nginx 5).
    pub fn adds_slash(&self) -> bool {
        self.target.has_workers() && self.path.ends_with('/')
    }

    /// Whether it is the server itself, which has what no other route has.
    pub fn is_server(&self) -> bool {
        self.path.is_empty()
    }

    /// What the log calls it.
    pub fn name(&self) -> &str {
        if self.is_server() { "-" } else { &self.path }
    }

    /// With what another one keeps visitors from: it stands in its place while a condition holds.
    #[must_use]
    pub fn within(self, base: &Self) -> Self {
        Self {
            outer: base.outer,
            exact: base.exact,
            session: base.session.clone(),
            session_header: base.session_header,
            require: base.require,
            denied: base.denied.clone(),
            cross_site: base.cross_site.clone(),
            on_store_down: base.on_store_down,
            stream: base.stream,
            body_bytes_max: base.body_bytes_max,
            guards: base.guards.clone(),
            limits: base.limits.clone(),
            origins: base.origins.clone(),
            replaced: self.replaced.or_else(|| match (&self.target, &base.target) {
                (Target::Upstream(one), Target::Upstream(other)) if one == other => {
                    base.replaced.clone()
                }
                _ => None,
            }),
            matcher: base.matcher.clone(),
            internal: base.internal,
            ..self
        }
    }

    /// Whether it keeps anybody from anything. A limit on bodies is compared with those of others.
    pub fn restricts(&self) -> bool {
        self.require != Require::Nothing
            || self.cross_site != CrossSite::Allow
            || self.session.is_some()
            || !self.guards.is_empty()
    }

    /// Whether whoever a guard keeps out is kept out here too.
    pub fn has_guard(&self, guard: &Guard) -> bool {
        self.guards.iter().any(|own| own.identity == guard.identity)
    }

    /// Whether visitors are kept from the same by both.
    pub fn keeps_the_same(&self, other: &Self) -> bool {
        self.policy_name() == other.policy_name()
            && self.require == other.require
            && self.cross_site == other.cross_site
            && self.body_bytes_max == other.body_bytes_max
            && self.guards.len() == other.guards.len()
            && self.guards.iter().all(|guard| other.has_guard(guard))
    }

    fn policy_name(&self) -> Option<&str> {
        self.session.as_ref().map(|policy| policy.name.as_str())
    }

    /// Whether it takes smaller bodies than another one.
    pub fn is_smaller_than(&self, other: &Self) -> bool {
        let limit = |route: &Self| match route.body_bytes_max {
            0 => u64::MAX,
            limit => limit,
        };
        limit(self) < limit(other)
    }
}

impl Restricts for Arc<Route> {
    fn restricts_at_least(&self, other: &Self) -> bool {
        let is_welcoming = |route: &Route| match &route.cross_site {
            CrossSite::Allow => true,
            CrossSite::DenyUnsafe(exceptions) => *exceptions != Exceptions::default(),
        };
        Arc::ptr_eq(self, other)
            || (self.require == Require::Login || other.require == Require::Nothing)
                && (other.session.is_none() || self.policy_name() == other.policy_name())
                && (other.cross_site == CrossSite::Allow
                    || self.cross_site == other.cross_site
                    || !is_welcoming(self))
                && !other.is_smaller_than(self)
                && other.guards.iter().all(|guard| self.has_guard(guard))
    }

    /// The one that leads on is the one that asks for a login, else the one with a session of its own,
    /// else `self`; it keeps visitors from what either does.
    fn joined(&self, other: &Self) -> Result<Self, Ambiguous> {
        let rank = |route: &Route| (route.require == Require::Login, route.session.is_some());
        if rank(self) == rank(other)
            && self.require == Require::Login
            && self.policy_name() != other.policy_name()
        {
            return Err(Ambiguous);
        }
        let (leads, aside) = if rank(other) > rank(self) { (other, self) } else { (self, other) };
        let mut joined = Route::clone(leads);
        joined.cross_site = leads.cross_site.joined(&aside.cross_site);
        let missing = aside.guards.iter().filter(|guard| !leads.has_guard(guard));
        joined.guards.extend(missing.cloned());
        if aside.is_smaller_than(leads) {
            joined.body_bytes_max = aside.body_bytes_max;
        }
        Ok(Arc::new(joined))
    }
}

/// Which names of fields are believed (nginx `ignore_invalid_headers`, `underscores_in_headers`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldNames {
    /// All that RFC 9110 has.
    #[default]
    Tokens,
    /// Of letters, digits and `-`; others are dropped, since workers may take `_` and `-` for one another.
    Plain,
    /// The same, and `_`.
    Underscores,
}

impl FieldNames {
    /// Whether a field of this name is one.
    pub fn takes(self, name: &[u8]) -> bool {
        let is_plain = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || *byte == b'-'
                || (*byte == b'_' && self == Self::Underscores)
        };
        self == Self::Tokens || name.iter().all(is_plain)
    }
}

/// A virtual host.
#[derive(Clone, Debug)]
pub struct Server {
    /// Lower-case host names without port; `*.example.com`, `~^re$` and `_` (the default) as in nginx.
    pub names: Vec<String>,
    /// All where it names none.
    pub listeners: Option<Vec<Listens>>,
    /// Shown to who asks for it by TLS, in place of the listener's.
    pub certificates: Vec<CertificateSettings>,
    /// One that is ordered, in place of them.
    pub ordered: Option<OrderedSettings>,
    /// What it says of TLS beside them.
    pub tls: OwnTls,
    /// Which fields of requests count, where it is a listener's default.
    pub field_names: FieldNames,
    /// Doubled slashes stay in paths (nginx `merge_slashes off`).
    pub keeps_slashes: bool,
    /// Also of those whose server is not known, where it is a listener's default.
    pub head_limits: HeadLimits,
    /// The patterns among its names, at the same places.
    pub patterns: Vec<Option<Matcher>>,
    pub routes: Vec<Route>,
    /// What has no other route; and what is run before any is looked for.
    pub own: Route,
}
