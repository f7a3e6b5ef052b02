//! What names an authority may give (RFC 5280 section 4.2.1.10). A kind of name that is restricted and
//! not known here is refused.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree};

use super::Unverified;
use super::cert::Cert;

/// Compares the names of each certificate with what those above it allow.
///
/// # Errors
/// A name is not allowed.
pub(super) fn check(path: &[Cert<'_>]) -> Result<(), Unverified> {
    for (at, authority) in path.iter().enumerate().skip(1) {
        let Some(constraints) = authority.constraints() else { continue };
        let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
        let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
        for (below, cert) in path.iter().enumerate().take(at) {
            // Authorities that name themselves are not restricted, but for the leaf.
            if below > 0 && cert.is_self_issued() {
                continue;
            }
            of_names(cert.parsed(), below == 0, permitted, excluded)?;
        }
    }
    Ok(())
}

fn of_names(
    cert: &X509Certificate<'_>,
    is_leaf: bool,
    permitted: &[GeneralSubtree<'_>],
    excluded: &[GeneralSubtree<'_>],
) -> Result<(), Unverified> {
    let subject = GeneralName::DirectoryName(cert.subject().clone());
    let has_subject = cert.subject().iter_rdn().next().is_some();
    let alternatives = cert.subject_alternative_name().map_err(|_| Unverified::Constraint)?;
    let alternatives = alternatives.iter().flat_map(|found| &found.value.general_names);
    let alternatives: Vec<&GeneralName<'_>> = alternatives.collect();
    let has_dns = alternatives.iter().any(|name| matches!(name, GeneralName::DNSName(_)));
    // A common name counts as a host's where there is no other.
    let common = cert.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let common = common.filter(|name| is_leaf && !has_dns && looks_like_host(name));
    let common: Vec<GeneralName<'_>> = common.map(GeneralName::DNSName).collect();
    let emails = cert.subject().iter_email().filter_map(|name| name.as_str().ok());
    let emails: Vec<GeneralName<'_>> = emails.map(GeneralName::RFC822Name).collect();
    let subject = has_subject.then_some(&subject).into_iter();
    for name in subject.chain(alternatives).chain(&common).chain(&emails) {
        of_name(name, permitted, excluded)?;
    }
    Ok(())
}

fn of_name(
    name: &GeneralName<'_>,
    permitted: &[GeneralSubtree<'_>],
    excluded: &[GeneralSubtree<'_>],
) -> Result<(), Unverified> {
    let same = |subtree: &&GeneralSubtree<'_>| kind(&subtree.base) == kind(name);
    let mut is_restricted = false;
    let mut is_permitted = false;
    for subtree in permitted.iter().filter(same) {
        is_restricted = true;
        is_permitted |= is_within(name, &subtree.base).ok_or(Unverified::Constraint)?;
    }
    if is_restricted && !is_permitted {
        return Err(Unverified::NotPermitted);
    }
    for subtree in excluded.iter().filter(same) {
        if is_within(name, &subtree.base).ok_or(Unverified::Constraint)? {
            return Err(Unverified::Excluded);
        }
    }
    Ok(())
}

fn kind(name: &GeneralName<'_>) -> std::mem::Discriminant<GeneralName<'static>> {
    // The lifetime does not matter to it, so one of each kind stands for all.
    std::mem::discriminant(&match name {
        GeneralName::DNSName(_) => GeneralName::DNSName(""),
        GeneralName::RFC822Name(_) => GeneralName::RFC822Name(""),
        GeneralName::IPAddress(_) => GeneralName::IPAddress(&[]),
        GeneralName::URI(_) => GeneralName::URI(""),
        GeneralName::DirectoryName(_) => GeneralName::DirectoryName(nobody()),
        _ => GeneralName::RegisteredID(x509_parser::oid_registry::OID_X509),
    })
}

fn nobody() -> x509_parser::x509::X509Name<'static> {
    x509_parser::x509::X509Name::new(Vec::new(), &[])
}

/// Whether a name lies in a subtree of its kind; `None` where that cannot be told.
fn is_within(name: &GeneralName<'_>, base: &GeneralName<'_>) -> Option<bool> {
    Some(match (name, base) {
        (GeneralName::DNSName(name), GeneralName::DNSName(base)) => is_domain_within(name, base),
        (GeneralName::RFC822Name(name), GeneralName::RFC822Name(base)) => {
            let (user, host) = name.rsplit_once('@')?;
            match base.rsplit_once('@') {
                Some((of, at)) => of == user && at.eq_ignore_ascii_case(host),
                None if base.starts_with('.') => is_domain_within(host, base),
                None => base.eq_ignore_ascii_case(host) || base.is_empty(),
            }
        }
        (GeneralName::IPAddress(name), GeneralName::IPAddress(base)) => {
            if base.len() != 2 * name.len() {
                return Some(false);
            }
            let (network, mask) = base.split_at(name.len());
            name.iter().zip(network).zip(mask).all(|((byte, of), mask)| byte & mask == of & mask)
        }
        (GeneralName::DirectoryName(name), GeneralName::DirectoryName(base)) => {
            let mut name = name.iter_rdn();
            base.iter_rdn().all(|part| name.next() == Some(part))
        }
        _ => return None,
    })
}

/// `a.example` lies in `example`, in `.example` and in itself.
fn is_domain_within(name: &str, base: &str) -> bool {
    if base.is_empty() {
        return true;
    }
    let Some(at) = name.len().checked_sub(base.len()) else { return false };
    let (Some(before), Some(end)) = (name.get(..at), name.get(at..)) else { return false };
    if !end.eq_ignore_ascii_case(base) {
        return false;
    }
    match base.starts_with('.') {
        true => !before.is_empty(),
        false => before.is_empty() || before.ends_with('.'),
    }
}

fn looks_like_host(name: &str) -> bool {
    let is_letter =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'*' | b'_');
    !name.is_empty() && name.bytes().all(is_letter)
}
