//! Certificates: from PEM files to what rustls signs with, and the names they are for.
//!
//! Names come from the subject alternative names alone (RFC 9525 section 2: the common name is not
//! looked at); a wildcard stands for exactly one label (RFC 9525 section 6.3).

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::CertificateSettings;
use crate::clock::UnixMillis;
use crate::transport::private_key::{self, KeyError, Passwords};
use crate::transport::x509::TrustError;

/// A PEM file larger than this is none of ours.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why TLS cannot be set up. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{} holds no certificate: no `-----BEGIN CERTIFICATE-----` block", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} {reason}", path.display())]
    NoKey { path: PathBuf, reason: KeyError },
    #[error("{} is not valid PEM: {reason}", path.display())]
    Pem { path: PathBuf, reason: String },
    #[error("the certificate in {} cannot be understood: {reason}", path.display())]
    Certificate { path: PathBuf, reason: String },
    #[error("the key in {} cannot be used: {reason}", path.display())]
    Key { path: PathBuf, reason: String },
    #[error(
        "the key in {} does not belong to the certificate in {} (the server's own certificate must \
         come first in its file)",
        key.display(), chain.display()
    )]
    KeyMismatch { chain: PathBuf, key: PathBuf },
    #[error("{0}")]
    Trust(#[from] TrustError),
    #[error("no certificate is configured")]
    Nothing,
    #[error("no self-signed certificate in {}: {reason}", directory.display())]
    SelfSigned { directory: PathBuf, reason: String },
    #[error("{0}")]
    Setup(String),
}

/// The DNS names of a certificate, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<Box<str>>);

impl Names {
    /// The names; a wildcard reads `*.example.com`.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// Whether the certificate is for this host. The host has no port; its case does not matter.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.iter().any(|name| match name.strip_prefix("*.") {
            Some(domain) => parent.is_some_and(|parent| parent.eq_ignore_ascii_case(domain)),
            None => host.eq_ignore_ascii_case(name),
        })
    }
}

impl FromIterator<String> for Names {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase().into()).collect())
    }
}

/// A certificate with its key, ready to sign.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) names: Arc<Names>,
    /// Its subject alternative names that are no DNS names: addresses.
    pub(super) addresses: Vec<std::net::IpAddr>,
    /// From when to when it is valid.
    pub(super) validity: [UnixMillis; 2],
    /// What the operator should know: expired, no names.
    pub(super) warnings: Vec<String>,
}

/// What operators see of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    pub not_after: UnixMillis,
}

impl Loaded {
    pub(super) fn about(&self) -> ShownCertificate {
        let names = self.names.iter().map(str::to_owned);
        let addresses = self.addresses.iter().map(ToString::to_string);
        let [_, not_after] = self.validity;
        ShownCertificate { names: names.chain(addresses).collect(), not_after }
    }
}

/// Reads a chain and its key.
///
/// # Errors
/// Everything that is wrong with either file.
pub fn load(
    files: &CertificateSettings,
    provider: &CryptoProvider,
    now: UnixMillis,
) -> Result<Loaded, Vec<TlsError>> {
    let (chain, key) = (read_chain(&files.chain), read_key(files));
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    check(files, chain, key, provider, now).map_err(|error| vec![error])
}

/// Reads a chain and its key, both PEM, that come from no file; errors call them by this name.
///
/// # Errors
/// What is wrong with either.
pub fn of_pem(
    name: &str,
    chain: &str,
    key: &str,
    provider: &CryptoProvider,
    now: UnixMillis,
) -> Result<Loaded, TlsError> {
    let path = PathBuf::from(name);
    let chain = chain_of(chain.as_bytes(), &path)?;
    let key = private_key::read(key.as_bytes(), None)
        .map_err(|reason| TlsError::NoKey { path: path.clone(), reason })?;
    let files =
        CertificateSettings { chain: path.clone(), key: path, ..CertificateSettings::default() };
    check(&files, chain, key, provider, now)
}

fn check(
    files: &CertificateSettings,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
    now: UnixMillis,
) -> Result<Loaded, TlsError> {
    let path = &files.chain;
    let unreadable = |reason: String| TlsError::Certificate { path: path.clone(), reason };
    let first = chain.first().ok_or_else(|| TlsError::NoCertificate { path: path.clone() })?;
    let (_, parsed) =
        X509Certificate::from_der(first).map_err(|error| unreadable(error.to_string()))?;
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let alternatives =
        parsed.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
    for name in alternatives.iter().flat_map(|found| &found.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    let mut warnings = Vec::new();
    if names.is_empty() && addresses.is_empty() {
        warnings.push(format!(
            "the certificate in {} has no subject alternative names; browsers refuse it",
            path.display()
        ));
    }
    let validity = parsed.validity();
    if validity.not_before.timestamp() > unix_secs(now) {
        warnings.push(format!(
            "the certificate in {} is not valid before {}",
            path.display(),
            validity.not_before
        ));
    }
    if validity.not_after.timestamp() < unix_secs(now) {
        warnings.push(format!(
            "the certificate in {} expired on {}",
            path.display(),
            validity.not_after
        ));
    }
    let time = |secs: i64| UnixMillis(u64::try_from(secs).unwrap_or(0).saturating_mul(1000));
    let validity = [time(validity.not_before.timestamp()), time(validity.not_after.timestamp())];
    let signing = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| TlsError::Key { path: files.key.clone(), reason: error.to_string() })?;
    // rustls would ask for version 3 here, and nobody else does. A key that cannot tell its public half is
    // used as it is.
    let own = parsed.tbs_certificate.subject_pki.raw;
    if signing.public_key().is_some_and(|public| public.as_ref() != own) {
        return Err(TlsError::KeyMismatch { chain: path.clone(), key: files.key.clone() });
    }
    let mut key = CertifiedKey::new(chain, signing);
    key.ocsp = files.stapling_file.as_deref().map(read).transpose()?;
    let names = Arc::new(names.into_iter().collect());
    Ok(Loaded { key: Arc::new(key), names, addresses, validity, warnings })
}

/// An address as a certificate has it: 4 or 16 bytes in network order (RFC 5280 section 4.2.1.6).
fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(Into::into)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(Into::into))
        .ok()
}

fn unix_secs(now: UnixMillis) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(TlsError::TooLarge { path: path.to_owned() });
    }
    std::fs::read(path).map_err(unreadable)
}

pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    chain_of(&read(path)?, path)
}

fn chain_of(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| not_pem(path, &error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

fn read_key(files: &CertificateSettings) -> Result<PrivateKeyDer<'static>, TlsError> {
    let path = &files.key;
    let text = zeroize::Zeroizing::new(read(path)?);
    let passwords = files.password_file.as_deref().map(read).transpose()?.map(Passwords::new);
    private_key::read(&text, passwords.as_ref())
        .map_err(|reason| TlsError::NoKey { path: path.clone(), reason })
}

fn not_pem(path: &Path, error: &pem::Error) -> TlsError {
    // The library's texts quote the offending line, which in a key file is key material.
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no `-----END …-----` line",
        pem::Error::IllegalSectionStart { .. } => "a `-----BEGIN …` line is not complete",
        pem::Error::Base64Decode(_) => "a block is not base64",
        _ => "it cannot be read",
    };
    TlsError::Pem { path: path.to_owned(), reason: reason.to_owned() }
}

/// Certificates by name; what rustls asks in a handshake.
#[derive(Debug)]
pub(super) struct ByName {
    exact: HashMap<Box<str>, usize>,
    /// By the domain below the wildcard.
    wildcard: HashMap<Box<str>, usize>,
    all: Vec<Loaded>,
}

impl ByName {
    /// The first certificate is the default, and the first with a name gets it.
    ///
    /// # Errors
    /// [`TlsError::Nothing`] where there is none.
    pub(super) fn new(all: Vec<Loaded>) -> Result<Self, TlsError> {
        if all.is_empty() {
            return Err(TlsError::Nothing);
        }
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (place, one) in all.iter().enumerate() {
            for name in one.names.iter() {
                match name.strip_prefix("*.") {
                    Some(domain) => wildcard.entry(domain.into()).or_insert(place),
                    None => exact.entry(name.into()).or_insert(place),
                };
            }
        }
        Ok(Self { exact, wildcard, all })
    }

    /// The certificate for what the client asked for.
    pub(super) fn pick(&self, server_name: Option<&str>) -> &Loaded {
        let place = server_name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let domain = name.split_once('.').map(|(_, domain)| domain);
            self.exact.get(name.as_str()).or_else(|| self.wildcard.get(domain?)).copied()
        });
        // The default is the first, and there is one: `new` has seen to that.
        &self.all[place.unwrap_or(0)]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::tls;
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    /// A certificate for these names in files of its own.
    pub(in crate::listen) fn make(
        directory: &Path,
        stem: &str,
        names: &[&str],
    ) -> CertificateSettings {
        make_valid(directory, stem, names, NOW, NOW.plus(Duration::from_secs(86_400 * 3650)))
    }

    fn make_valid(
        directory: &Path,
        stem: &str,
        names: &[&str],
        from: UnixMillis,
        to: UnixMillis,
    ) -> CertificateSettings {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().expect("entropy");
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        let time = |at: UnixMillis| std::time::UNIX_EPOCH + Duration::from_millis(at.0);
        params.not_before = (time(from) - Duration::from_secs(86_400 * 3650)).into();
        params.not_after = time(to).into();
        let chain = params.self_signed(&key).expect("signed");
        let files = CertificateSettings {
            chain: directory.join(format!("{stem}.pem")),
            key: directory.join(format!("{stem}.key")),
            password_file: None,
            stapling_file: None,
        };
        std::fs::write(&files.chain, chain.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }

    fn load(files: &CertificateSettings) -> Result<Loaded, Vec<TlsError>> {
        super::load(files, &tls::provider(), NOW)
    }

    fn check_error(files: &CertificateSettings, expected: &[&str]) {
        let errors = load(files).expect_err("the files are wrong");
        assert_eq!(errors.len(), expected.len(), "{errors:?}");
        for (error, part) in errors.iter().zip(expected) {
            assert!(error.to_string().contains(part), "`{error}` should say `{part}`");
        }
    }

    #[test]
    fn names_come_from_the_alternative_names() {
        let directory = tempfile::tempdir().expect("temporary");
        let files = make(directory.path(), "a", &["Shop.example", "*.shop.example", "127.0.0.1"]);
        let loaded = load(&files).expect("a good pair");
        assert_eq!(loaded.names.iter().collect::<Vec<_>>(), ["shop.example", "*.shop.example"]);
        assert_eq!(loaded.addresses, [std::net::IpAddr::from([127, 0, 0, 1])]);
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }

    #[test]
    fn wildcards_cover_one_label() {
        let names: Names =
            ["shop.example", "*.shop.example"].map(str::to_owned).into_iter().collect();
        let check = |host: &str, expected: bool| {
            assert_eq!(names.covers(host), expected, "{host}");
        };
        check("shop.example", true);
        check("SHOP.example", true);
        check("shop.example.", true);
        check("a.shop.example", true);
        check("A.Shop.Example", true);
        check("a.b.shop.example", false);
        check("xshop.example", false);
        check("example", false);
        check("", false);
        check(".shop.example", true);
    }

    #[test]
    fn exact_name_beats_wildcard_beats_default() {
        let directory = tempfile::tempdir().expect("temporary");
        let loaded = [
            ("default", &["default.example"][..]),
            ("wild", &["*.shop.example"][..]),
            ("exact", &["a.shop.example", "default.example"][..]),
        ]
        .map(|(stem, names)| load(&make(directory.path(), stem, names)).expect("a good pair"));
        let by_name = ByName::new(loaded.to_vec()).expect("not empty");
        let check = |asked: Option<&str>, expected: usize| {
            assert!(Arc::ptr_eq(&by_name.pick(asked).key, &loaded[expected].key), "{asked:?}");
        };
        check(None, 0);
        check(Some("other.example"), 0);
        check(Some("b.shop.example"), 1);
        check(Some("B.SHOP.example"), 1);
        check(Some("a.shop.example"), 2);
        check(Some("x.a.shop.example"), 0);
        check(Some("shop.example"), 0);
        check(Some("default.example"), 0);
    }

    #[test]
    fn no_certificate_is_an_error() {
        assert!(matches!(ByName::new(Vec::new()), Err(TlsError::Nothing)));
    }

    #[test]
    fn errors_name_the_file_and_the_trouble() {
        let directory = tempfile::tempdir().expect("temporary");
        let at = |name: &str| directory.path().join(name);
        let good = make(directory.path(), "good", &["a.example"]);
        let other = make(directory.path(), "other", &["b.example"]);
        let write = |name: &str, text: &str| {
            std::fs::write(at(name), text).expect("written");
            at(name)
        };
        let pair = |chain: &Path, key: &Path| CertificateSettings {
            chain: chain.to_owned(),
            key: key.to_owned(),
            password_file: None,
            stapling_file: None,
        };

        check_error(&pair(&at("none.pem"), &at("none.key")), &["none.pem", "none.key"]);
        check_error(&pair(&good.key, &good.key), &["good.key holds no certificate"]);
        check_error(&pair(&good.chain, &good.chain), &["good.pem holds no private key"]);
        check_error(&pair(&good.chain, &other.key), &["does not belong to the certificate"]);
        let secret =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        check_error(&pair(&good.chain, &write("locked.key", secret)), &["locked.key is encrypted"]);
        let cut = "-----BEGIN PRIVATE KEY-----\nAAAA\n";
        check_error(&pair(&good.chain, &write("cut.key", cut)), &["cut.key is not valid PEM"]);
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check_error(&pair(&write("junk.pem", junk), &good.key), &["junk.pem cannot be understood"]);
        let junk = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        check_error(&pair(&good.chain, &write("junk.key", junk)), &["junk.key cannot be used"]);
    }

    #[test]
    fn pem_errors_quote_no_key_material() {
        let directory = tempfile::tempdir().expect("temporary");
        let good = make(directory.path(), "good", &["a.example"]);
        let path = directory.path().join("bad.key");
        std::fs::write(
            &path,
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0!!\n-----END PRIVATE KEY-----\n",
        )
        .expect("written");
        let errors =
            load(&CertificateSettings { key: path, ..good }).expect_err("it is not base64");
        assert!(!format!("{errors:?}").contains("c2VjcmV0"), "{errors:?}");
    }

    #[test]
    fn expired_certificate_is_a_warning() {
        let directory = tempfile::tempdir().expect("temporary");
        let ago = UnixMillis(NOW.0 - 1000);
        let files = make_valid(directory.path(), "old", &["a.example"], ago, ago);
        let loaded = load(&files).expect("it can be served, as nginx would");
        assert_eq!(loaded.warnings.len(), 1);
        assert!(loaded.warnings[0].contains("old.pem expired on"), "{}", loaded.warnings[0]);
    }
}
