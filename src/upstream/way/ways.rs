//! What all workers of this process share about the ways to endpoints: timeouts, TLS. Made once for an
//! upstream, and for an endpoint when one first connects to it.

use std::collections::HashMap;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio_rustls::TlsConnector;

use super::identity::{self, IdentityError};
use super::trust::{self, TrustError};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::{Address, Protocol, Timeouts, TlsSettings, UpstreamSettings};

/// Endpoints that may be gone are forgotten with all others when there are so many.
const TARGETS_MAX: usize = 4096;

/// The ways to the endpoints of every upstream, in the order of the settings.
pub struct Ways {
    upstreams: Vec<Way>,
}

/// The ways to the endpoints of one upstream.
pub(super) struct Way {
    pub(super) timeouts: Timeouts,
    pub(super) protocol: Protocol,
    tls: Option<(ClientConfig, ServerName<'static>)>,
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
        let mut system = None;
        let upstreams = upstreams
            .iter()
            .map(|settings| {
                Way::new(settings, &mut system)
                    .map_err(|flaw| WayError { upstream: settings.name.clone(), flaw })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { upstreams })
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
        Ok(Self {
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
            let tls = self.tls.as_ref().map(|(config, name)| Tls::new(config, name));
            Arc::new(Target { address: endpoint.address().clone(), tls })
        };
        targets.entry(endpoint.id).or_insert_with(made).clone()
    }
}

impl Tls {
    /// Tickets are kept by server name, which all endpoints share, while endpoints need not share
    /// the keys of their tickets: each endpoint has a cache of its own.
    fn new(config: &ClientConfig, name: &ServerName<'static>) -> Self {
        let mut config = config.clone();
        config.resumption = Resumption::in_memory_sessions(1);
        Self { connector: Arc::new(config).into(), name: name.clone() }
    }
}

fn client(
    settings: &TlsSettings,
    protocol: Protocol,
    system: &mut System,
) -> Result<(ClientConfig, ServerName<'static>), WayFlaw> {
    let name = ServerName::try_from(settings.server_name.clone())
        .map_err(|_| WayFlaw::ServerName(settings.server_name.clone()))?;
    let authorities = match (&settings.ca, &*system) {
        (Some(bundle), _) => Arc::new(trust::bundle(bundle)?),
        (None, Some(read)) => read.clone(),
        (None, None) => system.insert(Arc::new(trust::system()?)).clone(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities);
    let mut config = match &settings.certificate {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let (chain, key) = identity::read(files)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|reason| IdentityError::unusable(files, reason))?
        }
    };
    config.alpn_protocols = vec![match protocol {
        Protocol::Http1 => b"http/1.1".to_vec(),
        Protocol::Http2 => b"h2".to_vec(),
    }];
    Ok((config, name))
}
