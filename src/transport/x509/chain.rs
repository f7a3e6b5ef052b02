//! From a certificate to one that is trusted, and what holds on the way (RFC 5280 section 6, in the order
//! of OpenSSL's `X509_verify_cert`).

use super::cert::Cert;
use super::{Purpose, Trust, Unverified, constraints, revocation};

/// The way that was found.
struct Path<'c> {
    /// From the leaf upwards.
    certs: Vec<Cert<'c>>,
    /// The last one is trusted.
    is_trusted: bool,
    /// So many of them were not sent, but are among the authorities.
    local: usize,
}

/// What was found wrong. nginx goes on after each, so the last one counts.
#[derive(Default)]
struct Found(Option<Unverified>);

impl Found {
    fn add(&mut self, flaw: Unverified) {
        self.0 = Some(flaw);
    }

    fn unless(&mut self, holds: bool, flaw: Unverified) {
        if !holds {
            self.add(flaw);
        }
    }
}

pub(super) fn verify<'c>(
    trust: &'c Trust,
    leaf: Cert<'c>,
    others: Vec<Cert<'c>>,
    purpose: Purpose,
    now: i64,
) -> Result<(), Unverified> {
    let path = build(trust, leaf, others, now);
    let mut found = Found::default();
    if !path.is_trusted {
        ends(&path, trust.depth, &mut found);
    }
    extensions(&path.certs, purpose, &mut found);
    if let Some(lists) = &trust.lists {
        let checked = revocation::check(&path.certs, lists, &trust.algorithms, now);
        checked.unwrap_or_else(|flaw| found.add(flaw));
    }
    signatures(&path, trust, now, &mut found);
    constraints::check(&path.certs).unwrap_or_else(|flaw| found.add(flaw));
    found.0.map_or(Ok(()), Err)
}

/// Goes up from one issuer to the next, first among the authorities. No signature is looked at yet, so
/// that whoever sends many certificates costs few.
fn build<'c>(trust: &'c Trust, leaf: Cert<'c>, mut others: Vec<Cert<'c>>, now: i64) -> Path<'c> {
    let mut path = Path { certs: vec![leaf], is_trusted: false, local: 0 };
    // As many as there may be below one that is trusted.
    let most = trust.depth.saturating_add(1);
    while let Some(last) = path.certs.last() {
        if last.is_self_issued() {
            path.is_trusted = trust.authorities.iter().any(|one| last.is(&one.der));
            return path;
        }
        if path.certs.len() > most {
            return path;
        }
        let named = trust.authorities.iter().filter(|one| one.subject == last.issuer());
        let local = named.filter_map(|one| Cert::read(&one.der)).filter(|one| last.may_be_of(one));
        if let Some(issuer) = best(local, now) {
            path.local += 1;
            path.certs.push(issuer);
            continue;
        }
        // Above an authority nothing that was sent is believed.
        let fits = |one: &Cert<'_>| last.may_be_of(one);
        let candidates = || others.iter().enumerate().filter(|(_, one)| fits(one));
        let chosen = candidates()
            .find(|(_, one)| is_current(one, now))
            .or_else(|| candidates().next())
            .map(|(at, _)| at);
        match chosen.filter(|_| path.local == 0) {
            Some(at) => path.certs.push(others.swap_remove(at)),
            None => return path,
        }
    }
    path
}

/// One that is valid now, else the first.
fn best<'c>(candidates: impl Iterator<Item = Cert<'c>>, now: i64) -> Option<Cert<'c>> {
    let mut first = None;
    for one in candidates {
        if is_current(&one, now) {
            return Some(one);
        }
        first.get_or_insert(one);
    }
    first
}

fn is_current(cert: &Cert<'_>, now: i64) -> bool {
    cert.is_valid_from(now) && cert.is_valid_until(now)
}

/// Why a path leads nowhere.
fn ends(path: &Path<'_>, depth: usize, found: &mut Found) {
    let length = path.certs.len();
    found.unless(length <= depth.saturating_add(1), Unverified::TooLong);
    let is_self_issued = path.certs.last().is_some_and(Cert::is_self_issued);
    found.add(match (is_self_issued, length, path.local) {
        (true, 1, _) => Unverified::SelfSigned,
        (true, ..) => Unverified::SelfSignedAbove,
        (false, _, 0) => Unverified::NoLocalIssuer,
        (false, ..) => Unverified::NoIssuer,
    });
}

/// What each certificate says that it is for.
fn extensions(certs: &[Cert<'_>], purpose: Purpose, found: &mut Found) {
    // Authorities between the one that is looked at and the leaf.
    let mut below = 0_u32;
    for (at, cert) in certs.iter().enumerate() {
        found.unless(cert.is_understood(), Unverified::CriticalExtension);
        found.unless(at == 0 || cert.is_authority(), Unverified::NoAuthority);
        found.unless(cert.serves(purpose, at == 0), Unverified::Purpose);
        if at > 0 {
            let holds = cert.path_length().is_none_or(|most| below <= most);
            found.unless(holds, Unverified::PathLength);
            // Who names itself takes no part of the path.
            below += u32::from(!cert.is_self_issued());
        }
    }
}

/// From the top down: who signed it, and whether it is in time.
fn signatures(path: &Path<'_>, trust: &Trust, now: i64, found: &mut Found) {
    let certs = &path.certs;
    for (at, cert) in certs.iter().enumerate().rev() {
        match certs.get(at + 1) {
            Some(issuer) => {
                let holds = cert.is_signed_by(issuer, &trust.algorithms);
                found.unless(holds, Unverified::Signature);
            }
            // The last of a path names itself, or is not verified by anybody.
            None if certs.len() == 1 && !cert.is_self_issued() => {
                found.add(Unverified::NoLeafIssuer);
            }
            None => {}
        }
        found.unless(cert.is_valid_from(now), Unverified::NotYetValid);
        found.unless(cert.is_valid_until(now), Unverified::Expired);
    }
}
