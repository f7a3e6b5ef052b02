//! What is wrong with a `Set-Cookie` field: what browsers drop, and why (RFC 6265bis, sections 5.6
//! and 5.7).
//!
//! Looks only; [`super::enforce`] mends. What cannot be mended from outside (a value that is too
//! long, a foreign domain) is worth knowing as well.

use super::enforce::{Prefix, SameSite};
use super::response::{ATTRIBUTE_BYTES_MAX, NAME_VALUE_BYTES_MAX, SetCookie, is_clean};
use super::{pieces, split_pair};

/// Something that a browser does not like about a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A control character: the cookie is dropped (5.6, step 1).
    ControlCharacter,
    /// Name and value have more than 4096 bytes: dropped (5.6, step 5).
    Oversized,
    /// The value of an attribute has more than 1024 bytes: it is overlooked (5.6, step 6).
    LongAttribute,
    /// `SameSite=None` without `Secure`: dropped (5.7, step 17).
    NoneWithoutSecure,
    /// `Partitioned` without `Secure`: dropped (CHIPS, section 2.1).
    PartitionedWithoutSecure,
    /// `__Secure-` without `Secure`: dropped (5.7, step 19).
    SecurePrefix,
    /// `__Host-` without `Secure` or `Path=/`, or with a `Domain`: dropped (5.7, step 20).
    HostPrefix,
    /// A `Domain` that the host is not in: dropped (5.7, step 10).
    ForeignDomain,
    /// A `Domain` that `__Host-` does not allow is taken away: other hosts don't get the cookie.
    DomainDropped,
    /// The policy would send it otherwise.
    WouldChange,
}

impl Finding {
    /// Every finding, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::ControlCharacter,
        Self::Oversized,
        Self::LongAttribute,
        Self::NoneWithoutSecure,
        Self::PartitionedWithoutSecure,
        Self::SecurePrefix,
        Self::HostPrefix,
        Self::ForeignDomain,
        Self::DomainDropped,
        Self::WouldChange,
    ];

    /// Its name in the log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlCharacter => "control_character",
            Self::Oversized => "oversized",
            Self::LongAttribute => "long_attribute",
            Self::NoneWithoutSecure => "none_without_secure",
            Self::PartitionedWithoutSecure => "partitioned_without_secure",
            Self::SecurePrefix => "secure_prefix",
            Self::HostPrefix => "host_prefix",
            Self::ForeignDomain => "foreign_domain",
            Self::DomainDropped => "domain_dropped",
            Self::WouldChange => "would_change",
        }
    }
}

/// Looks at a field that answers a request for `host` (lower-case, no port), as a browser would.
pub fn findings(field: &[u8], host: &str) -> Vec<Finding> {
    if !is_clean(field) {
        return vec![Finding::ControlCharacter];
    }
    let Some(cookie) = SetCookie::parse_up_to(field, usize::MAX) else { return Vec::new() };
    let prefix = Prefix::of(cookie.name());
    let has_long = pieces(field)
        .skip(1)
        .filter_map(split_pair)
        .any(|(_, value)| value.len() > ATTRIBUTE_BYTES_MAX);
    let is_root = cookie.path() == Some(b"/");
    [
        (cookie.name().len() + cookie.value().len() > NAME_VALUE_BYTES_MAX, Finding::Oversized),
        (has_long, Finding::LongAttribute),
        (
            cookie.same_site() == Some(SameSite::None) && !cookie.secure(),
            Finding::NoneWithoutSecure,
        ),
        (cookie.partitioned() && !cookie.secure(), Finding::PartitionedWithoutSecure),
        (prefix == Prefix::Secure && !cookie.secure(), Finding::SecurePrefix),
        (
            prefix == Prefix::Host && (!cookie.secure() || !is_root || cookie.domain().is_some()),
            Finding::HostPrefix,
        ),
        (cookie.domain().is_some_and(|domain| !covers(domain, host)), Finding::ForeignDomain),
    ]
    .into_iter()
    .filter_map(|(is_so, finding)| is_so.then_some(finding))
    .collect()
}

/// Whether a host is in a `Domain` (RFC 6265bis, section 5.1.3).
pub fn covers(domain: &[u8], host: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    let host = host.as_bytes();
    let is_address = std::str::from_utf8(host)
        .is_ok_and(|host| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok());
    host == domain
        || (!is_address && host.strip_suffix(&*domain).is_some_and(|rest| rest.ends_with(b".")))
}

#[cfg(test)]
mod tests {
    use super::Finding::*;
    use super::*;

    #[track_caller]
    fn check(field: impl AsRef<[u8]>, expected: &[Finding]) {
        let field = field.as_ref();
        let shown = field[..field.len().min(60)].escape_ascii();
        assert_eq!(findings(field, "shop.example.com"), expected, "{shown}");
    }

    #[test]
    fn good_cookies_have_no_findings() {
        for field in [
            "a=b",
            "a=b; Path=/; Secure; HttpOnly; SameSite=Lax",
            "a=b; SameSite=None; Secure; Partitioned",
            "a=b; Domain=example.com",
            "a=b; domain=.Shop.Example.Com",
            "a=b; Domain=",
            "__Host-a=b; Secure; Path=/",
            "__Secure-a=b; Secure; Domain=example.com; Path=/x",
            "a=\tb",
            "nameless",
            "",
        ] {
            check(field, &[]);
        }
    }

    #[test]
    fn what_browsers_drop_is_found() {
        check(format!("a={}", "x".repeat(4095)), &[]);
        check(format!("a={}", "x".repeat(4096)), &[Oversized]);
        check(format!("a=b; Path=/{}", "x".repeat(1023)), &[]);
        check(format!("a=b; Path=/{}", "x".repeat(1024)), &[LongAttribute]);
        check(format!("a=b; Whatever={}", "x".repeat(1025)), &[LongAttribute]);
        check("a=b; SameSite=None", &[NoneWithoutSecure]);
        check("a=b; SameSite=NONE; Path=/", &[NoneWithoutSecure]);
        check("a=b; Partitioned", &[PartitionedWithoutSecure]);
        check("a=b; SameSite=None; Partitioned", &[NoneWithoutSecure, PartitionedWithoutSecure]);
        check("__Secure-a=b", &[SecurePrefix]);
        check("__secure-a=b; Path=/", &[SecurePrefix]);
        check("__Host-a=b; Path=/", &[HostPrefix]);
        check("__Host-a=b; Secure", &[HostPrefix]);
        check("__Host-a=b; Secure; Path=/x", &[HostPrefix]);
        check("__HOST-a=b; Secure; Path=/; Domain=shop.example.com", &[HostPrefix]);
        check("a=b; Domain=example.org", &[ForeignDomain]);
        check("a=b; Domain=www.shop.example.com", &[ForeignDomain]);
        check("a=b; Domain=hop.example.com", &[ForeignDomain]);
        check("a=\x01b", &[ControlCharacter]);
        check("a=b; Path=/\x7f", &[ControlCharacter]);
        check(b"a=b\0; SameSite=None", &[ControlCharacter]);
        check("a=b\r\nSet-Cookie: c=d", &[ControlCharacter]);
    }

    #[test]
    fn addresses_have_no_subdomains() {
        assert!(covers(b"127.0.0.1", "127.0.0.1"));
        assert!(!covers(b"0.0.1", "127.0.0.1"));
        assert!(!covers(b":1", "[::1]"));
    }

    #[test]
    fn the_list_is_in_order_of_declaration() {
        for (position, finding) in Finding::ALL.iter().enumerate() {
            assert_eq!(*finding as usize, position);
        }
        assert_eq!(Finding::ALL.len(), WouldChange as usize + 1);
    }
}
