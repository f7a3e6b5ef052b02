//! TLS of a listener: rustls with aws-lc-rs, certificates by SNI, session tickets.
//!
//! Everything a handshake needs stands in one value that is swapped whole at reload, so no
//! handshake sees half of a change. The ticket keys outlive swaps, so resumption does too. There is no
//! server-side session cache: tickets do without.

use std::io;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::{self, ByName, TlsError};
use super::info::Tls;
use super::{Certificates, ClientCertificates, Protocol, TlsSettings, TlsVersion, self_signed};
use crate::clock::UnixMillis;
use crate::transport::{Ahead, Socket};

/// Makes aws-lc-rs the provider of every TLS connection of this process, clients included. To be
/// called before any connector is made: the HTTP engine would otherwise install its own, and the
/// first one stays. Further calls do nothing.
pub fn install_provider() {
    // An error says that there is one already.
    let _ = CryptoProvider::install_default((*provider()).clone());
}

/// The provider, with the hybrid post-quantum group first, as browsers and OpenSSL prefer it.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            kx_groups: vec![
                kx_group::X25519MLKEM768,
                kx_group::X25519,
                kx_group::SECP256R1,
                kx_group::SECP384R1,
            ],
            ..aws_lc_rs::default_provider()
        })
    });
    PROVIDER.clone()
}

/// The keys of session tickets: made at start, replaced every few hours, never written anywhere.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// New keys.
    ///
    /// # Errors
    /// [`TlsError::Setup`] where the system has no random numbers.
    pub fn new() -> Result<Self, TlsError> {
        aws_lc_rs::Ticketer::new()
            .map(Self)
            .map_err(|error| TlsError::Setup(format!("cannot make session ticket keys: {error}")))
    }
}

/// The TLS side of a listener.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Current>,
    tickets: Tickets,
}

/// What a handshake uses from its first to its last byte.
#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    by_name: Arc<ByName>,
}

impl Store {
    /// Reads the certificates. The second value is what the operator should know.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files.
    pub fn load(
        settings: &TlsSettings,
        protocols: &[Protocol],
        tickets: &Tickets,
        now: UnixMillis,
    ) -> Result<(Self, Vec<String>), Vec<TlsError>> {
        let (current, warnings) = Current::load(settings, protocols, tickets, now)?;
        let store = Self { current: ArcSwap::from_pointee(current), tickets: tickets.clone() };
        Ok((store, warnings))
    }

    /// Reads the certificates again; handshakes from now on use the new ones. Tickets of earlier
    /// sessions stay good. After an error the old ones stay in use.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files.
    pub fn reload(
        &self,
        settings: &TlsSettings,
        protocols: &[Protocol],
        now: UnixMillis,
    ) -> Result<Vec<String>, Vec<TlsError>> {
        let (current, warnings) = Current::load(settings, protocols, &self.tickets, now)?;
        self.current.store(Arc::new(current));
        Ok(warnings)
    }

    /// Does the handshake. There is no deadline in here.
    pub(super) async fn accept(&self, tcp: TcpStream) -> io::Result<(TlsStream<Ahead>, Tls)> {
        let current = self.current.load_full();
        let stream =
            TlsAcceptor::from(current.config.clone()).accept(Ahead::new(Socket::Tcp(tcp))).await?;
        let settled = stream.get_ref().1;
        let server_name = settled.server_name().map(str::to_ascii_lowercase);
        let tls = Tls {
            protocol: match settled.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            },
            version: match settled.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            },
            cipher: settled
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or(""),
            client_certificate: settled
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|certificate| Sha256::digest(certificate).into()),
            resumed: settled.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            names: current.by_name.pick(server_name.as_deref()).names.clone(),
            server_name: server_name.map(Into::into),
        };
        Ok((stream, tls))
    }
}

impl Current {
    fn load(
        settings: &TlsSettings,
        protocols: &[Protocol],
        tickets: &Tickets,
        now: UnixMillis,
    ) -> Result<(Self, Vec<String>), Vec<TlsError>> {
        let provider = provider();
        let mut loaded = Vec::new();
        let mut errors = Vec::new();
        match &settings.certificates {
            Certificates::Files(files) => {
                for one in files {
                    match certificate::load(one, &provider, now) {
                        Ok(one) => loaded.push(one),
                        Err(found) => errors.extend(found),
                    }
                }
            }
            Certificates::SelfSigned { names, directory } => {
                match self_signed::load(names, directory, &provider, now) {
                    Ok(one) => loaded.push(one),
                    Err(error) => errors.push(error),
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let warnings = loaded.iter().flat_map(|one| one.warnings.clone()).collect();
        let by_name = Arc::new(ByName::new(loaded).map_err(|error| vec![error])?);
        let versions: &[_] = match settings.min_version {
            TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| vec![TlsError::Setup(error.to_string())])?;
        let (builder, tickets) = match &settings.client_certificates {
            None => (builder.with_no_client_auth(), tickets.clone()),
            // A resumed session is not verified again. So no ticket of another listener, which asked
            // for nothing or believed other authorities, may open here, nor one from before a reload.
            Some(clients) => {
                let verifier = verifier(clients, provider).map_err(|error| vec![error])?;
                let tickets = Tickets::new().map_err(|error| vec![error])?;
                (builder.with_client_cert_verifier(verifier), tickets)
            }
        };
        let mut config = builder.with_cert_resolver(by_name.clone());
        config.alpn_protocols = protocols.iter().map(|one| alpn(*one).to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = tickets.0.clone();
        Ok((Self { config: Arc::new(config), by_name }, warnings))
    }
}

/// Verifies the certificates of clients against their authorities.
fn verifier(
    clients: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let path = &clients.authorities;
    let unusable = |reason: String| TlsError::Certificate { path: path.clone(), reason };
    let mut roots = RootCertStore::empty();
    for authority in certificate::read_chain(path)? {
        roots.add(authority).map_err(|error| unusable(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if clients.require { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| unusable(error.to_string()))
}

/// The name of a protocol in ALPN (RFC 7301; RFC 9113 section 3.2).
fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http2 => b"h2",
        Protocol::Http1 => b"http/1.1",
    }
}
