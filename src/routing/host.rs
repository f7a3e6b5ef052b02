//! Host names as clients send them (RFC 9110 section 7.2), and whether a certificate covers one.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host part of an authority, ready to be compared: lower case, without port and trailing dot.
/// An IPv6 literal keeps its brackets and is in the canonical form of RFC 5952.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    name: Cow<'a, str>,
    port: Option<u16>,
}

impl<'a> Host<'a> {
    /// Reads a `Host` field or `:authority`. Allocates nothing where a name is in lower case.
    ///
    /// Empty text is an empty name: what a request of HTTP/1.0 without `Host` asks for.
    ///
    /// # Errors
    /// [`BadHost`] means 400. Stricter than RFC 3986's reg-name, which also has percent-escapes and
    /// punctuation: such a name is in no DNS, but may well mean something to a worker that
    /// builds links from it.
    pub fn parse(authority: &'a [u8]) -> Result<Self, BadHost> {
        let text = std::str::from_utf8(authority).map_err(|_| BadHost)?;
        if text.is_empty() {
            return Ok(Self { name: Cow::Borrowed(""), port: None });
        }
        if text.len() > AUTHORITY_BYTES_MAX {
            return Err(BadHost);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (literal, rest) = rest.split_once(']').ok_or(BadHost)?;
            let address: Ipv6Addr = literal.parse().map_err(|_| BadHost)?;
            let port = match rest {
                "" => None,
                _ => parse_port(rest.strip_prefix(':').ok_or(BadHost)?)?,
            };
            return Ok(Self { name: Cow::Owned(format!("[{address}]")), port });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, parse_port(port)?),
            None => (text, None),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        if !is_name(name) {
            return Err(BadHost);
        }
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        Ok(Self { name, port })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The port, where one was given.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The address, where the host is a literal one.
    fn address(&self) -> Option<IpAddr> {
        match self.name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(literal) => literal.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => self.name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        }
    }
}

/// The longest DNS name, a trailing dot, and `:65535`.
const AUTHORITY_BYTES_MAX: usize = 253 + 1 + 6;

/// An authority that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host name")]
pub struct BadHost;

/// Whether text is labels of letters, digits, `-` and `_`, with single dots between them.
pub(super) fn is_name(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    })
}

/// `host:` without digits is allowed (RFC 3986 section 3.2.3).
fn parse_port(text: &str) -> Result<Option<u16>, BadHost> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHost);
    }
    text.parse().map(Some).map_err(|_| BadHost)
}

/// Whether a request's authority belongs to a certificate with these subject names; otherwise the
/// answer is 421 (RFC 9110 section 15.5.20), since a browser may have reused the connection.
///
/// RFC 9525 section 6.3: names are compared without regard to case; a `*` stands for one whole
/// label, the left-most one only, and never for part of an address. Names that are addresses are
/// compared as addresses.
pub fn authority_matches(authority: &[u8], certificate_names: &[String]) -> bool {
    let Ok(host) = Host::parse(authority) else { return false };
    if let Some(address) = host.address() {
        return certificate_names.iter().any(|name| name.parse() == Ok(address));
    }
    certificate_names.iter().any(|name| {
        let name = name.strip_suffix('.').unwrap_or(name);
        match name.strip_prefix("*.") {
            Some(parent) => host.as_str().split_once('.').is_some_and(|(_, rest)| {
                !parent.contains('*') && rest.eq_ignore_ascii_case(parent)
            }),
            None => !host.as_str().is_empty() && host.as_str().eq_ignore_ascii_case(name),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_without_port_case_and_trailing_dot() {
        for (authority, expected) in [
            ("shop.example.com", Ok(("shop.example.com", None))),
            ("Shop.Example.COM:8443", Ok(("shop.example.com", Some(8443)))),
            ("shop.example.com.", Ok(("shop.example.com", None))),
            ("shop.example.com.:80", Ok(("shop.example.com", Some(80)))),
            ("localhost:", Ok(("localhost", None))),
            ("my_host-1", Ok(("my_host-1", None))),
            ("127.0.0.1:80", Ok(("127.0.0.1", Some(80)))),
            ("[::1]", Ok(("[::1]", None))),
            ("[0:0::1]:443", Ok(("[::1]", Some(443)))),
            ("[2001:DB8::A]", Ok(("[2001:db8::a]", None))),
            ("", Ok(("", None))),
            (":80", Err(BadHost)),
            (".", Err(BadHost)),
            ("a..b", Err(BadHost)),
            (".a", Err(BadHost)),
            ("a..", Err(BadHost)),
            ("a b", Err(BadHost)),
            ("a/b", Err(BadHost)),
            ("a\\b", Err(BadHost)),
            ("u@h", Err(BadHost)),
            ("a%2eb", Err(BadHost)),
            ("*.example.com", Err(BadHost)),
            ("ü.example", Err(BadHost)),
            ("a,b", Err(BadHost)),
            ("a:b", Err(BadHost)),
            ("a:+80", Err(BadHost)),
            ("a:65536", Err(BadHost)),
            ("a:1:2", Err(BadHost)),
            ("::1", Err(BadHost)),
            ("[::1", Err(BadHost)),
            ("[::1]x", Err(BadHost)),
            ("[::1%25eth0]", Err(BadHost)),
            ("[v1.x]", Err(BadHost)),
            ("[127.0.0.1]", Err(BadHost)),
        ] {
            let host = Host::parse(authority.as_bytes());
            let found = host.as_ref().map(|host| (host.as_str(), host.port())).map_err(|e| *e);
            assert_eq!(found, expected, "{authority}");
        }
        assert_eq!(Host::parse(b"\xff"), Err(BadHost));
        assert_eq!(Host::parse("a".repeat(300).as_bytes()), Err(BadHost));
    }

    #[test]
    fn lower_case_names_are_borrowed() {
        let host = Host::parse(b"shop.example.com:443").expect("a good host");
        assert!(matches!(host.name, Cow::Borrowed(_)));
    }

    #[test]
    fn authorities_must_be_covered_by_the_certificate() {
        for (authority, names, expected) in [
            ("shop.example.com", &["shop.example.com"][..], true),
            ("SHOP.example.com.:8443", &["x", "Shop.Example.Com"], true),
            ("a.example.com", &["*.example.com"], true),
            ("a.b.example.com", &["*.example.com"], false),
            ("example.com", &["*.example.com"], false),
            ("a.example.com", &["a*.example.com"], false),
            ("a.b.example.com", &["*.*.example.com"], false),
            ("a.b.example.com", &["a.*.example.com"], false),
            ("evil.com", &["shop.example.com"], false),
            ("shop.example.com", &[], false),
            ("", &[""], false),
            ("a b", &["a b"], false),
            ("192.0.2.1", &["192.0.2.1"], true),
            ("192.0.2.1", &["*.0.2.1"], false),
            ("[2001:db8::1]", &["2001:DB8:0::1"], true),
            ("[2001:db8::1]", &["2001:db8::2"], false),
        ] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let matched = authority_matches(authority.as_bytes(), &names);
            assert_eq!(matched, expected, "{authority} {names:?}");
        }
    }
}
