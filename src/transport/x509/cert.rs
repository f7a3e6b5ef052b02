//! A certificate, read.

use rustls::crypto::WebPkiSupportedAlgorithms;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{KeyUsage, NameConstraints, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::Purpose;

/// A certificate.
pub(super) struct Cert<'a> {
    der: &'a [u8],
    read: X509Certificate<'a>,
    signed: Signed<'a>,
}

/// What is signed, how, and the signature: the frame of certificates and revocation lists.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    content: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

impl<'a> Cert<'a> {
    /// `None`: it is none, or has an extension twice (RFC 5280 section 4.2).
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let (rest, read) = X509Certificate::from_der(der).ok()?;
        let signed = Signed::read(der)?;
        let extensions = read.extensions();
        let is_twice = extensions
            .iter()
            .enumerate()
            .any(|(at, one)| extensions[..at].iter().any(|other| other.oid == one.oid));
        // What cannot be parsed may forbid something.
        let is_broken = extensions
            .iter()
            .any(|one| matches!(one.parsed_extension(), ParsedExtension::ParseError { .. }));
        (rest.is_empty() && !is_twice && !is_broken).then_some(Self { der, read, signed })
    }

    pub fn is(&self, der: &[u8]) -> bool {
        self.der == der
    }

    pub fn parsed(&self) -> &X509Certificate<'a> {
        &self.read
    }

    pub fn subject(&self) -> &'a [u8] {
        self.read.tbs_certificate.subject.as_raw()
    }

    pub fn issuer(&self) -> &'a [u8] {
        self.read.tbs_certificate.issuer.as_raw()
    }

    pub fn serial(&self) -> &'a [u8] {
        self.read.tbs_certificate.raw_serial()
    }

    /// It names itself as its issuer.
    pub fn is_self_issued(&self) -> bool {
        self.subject() == self.issuer() && self.fits_key(self)
    }

    /// Whether `issuer` may have issued it, by name and number.
    pub fn may_be_of(&self, issuer: &Cert<'_>) -> bool {
        let may_sign = issuer.usage().is_none_or(KeyUsage::key_cert_sign);
        self.issuer() == issuer.subject() && self.fits_key(issuer) && may_sign
    }

    /// What it says of its issuer's key, where it says something.
    fn fits_key(&self, issuer: &Cert<'_>) -> bool {
        let found = self.extension(|parsed| match parsed {
            ParsedExtension::AuthorityKeyIdentifier(id) => Some(id),
            _ => None,
        });
        let Some(said) = found else { return true };
        let key = issuer.extension(|parsed| match parsed {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id),
            _ => None,
        });
        let by_key = match (&said.key_identifier, key) {
            (Some(said), Some(key)) => said == key,
            _ => true,
        };
        by_key && said.authority_cert_serial.is_none_or(|serial| serial == issuer.serial())
    }

    pub fn is_valid_from(&self, now: i64) -> bool {
        self.read.validity().not_before.timestamp() <= now
    }

    pub fn is_valid_until(&self, now: i64) -> bool {
        now <= self.read.validity().not_after.timestamp()
    }

    pub fn usage(&self) -> Option<&KeyUsage> {
        self.extension(|parsed| match parsed {
            ParsedExtension::KeyUsage(usage) => Some(usage),
            _ => None,
        })
    }

    pub fn constraints(&self) -> Option<&NameConstraints<'a>> {
        self.extension(|parsed| match parsed {
            ParsedExtension::NameConstraints(constraints) => Some(constraints),
            _ => None,
        })
    }

    /// How many authorities may stand between it and the last certificate.
    pub fn path_length(&self) -> Option<u32> {
        self.basic().and_then(|(_, length)| length)
    }

    fn basic(&self) -> Option<(bool, Option<u32>)> {
        self.extension(|parsed| match parsed {
            ParsedExtension::BasicConstraints(basic) => Some(basic),
            _ => None,
        })
        .map(|basic| (basic.ca, basic.path_len_constraint))
    }

    /// Whether it may issue others (OpenSSL `X509_check_ca`, without Netscape's types).
    pub fn is_authority(&self) -> bool {
        if self.usage().is_some_and(|usage| !usage.key_cert_sign()) {
            return false;
        }
        match self.basic() {
            Some((is_authority, _)) => is_authority,
            None => self.is_old_root() || self.usage().is_some(),
        }
    }

    /// Of a time before there were extensions.
    fn is_old_root(&self) -> bool {
        self.read.version().0 == 0 && self.is_self_issued()
    }

    /// Whether it may be shown for this, or be above one that is.
    pub fn serves(&self, purpose: Purpose, is_leaf: bool) -> bool {
        let extended = self.extension(|parsed| match parsed {
            ParsedExtension::ExtendedKeyUsage(extended) => Some(extended),
            _ => None,
        });
        let is_extended = extended.is_none_or(|extended| match purpose {
            Purpose::Client => extended.client_auth,
            Purpose::Server => extended.server_auth,
        });
        if !is_leaf {
            return is_extended;
        }
        let is_used = self.usage().is_none_or(|usage| match purpose {
            Purpose::Client => usage.digital_signature() || usage.key_agreement(),
            Purpose::Server => {
                usage.digital_signature() || usage.key_encipherment() || usage.key_agreement()
            }
        });
        is_extended && is_used
    }

    /// Whether each extension that has to be understood is.
    pub fn is_understood(&self) -> bool {
        let is_known = |parsed: &ParsedExtension<'_>| {
            matches!(
                parsed,
                ParsedExtension::AuthorityKeyIdentifier(_)
                    | ParsedExtension::SubjectKeyIdentifier(_)
                    | ParsedExtension::KeyUsage(_)
                    | ParsedExtension::ExtendedKeyUsage(_)
                    | ParsedExtension::BasicConstraints(_)
                    | ParsedExtension::SubjectAlternativeName(_)
                    | ParsedExtension::NameConstraints(_)
                    | ParsedExtension::CRLDistributionPoints(_)
                    | ParsedExtension::CertificatePolicies(_)
                    | ParsedExtension::NSCertType(_)
            )
        };
        self.read.extensions().iter().all(|one| !one.critical || is_known(one.parsed_extension()))
    }

    /// Whether the key of `issuer` has signed it.
    pub fn is_signed_by(&self, issuer: &Cert<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        self.signed.holds(issuer, algorithms)
    }

    fn extension<'s, T>(
        &'s self,
        pick: impl Fn(&'s ParsedExtension<'a>) -> Option<T>,
    ) -> Option<T> {
        self.read.extensions().iter().find_map(|one| pick(one.parsed_extension()))
    }
}

impl<'a> Signed<'a> {
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let (frame, rest) = element(der, SEQUENCE)?;
        if !rest.is_empty() {
            return None;
        }
        let (content, rest) = whole_element(frame.inside)?;
        let (algorithm, rest) = element(rest, SEQUENCE)?;
        let (signature, rest) = element(rest, BIT_STRING)?;
        let signature = whole_bits(signature.inside)?;
        let algorithm = algorithm.inside;
        rest.is_empty().then_some(Self { content, algorithm, signature })
    }

    /// Whether the key of `issuer` has signed it.
    pub fn holds(&self, issuer: &Cert<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let Some((of_key, key)) = public_key(issuer.read.tbs_certificate.subject_pki.raw) else {
            return false;
        };
        algorithms
            .all
            .iter()
            .filter(|one| {
                *one.signature_alg_id() == *self.algorithm && *one.public_key_alg_id() == *of_key
            })
            .any(|one| one.verify_signature(key, self.content, self.signature).is_ok())
    }
}

/// The algorithm of a public key, and the key.
pub(super) fn public_key(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let (frame, _) = element(info, SEQUENCE)?;
    let (algorithm, rest) = element(frame.inside, SEQUENCE)?;
    let (key, rest) = element(rest, BIT_STRING)?;
    let key = whole_bits(key.inside)?;
    rest.is_empty().then_some((algorithm.inside, key))
}

struct Element<'a> {
    inside: &'a [u8],
}

/// The first element, with its head, and what follows.
fn whole_element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = element(der, *der.first()?)?;
    der.split_at_checked(der.len() - rest.len())
}

/// The first element, which is of this kind, and what follows (X.690 section 8.1).
fn element(der: &[u8], kind: u8) -> Option<(Element<'_>, &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (inside, rest) = rest.split_at_checked(length)?;
    (found == kind).then_some((Element { inside }, rest))
}

/// The bytes of a bit string that is made of whole ones.
fn whole_bits(inside: &[u8]) -> Option<&[u8]> {
    match inside.split_first()? {
        (0, bytes) => Some(bytes),
        _ => None,
    }
}
