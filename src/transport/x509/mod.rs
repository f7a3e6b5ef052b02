//! Certificates verified as OpenSSL verifies them, and so nginx: version 1 is taken, a certificate of its
//! own authority that is trusted itself, a common name where there is no alternative one. The outcome has
//! OpenSSL's words.
//!
//! Signatures are verified by the TLS provider; certificates are read by `x509-parser`. Nothing here
//! knows a connection or a clock.

mod cert;
mod chain;
mod constraints;
mod host;
mod peer;
mod revocation;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use self::cert::Cert;
use self::revocation::Lists;

pub use self::host::is_for;
pub use self::peer::{AskClients, NameCheck, VerifyServers, signature_holds};

/// Files of certificates larger than this are none.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Client,
    Server,
}

/// Why a certificate is not believed, in the order of OpenSSL's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    Unreadable,
    NoIssuer,
    NoRevocationList,
    Signature,
    ListSignature,
    NotYetValid,
    Expired,
    ListNotYetValid,
    ListExpired,
    SelfSigned,
    SelfSignedAbove,
    NoLocalIssuer,
    NoLeafIssuer,
    TooLong,
    Revoked,
    NoAuthority,
    PathLength,
    Purpose,
    CriticalExtension,
    ListSigner,
    NotPermitted,
    Excluded,
    Constraint,
    Host,
}

impl Unverified {
    /// As OpenSSL 3 says it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Unreadable => "unspecified certificate verification error",
            Self::NoIssuer => "unable to get issuer certificate",
            Self::NoRevocationList => "unable to get certificate CRL",
            Self::Signature => "certificate signature failure",
            Self::ListSignature => "CRL signature failure",
            Self::NotYetValid => "certificate is not yet valid",
            Self::Expired => "certificate has expired",
            Self::ListNotYetValid => "CRL is not yet valid",
            Self::ListExpired => "CRL has expired",
            Self::SelfSigned => "self-signed certificate",
            Self::SelfSignedAbove => "self-signed certificate in certificate chain",
            Self::NoLocalIssuer => "unable to get local issuer certificate",
            Self::NoLeafIssuer => "unable to verify the first certificate",
            Self::TooLong => "certificate chain too long",
            Self::Revoked => "certificate revoked",
            Self::NoAuthority => "invalid CA certificate",
            Self::PathLength => "path length constraint exceeded",
            Self::Purpose => "unsuitable certificate purpose",
            Self::CriticalExtension => "unhandled critical extension",
            Self::ListSigner => "key usage does not include CRL signing",
            Self::NotPermitted => "permitted subtree violation",
            Self::Excluded => "excluded subtree violation",
            Self::Constraint => "unsupported name constraint type",
            Self::Host => "hostname mismatch",
        }
    }

    /// Whether all that is missing is somebody who vouches for it (nginx `optional_no_ca`).
    pub fn is_about_trust_alone(self) -> bool {
        matches!(
            self,
            Self::SelfSigned | Self::SelfSignedAbove | Self::NoLocalIssuer | Self::NoLeafIssuer
        )
    }
}

/// Why there is nothing to verify against. No text quotes a file.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read {}: {reason}", file.display())]
    Unreadable { file: PathBuf, reason: io::Error },
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("{} holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no revocation list in PEM", .0.display())]
    NoList(PathBuf),
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
}

/// Whether a certificate is that of a public key, in the form that certificates have it in.
pub fn has_key(der: &[u8], public: &[u8]) -> bool {
    Cert::read(der).is_some_and(|cert| cert.parsed().tbs_certificate.subject_pki.raw == public)
}

/// What certificates are verified against.
pub struct Trust {
    authorities: Vec<Authority>,
    lists: Option<Lists>,
    /// Certificates between the first one and one that is trusted.
    depth: usize,
    algorithms: WebPkiSupportedAlgorithms,
}

/// A certificate that is trusted.
struct Authority {
    subject: Vec<u8>,
    der: CertificateDer<'static>,
}

/// The files that a [`Trust`] is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrustFiles {
    /// Authorities that clients are told of as well.
    pub authorities: Option<PathBuf>,
    /// Further ones.
    pub trusted: Option<PathBuf>,
    /// Revocation lists: each certificate of a chain has to have one.
    pub lists: Option<PathBuf>,
    pub depth: usize,
}

impl Trust {
    /// Reads all files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn read(
        files: &TrustFiles,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self, TrustError> {
        let mut authorities = Vec::new();
        for file in files.authorities.iter().chain(&files.trusted) {
            authorities.extend(read_authorities(file)?);
        }
        let lists = files.lists.as_deref().map(read_lists).transpose()?;
        Ok(Self { authorities, lists, depth: files.depth, algorithms })
    }

    /// The names of the authorities, for who is asked for a certificate of theirs.
    pub fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.authorities.iter().map(|authority| &*authority.subject)
    }

    /// Verifies a certificate with what was sent along, at a time in seconds.
    ///
    /// # Errors
    /// The last thing that is wrong, which is what OpenSSL tells nginx.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        purpose: Purpose,
        now: i64,
    ) -> Result<(), Unverified> {
        let (leaf, others) = chain.split_first().ok_or(Unverified::Unreadable)?;
        let leaf = Cert::read(leaf).ok_or(Unverified::Unreadable)?;
        // Of what cannot be read nobody is the issuer.
        let others = others.iter().filter_map(|der| Cert::read(der)).collect();
        chain::verify(self, leaf, others, purpose, now)
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust")
            .field("authorities", &self.authorities.len())
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

fn read_authorities(file: &Path) -> Result<Vec<Authority>, TrustError> {
    let text = read(file)?;
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(&text) {
        let der = der.map_err(|_| TrustError::Damaged(file.to_owned()))?;
        let subject = match Cert::read(&der) {
            Some(read) => read.subject().to_vec(),
            None => return Err(TrustError::Damaged(file.to_owned())),
        };
        found.push(Authority { subject, der });
    }
    if found.is_empty() { Err(TrustError::NoCertificate(file.to_owned())) } else { Ok(found) }
}

fn read_lists(file: &Path) -> Result<Lists, TrustError> {
    let text = read(file)?;
    let mut lists = Lists::default();
    for der in CertificateRevocationListDer::pem_slice_iter(&text) {
        let der = der.map_err(|_| TrustError::Damaged(file.to_owned()))?;
        lists.add(&der).ok_or_else(|| TrustError::Damaged(file.to_owned()))?;
    }
    if lists.is_empty() { Err(TrustError::NoList(file.to_owned())) } else { Ok(lists) }
}

fn read(file: &Path) -> Result<Vec<u8>, TrustError> {
    let unreadable = |reason| TrustError::Unreadable { file: file.to_owned(), reason };
    if std::fs::metadata(file).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(TrustError::TooLarge(file.to_owned()));
    }
    std::fs::read(file).map_err(unreadable)
}
