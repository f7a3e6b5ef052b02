//! Revocation lists (RFC 5280 section 5). Where there are any, each certificate of a path has to have one,
//! the uppermost included, as nginx asks of OpenSSL.

use std::collections::HashSet;

use rustls::crypto::WebPkiSupportedAlgorithms;
use x509_parser::extensions::KeyUsage;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::Unverified;
use super::cert::{Cert, Signed};

/// The lists of all authorities.
#[derive(Default)]
pub(super) struct Lists(Vec<List>);

struct List {
    der: Vec<u8>,
    issuer: Vec<u8>,
    from: i64,
    until: Option<i64>,
    /// It is of a kind that is not known here, so nothing can be told by it.
    is_odd: bool,
    serials: HashSet<Box<[u8]>>,
}

impl Lists {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a list; `None` where it is none.
    pub fn add(&mut self, der: &[u8]) -> Option<()> {
        let (_, read) = CertificateRevocationList::from_der(der).ok()?;
        Signed::read(der)?;
        self.0.push(List {
            der: der.to_vec(),
            issuer: read.issuer().as_raw().to_vec(),
            from: read.last_update().timestamp(),
            until: read.next_update().map(|time| time.timestamp()),
            is_odd: read.extensions().iter().any(|extension| extension.critical),
            serials: read.iter_revoked_certificates().map(|one| one.raw_serial().into()).collect(),
        });
        Some(())
    }

    /// The latest of an issuer.
    fn of(&self, issuer: &[u8]) -> Option<&List> {
        let of_issuer = self.0.iter().filter(|one| one.issuer == issuer && !one.is_odd);
        of_issuer.max_by_key(|one| one.from)
    }
}

/// Looks each certificate up.
///
/// # Errors
/// The last thing that is wrong.
pub(super) fn check(
    path: &[Cert<'_>],
    lists: &Lists,
    algorithms: &WebPkiSupportedAlgorithms,
    now: i64,
) -> Result<(), Unverified> {
    let mut outcome = Ok(());
    for (at, cert) in path.iter().enumerate() {
        // The uppermost has issued itself, or its issuer is not known.
        let issuer = path.get(at + 1).unwrap_or(cert);
        if let Err(flaw) = of_one(cert, issuer, lists, algorithms, now) {
            outcome = Err(flaw);
        }
    }
    outcome
}

fn of_one(
    cert: &Cert<'_>,
    issuer: &Cert<'_>,
    lists: &Lists,
    algorithms: &WebPkiSupportedAlgorithms,
    now: i64,
) -> Result<(), Unverified> {
    let list = lists.of(cert.issuer()).ok_or(Unverified::NoRevocationList)?;
    // As in OpenSSL the last of several flaws counts; one that is revoked stays so in any case.
    let mut outcome = Ok(());
    if issuer.usage().is_some_and(|usage| !may_sign_lists(usage)) {
        outcome = Err(Unverified::ListSigner);
    }
    if list.from > now {
        outcome = Err(Unverified::ListNotYetValid);
    }
    if list.until.is_some_and(|until| until < now) {
        outcome = Err(Unverified::ListExpired);
    }
    let signed = Signed::read(&list.der).ok_or(Unverified::ListSignature)?;
    if !signed.holds(issuer, algorithms) {
        outcome = Err(Unverified::ListSignature);
    }
    if list.serials.contains(cert.serial()) {
        outcome = Err(Unverified::Revoked);
    }
    outcome
}

fn may_sign_lists(usage: &KeyUsage) -> bool {
    usage.crl_sign()
}
