//! TLS towards Redis servers: whom we trust, who we are, and which name a certificate must have.
//!
//! The name is apart from the address: Sentinels and clusters tell addresses by number, while a
//! certificate names a host. Certificates are always verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::cause::Cause;

/// Files are read when the store is opened, and again at a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities in PEM, in place of the system's.
    pub ca: Option<PathBuf>,
    /// What we show where the server asks.
    pub client: Option<ClientCertificate>,
    /// The name that the server's certificate must have, in place of the address's host.
    pub server_name: Option<String>,
}

/// A chain in PEM, our own certificate first, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a handshake may take: less than connecting may, so that it is known what took so long.
const HANDSHAKE: Duration = Duration::from_millis(900);

/// Shakes hands.
#[derive(Debug)]
pub(super) struct Connector {
    config: Arc<ClientConfig>,
    settings: Tls,
    server_name: Option<ServerName<'static>>,
}

impl Connector {
    /// # Errors
    /// Says which file is wrong, and how.
    pub(super) fn new(settings: &Tls) -> Result<Self, String> {
        let roots = match &settings.ca {
            Some(path) => authorities(path)?,
            None => system_authorities()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?
            .with_root_certificates(roots);
        let config = match &settings.client {
            None => builder.with_no_client_auth(),
            Some(ClientCertificate { certificate, key }) => {
                let chain = chain("certificate", certificate)?;
                let private = PrivateKeyDer::from_pem_slice(&read("key", key)?)
                    // The parser's own message could repeat a line of the key.
                    .map_err(|_| format!("tls.key {} holds no private key", key.display()))?;
                builder.with_client_auth_cert(chain, private).map_err(|error| {
                    let (certificate, key) = (certificate.display(), key.display());
                    format!("tls.certificate {certificate} and tls.key {key}: {error}")
                })?
            }
        };
        let server_name = settings.server_name.as_deref().map(server_name).transpose()?;
        Ok(Self { config: Arc::new(config), settings: settings.clone(), server_name })
    }

    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<TlsStream<TcpStream>, Cause> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(Cause::Failed)?,
        };
        let handshake = TlsConnector::from(self.config.clone()).connect(name.clone(), stream);
        match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(shaken) => shaken.map_err(|error| self.explain(&error, &name.to_str())),
            // Redis without TLS waits for the end of the line.
            Err(_elapsed) => Err(Cause::Failed(
                "TLS: no answer to a TLS handshake; check the port, or write redis://".to_owned(),
            )),
        }
    }

    /// Why a handshake failed, or what came after it, in an operator's words.
    pub(super) fn explain(&self, error: &std::io::Error, name: &str) -> Cause {
        let reason = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .map_or_else(|| error.to_string(), |error| self.reason(error, name));
        Cause::Failed(format!("TLS: {reason}"))
    }

    fn reason(&self, error: &rustls::Error, name: &str) -> String {
        use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
        let whose = match &self.settings.ca {
            Some(path) => format!("tls.ca {} has", path.display()),
            None => "this system trusts; set tls.ca".to_owned(),
        };
        match error {
            InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => {
                format!("the server's certificate is of no authority that {whose}")
            }
            InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => format!(
                "the server's certificate is not for `{name}`; set tls.server_name to a name that \
                 it has"
            ),
            InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => "the server's certificate has expired".to_owned(),
            AlertReceived(alert) if refuses_us(*alert) => match &self.settings.client {
                None => format!(
                    "the server wants a certificate ({alert:?}); set tls.certificate and tls.key"
                ),
                Some(client) => format!(
                    "the server refuses tls.certificate {} ({alert:?})",
                    client.certificate.display()
                ),
            },
            InvalidMessage(_) => {
                "what answers there does not speak TLS; check the port, or write redis://"
                    .to_owned()
            }
            other => other.to_string(),
        }
    }
}

/// The answers to a certificate that is missing or not good enough (RFC 8446 section 6.2). TLS 1.2
/// has no word of its own for a missing one.
fn refuses_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// A DNS name or an IP address.
///
/// # Errors
/// Says that it is neither.
pub fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| format!("`{text}` is no name that a certificate could have"))
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("tls.{key} {}: {error}", path.display()))
}

fn chain(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(key, path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("tls.{key} {} is damaged: {error}", path.display()))?;
    if chain.is_empty() {
        return Err(format!("tls.{key} {} holds no certificate", path.display()));
    }
    Ok(chain)
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in chain("ca", path)? {
        roots.add(authority).map_err(|error| format!("tls.ca {}: {error}", path.display()))?;
    }
    Ok(roots)
}

/// What the system trusts. One file there that cannot be read spoils no other.
fn system_authorities() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(format!(
            "this system has no certificate authorities; set tls.ca ({})",
            errors.join("; ")
        ));
    }
    Ok(roots)
}
