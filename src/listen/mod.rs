//! Listening sockets, the accept loop, TLS, deadlines. Knows nothing of HTTP engines.
//!
//! [`open`] binds every listener and loads every certificate before anything is served, so that a
//! mistake ends the start and not the first request. [`run`] is one worker: it accepts, does TLS
//! handshakes, sweeps overdue connections and drains. What is done with a connection is the
//! caller's: it is handed each one as a [`Conn`].
//!
//! Over TLS, HTTP/2 is negotiated by ALPN; a plain listener knows it by its preface, where it is spoken.

pub mod accept;
pub mod address;
pub mod bind;
pub mod certificate;
pub mod conn;
mod doors;
pub mod gate;
pub mod handing;
pub mod info;
pub mod ordered;
pub mod proxy_protocol;
pub mod registry;
pub mod self_signed;
pub mod socket;
pub mod succession;
pub mod tickets;
pub mod tls;
pub mod watch;

#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustls::{CipherSuite, NamedGroup};

use crate::clock::UnixMillis;

pub use accept::{Context, run};
pub use address::Address;
pub use bind::{Bound, Inherited};
pub use conn::Conn;
pub use doors::Change;
pub use gate::Gate;
pub use info::Info;
pub use ordered::{OrderBook, OrderedSettings};
pub use socket::SocketSettings;

pub use self::tickets::Secrets;
pub use crate::transport::x509::TrustFiles;

/// A certificate chain with its private key, both PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateSettings {
    pub chain: PathBuf,
    pub key: PathBuf,
    /// Passwords of the key, one a line, of which each is tried.
    pub password_file: Option<PathBuf>,
    /// What its issuer says of it, shown with it: an answer of OCSP in DER.
    pub stapling_file: Option<PathBuf>,
}

/// Lowest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// Where a TLS listener's certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// PEM files; the first is the default where no name fits.
    Files(Vec<CertificateSettings>),
    /// Made by Cloakroom itself for these names and for this machine, and kept in this directory
    /// (`self_signed: true`): for a first look and for tests. Without names it is good for any.
    SelfSigned { names: Vec<String>, directory: PathBuf },
    /// Ordered from an authority for these names.
    Ordered(OrderedSettings),
}

/// What a virtual server says of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// By its index among all.
    pub server: usize,
    /// Shown whatever names are inside: one for each kind of key.
    pub certificates: Vec<CertificateSettings>,
    /// Ordered from an authority, in place of them.
    pub ordered: Option<OrderedSettings>,
    pub own: OwnTls,
}

/// What a virtual server says of TLS beside its certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnTls {
    /// Who asks for it is refused while hands are shaken (nginx `ssl_reject_handshake`).
    pub rejects: bool,
    /// Clients are asked for a certificate.
    pub clients: Option<VerifyClients>,
    /// Versions that are spoken, where not those of the listener.
    pub versions: Option<Vec<TlsVersion>>,
    /// Suites of TLS 1.2, where not all that are known; the first one is preferred.
    pub ciphers: Vec<CipherSuite>,
    /// Groups of key exchanges, likewise.
    pub curves: Vec<NamedGroup>,
    /// Our order of suites counts, and not the client's.
    pub prefers_own_order: bool,
    pub resumption: ResumptionSettings,
}

/// How sessions are resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumptionSettings {
    /// By tickets that clients keep.
    pub tickets: bool,
    /// Files of 48 or 80 bytes, as nginx has them, in place of the key ring. The first one seals.
    pub ticket_keys: Vec<PathBuf>,
    /// So many sessions are kept here, for clients that get no ticket.
    pub sessions: usize,
    pub lifetime: Duration,
}

impl Default for ResumptionSettings {
    fn default() -> Self {
        Self {
            tickets: true,
            ticket_keys: Vec::new(),
            sessions: 0,
            lifetime: Duration::from_secs(6 * 3600),
        }
    }
}

/// How a virtual server takes the certificates of clients (nginx `ssl_verify_client`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyClients {
    pub mode: VerifyMode,
    pub files: TrustFiles,
}

/// What becomes of who has no good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// 400, which a page may stand for: 495 for a bad one, 496 for none.
    On,
    /// None is as good as one that is verified.
    Optional,
    /// So is one that nobody vouches for; what is answered may depend on that.
    OptionalNoCa,
}

/// What a listener is told by those above it.
#[derive(Clone)]
pub struct Outside {
    pub choose: ChooseServer,
    /// What keys of session tickets are derived from.
    pub secrets: Secrets,
    /// Certificates that are ordered.
    pub ordered: Arc<OrderBook>,
}

/// Finds the virtual server, by its index, that a client asks for on a listener (SNI).
pub type ChooseServer = Arc<dyn Fn(usize, Option<&str>) -> Option<usize> + Send + Sync>;

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    pub certificates: Certificates,
    /// Of the servers that say something themselves.
    pub of_servers: Vec<ServerTls>,
    pub min_version: TlsVersion,
    pub client_certificates: Option<ClientCertificates>,
}

/// TLS client authentication (RFC 8446, section 4.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities that issue them, PEM.
    pub authorities: PathBuf,
    /// Whether the handshake fails without one.
    pub require: bool,
}

/// Protocols that ALPN offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http2,
    Http1,
}

/// How long a peer may take, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From a request's first byte (or the connection's begin) to the end of its head: 408.
    pub header_timeout: Duration,
    /// Between two requests (nginx `keepalive_timeout`).
    pub keepalive_timeout: Duration,
    /// Requests on one connection (nginx `keepalive_requests`).
    pub keepalive_requests: u32,
    /// Connections open at a time, all listeners together. Beyond, whoever has done nothing for longest
    /// makes room; where all are at work, further ones are closed at once.
    pub connections: usize,
    /// Of them for each client (an address of IPv4, a /64 of IPv6); 0 for any number.
    pub connections_per_client: usize,
    /// Bytes of a request head: 431.
    pub header_bytes: usize,
    /// Without a byte of an answer taken by the peer (nginx `send_timeout`); then it is cut.
    pub send_timeout: Duration,
    /// Without a byte of a request's body (nginx `client_body_timeout`): 408. Whoever serves the
    /// connection watches it.
    pub body_timeout: Duration,
    /// Bytes of bodies under way, of all connections together; who serves them counts.
    pub buffered_bytes: usize,
    /// Bytes of bodies that wait in files, all connections together.
    pub spooled_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(75),
            keepalive_requests: 1000,
            connections: 10_000,
            connections_per_client: 0,
            header_bytes: 32 * 1024,
            send_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            buffered_bytes: 256 * 1024 * 1024,
            spooled_bytes: 4 * 1024 * 1024 * 1024,
        }
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    pub address: Address,
    /// Plain HTTP where `None`.
    pub tls: Option<TlsSettings>,
    pub protocols: Vec<Protocol>,
    /// Each connection begins with what a load balancer says of it.
    pub proxy_protocol: bool,
    /// Answers every request with a redirect to `https://` on this port. The listener only says so
    /// in each connection's [`Info`]; whoever serves the connection answers.
    pub redirect_to_https: Option<u16>,
    pub socket: SocketSettings,
}

/// What a worker is told about the end, in the order in which it goes further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shutdown {
    /// Serve.
    Running,
    /// Accept nothing more, close what is idle, let requests finish, then return.
    Draining,
    /// Return at once; what is left is cut.
    Stopped,
}

/// A bound listener with everything its connections need.
#[derive(Debug)]
pub struct Listener {
    /// Of this process. One whose settings change becomes another one, on the same socket.
    number: usize,
    settings: Arc<ListenerSettings>,
    socket: bind::ListeningSocket,
    address: Address,
    /// It was bound here.
    is_own: bool,
    tls: Option<Arc<tls::Store>>,
}

impl Listener {
    /// The address it really has: the port that was chosen where 0 was configured.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its number, which its connections have.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The file of a unix socket that goes with it.
    pub fn file(&self) -> Option<&Path> {
        match &self.address {
            Address::Unix(path) if self.is_own => Some(path),
            Address::Unix(_) | Address::Tcp(_) => None,
        }
    }

    /// Its certificates, to be swapped at reload.
    pub fn tls(&self) -> Option<&Arc<tls::Store>> {
        self.tls.as_ref()
    }

    /// Its socket for another process, and whether it was bound by us.
    ///
    /// # Errors
    /// The system's, usually that too many files are open.
    pub fn handle(&self) -> std::io::Result<(OwnedFd, bool)> {
        Ok((self.socket.as_fd().try_clone_to_owned()?, self.is_own))
    }

    /// A second handle on the same socket, for another worker.
    ///
    /// # Errors
    /// The system's, usually that too many files are open.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self {
            number: self.number,
            settings: self.settings.clone(),
            socket: self.socket.try_clone()?,
            address: self.address.clone(),
            is_own: self.is_own,
            tls: self.tls.clone(),
        })
    }

    /// One with these settings on the socket of this one.
    fn with(
        &self,
        settings: &ListenerSettings,
        tls: Option<Arc<tls::Store>>,
    ) -> std::io::Result<Self> {
        let is_same = *self.settings == *settings;
        Ok(Self {
            number: if is_same { self.number } else { new_number() },
            settings: Arc::new(settings.clone()),
            tls,
            ..self.try_clone()?
        })
    }

    fn new(bound: Bound, settings: &ListenerSettings, tls: Option<Arc<tls::Store>>) -> Self {
        let Bound { socket, address, is_own } = bound;
        let settings = Arc::new(settings.clone());
        Self { number: new_number(), settings, socket, address, is_own, tls }
    }
}

fn new_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Relaxed)
}

/// Why the listeners could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Bind(#[from] bind::BindError),
    #[error("listener {address}: {source}")]
    Tls {
        address: Address,
        #[source]
        source: certificate::TlsError,
    },
}

/// Listeners, in the order of the settings.
#[derive(Debug)]
pub struct Opened {
    pub listeners: Vec<Listener>,
    /// What the operator should know: certificates that expire, sockets nobody asked for.
    pub warnings: Vec<String>,
}

/// Loads every certificate, and binds nothing.
///
/// # Errors
/// Every mistake found.
pub fn check(settings: &[ListenerSettings], now: UnixMillis) -> Result<(), Vec<OpenError>> {
    let mut errors = Vec::new();
    let outside = Outside {
        choose: Arc::new(|_, _| None),
        secrets: Arc::new(Vec::new),
        ordered: Arc::default(),
    };
    for ListenerSettings { address, tls, protocols, .. } in settings {
        let Some(wanted) = tls else { continue };
        let doors = tls::Doors { listener: 0, outside: outside.clone() };
        let loaded = tls::Store::load(wanted, protocols, doors, now);
        let found = loaded.err().unwrap_or_default();
        errors.extend(
            found.into_iter().map(|source| OpenError::Tls { address: address.clone(), source }),
        );
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Loads every certificate and binds every socket that none of the listeners `before` has. `choose` is
/// asked at each handshake of a listener where servers have certificates of their own.
///
/// # Errors
/// Every mistake found, not only the first.
pub fn open(
    settings: &[ListenerSettings],
    before: &[Listener],
    inherited: &mut Inherited,
    outside: &Outside,
    now: UnixMillis,
) -> Result<Opened, Vec<OpenError>> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let mut listeners = Vec::new();
    let mut before: Vec<&Listener> = before.iter().collect();
    for (listener, one) in settings.iter().enumerate() {
        let tls = match &one.tls {
            Some(wanted) => {
                let doors = tls::Doors { listener, outside: outside.clone() };
                match tls::Store::load(wanted, &one.protocols, doors, now) {
                    Ok((store, notes)) => {
                        warnings
                            .extend(notes.iter().map(|n| format!("listener {}: {n}", one.address)));
                        Some(Arc::new(store))
                    }
                    Err(found) => {
                        errors.extend(
                            found.into_iter().map(|source| OpenError::Tls {
                                address: one.address.clone(),
                                source,
                            }),
                        );
                        None
                    }
                }
            }
            None => None,
        };
        let known = before.iter().position(|known| known.settings.address == one.address);
        let opened = match known.map(|known| before.remove(known)) {
            Some(known) => {
                if known.settings.socket != one.socket {
                    let text = "what is asked of its socket counts after a restart";
                    warnings.push(format!("listener {}: {text}", one.address));
                }
                let failed = |source| bind::BindError { address: one.address.clone(), source };
                known.with(one, tls).map_err(failed)
            }
            None => bind::bind(&one.address, &one.socket, inherited)
                .map(|bound| Listener::new(bound, one, tls)),
        };
        match opened {
            Ok(listener) => listeners.push(listener),
            Err(error) => errors.push(error.into()),
        }
    }
    warnings.extend(inherited.unclaimed());
    if errors.is_empty() { Ok(Opened { listeners, warnings }) } else { Err(errors) }
}
