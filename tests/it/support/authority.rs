//! Authorities of the tests' own making, what they issue and what they revoke.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::tls::anybody;

/// Who issues certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Those between it and one that has issued itself, its own included.
    above: String,
}

/// A certificate with its key, and those above it.
#[derive(Debug)]
pub struct Identity {
    /// In PEM, with those above.
    pub chain: String,
    pub key: String,
    pub serial: u64,
}

/// Changes what is issued.
pub type Edit = fn(&mut CertificateParams);

impl Authority {
    /// One that has issued itself.
    pub fn root(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(authority(name), key()).expect("an authority");
        Self { issuer, above: String::new() }
    }

    /// One below this one.
    pub fn below(&self, name: &str, edit: Edit) -> Self {
        let mut params = authority(name);
        edit(&mut params);
        let issuer = CertifiedIssuer::signed_by(params, key(), &self.issuer).expect("an authority");
        let above = format!("{}{}", issuer.pem(), self.above);
        Self { issuer, above }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for somebody.
    pub fn issue(&self, name: &str, serial: u64, edit: Edit) -> Arc<Identity> {
        let mut params = named(name, serial);
        edit(&mut params);
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let chain = format!("{}{}", certificate.pem(), self.above);
        Arc::new(Identity { chain, key: key.serialize_pem(), serial })
    }

    /// A list of what is revoked, good until this year.
    pub fn revokes(&self, serials: &[u64], until: i32) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("signed").pem().expect("PEM")
    }
}

impl Identity {
    /// A certificate that has issued itself.
    pub fn alone(name: &str, serial: u64, edit: Edit) -> Arc<Self> {
        let mut params = named(name, serial);
        edit(&mut params);
        let key = key();
        let chain = params.self_signed(&key).expect("signed").pem();
        Arc::new(Self { chain, key: key.serialize_pem(), serial })
    }

    /// Without those above.
    pub fn bare(&self) -> Arc<Self> {
        let end = "-----END CERTIFICATE-----\n";
        let first = self.chain.split_inclusive(end).next().expect("one").to_owned();
        Arc::new(Self { chain: first, key: self.key.clone(), serial: self.serial })
    }

    /// A client that shows it, whoever asks.
    pub fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let provider = aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(key).expect("a key");
        let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let config = anybody(versions).with_client_cert_resolver(Arc::new(shown));
        Arc::new(config)
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("entropy")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}
