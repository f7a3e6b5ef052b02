//! Whether a certificate is for a host (OpenSSL `X509_check_host`): by its alternative names, and by its
//! common name where it has no alternative name of a host (RFC 6125 section 6.4.4).

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Whether the certificate is for this host, a name or an address.
pub fn is_for(der: &[u8], host: &str) -> bool {
    let Ok((_, cert)) = X509Certificate::from_der(der) else { return false };
    let Ok(alternatives) = cert.subject_alternative_name() else { return false };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return false;
    }
    let mut has_names = false;
    for name in alternatives.iter().flat_map(|found| &found.value.general_names) {
        match name {
            GeneralName::DNSName(name) => {
                has_names = true;
                if covers(name, host) {
                    return true;
                }
            }
            GeneralName::IPAddress(bytes) if is_address(bytes, host) => return true,
            _ => {}
        }
    }
    !has_names
        && cert.subject().iter_common_name().any(|name| {
            // A zero in the middle ends no name.
            name.as_str().is_ok_and(|name| !name.contains('\0') && covers(name, host))
        })
}

/// A wildcard stands for exactly one label, the first, and at least two follow.
fn covers(name: &str, host: &str) -> bool {
    let Some(domain) = name.strip_prefix("*.") else { return name.eq_ignore_ascii_case(host) };
    let (Some((label, parent)), true) = (host.split_once('.'), domain.contains('.')) else {
        return false;
    };
    !label.is_empty() && host.parse::<IpAddr>().is_err() && parent.eq_ignore_ascii_case(domain)
}

fn is_address(bytes: &[u8], host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.octets() == bytes,
        Ok(IpAddr::V6(address)) => address.octets() == bytes,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_wildcard_is_one_label() {
        for (name, host, expected) in [
            ("a.example", "A.example", true),
            ("a.example", "b.a.example", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "example.com", false),
            ("*.com", "example.com", false),
            ("*.0.0.1", "127.0.0.1", false),
            ("", "a", false),
        ] {
            assert_eq!(covers(name, host), expected, "{name} {host}");
        }
    }
}
