//! Certificates that are ordered from an authority while we run: whoever orders them puts them here, and
//! the next handshake shows them.
//!
//! Until the first one is there a certificate of our own making is shown, for the same names, and kept
//! nowhere. So a load balancer that looks whether TLS is spoken finds that it is, and an operator can have a
//! look; whoever verifies refuses it, as he would a handshake that fails.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::{self, Loaded, Names, ShownCertificate, TlsError};
use super::{self_signed, tls};
use crate::clock::UnixMillis;

/// By which authorities ask for proofs (RFC 8737 section 6.2).
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";
/// How long a handshake waits for the proof.
const PATIENCE: Duration = Duration::from_secs(5);

/// What tells one ordered certificate from the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderedSettings {
    pub names: Vec<String>,
    /// The URL of its authority.
    pub directory: String,
    pub key_type: KeyType,
}

/// What kind of key a certificate is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyType {
    #[default]
    Ecdsa256,
    Ecdsa384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

/// A certificate that is ordered.
pub struct Ordered {
    settings: OrderedSettings,
    shown: ArcSwap<Loaded>,
}

impl Ordered {
    /// With one of our own making.
    ///
    /// # Errors
    /// A name is none.
    pub fn new(settings: OrderedSettings, now: UnixMillis) -> Result<Self, TlsError> {
        let (chain, key) = self_signed::unkept(&settings.names, now).map_err(TlsError::Setup)?;
        let own =
            certificate::of_pem("a certificate of our own", &chain, &key, &tls::provider(), now)?;
        Ok(Self { settings, shown: ArcSwap::from_pointee(own) })
    }

    /// With what is shown in place of another one: better for some of the names than for none.
    pub fn in_place_of(before: &Self, settings: OrderedSettings) -> Self {
        Self { settings, shown: ArcSwap::new(before.shown.load_full()) }
    }

    /// How many of these names it is for.
    pub fn covers(&self, names: &[String]) -> usize {
        let shown = self.shown.load();
        names.iter().filter(|name| shown.names.covers(name)).count()
    }

    pub fn settings(&self) -> &OrderedSettings {
        &self.settings
    }

    /// Shows this chain, with its key, from the next handshake on.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn put(&self, chain: &str, key: &str, now: UnixMillis) -> Result<(), TlsError> {
        self.shown.store(Arc::new(self.read(chain, key, now)?));
        Ok(())
    }

    /// From when to when it would be valid.
    ///
    /// # Errors
    /// It cannot be used, or is for other names.
    pub fn check(
        &self,
        chain: &str,
        key: &str,
        now: UnixMillis,
    ) -> Result<[UnixMillis; 2], TlsError> {
        self.read(chain, key, now).map(|loaded| loaded.validity)
    }

    fn read(&self, chain: &str, key: &str, now: UnixMillis) -> Result<Loaded, TlsError> {
        let name = self.name();
        let loaded = certificate::of_pem(name, chain, key, &tls::provider(), now)?;
        match self.settings.names.iter().find(|name| !loaded.names.covers(name)) {
            Some(lacks) => {
                let reason = format!("it is not for `{lacks}`");
                Err(TlsError::Certificate { path: name.into(), reason })
            }
            None => Ok(loaded),
        }
    }

    /// The first of its names, which it goes by.
    pub fn name(&self) -> &str {
        self.settings.names.first().map_or("", String::as_str)
    }

    pub(super) fn about(&self) -> ShownCertificate {
        self.shown.load().about()
    }

    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        self.shown.load().key.clone()
    }

    pub(super) fn names(&self) -> Arc<Names> {
        self.shown.load().names.clone()
    }
}

impl fmt::Debug for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Who knows what proves a name to an authority.
pub trait Prover: Send + Sync {
    /// The hash of the key authorization for this name (RFC 8737 section 3), where there is one now.
    fn digest<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Option<[u8; 32]>> + Send + 'a>>;
}

/// All certificates that are ordered.
#[derive(Default)]
pub struct OrderBook {
    all: HashMap<OrderedSettings, Arc<Ordered>>,
    /// None: no challenge comes by TLS.
    prover: Option<Arc<dyn Prover>>,
}

impl OrderBook {
    pub fn new(
        all: impl IntoIterator<Item = Arc<Ordered>>,
        prover: Option<Arc<dyn Prover>>,
    ) -> Self {
        let all = all.into_iter().map(|one| (one.settings.clone(), one)).collect();
        Self { all, prover }
    }

    /// The one with these settings. Where nobody orders, since only files are looked at, one of our own.
    ///
    /// # Errors
    /// As [`Ordered::new`].
    pub(super) fn find(
        &self,
        settings: &OrderedSettings,
        now: UnixMillis,
    ) -> Result<Arc<Ordered>, TlsError> {
        match self.all.get(settings) {
            Some(ordered) => Ok(ordered.clone()),
            None => Ordered::new(settings.clone(), now).map(Arc::new),
        }
    }

    pub(super) fn may_be_asked_for_proof(&self) -> bool {
        self.prover.is_some()
    }

    /// The certificate that proves a name (RFC 8737 section 3).
    pub(super) async fn proof(&self, name: &str) -> Option<CertifiedKey> {
        let asking = self.prover.as_ref()?.digest(name);
        let digest = tokio::time::timeout(PATIENCE, asking).await.ok()??;
        match proof(name, &digest) {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::error!(name, %error, "no certificate could be made to answer a challenge");
                None
            }
        }
    }
}

impl fmt::Debug for OrderBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderBook").field("all", &self.all).finish_non_exhaustive()
    }
}

fn proof(name: &str, digest: &[u8; 32]) -> Result<CertifiedKey, String> {
    let said = |error: rcgen::Error| error.to_string();
    let mut params = CertificateParams::new([name.to_ascii_lowercase()]).map_err(said)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(said)?;
    let certificate = params.self_signed(&key).map_err(said)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing =
        tls::provider().key_provider.load_private_key(der).map_err(|error| error.to_string())?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn settings(names: &[&str]) -> OrderedSettings {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        OrderedSettings {
            names,
            directory: "https://ca.example/".to_owned(),
            key_type: KeyType::default(),
        }
    }

    #[test]
    fn one_of_our_own_is_shown_until_another_is_put() {
        let ordered = Ordered::new(settings(&["a.example", "b.example"]), NOW).expect("names");
        let own = ordered.key();
        assert_eq!(ordered.names().iter().collect::<Vec<_>>(), ["a.example", "b.example"]);
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let make = |wanted: &[&str]| self_signed::unkept(&names(wanted), NOW).expect("names");
        let (chain, key) = make(&["a.example"]);
        let error = ordered.put(&chain, &key, NOW).expect_err("a name is lacking").to_string();
        assert!(error.contains("a.example") && error.contains("not for `b.example`"), "{error}");
        let (_, other) = make(&["a.example"]);
        ordered.put(&chain, &other, NOW).expect_err("they do not belong together");
        assert!(Arc::ptr_eq(&ordered.key(), &own), "the old one stays");
        let (chain, key) = make(&["b.example", "A.example", "c.example"]);
        let [from, to] = ordered.check(&chain, &key, NOW).expect("a good pair");
        assert!(from < NOW && NOW < to);
        ordered.put(&chain, &key, NOW).expect("a good pair");
        assert!(!Arc::ptr_eq(&ordered.key(), &own));
        let next = Ordered::in_place_of(&ordered, settings(&["c.example", "d.example"]));
        assert_eq!(next.covers(&next.settings.names), 1);
        assert!(Arc::ptr_eq(&next.key(), &ordered.key()), "until its own is there");
        Ordered::new(settings(&["a b"]), NOW).expect_err("no name");
    }

    #[test]
    fn a_proof_has_the_name_and_the_digest_and_whoever_does_not_know_it_refuses() {
        let key = proof("Shop.example", &[7; 32]).expect("it can be made");
        let (_, parsed) = X509Certificate::from_der(&key.cert[0]).expect("a certificate");
        let names = parsed.subject_alternative_name().expect("one").expect("one");
        assert_eq!(format!("{:?}", names.value.general_names), "[DNSName(\"shop.example\")]");
        let identifier =
            parsed.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let identifier = identifier.expect("acmeIdentifier (RFC 8737 section 3)");
        assert!(identifier.critical);
        assert_eq!(identifier.value, [&[4, 32][..], &[7; 32]].concat());
    }
}
