//! Listening sockets, the accept loop, TLS, deadlines. Knows nothing of HTTP engines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A certificate chain with its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSettings {
    pub chain: PathBuf,
    pub key: PathBuf,
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
    /// Made by Cloakroom itself for these names and kept in this directory (`self_signed: true`):
    /// for a first look and for tests.
    SelfSigned { names: Vec<String>, directory: PathBuf },
}

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    pub certificates: Certificates,
    pub min_version: TlsVersion,
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
    /// Connections open at a time, all listeners together; further ones are closed at once.
    pub connections: usize,
    /// Bytes of a request head: 431.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(75),
            keepalive_requests: 1000,
            connections: 10_000,
            header_bytes: 32 * 1024,
        }
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub address: SocketAddr,
    /// Plain HTTP where `None`.
    pub tls: Option<TlsSettings>,
    pub protocols: Vec<Protocol>,
    /// Answers every request with a redirect to `https://` on this port.
    pub redirect_to_https: Option<u16>,
}
