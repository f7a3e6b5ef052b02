//! Endpoints, how one is chosen, and what its failures mean: pure on (event, now). Connections are
//! opened in `way` alone.

pub mod balance;
pub mod changes;
pub mod check;
pub mod endpoint;
pub mod group;
mod hash;
pub mod health;
mod members;
pub mod names;
pub mod pace;
pub mod queue;
pub mod verdict;
pub mod way;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use self::health::Limits;
use self::pace::Until;
use self::queue::QueueSettings;

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin, as nginx does it.
    RoundRobin,
    /// The endpoint kept in the session's record; round robin where there is none.
    Session,
    /// The endpoint with the fewest requests under way for its weight.
    LeastConn,
    /// By the client's network: the first three octets of IPv4, the whole of IPv6.
    IpHash,
    /// By a key, in nginx's placement; where `consistent`, on a ring.
    Hash { consistent: bool },
    /// At random by weight; where `two`, the less busy one of two.
    Random { two: bool },
    /// The fastest one for its weight and for what it has to do; those under way may count, too.
    LeastTime { until: Until, with_those_under_way: bool },
}

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Inet(std::net::SocketAddr),
    Unix(PathBuf),
}

/// A text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no address")]
pub struct NoAddress;

impl std::str::FromStr for Address {
    type Err = NoAddress;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, NoAddress> {
        /// `sun_path` holds 108 bytes with its closing zero.
        const SOCKET_PATH_BYTES_MAX: usize = 107;
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = path.starts_with('/') && path.len() <= SOCKET_PATH_BYTES_MAX;
            let is_path = fits && !path.contains(char::is_control);
            return is_path.then(|| Self::Unix(path.into())).ok_or(NoAddress);
        }
        let address: std::net::SocketAddr = text.parse().map_err(|_| NoAddress)?;
        if address.port() == 0 { Err(NoAddress) } else { Ok(Self::Inet(address)) }
    }
}

impl fmt::Display for Address {
    /// `127.0.0.1:7001`, `[::1]:7001` or `unix:/run/app.sock`, as in the configuration. A session's
    /// record keeps its endpoint in this form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is spoken with endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: over TLS by ALPN, without it by prior knowledge.
    Http2,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    pub address: Address,
    /// The server that it stands for, as the configuration has it: a name may have several addresses.
    pub server: String,
    /// The name that its address comes from while the process runs, by its index.
    pub name: Option<usize>,
    /// At least 1.
    pub weight: u32,
    /// When it counts as failed.
    pub limits: Limits,
    /// How long it takes, once it is well again, until it has its whole weight.
    pub slow_start: Duration,
    /// Requests under way that it may have; 0: as many as there are.
    pub max_conns: usize,
    /// It is asked only where no other one can be.
    pub is_backup: bool,
    /// It is not asked at all.
    pub is_down: bool,
    /// Only who is sticky to it still goes there.
    pub is_draining: bool,
    /// What sticky clients know it by; `None`: a hash of its address.
    pub route: Option<String>,
}

impl EndpointSettings {
    /// An endpoint with nginx's own settings.
    pub fn new(address: Address) -> Self {
        Self {
            server: address.to_string(),
            address,
            name: None,
            weight: 1,
            limits: Limits::default(),
            slow_start: Duration::ZERO,
            max_conns: 0,
            is_backup: false,
            is_down: false,
            is_draining: false,
            route: None,
        }
    }
}

/// What sends a request on to another endpoint (nginx `proxy_next_upstream`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextUpstream {
    /// No connection, or one that broke before the answer's head had come.
    pub error: bool,
    pub timeout: bool,
    /// An answer that is none.
    pub invalid_header: bool,
    /// Requests that are not idempotent as well, though they may have been carried out.
    pub non_idempotent: bool,
    /// Statuses of answers.
    pub statuses: Vec<u16>,
    /// Endpoints that one request may be sent to; 0: all.
    pub tries: u32,
    /// How long after the first one another one may still be tried; zero: ever.
    pub timeout_after: Duration,
}

impl Default for NextUpstream {
    /// nginx's.
    fn default() -> Self {
        Self {
            error: true,
            timeout: true,
            invalid_header: false,
            non_idempotent: false,
            statuses: Vec::new(),
            tries: 0,
            timeout_after: Duration::ZERO,
        }
    }
}

/// How long to wait for an upstream (nginx's `proxy_*_timeout`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub read: Duration,
    pub write: Duration,
    /// An idle kept connection is closed after this; below the application server's own limit.
    pub keepalive: Duration,
    /// Nor is one kept that is older, or has served so many requests.
    pub keepalive_time: Duration,
    pub keepalive_requests: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(60),
            write: Duration::from_secs(60),
            keepalive: Duration::from_secs(4),
            keepalive_time: Duration::from_secs(3600),
            keepalive_requests: 1000,
        }
    }
}

/// TLS to the endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The name that is sent and verified.
    pub server_name: String,
    pub sends_name: bool,
    /// A PEM bundle of authorities in place of the system's.
    pub ca: Option<PathBuf>,
    pub verifies: Verifies,
    /// What workers get to see that ask for a client's certificate.
    pub certificate: Option<ClientCertificate>,
    /// Versions that are spoken.
    pub versions: Vec<TlsVersion>,
    pub resumes: bool,
}

/// By which rules a worker's certificate is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verifies {
    /// The TLS library's.
    Strictly,
    /// OpenSSL's, and so nginx's: so many certificates may stand between it and one that is trusted.
    AsOpenSsl { depth: usize, lists: Option<PathBuf> },
    /// Anybody is believed (nginx `proxy_ssl_verify off`).
    Nothing,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsSettings {
    /// Verified by this name.
    pub fn new(server_name: impl Into<String>) -> Self {
        Self {
            server_name: server_name.into(),
            sends_name: true,
            ca: None,
            verifies: Verifies::Strictly,
            certificate: None,
            versions: vec![TlsVersion::Tls12, TlsVersion::Tls13],
            resumes: true,
        }
    }
}

/// A certificate chain with its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub chain: PathBuf,
    pub key: PathBuf,
    /// Passwords of the key, one a line, of which each is tried.
    pub password_file: Option<PathBuf>,
}

impl UpstreamSettings {
    /// What addresses count as that no upstream has.
    pub fn direct() -> Self {
        Self {
            name: "(direct)".to_owned(),
            host: None,
            balance: Balance::RoundRobin,
            queue: None,
            protocol: Protocol::Http1,
            next: NextUpstream::default(),
            endpoints: Vec::new(),
            names: Vec::new(),
            resolved_by: None,
            check: None,
            timeouts: Timeouts::default(),
            tls: None,
        }
    }

    /// What its endpoints are known as.
    pub fn known_as(&self) -> &str {
        self.host.as_ref().unwrap_or(&self.name)
    }
}

/// A name whose endpoints are looked up while the process runs (nginx `server … resolve`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameSettings {
    pub host: String,
    pub port: u16,
    /// SRV records say which hosts and ports there are.
    pub service: Option<String>,
    /// What holds for each of its endpoints, whose address is left to be found.
    pub endpoint: EndpointSettings,
}

/// Who resolves an upstream's names, by its index, and how long that may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedBy {
    pub resolver: usize,
    pub timeout: Duration,
}

/// A named group of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    pub name: String,
    /// What its endpoints are known as (nginx `$proxy_host`); `None`: its name.
    pub host: Option<String>,
    pub balance: Balance,
    /// Requests wait where no endpoint has room for another one.
    pub queue: Option<QueueSettings>,
    pub protocol: Protocol,
    pub endpoints: Vec<EndpointSettings>,
    pub names: Vec<NameSettings>,
    pub resolved_by: Option<ResolvedBy>,
    /// Endpoints are asked how they are.
    pub check: Option<check::CheckSettings>,
    pub timeouts: Timeouts,
    pub next: NextUpstream,
    pub tls: Option<TlsSettings>,
}
