//! What the TLS library asks while hands are shaken.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::cert::{Cert, public_key};
use super::{Purpose, Trust, Unverified, is_for};

/// Asks clients for a certificate and believes any whose key they have: whether it is good is asked when
/// hands are shaken, of resumed sessions too, and answered in HTTP.
#[derive(Debug)]
pub struct AskClients {
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AskClients {
    /// Clients are told of these names of authorities.
    pub fn new<'n>(
        names: impl Iterator<Item = &'n [u8]>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        let hints = names.map(|name| DistinguishedName::from(name.to_vec())).collect();
        Self { hints, algorithms }
    }
}

impl ClientCertVerifier for AskClients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls12(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls13(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whose name a server's certificate must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameCheck(pub String);

/// Verifies servers, or believes anybody (nginx `proxy_ssl_verify off`).
#[derive(Debug)]
pub struct VerifyServers {
    verified: Option<(Arc<Trust>, NameCheck)>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl VerifyServers {
    /// By authorities and name.
    pub fn by(trust: Arc<Trust>, name: NameCheck) -> Self {
        let algorithms = trust.algorithms;
        Self { verified: Some((trust, name)), algorithms }
    }

    /// Anybody is believed who has the key of the certificate that is shown.
    pub fn not_at_all(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { verified: None, algorithms }
    }
}

impl ServerCertVerifier for VerifyServers {
    fn verify_server_cert(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some((trust, NameCheck(name))) = &self.verified else {
            return Ok(ServerCertVerified::assertion());
        };
        let chain: Vec<CertificateDer<'_>> =
            std::iter::once(first).chain(others).map(|one| CertificateDer::from(&**one)).collect();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        trust.verify(&chain, Purpose::Server, now).map_err(refused)?;
        if !is_for(first, name) {
            return Err(refused(Unverified::Host));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls12(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls13(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{}", .0.text())]
struct Refused(Unverified);

fn refused(flaw: Unverified) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refused(flaw)))))
}

fn tls12(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let cert = Cert::read(cert).ok_or(CertificateError::BadEncoding)?;
    let info = cert.parsed().tbs_certificate.subject_pki.raw;
    match signature_holds(info, signed.scheme, message, signed.signature(), algorithms) {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(CertificateError::BadSignature.into()),
    }
}

fn tls13(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let cert = Cert::read(cert).ok_or(CertificateError::BadEncoding)?;
    let info = SubjectPublicKeyInfoDer::from(cert.parsed().tbs_certificate.subject_pki.raw);
    verify_tls13_signature_with_raw_key(message, &info, signed, algorithms)
}

/// Whether a public key made this signature, by a scheme of TLS.
pub fn signature_holds(
    info: &[u8],
    scheme: SignatureScheme,
    message: &[u8],
    signature: &[u8],
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let Some((of_key, key)) = public_key(info) else { return false };
    let of_scheme = algorithms.mapping.iter().find(|(known, _)| *known == scheme);
    of_scheme
        .iter()
        .flat_map(|(_, all)| all.iter())
        .filter(|one| *one.public_key_alg_id() == *of_key)
        .any(|one| one.verify_signature(key, message, signature).is_ok())
}
