//! Who we are to workers that ask: a certificate chain with its key, in PEM.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::transport::private_key::{self, KeyError, Passwords};
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

impl IdentityError {
    pub(super) fn unusable(files: &ClientCertificate, reason: rustls::Error) -> Self {
        Self::Unusable { key: files.key.clone(), reason }
    }
}

/// Reads both files.
pub(super) fn read(
    files: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), IdentityError> {
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
    Ok((certificates, private))
}

fn read_file(key: &'static str, file: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(file).map_err(|reason| IdentityError::Unreadable {
        key,
        file: file.to_owned(),
        reason,
    })
}
