//! Configurations of the TLS library: who is verified, with which suites, and how sessions are resumed.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Doors, Own, Shown, provider};
use crate::listen::certificate::{self, TlsError};
use crate::listen::ordered;
use crate::listen::tickets::{Kept, NoTickets, Tickets};
use crate::listen::{
    ClientCertificates, OwnTls, Protocol, ResumptionSettings, TlsSettings, TlsVersion, TrustFiles,
    VerifyClients,
};
use crate::transport::x509::{AskClients, Trust};

/// What configurations of the TLS library are made of.
pub(super) struct Make<'a> {
    pub settings: &'a TlsSettings,
    pub protocols: &'a [Protocol],
    pub doors: &'a Doors,
    pub shown: &'a Arc<Shown>,
}

impl Make<'_> {
    /// What counts where no server says otherwise.
    pub fn config(&self) -> Result<ServerConfig, TlsError> {
        let context = self.context(None)?;
        let resumption = Resumption::new(&ResumptionSettings::default(), self.doors, context)?;
        self.with(provider(), self.verifier()?, &self.versions(), resumption)
    }

    /// What counts for one server.
    pub fn own(&self, own: &OwnTls) -> Result<Own, TlsError> {
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
        let mut config = self.with(chosen(own), verifier, &versions, resumption)?;
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

/// What answers a challenge: the certificate that an authority asks for, over the protocol that it asks by
/// (RFC 8737 section 3).
pub(super) fn proof(key: CertifiedKey) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ordered::PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
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
