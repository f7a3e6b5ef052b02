//! Whose certificates are believed: a bundle in PEM, or what the system trusts.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

/// Why there are no authorities.
#[derive(Debug, Error)]
pub enum TrustError {
    #[error("ca: {}: {reason}", file.display())]
    Unreadable { file: PathBuf, reason: io::Error },
    #[error("ca: {} is damaged: {reason}", file.display())]
    Damaged { file: PathBuf, reason: String },
    #[error("ca: {} holds no certificate", .0.display())]
    Empty(PathBuf),
    #[error("ca: this system has no certificate authorities; name a bundle ({reasons})")]
    NoSystem { reasons: String },
}

/// Reads a bundle. All of it has to be good: a damaged authority would be missed much later.
pub(super) fn bundle(file: &Path) -> Result<RootCertStore, TrustError> {
    let damaged = |reason: String| TrustError::Damaged { file: file.to_owned(), reason };
    let text = std::fs::read(file)
        .map_err(|reason| TrustError::Unreadable { file: file.to_owned(), reason })?;
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| damaged(error.to_string()))?;
        authorities.add(certificate).map_err(|error| damaged(error.to_string()))?;
    }
    if authorities.is_empty() {
        return Err(TrustError::Empty(file.to_owned()));
    }
    Ok(authorities)
}

/// What the system trusts. One file there that cannot be read spoils no other.
pub(super) fn system() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut authorities = RootCertStore::empty();
    let (added, _unusable) = authorities.add_parsable_certificates(found.certs);
    if added == 0 {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TrustError::NoSystem { reasons: reasons.join("; ") });
    }
    Ok(authorities)
}
