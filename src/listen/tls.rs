//! TLS of a listener: rustls with aws-lc-rs, certificates by SNI, session tickets.
//!
//! Everything a handshake needs stands in one value that is swapped whole at reload, so no
//! handshake sees half of a change. Keys of tickets are derived from what is outside of it, so resumption
//! outlives swaps and restarts, and works on all nodes that have the same key ring.

mod make;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CommonState, ServerConfig, SignatureAlgorithm};
use sha2::{Digest, Sha256};

use self::make::Make;
use super::certificate::{self, ByName, Loaded, Names, ShownCertificate, TlsError};
use super::info::{ClientCertificate, Tls};
use super::ordered::{self, Ordered};
use super::{
    Certificates, OrderedSettings, Outside, OwnTls, Protocol, ServerTls, TlsSettings, self_signed,
};
use crate::clock::UnixMillis;
use crate::transport::x509::{Purpose, Trust};
use crate::transport::{Accepted, Hello, Socket};

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

/// What a listener has of TLS beside its certificates.
#[derive(Clone)]
pub struct Doors {
    /// By its index among all.
    pub listener: usize,
    pub outside: Outside,
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// The TLS side of a listener.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Current>,
    settings: TlsSettings,
    protocols: Vec<Protocol>,
    doors: Doors,
}

/// What a handshake uses from its first to its last byte.
#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// Of servers that say more than which certificate they have, by their index.
    own: HashMap<usize, Own>,
    shown: Arc<Shown>,
    about: Vec<ShownCertificate>,
}

/// What one server has for itself.
#[derive(Debug)]
struct Own {
    /// `None`: hands are not shaken.
    config: Option<Arc<ServerConfig>>,
    /// What certificates of clients are verified against.
    trust: Option<Trust>,
}

/// All certificates of a listener.
#[derive(Debug)]
struct Shown {
    by_name: Option<ByName>,
    /// The listener's, where it is ordered: it may be another one at any time.
    ordered: Option<Arc<Ordered>>,
    /// By the index of the server.
    of_servers: HashMap<usize, OfServer>,
    /// Made by ourselves, where no server has a name: it is shown whatever was asked for.
    is_for_a_look: bool,
    doors: Doors,
}

/// What one server shows.
#[derive(Debug)]
enum OfServer {
    Files(Vec<Arc<CertifiedKey>>),
    Ordered(Arc<Ordered>),
}

impl Shown {
    /// The names of the certificate that is shown to who asks for this one; nothing where it is a server's,
    /// or for a first look, whatever is in it.
    fn names(&self, asked: Option<&str>) -> Option<Arc<Names>> {
        if self.is_for_a_look {
            return None;
        }
        match self.of_server(asked) {
            Some(_) => None,
            None => match &self.ordered {
                Some(ordered) => Some(ordered.names()),
                None => self.by_name.as_ref().map(|by_name| by_name.pick(asked).names.clone()),
            },
        }
    }

    fn of_server(&self, asked: Option<&str>) -> Option<&OfServer> {
        if self.of_servers.is_empty() {
            return None;
        }
        self.of_servers.get(&(self.doors.outside.choose)(self.doors.listener, asked)?)
    }
}

impl ResolvesServerCert for Shown {
    /// Of a server's, the first that the client can verify; RSA comes last, as OpenSSL has it.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let own = match (self.of_server(hello.server_name()), &self.ordered) {
            (Some(OfServer::Files(own)), _) => own,
            (Some(OfServer::Ordered(ordered)), _) | (None, Some(ordered)) => {
                return Some(ordered.key());
            }
            (None, None) => {
                return Some(self.by_name.as_ref()?.pick(hello.server_name()).key.clone());
            }
        };
        let fits =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let is_rsa = |key: &&Arc<CertifiedKey>| key.key.algorithm() == SignatureAlgorithm::RSA;
        let modern = own.iter().filter(fits).find(|key| !is_rsa(key));
        modern.or_else(|| own.iter().find(fits)).or(own.first()).cloned()
    }
}

impl Store {
    /// Reads the certificates. The second value is what the operator should know.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files.
    pub fn load(
        settings: &TlsSettings,
        protocols: &[Protocol],
        doors: Doors,
        now: UnixMillis,
    ) -> Result<(Self, Vec<String>), Vec<TlsError>> {
        let (current, warnings) = Current::load(settings, protocols, &doors, now)?;
        let current = ArcSwap::from_pointee(current);
        let (settings, protocols) = (settings.clone(), protocols.to_vec());
        Ok((Self { current, settings, protocols, doors }, warnings))
    }

    /// Reads the certificates again; handshakes from now on use the new ones. Tickets of earlier
    /// sessions stay good. After an error the old ones stay in use.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files.
    pub fn reload(&self, now: UnixMillis) -> Result<Vec<String>, Vec<TlsError>> {
        let (current, warnings) = Current::load(&self.settings, &self.protocols, &self.doors, now)?;
        self.current.store(Arc::new(current));
        Ok(warnings)
    }

    /// What is shown to clients now.
    pub fn shown(&self) -> Vec<ShownCertificate> {
        let current = self.current.load();
        let of_servers =
            current.shown.of_servers.values().filter_map(|of_server| match of_server {
                OfServer::Ordered(ordered) => Some(ordered),
                OfServer::Files(_) => None,
            });
        let ordered = current.shown.ordered.iter().chain(of_servers).map(|ordered| ordered.about());
        current.about.iter().cloned().chain(ordered).collect()
    }

    /// Everything that is read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let of_listener = match &self.settings.certificates {
            Certificates::Files(files) => files.as_slice(),
            Certificates::SelfSigned { .. } | Certificates::Ordered(_) => &[],
        };
        let of_servers = self.settings.of_servers.iter();
        let certificates =
            of_listener.iter().chain(of_servers.clone().flat_map(|one| &one.certificates));
        let certificates = certificates.flat_map(|one| {
            let more = one.password_file.iter().chain(&one.stapling_file);
            [&one.chain, &one.key].into_iter().chain(more)
        });
        let own = of_servers.flat_map(|one| {
            let files = one.own.clients.iter().map(|clients| &clients.files);
            let trusted = files.flat_map(|files| {
                files.authorities.iter().chain(&files.trusted).chain(&files.lists)
            });
            trusted.chain(&one.own.resumption.ticket_keys)
        });
        let clients = self.settings.client_certificates.iter().map(|clients| &clients.authorities);
        certificates.chain(own).chain(clients).map(PathBuf::as_path)
    }

    /// Answers a challenge of an authority (RFC 8737 section 3); the connection has no other use.
    async fn prove(&self, hello: Hello, asked: Option<&str>) -> io::Error {
        let proof = match asked {
            Some(name) => self.doors.outside.ordered.proof(name).await,
            None => None,
        };
        let Some(config) = proof.and_then(|proof| make::proof(proof).ok()) else {
            return refused(hello, NO_PROTOCOL, "nobody has to prove this name").await;
        };
        match hello.accept(Arc::new(config)).await {
            Ok(mut stream) => {
                // The authority has seen what it came for.
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
                io::Error::new(io::ErrorKind::ConnectionAborted, "a challenge was answered")
            }
            Err(error) => error,
        }
    }

    /// What is shown to who asks for nobody.
    #[cfg(test)]
    pub(super) fn default_certificate(&self) -> Option<rustls::pki_types::CertificateDer<'static>> {
        let current = self.current.load();
        current.shown.by_name.as_ref()?.pick(None).key.cert.first().cloned()
    }

    /// Does the handshake. There is no deadline in here.
    pub(super) async fn accept(&self, socket: Socket) -> io::Result<(Accepted, Tls)> {
        let current = self.current.load_full();
        let hello = Hello::read(socket).await?;
        let asked = hello.server_name();
        if self.doors.outside.ordered.may_be_asked_for_proof() && hello.offers(ordered::PROTOCOL) {
            return Err(self.prove(hello, asked.as_deref()).await);
        }
        let mut server = None;
        let mut config = Some(&current.config);
        if !current.own.is_empty() {
            server = (self.doors.outside.choose)(self.doors.listener, asked.as_deref());
            if let Some(own) = server.and_then(|server| current.own.get(&server)) {
                config = own.config.as_ref();
            }
        }
        let Some(config) = config else {
            let why = "the server that is asked for rejects handshakes";
            return Err(refused(hello, UNRECOGNIZED_NAME, why).await);
        };
        let stream = hello.accept(config.clone()).await?;
        let tls = current.settled(stream.agreed(), asked, server);
        Ok((stream, tls))
    }
}

/// Alerts: a record of TLS 1.2 with a fatal one in it.
type Alert = [u8; 7];
/// As nginx's (RFC 6066 section 3).
const UNRECOGNIZED_NAME: Alert = [21, 3, 3, 0, 2, 2, 112];
/// RFC 7301 section 3.2.
const NO_PROTOCOL: Alert = [21, 3, 3, 0, 2, 2, 120];

/// Ends a handshake.
async fn refused(hello: Hello, alert: Alert, why: &'static str) -> io::Error {
    // Who has gone already needs none.
    let _ = hello.refuse(&alert).await;
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}

impl Current {
    /// What came of a handshake, for this server if it has a say, where this name was asked for.
    fn settled(&self, settled: &CommonState, asked: Option<String>, server: Option<usize>) -> Tls {
        let server_name = asked.map(|name| name.to_ascii_lowercase());
        let own = server.and_then(|server| self.own.get(&server));
        let chain = settled.peer_certificates().filter(|chain| !chain.is_empty());
        let client = chain.map(|chain| {
            // Without a say of the server's the library has verified it.
            let trust = own.and_then(|own| own.trust.as_ref());
            let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
            let verdict = trust.map_or(Ok(()), |trust| trust.verify(chain, Purpose::Client, now));
            Box::new(ClientCertificate { der: Box::from(&*chain[0]), verdict })
        });
        Tls {
            by_alpn: settled.alpn_protocol().is_some(),
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
            curve: settled
                .negotiated_key_exchange_group()
                .and_then(|group| group.name().as_str())
                .unwrap_or(""),
            client_certificate: client
                .as_ref()
                .filter(|client| client.verdict.is_ok())
                .map(|client| Sha256::digest(&client.der).into()),
            client,
            server: own.and(server),
            resumed: settled.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            names: self.shown.names(server_name.as_deref()),
            server_name: server_name.map(Into::into),
        }
    }

    fn load(
        settings: &TlsSettings,
        protocols: &[Protocol],
        doors: &Doors,
        now: UnixMillis,
    ) -> Result<(Self, Vec<String>), Vec<TlsError>> {
        let provider = provider();
        let mut loaded = Vec::new();
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let mut about = Vec::new();
        let mut of_servers = HashMap::new();
        let order = |settings: &OrderedSettings| doors.outside.ordered.find(settings, now);
        for ServerTls { server, certificates, ordered, .. } in &settings.of_servers {
            let mut keys = Vec::new();
            for one in certificates {
                match certificate::load(one, &provider, now) {
                    Ok(one) => {
                        about.push(one.about());
                        warnings.extend(one.warnings);
                        keys.push(one.key);
                    }
                    Err(found) => errors.extend(found),
                }
            }
            if !keys.is_empty() {
                of_servers.insert(*server, OfServer::Files(keys));
            }
            match ordered.as_ref().map(&order) {
                Some(Ok(ordered)) => {
                    of_servers.insert(*server, OfServer::Ordered(ordered));
                }
                Some(Err(error)) => errors.push(error),
                None => {}
            }
        }
        let mut ordered = None;
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
            Certificates::Ordered(settings) => match order(settings) {
                Ok(one) => ordered = Some(one),
                Err(error) => errors.push(error),
            },
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        warnings.extend(loaded.iter().flat_map(|one| one.warnings.clone()));
        about.extend(loaded.iter().map(Loaded::about));
        let has_others = ordered.is_some() || !of_servers.is_empty();
        let by_name = match loaded.is_empty() && has_others {
            true => None,
            false => Some(ByName::new(loaded).map_err(|error| vec![error])?),
        };
        let is_for_a_look = matches!(&settings.certificates,
            Certificates::SelfSigned { names, .. } if names.is_empty());
        let doors_of = doors.clone();
        let shown = Shown { by_name, ordered, of_servers, is_for_a_look, doors: doors_of };
        let shown = Arc::new(shown);
        let make = Make { settings, protocols, doors, shown: &shown };
        let mut own = HashMap::new();
        for one in settings.of_servers.iter().filter(|one| one.own != OwnTls::default()) {
            match make.own(&one.own) {
                Ok(made) => {
                    own.insert(one.server, made);
                }
                Err(error) => errors.push(error),
            }
        }
        match make.config() {
            Ok(config) if errors.is_empty() => {
                let config = Arc::new(config);
                Ok((Self { config, own, shown, about }, warnings))
            }
            Ok(_) => Err(errors),
            Err(error) => {
                errors.push(error);
                Err(errors)
            }
        }
    }
}
