//! Whether certificate and key files can be read, and belong together: whoever starts must be able to
//! shake hands.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_saphyr::Spanned;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::diagnostic::Place;
use crate::config::environment::System;
use crate::config::schema::Certificate;
use crate::config::value::{Flaw, Parsed};
use crate::listen::CertificateSettings;
use crate::transport::private_key::{self, KeyError, Passwords};

use super::{Checker, at};

impl Checker<'_> {
    /// The files of a chain with its key, where both are named.
    pub(super) fn key_pair(
        &mut self,
        given: &Spanned<Certificate>,
        path: &str,
        example: [&str; 2],
    ) -> Option<CertificateSettings> {
        let named = |text: &str| Ok(text.to_owned());
        let Certificate { chain, key, password_file } = &given.value;
        let (chain_path, key_path) = (format!("{path}.chain"), format!("{path}.key"));
        let chain_file = self.required(chain, at(given), &chain_path, example[0], named);
        let key_file = self.required(key, at(given), &key_path, example[1], named);
        let password_file = password_file.as_ref().map(|file| self.path(&file.value));
        let files = CertificateSettings {
            chain: self.path(&chain_file?),
            key: self.path(&key_file?),
            password_file,
            stapling_file: None,
        };
        self.certificate(
            (&files.chain, chain.as_ref().and_then(at), &chain_path),
            (&files.key, key.as_ref().and_then(at), &key_path),
            files.password_file.as_deref(),
        );
        Some(files)
    }

    /// Checks a chain with its key; both paths are the ones that are opened.
    pub(super) fn certificate(
        &mut self,
        (chain, chain_at, chain_path): (&Path, Option<Place>, &str),
        (key, key_at, key_path): (&Path, Option<Place>, &str),
        passwords: Option<&Path>,
    ) {
        let system = &*self.environment.system;
        let (certificates, private, mode) =
            (read_chain(system, chain), read_key(system, key, passwords), system.mode(key));
        let certificates = certificates.map_err(|flaw| self.error(chain_at, chain_path, flaw)).ok();
        let private = private.map_err(|flaw| self.error(key_at, key_path, flaw)).ok();
        if let Some(mode) = mode
            && mode & 0o007 != 0
        {
            self.warning(
                key_at,
                key_path,
                Flaw::new(
                    format!(
                        "every user of this machine can reach `{}` (mode {mode:04o})",
                        key.display()
                    ),
                    format!("chmod 600 {}", key.display()),
                ),
            );
        }
        if let (Some(certificates), Some(private)) = (certificates, private)
            && let Err(flaw) = belong_together(certificates, private)
        {
            self.error(key_at, key_path, flaw);
        }
    }

    /// Checks a bundle of authorities.
    pub(super) fn authorities(&mut self, file: &Path, place: Option<Place>, path: &str) {
        if let Err(flaw) = read_chain(&*self.environment.system, file) {
            self.error(place, path, flaw);
        }
    }
}

fn read(system: &dyn System, path: &Path) -> Parsed<Vec<u8>> {
    system.read(path).map_err(|error| {
        Flaw::new(
            format!("cannot read `{}`: {error}", path.display()),
            "check the path, and that the user who runs cloakroom may read it",
        )
    })
}

fn read_chain(system: &dyn System, path: &Path) -> Parsed<Vec<CertificateDer<'static>>> {
    let pem = read(system, path)?;
    let flaw = |why: String| {
        Flaw::new(
            format!("`{}` {why}", path.display()),
            "it must hold certificates in PEM: `-----BEGIN CERTIFICATE-----`, the server's own first",
        )
    };
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| flaw(format!("is damaged: {error}")))?;
    if chain.is_empty() {
        return Err(flaw("holds no certificate".to_owned()));
    }
    Ok(chain)
}

fn read_key(
    system: &dyn System,
    path: &Path,
    passwords: Option<&Path>,
) -> Parsed<PrivateKeyDer<'static>> {
    let passwords = passwords.map(|file| read(system, file)).transpose()?.map(Passwords::new);
    private_key::read(&read(system, path)?, passwords.as_ref()).map_err(|error| {
        let help = match error {
            KeyError::Encrypted => {
                "name the file of its password: `password_file: FILE`".to_owned()
            }
            KeyError::WrongPassword => "write the password into its file, on a line".to_owned(),
            KeyError::Unknown => {
                format!("write it anew: openssl pkey -in {} -aes256 -out new.key", path.display())
            }
            KeyError::None | KeyError::NotPem => {
                "it must hold one in PEM: `-----BEGIN PRIVATE KEY-----`".to_owned()
            }
        };
        Flaw::new(format!("`{}` {error}", path.display()), help)
    })
}

fn belong_together(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Parsed<()> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let known = "RSA from 2048 bits, ECDSA (P-256, P-384, P-521) and Ed25519 keys are known";
    let unusable =
        |error: String| Flaw::new(format!("cannot be used with its certificate: {error}"), known);
    let signing = provider.key_provider.load_private_key(key);
    let signing = signing.map_err(|error| unusable(error.to_string()))?;
    let own = chain.first().map(|first| X509Certificate::from_der(first));
    let (_, own) = own.and_then(Result::ok).ok_or_else(|| unusable("it is none".to_owned()))?;
    let own = own.tbs_certificate.subject_pki.raw;
    if signing.public_key().is_some_and(|public| public.as_ref() != own) {
        return Err(Flaw::new(
            "is not the key of the certificate",
            "the first certificate of `chain` must be the one that was issued for this key",
        ));
    }
    Ok(())
}
