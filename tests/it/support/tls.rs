//! TLS for tests: a client that believes everybody, and certificates made on the spot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use rcgen::PublicKeyData;
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use sha2::{Digest, Sha256};

/// The versions that a client offers.
pub const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
pub const ONLY_TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
pub const ONLY_TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// A client configuration that takes any certificate, but does check that the server holds its
/// key.
pub fn client_config(
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    client_config_as(None, alpn, versions)
}

/// As [`client_config`], for a client that shows this certificate when it is asked.
pub fn client_config_as(
    certificate: Option<&Certificate>,
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let builder = anybody(versions);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => builder
            .with_client_auth_cert(vec![certificate.der.clone().into()], certificate.key())
            .expect("certificate and key belong together"),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A client that takes any certificate, and may show one.
pub fn anybody(
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("the provider speaks these versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelieveEverybody(provider)))
}

/// A self-signed certificate.
pub struct Certificate {
    pub der: Vec<u8>,
    pub chain_pem: String,
    pub key_pem: String,
    key_der: Vec<u8>,
    spki_der: Vec<u8>,
}

impl Certificate {
    pub fn for_names(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("the names are good");
        Self {
            der: made.cert.der().to_vec(),
            chain_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            key_der: made.signing_key.serialize_der(),
            spki_der: made.signing_key.subject_public_key_info(),
        }
    }

    /// The SHA-256 of the public key in base64 (RFC 7469, section 2.4).
    pub fn pin(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&self.spki_der))
    }

    /// Writes `<stem>.pem` and `<stem>.key`.
    pub fn write(&self, directory: &Path, stem: &str) -> (PathBuf, PathBuf) {
        let chain = directory.join(format!("{stem}.pem"));
        let key = directory.join(format!("{stem}.key"));
        std::fs::write(&chain, &self.chain_pem).expect("the directory can be written");
        std::fs::write(&key, &self.key_pem).expect("the directory can be written");
        (chain, key)
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key_der.clone()).into()
    }

    pub fn server_config(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        self.server_config_for(None, alpn)
    }

    /// As [`server_config`](Self::server_config), for clients that show this certificate.
    pub fn server_config_for(
        &self,
        client: Option<&Certificate>,
        alpn: &[&str],
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(BOTH)
            .expect("the provider speaks these versions");
        let builder = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(client.der.clone().into()).expect("a certificate");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().expect("one is believed"))
            }
        };
        let mut config = builder
            .with_single_cert(vec![CertificateDer::from(self.der.clone())], self.key())
            .expect("certificate and key belong together");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

#[derive(Debug)]
struct BelieveEverybody(Arc<CryptoProvider>);

impl ServerCertVerifier for BelieveEverybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
