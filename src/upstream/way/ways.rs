//! What all workers of this process share about endpoints: addresses, timeouts, TLS. Made once.

use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio_rustls::TlsConnector;

use super::identity::{self, IdentityError};
use super::trust::{self, TrustError};
use crate::upstream::{Address, Protocol, Timeouts, TlsSettings, UpstreamSettings};

/// The endpoints of every upstream, in the order of the settings.
pub struct Ways {
    upstreams: Vec<Way>,
}

/// The endpoints of one upstream.
pub(super) struct Way {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) timeouts: Timeouts,
    pub(super) protocol: Protocol,
}

pub(super) struct Endpoint {
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

    /// How many endpoints each upstream has.
    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.upstreams.iter().map(|way| way.endpoints.len())
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
        let endpoints = settings
            .endpoints
            .iter()
            .map(|endpoint| {
                if let Address::Unix(path) = &endpoint.address {
                    SocketAddr::from_pathname(path)
                        .map_err(|_| WayFlaw::SocketPath(path.clone()))?;
                }
                let tls = tls.as_ref().map(|(config, name)| Tls::new(config, name));
                Ok(Endpoint { address: endpoint.address.clone(), tls })
            })
            .collect::<Result<_, WayFlaw>>()?;
        Ok(Self { endpoints, timeouts: settings.timeouts, protocol: settings.protocol })
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
