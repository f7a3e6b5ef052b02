//! A certificate of our own making, for a first look and for tests.
//!
//! It is kept, so that an exception made in a browser lasts, and made anew when the names change or
//! it is about to expire. Nobody trusts it; it is no substitute for a real one.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::crypto::CryptoProvider;

use super::CertificateSettings;
use super::certificate::{self, Loaded, TlsError};
use crate::clock::UnixMillis;

const DAY: Duration = Duration::from_secs(86_400);
/// Browsers accept no server certificate that is valid for longer than 398 days.
const LIFE: Duration = Duration::from_secs(365 * 86_400);
/// So long before its end it is made anew.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// A clock beyond this is wrong, and dates end with the year 9999.
const LATEST: UnixMillis = UnixMillis(250_000_000_000_000);

/// The certificate for these names and the local machine, from this directory, where it is made if
/// it is not there, does not have these names, or is about to expire.
///
/// # Errors
/// [`TlsError::SelfSigned`] with the directory: it cannot be written, or a name is none.
pub fn load(
    names: &[String],
    directory: &Path,
    provider: &CryptoProvider,
    now: UnixMillis,
) -> Result<Loaded, TlsError> {
    let failed = |reason: String| TlsError::SelfSigned { directory: directory.to_owned(), reason };
    let files = CertificateSettings {
        chain: directory.join("self-signed.pem"),
        key: directory.join("self-signed.key"),
        password_file: None,
        stapling_file: None,
    };
    let wanted = wanted(names);
    // Whatever is wrong with the files that are there, new ones put it right.
    if let Ok(kept) = certificate::load(&files, provider, now)
        && present(&kept) == wanted
        && kept.validity[1] > now.plus(RENEW_BEFORE)
    {
        return Ok(kept);
    }
    make(&wanted, &files, now).map_err(failed)?;
    certificate::load(&files, provider, now).map_err(|mut errors| {
        failed(errors.pop().map_or_else(|| "it cannot be read".to_owned(), |e| e.to_string()))
    })
}

/// The names that it shall have, without doubles.
fn wanted(names: &[String]) -> BTreeSet<String> {
    let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    names.iter().map(|name| name.to_ascii_lowercase()).chain(local).collect()
}

fn present(kept: &Loaded) -> BTreeSet<String> {
    let addresses = kept.addresses.iter().map(IpAddr::to_string);
    kept.names.iter().map(str::to_owned).chain(addresses).collect()
}

/// A certificate and its key for these names, in PEM, that are kept nowhere.
///
/// # Errors
/// A name is none.
pub(super) fn unkept(
    names: &[String],
    now: UnixMillis,
) -> Result<(String, zeroize::Zeroizing<String>), String> {
    let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let (key, chain) = sign(&names, now)?;
    Ok((chain.pem(), zeroize::Zeroizing::new(key.serialize_pem())))
}

fn make(
    names: &BTreeSet<String>,
    files: &CertificateSettings,
    now: UnixMillis,
) -> Result<(), String> {
    let (key, chain) = sign(names, now)?;
    let text = zeroize::Zeroizing::new(key.serialize_pem());
    write(&files.key, text.as_bytes(), 0o600)
        .and_then(|()| write(&files.chain, chain.pem().as_bytes(), 0o644))
        .map_err(|error| error.to_string())
}

fn sign(names: &BTreeSet<String>, now: UnixMillis) -> Result<(KeyPair, Certificate), String> {
    let unusable = |error: rcgen::Error| format!("the names {names:?} cannot be used: {error}");
    if let Some(name) = names.iter().find(|name| !is_name(name)) {
        return Err(format!("`{name}` is neither a host name nor an address"));
    }
    let mut params =
        CertificateParams::new(names.iter().cloned().collect::<Vec<_>>()).map_err(unusable)?;
    params.distinguished_name.push(DnType::CommonName, "Cloakroom, self-signed");
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    let begin = UNIX_EPOCH + Duration::from_millis(now.0.min(LATEST.0));
    // A client's clock may be behind.
    params.not_before = begin.checked_sub(DAY).unwrap_or(UNIX_EPOCH).into();
    params.not_after = (begin + LIFE).into();
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let chain = params.self_signed(&key).map_err(unusable)?;
    Ok((key, chain))
}

/// Host names, wildcards and addresses; anything else would be a certificate that nothing matches.
fn is_name(name: &str) -> bool {
    if name.parse::<Ipv4Addr>().is_ok() || name.parse::<Ipv6Addr>().is_ok() {
        return true;
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// Puts a whole file in place; readers see the old one or the new one. Two processes that start
/// together write different temporary files, and a mismatched pair is made anew at the next start.
fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    // A leftover of a process with the same number would have its own mode.
    if let Err(error) = std::fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tls;
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn made(directory: &Path, wanted: &[&str], now: UnixMillis) -> Loaded {
        load(&names(wanted), directory, &tls::provider(), now).expect("a writable directory")
    }

    #[test]
    fn certificate_has_the_names_and_the_local_machine() {
        let directory = tempfile::tempdir().expect("temporary");
        let loaded = made(&directory.path().join("new"), &["shop.example", "*.shop.example"], NOW);
        assert_eq!(
            present(&loaded),
            names(&["*.shop.example", "127.0.0.1", "::1", "localhost", "shop.example"])
                .into_iter()
                .collect()
        );
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }

    #[test]
    fn key_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("temporary");
        made(directory.path(), &[], NOW);
        let mode = std::fs::metadata(directory.path().join("self-signed.key"))
            .expect("made")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let files = std::fs::read_dir(directory.path()).expect("readable").count();
        assert_eq!(files, 2, "no temporary file is left");
    }

    #[test]
    fn it_is_kept_until_names_change_or_it_is_about_to_expire() {
        let directory = tempfile::tempdir().expect("temporary");
        let first = made(directory.path(), &["a.example"], NOW);
        let check = |wanted: &[&str], now: UnixMillis, kept: bool| {
            let before = std::fs::read(directory.path().join("self-signed.pem")).expect("made");
            made(directory.path(), wanted, now);
            let after = std::fs::read(directory.path().join("self-signed.pem")).expect("made");
            assert_eq!(before == after, kept, "{wanted:?} at {now}");
        };
        check(&["a.example"], NOW, true);
        check(&["A.example", "localhost"], NOW, true);
        check(&["a.example"], NOW.plus(LIFE - RENEW_BEFORE - DAY), true);
        check(&["a.example"], NOW.plus(LIFE - RENEW_BEFORE + DAY), false);
        check(&["b.example"], NOW.plus(LIFE), false);
        assert!(first.validity[1] > NOW);
    }

    #[test]
    fn broken_files_are_replaced() {
        let directory = tempfile::tempdir().expect("temporary");
        made(directory.path(), &[], NOW);
        std::fs::write(directory.path().join("self-signed.key"), "nonsense").expect("writable");
        made(directory.path(), &[], NOW);
    }

    #[test]
    fn errors_name_the_directory() {
        let check = |wanted: &[&str], directory: &Path, expected: &str| {
            let error = load(&names(wanted), directory, &tls::provider(), NOW).expect_err("fails");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().contains(&directory.display().to_string()), "{error}");
        };
        let directory = tempfile::tempdir().expect("temporary");
        check(&["_"], directory.path(), "`_` is neither a host name nor an address");
        check(&["a b"], directory.path(), "`a b` is neither");
        check(&[], Path::new("/proc/nowhere"), "/proc/nowhere");
    }
}
