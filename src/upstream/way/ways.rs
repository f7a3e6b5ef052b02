//! What all workers of this process share about the ways to endpoints: timeouts, TLS. Made once for an
//! upstream, and for an endpoint when one first connects to it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio_rustls::TlsConnector;

use super::identity::{self, IdentityError};
use super::trust::{self, TrustError};
use crate::transport::x509::{self, NameCheck, Trust, TrustFiles, VerifyServers};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::{
    Address, Protocol, Timeouts, TlsSettings, TlsVersion, UpstreamSettings, Verifies,
};

/// Endpoints that may be gone are forgotten with all others when there are so many.
const TARGETS_MAX: usize = 4096;

/// The ways to the endpoints of every upstream, in the order of the settings.
#[derive(Default)]
pub struct Ways {
    upstreams: Vec<Arc<Way>>,
}

/// The ways to the endpoints of one upstream.
pub(super) struct Way {
    pub(super) timeouts: Timeouts,
    pub(super) protocol: Protocol,
    tls: Option<Client>,
    /// The files that were read for it, as they were.
    read: Vec<(PathBuf, State)>,
    #[cfg(test)]
    pub(super) known: Vec<Endpoint>,
    /// By the endpoints' ids.
    targets: Mutex<HashMap<usize, Arc<Target>>>,
}

/// What a connection is made to.
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) tls: Option<Tls>,
}

/// What the handshakes of an upstream have in common.
struct Client {
    config: ClientConfig,
    name: ServerName<'static>,
    resumes: bool,
}

/// What a handshake needs.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    /// Sent and verified.
    pub(super) name: ServerName<'static>,
}

/// Why no connection to an upstream can ever come about.
#[derive(Debug, Error)]
#[error("upstreams.{upstream}: {flaw}")]
pub struct WayError {
    pub upstream: String,
    pub flaw: WayFlaw,
}

#[derive(Debug, Error)]
pub enum WayFlaw {
    #[error("tls.{0}")]
    Trust(#[from] TrustError),
    #[error("tls: {0}")]
    Verifying(#[from] x509::TrustError),
    #[error("tls.certificate.{0}")]
    Identity(#[from] IdentityError),
    #[error("tls.server_name: `{0}` is no name that a certificate could have")]
    ServerName(String),
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
    #[error("unix:{}: no socket can have this path", .0.display())]
    SocketPath(PathBuf),
}

/// Authorities of the system, which are read when the first upstream needs them.
type System = Option<Arc<RootCertStore>>;

impl Ways {
    /// Reads the authorities.
    ///
    /// # Errors
    /// The first upstream that cannot be reached, whatever its workers do.
    pub fn new(upstreams: &[UpstreamSettings]) -> Result<Self, WayError> {
        Self::default().succeeding(upstreams, |_| None)
    }

    /// The ways of another configuration. `same` says which of these leads to the same endpoints: it stays,
    /// unless a file of it has changed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn succeeding(
        &self,
        upstreams: &[UpstreamSettings],
        same: impl Fn(usize) -> Option<usize>,
    ) -> Result<Self, WayError> {
        let mut system = None;
        let way = |(index, settings): (usize, &UpstreamSettings)| {
            let known = same(index).and_then(|known| self.upstreams.get(known));
            if let Some(known) = known.filter(|known| known.is_current()) {
                return Ok(known.clone());
            }
            let way = Way::new(settings, &mut system);
            way.map(Arc::new).map_err(|flaw| WayError { upstream: settings.name.clone(), flaw })
        };
        let upstreams = upstreams.iter().enumerate().map(way).collect::<Result<_, _>>()?;
        Ok(Self { upstreams })
    }

    /// The way to one upstream alone.
    #[must_use]
    pub fn only(&self, upstream: usize) -> Self {
        Self { upstreams: vec![self.upstreams[upstream].clone()] }
    }

    /// Whether a way of others is among these.
    pub fn has(&self, others: &Self, upstream: usize) -> bool {
        self.position(others, upstream).is_some()
    }

    /// Which of these is a way of others.
    pub(super) fn position(&self, others: &Self, upstream: usize) -> Option<usize> {
        let is_it = |known: &Arc<Way>| Arc::ptr_eq(known, &others.upstreams[upstream]);
        self.upstreams.iter().position(is_it)
    }

    pub(super) fn upstream(&self, index: usize) -> &Way {
        &self.upstreams[index]
    }

    pub(super) fn count(&self) -> usize {
        self.upstreams.len()
    }
}

impl std::fmt::Debug for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways").field("upstreams", &self.upstreams.len()).finish()
    }
}

impl Way {
    fn new(settings: &UpstreamSettings, system: &mut System) -> Result<Self, WayFlaw> {
        let tls =
            settings.tls.as_ref().map(|tls| client(tls, settings.protocol, system)).transpose()?;
        for endpoint in &settings.endpoints {
            if let Address::Unix(path) = &endpoint.address {
                SocketAddr::from_pathname(path).map_err(|_| WayFlaw::SocketPath(path.clone()))?;
            }
        }
        let (timeouts, protocol) = (settings.timeouts, settings.protocol);
        let files = settings.tls.as_ref().map(files).unwrap_or_default();
        let read = files.into_iter().map(|file| (file.clone(), state(file))).collect();
        Ok(Self {
            read,
            timeouts,
            protocol,
            tls,
            #[cfg(test)]
            known: (0..)
                .zip(&settings.endpoints)
                .map(|(id, it)| Endpoint::new(id, it.clone()))
                .collect(),
            targets: Mutex::default(),
        })
    }

    /// Whether its files are what they were when they were read.
    fn is_current(&self) -> bool {
        self.read.iter().all(|(file, read)| state(file) == *read)
    }

    pub(super) fn is_https(&self) -> bool {
        self.tls.is_some()
    }

    /// What a connection to an endpoint is made to.
    pub(super) fn target(&self, endpoint: &Endpoint) -> Arc<Target> {
        // What a panic left behind is whole: every change is one step.
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if targets.len() >= TARGETS_MAX && !targets.contains_key(&endpoint.id) {
            targets.clear();
        }
        let made = || {
            let tls = self.tls.as_ref().map(Tls::new);
            Arc::new(Target { address: endpoint.address().clone(), tls })
        };
        targets.entry(endpoint.id).or_insert_with(made).clone()
    }
}

impl Tls {
    /// Tickets are kept by server name, which all endpoints share, while endpoints need not share
    /// the keys of their tickets: each endpoint has a cache of its own.
    fn new(Client { config, name, resumes }: &Client) -> Self {
        let mut config = config.clone();
        if *resumes {
            config.resumption = Resumption::in_memory_sessions(1);
        }
        Self { connector: Arc::new(config).into(), name: name.clone() }
    }
}

/// What tells one content of a file from the next.
type State = Option<(u64, u64, u64, i64, i64)>;

fn state(file: &PathBuf) -> State {
    let about = std::fs::metadata(file).ok()?;
    Some((about.dev(), about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

/// What is read for the handshakes of an upstream.
fn files(settings: &TlsSettings) -> Vec<&PathBuf> {
    let lists = match &settings.verifies {
        Verifies::AsOpenSsl { lists, .. } => lists.as_ref(),
        Verifies::Strictly | Verifies::Nothing => None,
    };
    let own = settings
        .certificate
        .iter()
        .flat_map(|files| [&files.chain, &files.key].into_iter().chain(&files.password_file));
    settings.ca.iter().chain(lists).chain(own).collect()
}

fn client(
    settings: &TlsSettings,
    protocol: Protocol,
    system: &mut System,
) -> Result<Client, WayFlaw> {
    let name = server_name(settings)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: Vec<_> = settings
        .versions
        .iter()
        .map(|version| match version {
            TlsVersion::Tls12 => &rustls::version::TLS12,
            TlsVersion::Tls13 => &rustls::version::TLS13,
        })
        .collect();
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions)?;
    let algorithms = provider.signature_verification_algorithms;
    let by = |verifier| Arc::new(verifier) as Arc<dyn ServerCertVerifier>;
    let builder = match &settings.verifies {
        Verifies::Strictly => builder.with_root_certificates(authorities(settings, system)?),
        Verifies::AsOpenSsl { depth, lists } => {
            let (authorities, lists) = (settings.ca.clone(), lists.clone());
            let files = TrustFiles { authorities, lists, depth: *depth, ..TrustFiles::default() };
            let trust = Arc::new(Trust::read(&files, algorithms)?);
            let verifier = VerifyServers::by(trust, NameCheck(settings.server_name.clone()));
            builder.dangerous().with_custom_certificate_verifier(by(verifier))
        }
        Verifies::Nothing => {
            let verifier = VerifyServers::not_at_all(algorithms);
            builder.dangerous().with_custom_certificate_verifier(by(verifier))
        }
    };
    let mut config = match &settings.certificate {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let shown = SingleCertAndKey::from(identity::read(files, &provider)?);
            builder.with_client_cert_resolver(Arc::new(shown))
        }
    };
    config.enable_sni = settings.sends_name;
    config.alpn_protocols = vec![match protocol {
        Protocol::Http1 => b"http/1.1".to_vec(),
        Protocol::Http2 => b"h2".to_vec(),
    }];
    if !settings.resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(Client { config, name, resumes: settings.resumes })
}

/// The name that is sent. Where it is not, and not verified by the library, it may be any.
fn server_name(settings: &TlsSettings) -> Result<ServerName<'static>, WayFlaw> {
    let name = settings.server_name.trim_start_matches('[').trim_end_matches(']').to_owned();
    match ServerName::try_from(name) {
        Ok(name) => Ok(name),
        Err(_) if !settings.sends_name && settings.verifies != Verifies::Strictly => {
            Ok(ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into()))
        }
        Err(_) => Err(WayFlaw::ServerName(settings.server_name.clone())),
    }
}

fn authorities(
    settings: &TlsSettings,
    system: &mut System,
) -> Result<Arc<RootCertStore>, TrustError> {
    Ok(match (&settings.ca, &*system) {
        (Some(bundle), _) => Arc::new(trust::bundle(bundle)?),
        (None, Some(read)) => read.clone(),
        (None, None) => system.insert(Arc::new(trust::system()?)).clone(),
    })
}
