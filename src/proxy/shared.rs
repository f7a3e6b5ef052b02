//! What lives once per process and every worker reads.

mod sessions;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::acme::Desk;
use crate::clock::{Clock, UnixMillis};
use crate::cookie;
use crate::cookie::finding::Finding;
use crate::crypto::ring_source::RingSource;
use crate::downstream::HeadLimits;
use crate::listen::{Gate, Info, VerifyClients};
use crate::proxy::buffers::Buffers;
use crate::proxy::gate::Gates;
use crate::proxy::guards::basic::Passwords;
use crate::proxy::guards::limits::Zone;
use crate::proxy::limit::Limiter;
use crate::proxy::mass_logout::Guards;
use crate::proxy::merging::Merges;
use crate::proxy::open_streams::OpenStreams;
use crate::proxy::replaced_seals::ReplacedSeals;
use crate::proxy::settings::{FieldNames, Route};
use crate::proxy::sticky::Sticky;
use crate::proxy::successions::Successions;
use crate::proxy::ticket_cache::{Opened, TicketCache};
use crate::proxy::touches::Touches;
use crate::routing::host::Host;
use crate::routing::table::Table;
use crate::session::event::Reject;
use crate::session::policy::Policy;
use crate::store::records::Records;
use crate::store::throttle::Throttle;
use crate::telemetry::active::ActiveSessions;
use crate::telemetry::findings::{Findings, Found};
use crate::telemetry::log_writer::LogWriter;
use crate::telemetry::metrics::{Metrics, UpstreamMetrics};
use crate::upstream::group::Group;
use crate::upstream::names::Resolver;
use crate::variables::matcher::Matcher;
use crate::variables::registry::Variables;
use crate::variables::template::Template;

/// What other nodes need to hear of a suspension and to hand what they had admitted before that to
/// their workers. Such a request must be there before the login is (PROTOCOL.md 18, 34).
pub const ELSEWHERE: Duration = Duration::from_millis(10);

/// An upstream at work.
pub struct Upstream {
    pub group: Arc<Group>,
    pub metrics: UpstreamMetrics,
    /// What an endpoint is chosen by, where that is a hash.
    pub hash_key: Option<Template>,
    /// Clients stay with their endpoint.
    pub sticky: Option<Arc<Sticky>>,
    /// When an endpoint dies all of its sessions leave it: one line says so, with their number.
    pub failovers: Throttle,
}

/// What requests share whatever the configuration is: it outlives a reload.
pub struct Lasting {
    pub clock: Clock,
    /// How long a login waits, once its record is suspended, for what other nodes had in flight; zero
    /// where there are no others.
    pub elsewhere: Duration,
    pub ring: Arc<RingSource>,
    pub opened: TicketCache,
    pub replaced_seals: ReplacedSeals,
    pub records: Records,
    pub gates: Arc<Gates>,
    /// Connections of clients.
    pub gate: Arc<Gate>,
    pub successions: Successions,
    pub merges: Arc<Merges>,
    pub touches: Arc<Touches>,
    pub streams: Arc<OpenStreams>,
    pub limiter: Limiter,
    pub passwords: Passwords,
    pub metrics: Arc<Metrics>,
    pub findings: Findings,
    /// Requests that the store did not answer for: one line says so, the counter how many.
    pub outages: Throttle,
    /// Logins whose answers have bodies that say nothing: one line says so in a while.
    pub unread_logins: Throttle,
    /// What certificates are ordered with.
    pub desk: Arc<Desk>,
    /// What exchanges hold of bodies under way.
    pub buffers: Arc<Buffers>,
    /// What policies with records have in `users` at the moment, each once (PROTOCOL.md 27).
    pub namespaces: Arc<ArcSwap<Vec<String>>>,
}

/// A configuration at work, which all workers read. A reload makes another one; requests keep the one that
/// they began with.
pub struct Shared {
    pub lasting: Arc<Lasting>,
    /// The numbers of its listeners, by their index.
    pub listeners: Vec<usize>,
    pub table: Arc<Table<Arc<Route>>>,
    pub upstreams: Vec<Upstream>,
    /// Who is asked for names while the process runs.
    pub resolvers: Vec<Arc<Resolver>>,
    /// Ticket names of all policies: none of them reaches a worker.
    pub tickets: Vec<String>,
    pub cookies: cookie::enforce::CookieSettings,
    pub trusted: Vec<IpNet>,
    /// Sessions are served over plain HTTP too.
    pub insecure_cookies: bool,
    pub limit_zones: Vec<Zone>,
    pub guards: Guards,
    /// Of each policy with records, where operators may ask how many sessions are in use.
    pub active: Vec<Arc<ActiveSessions>>,
    pub access_log: bool,
    pub log_writer: Arc<LogWriter>,
    pub variables: Variables,
    /// All session policies: what their cookies hold is masked in variables.
    pub policies: Vec<Arc<Policy>>,
    pub servers: Vec<ServerFacts>,
    /// Not all servers believe the same names of fields.
    pub field_names_vary: bool,
}

/// What is known of a virtual server beside its routes.
pub struct ServerFacts {
    /// The first of its names.
    pub name: String,
    /// The patterns among its names, by their index.
    pub patterns: Vec<Option<Matcher>>,
    /// What has no route of its own, and what is run before any is looked for.
    pub own: Arc<Route>,
    pub field_names: FieldNames,
    pub head_limits: HeadLimits,
    /// Doubled slashes stay in paths.
    pub keeps_slashes: bool,
    /// How the certificates of its clients are taken.
    pub clients: Option<VerifyClients>,
}

impl Deref for Shared {
    type Target = Lasting;

    fn deref(&self) -> &Lasting {
        &self.lasting
    }
}

impl Shared {
    /// The listener that a connection came by, by its index; none that there is, where it came before a
    /// reload.
    pub fn listener(&self, connection: &Info) -> usize {
        let is_it = |number: &usize| *number == connection.listener();
        self.listeners.iter().position(is_it).unwrap_or(usize::MAX)
    }

    /// Whether a connection of an earlier configuration goes on under this one: its listener is what it
    /// was, and no server has agreed to anything with it while hands were shaken.
    pub fn takes_over(&self, connection: &Info) -> bool {
        let has_server = connection.tls().is_some_and(|tls| tls.server.is_some());
        self.listener(connection) != usize::MAX && !has_server
    }

    /// The server that answers on a listener where nobody says which one is asked.
    pub fn default_server(&self, listener: usize) -> Option<&ServerFacts> {
        self.servers.get(self.table.default_server(listener)?)
    }

    /// The server that a host means on a connection; the one that TLS was made for, or the listener's
    /// own, where that is not known.
    pub fn refusing(&self, info: &Info, host: Option<&[u8]>) -> Option<&ServerFacts> {
        self.servers.get(self.server_of(info, host)?)
    }

    pub fn server_of(&self, info: &Info, host: Option<&[u8]>) -> Option<usize> {
        let asked = || info.tls()?.server_name.as_ref().map(|name| name.as_bytes());
        let host = host.or_else(asked).and_then(|host| Host::parse(host).ok());
        match host {
            Some(host) if !host.as_str().is_empty() => {
                Some(self.table.server(self.listener(info), &host).server)
            }
            _ => self.table.default_server(self.listener(info)),
        }
    }

    /// What a server is called first, where it has a name.
    pub fn server_name(&self, server: usize) -> Option<&str> {
        let server = self.servers.get(server)?;
        Some(server.name.as_str()).filter(|name| !name.is_empty())
    }

    /// Whether a cookie of this name is a ticket.
    pub fn is_ticket(&self, cookie_name: &[u8]) -> bool {
        self.tickets.iter().any(|ticket| ticket.as_bytes() == cookie_name)
    }

    /// Says that an application has given a cookie a `Domain` that its host is not in.
    pub fn tell_foreign_domain(&self, policy: &Policy, host: &str, name: &[u8], now: UnixMillis) {
        let (policy, findings) = (&policy.name, &[Finding::ForeignDomain]);
        let found = Found { policy, host, name, findings, instead: None };
        self.findings.tell(&self.metrics, &found, now);
    }

    /// Opens a ticket, after reading the ring again where a key is missing (PROTOCOL.md 4).
    ///
    /// # Errors
    /// The reason why it is "no session" (PROTOCOL.md 5).
    pub async fn open(
        &self,
        value: &[u8],
        policy: &Arc<Policy>,
        host: &str,
    ) -> Result<Opened, Reject> {
        match self.opened.open(&self.ring, value, policy, host) {
            Err(Reject::UnknownKey) => {
                // In a box: every request has to make room for what is awaited here, and few need it.
                Box::pin(self.ring.reread(self.clock.now())).await;
                // Also where it was not read now: another request may just have done so.
                self.opened.open(&self.ring, value, policy, host)
            }
            opened => opened,
        }
    }
}
