//! Who we are to workers that ask: a certificate chain with its key, in PEM.

use std::io;
use std::path::{Path, PathBuf};

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::transport::private_key::{self, KeyError, Passwords};
use crate::transport::x509;
use crate::upstream::ClientCertificate;

/// Why there is no certificate to show. No message has a line of a file in it.
#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("{key}: {}: {reason}", file.display())]
    Unreadable { key: &'static str, file: PathBuf, reason: io::Error },
    #[error("chain: {} holds no certificates in PEM", .0.display())]
    NoCertificate(PathBuf),
    #[error("key: {} {reason}", key.display())]
    NoKey { key: PathBuf, reason: KeyError },
    #[error("key: {} cannot be used with its chain: {reason}", key.display())]
    Unusable { key: PathBuf, reason: rustls::Error },
}

/// Reads both files.
pub(super) fn read(
    files: &ClientCertificate,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, IdentityError> {
    let ClientCertificate { chain, key, password_file } = files;
    let text = read_file("chain", chain)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| IdentityError::NoCertificate(chain.clone()))?;
    let text = Zeroizing::new(read_file("key", key)?);
    let passwords = password_file.as_deref().map(|file| read_file("password_file", file));
    let passwords = passwords.transpose()?.map(Passwords::new);
    let private = private_key::read(&text, passwords.as_ref())
        .map_err(|reason| IdentityError::NoKey { key: key.clone(), reason })?;
    let unusable = |reason| IdentityError::Unusable { key: key.clone(), reason };
    let signing = provider.key_provider.load_private_key(private).map_err(unusable)?;
    // A key that cannot tell its public half is used as it is.
    let fits = signing.public_key().is_none_or(|public| x509::has_key(&certificates[0], &public));
    if !fits {
        return Err(unusable(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)));
    }
    Ok(CertifiedKey::new(certificates, signing))
}

fn read_file(key: &'static str, file: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(file).map_err(|reason| IdentityError::Unreadable {
        key,
        file: file.to_owned(),
        reason,
    })
}
