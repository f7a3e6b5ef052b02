//! Certificates that somebody would like to be believed. What nginx and OpenSSL say of ordinary ones is
//! compared in `tests/it/differential/verified.rs`.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, GeneralSubtree, IsCa, KeyPair,
    NameConstraints,
};
use rustls::pki_types::CertificateDer;

use super::*;

/// In 2026.
const NOW: i64 = 1_790_000_000;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("entropy")
}

fn root() -> Issuer {
    CertifiedIssuer::self_signed(authority("root"), key()).expect("signed")
}

fn issue(issuer: &Issuer, params: &CertificateParams) -> CertificateDer<'static> {
    params.signed_by(&key(), issuer).expect("signed").der().clone()
}

fn own(issuer: &Issuer) -> CertificateDer<'static> {
    issuer.der().clone()
}

fn trust(authorities: &[&Issuer], depth: usize) -> Trust {
    let directory = tempfile::tempdir().expect("a directory");
    let file: PathBuf = directory.path().join("ca.pem");
    let text: String = authorities.iter().map(|one| one.pem()).collect();
    std::fs::write(&file, text).expect("written");
    let files = TrustFiles { authorities: Some(file), depth, ..TrustFiles::default() };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Trust::read(&files, provider.signature_verification_algorithms).expect("authorities")
}

fn verify(trust: &Trust, chain: &[CertificateDer<'static>]) -> Result<(), Unverified> {
    trust.verify(chain, Purpose::Client, NOW)
}

#[test]
fn a_signature_of_another_key_is_found() {
    let (real, forged) = (root(), root());
    let leaf = issue(&forged, &params("leaf"));
    assert_eq!(
        verify(&trust(&[&real], 1), std::slice::from_ref(&leaf)),
        Err(Unverified::Signature)
    );
    // An authority of the same name that is sent along helps nobody.
    let sent = [leaf, own(&forged)];
    assert_eq!(verify(&trust(&[&real], 1), &sent), Err(Unverified::Signature));
}

#[test]
fn each_byte_of_a_certificate_counts() {
    let real = root();
    let trust = trust(&[&real], 1);
    let leaf = issue(&real, &params("leaf"));
    assert_eq!(verify(&trust, std::slice::from_ref(&leaf)), Ok(()));
    for at in 0..leaf.len() {
        let mut changed = leaf.to_vec();
        changed[at] ^= 1;
        let outcome = verify(&trust, &[CertificateDer::from(changed)]);
        assert!(outcome.is_err(), "byte {at}");
    }
}

#[test]
fn who_has_a_certificate_is_no_authority() {
    let real = root();
    let somebody = CertifiedIssuer::signed_by(params("somebody"), key(), &real).expect("signed");
    let chain = [issue(&somebody, &params("leaf")), own(&somebody)];
    assert_eq!(verify(&trust(&[&real], 1), &chain), Err(Unverified::NoAuthority));
}

#[test]
fn many_certificates_cost_no_more_than_a_chain_may_have() {
    let real = root();
    let leaf = issue(&root(), &params("leaf"));
    let mut chain = vec![leaf];
    chain.extend((0..200).map(|_| own(&root())));
    assert!(verify(&trust(&[&real], 100), &chain).is_err());
    // Two that have issued each other end in no circle.
    let (one, other) = (key(), key());
    let by_other = CertifiedIssuer::self_signed(authority("other"), other).expect("signed");
    let one = CertifiedIssuer::signed_by(authority("one"), one, &by_other).expect("signed");
    let back = authority("other").signed_by(&key(), &one).expect("signed").der().clone();
    let chain = [issue(&one, &params("leaf")), own(&one), back];
    assert!(verify(&trust(&[&real], 100), &chain).is_err());
}

#[test]
fn names_are_those_that_an_authority_may_give() {
    let constrained = |constraints| {
        let mut params = authority("constrained");
        params.name_constraints = Some(constraints);
        CertifiedIssuer::self_signed(params, key()).expect("signed")
    };
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let none = Vec::new;
    let permits =
        |name| NameConstraints { permitted_subtrees: vec![dns(name)], excluded_subtrees: none() };
    let excludes =
        |name| NameConstraints { permitted_subtrees: none(), excluded_subtrees: vec![dns(name)] };
    for (constraints, common, name, expected) in [
        (permits("a.example"), "x", Some("b.a.example"), Ok(())),
        (permits("a.example"), "x", Some("a.example"), Ok(())),
        (permits("a.example"), "x", Some("xa.example"), Err(Unverified::NotPermitted)),
        (permits("a.example"), "b.example", None, Err(Unverified::NotPermitted)),
        (permits("a.example"), "a.example", None, Ok(())),
        (excludes("a.example"), "x", Some("b.a.example"), Err(Unverified::Excluded)),
        (excludes("a.example"), "a.example", None, Err(Unverified::Excluded)),
        (excludes("a.example"), "x", Some("b.example"), Ok(())),
    ] {
        let issuer = constrained(constraints);
        let mut leaf = params(common);
        let names = name.into_iter().map(str::to_owned);
        leaf.subject_alt_names =
            CertificateParams::new(names.collect::<Vec<_>>()).expect("names").subject_alt_names;
        let outcome = verify(&trust(&[&issuer], 1), &[issue(&issuer, &leaf)]);
        assert_eq!(outcome, expected, "{common} {name:?}");
    }
}

#[test]
fn a_list_that_is_not_its_issuers_revokes_nothing_and_proves_nothing() {
    let (real, forged) = (root(), root());
    let list = |issuer: &Issuer| {
        rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2040, 1, 1),
            crl_number: rcgen::SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        }
        .signed_by(issuer)
        .expect("signed")
        .der()
        .to_vec()
    };
    let leaf = issue(&real, &params("leaf"));
    for (signer, expected) in [(&real, Ok(())), (&forged, Err(Unverified::ListSignature))] {
        let mut trust = trust(&[&real], 1);
        let mut lists = Lists::default();
        lists.add(&list(signer)).expect("a list");
        trust.lists = Some(lists);
        assert_eq!(verify(&trust, std::slice::from_ref(&leaf)), expected);
    }
    let mut trust = trust(&[&real], 1);
    trust.lists = Some(Lists::default());
    assert_eq!(verify(&trust, &[leaf]), Err(Unverified::NoRevocationList));
}
