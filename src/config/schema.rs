//! The shape of the file: every key that there is, as serde reads it.
//!
//! Nothing has a meaning here yet: what is more than a number or a switch stays text with its
//! place, which `check` reads further. All keys are optional for serde, so that a missing one is
//! reported together with every other mistake. No `flatten`, no `untagged`, no internal tags:
//! they lose the places.

use serde::Deserialize;

pub use self::levels::{Defaults, Inherited, Key, Route, Server, key};
pub use self::shapes::{Given, List, Named, OneOrMore, Several, ShortOr, Text, Texts};

/// The whole file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub workers: Text,
    pub state_directory: Text,
    pub watch_certificates: Given<bool>,
    pub listeners: List<Listener>,
    pub limits: Option<Limits>,
    pub store: Given<ShortOr<Store>>,
    pub store_namespace: Text,
    pub cache: Option<Cache>,
    pub keyring: Text,
    pub sessions: Option<Named<Session>>,
    pub cookies: Option<Cookies>,
    pub upstreams: Option<Named<Upstream>>,
    pub defaults: Given<Defaults>,
    pub servers: List<Server>,
    pub trusted_proxies: List<String>,
    pub insecure_cookies: Given<bool>,
    pub admin: Given<Admin>,
    pub log: Option<Log>,
    pub error_log: Given<Several<ErrorLog>>,
    pub maps: Option<Named<Map>>,
    pub geos: Option<Named<Geo>>,
    pub split_clients: Option<Named<SplitClients>>,
    pub limit_zones: Option<Named<LimitZone>>,
    pub log_formats: Option<Named<ShortOr<LogFormat>>>,
    pub drain_timeout: Text,
    pub pid: Text,
}

/// `maps.*`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    pub of: Text,
    pub values: Option<Named<String>>,
    pub default: Text,
    pub hostnames: Given<bool>,
    pub volatile: Given<bool>,
}

/// `geos.*`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geo {
    pub of: Text,
    pub values: Option<Named<String>>,
    pub default: Text,
    pub ranges: Given<bool>,
    pub delete: List<String>,
    pub proxies: List<String>,
    pub proxy_recursive: Given<bool>,
}

/// `split_clients.*`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitClients {
    pub of: Text,
    pub values: Option<Named<String>>,
}

/// `log_formats.*`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFormat {
    pub format: Text,
    pub escape: Text,
}

/// `servers[].routes[].access_log[]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// A file, `stderr`, or `syslog:server=…`.
    pub path: Text,
    pub format: Text,
    #[serde(rename = "if")]
    pub condition: Text,
    pub buffer: Text,
    pub flush: Text,
    /// `true`, `false` or a level.
    pub gzip: Text,
}

/// `error_log[]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorLog {
    /// A file, `stderr`, or `syslog:server=…`.
    pub path: Text,
    pub level: Text,
}

/// `cache`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    pub lease: Text,
    pub bytes: Text,
}

/// `store`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub url: Text,
    pub username: Text,
    pub password_file: Text,
    pub tls: Option<StoreTls>,
    pub require_replicas: Given<u32>,
    pub sentinel: Option<StoreSentinel>,
}

/// `store.tls`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreTls {
    pub ca: Text,
    pub certificate: Text,
    pub key: Text,
    pub server_name: Text,
}

/// `store.sentinel`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSentinel {
    pub username: Text,
    pub password_file: Text,
}

/// `listeners[]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub address: Text,
    pub tls: Given<ListenerTls>,
    pub protocols: List<String>,
    pub proxy_protocol: Given<bool>,
    /// `true`, `false` or a port.
    pub redirect_to_https: Text,
    pub backlog: Given<u16>,
    pub rcvbuf: Text,
    pub sndbuf: Text,
    pub ipv6only: Given<bool>,
    pub so_keepalive: Text,
}

/// `listeners[].tls`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    pub certificates: List<Certificate>,
    pub self_signed: Given<bool>,
    pub min_version: Text,
    pub client_certificates: Given<ClientCertificates>,
    pub acme: Given<Acme>,
}

/// `listeners[].tls.acme`, `servers[].tls.acme`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acme {
    pub directory: Text,
    pub contact: List<String>,
    pub accept_terms_of_service: Given<bool>,
    pub domains: List<String>,
    pub challenge: Text,
    pub key_type: Text,
    pub ca: Text,
    pub eab: Given<Eab>,
}

/// `listeners[].tls.acme.eab`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eab {
    pub key_id: Text,
    pub key_file: Text,
}

/// `listeners[].tls.client_certificates`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    pub ca: Text,
    pub require: Given<bool>,
}

/// `listeners[].tls.certificates[]`, `servers[].certificates[]`, `upstreams.*.tls.certificate`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub chain: Text,
    pub key: Text,
    pub password_file: Text,
}

/// `servers[].tls`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    pub verify_client: Text,
    pub client_certificate: Text,
    pub trusted_certificate: Text,
    pub verify_depth: Given<u32>,
    pub crl: Text,
    pub reject_handshake: Given<bool>,
    pub stapling_file: Text,
    pub protocols: List<String>,
    pub ciphers: List<String>,
    pub curves: List<String>,
    pub prefer_server_ciphers: Given<bool>,
    pub session_tickets: Given<bool>,
    pub session_ticket_keys: List<String>,
    pub session_cache: Given<u32>,
    pub session_timeout: Text,
    pub acme: Given<Acme>,
}

/// `limits`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub handshake_timeout: Text,
    pub header_timeout: Text,
    pub keepalive_timeout: Text,
    pub keepalive_requests: Given<u32>,
    pub connections: Given<usize>,
    pub connections_per_client: Given<usize>,
    pub header_bytes: Text,
    pub send_timeout: Text,
    pub body_timeout: Text,
    pub buffered_bytes: Text,
    pub spooled_bytes: Text,
}

/// `sessions.*`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub mode: Text,
    pub cookie: Option<TicketCookie>,
    pub app_cookies: List<String>,
    pub app_cookies_hold: Text,
    pub timeouts: Option<SessionTimeouts>,
    pub idle_counts_streams: Given<bool>,
    pub on_reuse: Text,
    pub on_app_delete: Text,
    pub login: List<Login>,
    pub logout: List<Logout>,
    pub serialize: Given<ShortOr<Serialize>>,
    pub jar: Option<Jar>,
    pub anonymous_per_minute: Given<u32>,
    pub anonymous_life: Text,
    pub anonymous_waiting: Given<u32>,
    pub login_attempts_per_minute: Given<u32>,
    pub bind: Given<Bind>,
    pub users: Text,
    pub max_sessions_per_subject: Given<SessionLimit>,
    pub own_sessions: Given<bool>,
    pub identity: List<String>,
    pub on_store_down: Given<ShortOr<OnStoreDown>>,
    pub report_only: Given<bool>,
}

/// `sessions.*.bind`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    pub user_agent: Given<bool>,
    pub network: Given<Network>,
    pub client_certificate: Given<bool>,
    pub on_mismatch: Text,
}

/// `sessions.*.bind.network`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub v4: Given<u8>,
    pub v6: Given<u8>,
}

/// `sessions.*.cookie`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketCookie {
    pub name: Text,
    pub same_site: Text,
    pub domain: Text,
    pub prefix: Text,
    pub partitioned: Given<bool>,
    /// `true`, `false` or `application`.
    pub remember: Text,
}

/// `sessions.*.timeouts`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionTimeouts {
    pub idle: Text,
    pub absolute: Text,
    pub renew_every: Text,
    pub grace: Text,
}

/// `sessions.*.login[]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub request: Text,
    pub exact: Given<bool>,
    pub success: Given<Success>,
    pub failure: Given<OneOrMore<Failure>>,
    pub rotate: Text,
    pub cross_site: Text,
    pub subject: Given<Subject>,
}

/// `sessions.*.logout[]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logout {
    pub request: Text,
    pub exact: Given<bool>,
    pub success: Given<Success>,
    pub clear_site_data: List<String>,
}

/// `sessions.*.login[].success`, `sessions.*.logout[].success`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Success {
    pub status: List<u16>,
    pub location: Text,
    pub header: Text,
    pub cookie: Text,
}

/// `sessions.*.login[].failure`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub status: List<u16>,
    pub location: Text,
    pub body: Text,
}

/// `sessions.*.login[].subject`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    pub form: Text,
    pub json: Text,
    pub header: Text,
}

/// `sessions.*.serialize`, where it says more than a word.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serialize {
    pub requests: Text,
    pub wait: Text,
    pub fleet: Given<bool>,
}

/// `on_store_down` of policies and routes, where it is no word.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnStoreDown {
    pub stale: Text,
}

/// `sessions.*.max_sessions_per_subject`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionLimit {
    pub sessions: Given<usize>,
    pub beyond: Text,
}

/// `sessions.*.jar`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jar {
    pub cookies: Given<usize>,
    pub bytes: Text,
}

/// `cookies`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cookies {
    pub enforce: Given<bool>,
    pub defaults: Option<Attributes>,
    pub exceptions: Option<Named<Attributes>>,
}

/// `cookies.defaults`, `cookies.exceptions.*`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    pub secure: Given<bool>,
    pub http_only: Given<bool>,
    pub same_site: Text,
}

/// `upstreams.*`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    pub host: Text,
    pub next_upstream: Given<Texts>,
    pub next_upstream_tries: Given<u32>,
    pub next_upstream_timeout: Text,
    pub balance: Text,
    pub queue: Text,
    pub sticky: Text,
    pub protocol: Text,
    pub endpoints: List<Endpoint>,
    pub resolver: Given<Texts>,
    pub resolver_timeout: Text,
    pub timeouts: Option<UpstreamTimeouts>,
    pub tls: Given<UpstreamTls>,
    pub health_check: Given<HealthCheck>,
}

/// `upstreams.*.endpoints[]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub address: Text,
    pub weight: Given<u32>,
    pub max_fails: Given<u32>,
    pub fail_timeout: Text,
    pub max_conns: Given<u32>,
    pub backup: Given<bool>,
    pub down: Given<bool>,
    pub resolve: Given<bool>,
    pub service: Text,
    pub slow_start: Text,
    pub drain: Given<bool>,
    pub route: Text,
}

/// `upstreams.*.timeouts`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTimeouts {
    pub connect: Text,
    pub read: Text,
    pub write: Text,
    pub keepalive: Text,
    pub keepalive_time: Text,
    pub keepalive_requests: Given<u32>,
}

/// `upstreams.*.tls`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    pub server_name: Text,
    pub send_server_name: Given<bool>,
    pub verify: Given<bool>,
    pub ca: Text,
    pub verify_depth: Given<u32>,
    pub crl: Text,
    pub certificate: Given<Certificate>,
    pub protocols: List<String>,
    pub session_reuse: Given<bool>,
}

/// `upstreams.*.health_check`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    #[serde(rename = "type")]
    pub kind: Text,
    pub path: Text,
    pub host: Text,
    pub status: Given<Texts>,
    pub body: Text,
    pub service: Text,
    pub port: Given<u16>,
    pub interval: Text,
    pub jitter: Text,
    pub timeout: Text,
    pub rise: Given<u32>,
    pub fall: Given<u32>,
    pub initial: Text,
}

/// `cross_site` of routes
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossSite {
    #[serde(rename = "unsafe")]
    pub unsafe_methods: Text,
    pub except: List<String>,
    pub origins: List<String>,
}

/// `rewrite[]` of servers and routes, where it is not the word `break`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub set: Text,
    pub rewrite: Text,
    #[serde(rename = "return")]
    pub answer: Text,
    #[serde(rename = "if")]
    pub condition: Text,
    pub then: List<ShortOr<Step>>,
    /// What counts in place of the route's own settings, once the condition holds.
    pub with: Given<Route>,
}

/// `servers[].routes[].limit_except`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitExcept {
    pub methods: List<String>,
    pub access: Given<Texts>,
    pub auth_basic: Text,
    pub auth_basic_user_file: Text,
    /// What counts for all others, in place of the route's own settings.
    pub with: Given<Box<Route>>,
}

/// `limit_zones.*`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitZone {
    pub key: Text,
    pub rate: Text,
    pub size: Text,
}

/// `servers[].routes[].limit_req[]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitReq {
    pub zone: Text,
    pub burst: Given<u32>,
    pub delay: Given<u32>,
    pub nodelay: Given<bool>,
}

/// `servers[].routes[].limit_conn[]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitConn {
    pub zone: Text,
    pub connections: Given<u32>,
}

/// `response_headers` and `response_trailers` of routes
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedField {
    pub value: Text,
    pub always: Given<bool>,
}

/// `admin`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub address: Text,
    pub names: List<String>,
    pub token_file: Text,
}

/// `log`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: Text,
    pub level: Text,
    pub access: Given<bool>,
}

mod levels;
mod shapes;
