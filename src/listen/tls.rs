//! TLS of a listener: rustls with aws-lc-rs, certificates by SNI, session tickets.
//!
//! Everything a handshake needs stands in one value that is swapped whole at reload, so no
//! handshake sees half of a change. Keys of tickets are derived from what is outside of it, so resumption
//! outlives swaps and restarts, and works on all nodes that have the same key ring.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{CommonState, RootCertStore, ServerConfig, SignatureAlgorithm};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::certificate::{self, ByName, Names, TlsError};
use super::info::{ClientCertificate, Tls};
use super::tickets::{Kept, NoTickets, Tickets};
use super::{
    Certificates, ClientCertificates, Outside, OwnTls, Protocol, ResumptionSettings, ServerTls,
    TlsSettings, TlsVersion, TrustFiles, VerifyClients, self_signed,
};
use crate::clock::UnixMillis;
use crate::transport::x509::{AskClients, Purpose, Trust};
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
    /// By the index of the server.
    of_servers: HashMap<usize, Vec<Arc<CertifiedKey>>>,
    doors: Doors,
}

impl Shown {
    /// The names of the certificate that is shown to who asks for this one; nothing where it is a server's,
    /// whatever is in it.
    fn names(&self, asked: Option<&str>) -> Option<Arc<Names>> {
        match self.of_server(asked) {
            Some(_) => None,
            None => self.by_name.as_ref().map(|by_name| by_name.pick(asked).names.clone()),
        }
    }

    fn of_server(&self, asked: Option<&str>) -> Option<&Vec<Arc<CertifiedKey>>> {
        if self.of_servers.is_empty() {
            return None;
        }
        self.of_servers.get(&(self.doors.outside.choose)(self.doors.listener, asked)?)
    }
}

impl ResolvesServerCert for Shown {
    /// Of a server's, the first that the client can verify; RSA comes last, as OpenSSL has it.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(own) = self.of_server(hello.server_name()) else {
            return Some(self.by_name.as_ref()?.pick(hello.server_name()).key.clone());
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

    /// Everything that is read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let of_listener = match &self.settings.certificates {
            Certificates::Files(files) => files.as_slice(),
            Certificates::SelfSigned { .. } => &[],
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
        let mut server = None;
        let mut config = Some(&current.config);
        if !current.own.is_empty() {
            server = (self.doors.outside.choose)(self.doors.listener, asked.as_deref());
            if let Some(own) = server.and_then(|server| current.own.get(&server)) {
                config = own.config.as_ref();
            }
        }
        let Some(config) = config else { return Err(reject(hello).await) };
        let stream = hello.accept(config.clone()).await?;
        let tls = current.settled(stream.agreed(), asked, server);
        Ok((stream, tls))
    }
}

/// Ends a handshake as nginx does: with the alert `unrecognized_name` (RFC 6066 section 3).
async fn reject(hello: Hello) -> io::Error {
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
    // Who has gone already needs none.
    let _ = hello.refuse(&ALERT).await;
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the server that is asked for rejects handshakes",
    )
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
        let mut of_servers: HashMap<usize, Vec<_>> = HashMap::new();
        for ServerTls { server, certificates, .. } in &settings.of_servers {
            for one in certificates {
                match certificate::load(one, &provider, now) {
                    Ok(one) => {
                        warnings.extend(one.warnings);
                        of_servers.entry(*server).or_default().push(one.key);
                    }
                    Err(found) => errors.extend(found),
                }
            }
        }
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
        warnings.extend(loaded.iter().flat_map(|one| one.warnings.clone()));
        let by_name = match loaded.is_empty() && !of_servers.is_empty() {
            true => None,
            false => Some(ByName::new(loaded).map_err(|error| vec![error])?),
        };
        let shown = Arc::new(Shown { by_name, of_servers, doors: doors.clone() });
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
                Ok((Self { config, own, shown }, warnings))
            }
            Ok(_) => Err(errors),
            Err(error) => {
                errors.push(error);
                Err(errors)
            }
        }
    }
}

/// What configurations of the TLS library are made of.
struct Make<'a> {
    settings: &'a TlsSettings,
    protocols: &'a [Protocol],
    doors: &'a Doors,
    shown: &'a Arc<Shown>,
}

impl Make<'_> {
    /// What counts where no server says otherwise.
    fn config(&self) -> Result<ServerConfig, TlsError> {
        let context = self.context(None)?;
        let resumption = Resumption::new(&ResumptionSettings::default(), self.doors, context)?;
        self.with(self.verifier()?, &self.versions(), resumption)
    }

    /// What counts for one server.
    fn own(&self, own: &OwnTls) -> Result<Own, TlsError> {
        if own.rejects {
            return Ok(Own { config: None, trust: None });
        }
        let algorithms = provider().signature_verification_algorithms;
        let (verifier, trust): (Option<Arc<dyn ClientCertVerifier>>, _) = match &own.clients {
            None => (self.verifier()?, None),
            Some(clients) => {
                let trust = Trust::read(&clients.files, algorithms)?;
                // Clients are told of those alone that stand in the first file, as in nginx.
                let named = TrustFiles {
                    authorities: clients.files.authorities.clone(),
                    ..TrustFiles::default()
                };
                let named = Trust::read(&named, algorithms)?;
                (Some(Arc::new(AskClients::new(named.subjects(), algorithms))), Some(trust))
            }
        };
        let versions = own.versions.clone().unwrap_or_else(|| self.versions());
        let context = self.context(own.clients.as_ref())?;
        let resumption = Resumption::new(&own.resumption, self.doors, context)?;
        let mut config = self.with_provider(chosen(own), verifier, &versions, resumption)?;
        config.ignore_client_order = own.prefers_own_order;
        Ok(Own { config: Some(Arc::new(config)), trust })
    }

    /// A resumed session is not shaken hands for again. So what was agreed to where nobody was asked for a
    /// certificate, or where other authorities are believed, is as good as nothing here.
    fn context(&self, clients: Option<&VerifyClients>) -> Result<[u8; 32], TlsError> {
        let mut digest = Sha256::new();
        let mut add = |kind: u8, file: &Path| {
            let bytes = certificate::read(file)?;
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes();
            digest.update([kind]);
            digest.update(length);
            digest.update(bytes);
            Ok::<_, TlsError>(())
        };
        match (clients, &self.settings.client_certificates) {
            (Some(VerifyClients { files, .. }), _) => {
                let TrustFiles { authorities, trusted, lists, depth } = files;
                let files = [authorities, trusted, lists];
                for (kind, file) in (1..).zip(files) {
                    file.as_deref().map_or(Ok(()), |file| add(kind, file))?;
                }
                digest.update(u64::try_from(*depth).unwrap_or(u64::MAX).to_be_bytes());
            }
            (None, Some(clients)) => {
                add(if clients.require { 8 } else { 9 }, &clients.authorities)?;
            }
            (None, None) => {}
        }
        Ok(digest.finalize().into())
    }

    /// The listener's own, by which the library verifies clients.
    fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let clients = self.settings.client_certificates.as_ref();
        clients.map(|clients| verifier(clients, provider())).transpose()
    }

    fn versions(&self) -> Vec<TlsVersion> {
        match self.settings.min_version {
            TlsVersion::Tls12 => vec![TlsVersion::Tls13, TlsVersion::Tls12],
            TlsVersion::Tls13 => vec![TlsVersion::Tls13],
        }
    }

    fn with(
        &self,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
        versions: &[TlsVersion],
        resumption: Resumption,
    ) -> Result<ServerConfig, TlsError> {
        self.with_provider(provider(), verifier, versions, resumption)
    }

    fn with_provider(
        &self,
        provider: Arc<CryptoProvider>,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
        versions: &[TlsVersion],
        resumption: Resumption,
    ) -> Result<ServerConfig, TlsError> {
        let versions: Vec<_> = versions
            .iter()
            .map(|version| match version {
                TlsVersion::Tls12 => &rustls::version::TLS12,
                TlsVersion::Tls13 => &rustls::version::TLS13,
            })
            .collect();
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        let builder = match verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_cert_resolver(self.shown.clone());
        config.alpn_protocols = self.protocols.iter().map(|one| alpn(*one).to_vec()).collect();
        config.session_storage = resumption.sessions;
        config.ticketer = resumption.tickets;
        // What comes with a ticket alone may be sent again by anybody.
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// The provider with the suites and groups that a server chooses.
fn chosen(own: &OwnTls) -> Arc<CryptoProvider> {
    let all = provider();
    if own.ciphers.is_empty() && own.curves.is_empty() {
        return all;
    }
    let mut chosen = (*all).clone();
    if !own.ciphers.is_empty() {
        // Those of TLS 1.3 are not chosen by this, as in OpenSSL.
        chosen.cipher_suites.retain(|suite| suite.tls13().is_some());
        let named = own.ciphers.iter().filter_map(|name| {
            all.cipher_suites.iter().find(|suite| suite.suite() == *name).copied()
        });
        chosen.cipher_suites.extend(named);
    }
    if !own.curves.is_empty() {
        let named = own.curves.iter().filter_map(|name| {
            aws_lc_rs::ALL_KX_GROUPS.iter().find(|group| group.name() == *name).copied()
        });
        chosen.kx_groups = named.collect();
    }
    Arc::new(chosen)
}

/// How the sessions of one configuration are resumed.
struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Resumption {
    fn new(
        settings: &ResumptionSettings,
        doors: &Doors,
        context: [u8; 32],
    ) -> Result<Self, TlsError> {
        let ResumptionSettings { tickets, ticket_keys, sessions, lifetime } = settings;
        let keys = ticket_keys.iter().map(|file| ticket_key(file));
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        let secrets = match keys.is_empty() {
            true => doors.outside.secrets.clone(),
            false => Arc::new(move || keys.clone()),
        };
        Ok(Self {
            tickets: match tickets {
                true => Arc::new(Tickets::new(secrets, context, *lifetime)),
                false => Arc::new(NoTickets),
            },
            sessions: match *sessions {
                0 => Arc::new(NoServerSessionStorage {}),
                sessions => Arc::new(Kept::new(sessions, *lifetime)),
            },
        })
    }
}

/// A file of nginx's `ssl_session_ticket_key`. Its parts mean nothing here, all of it is the secret.
fn ticket_key(file: &Path) -> Result<Zeroizing<[u8; 32]>, TlsError> {
    let bytes = Zeroizing::new(certificate::read(file)?);
    match bytes.len() {
        48 | 80 => Ok(Zeroizing::new(Sha256::digest(&*bytes).into())),
        _ => Err(TlsError::Key {
            path: file.to_owned(),
            reason: "it must have 48 or 80 bytes".to_owned(),
        }),
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
