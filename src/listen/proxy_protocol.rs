//! The PROXY protocol, versions 1 and 2: what a load balancer says of a connection before its first byte.
//!
//! Pure: bytes to what they say. A listener that expects it closes connections that begin otherwise, since
//! nobody else could tell a load balancer from somebody who plays one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1, with its end.
const LINE_MAX: usize = 107;
/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = SIGNATURE.len() + 4;
/// No more is taken in, as in nginx: addresses, and what is said beside them.
pub const BYTES_MAX: usize = 4096;

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxied {
    /// Who asked, and where; nothing where the load balancer asks for itself, or does not know.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// What else was said, each with its type (`$proxy_protocol_tlv_…`).
    tlvs: Vec<u8>,
}

/// Bytes that are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Reads a header: what it says and how long it is. `None`: more is to come.
///
/// # Errors
/// [`Broken`]: no header begins like this, or it is longer than any may be.
pub fn read(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, Broken> {
    let begun = bytes.len().min(SIGNATURE.len());
    if bytes[..begun] == SIGNATURE[..begun] {
        return if begun < SIGNATURE.len() { Ok(None) } else { second(bytes) };
    }
    first(bytes)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`
fn first(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, Broken> {
    const WORD: &[u8] = b"PROXY ";
    let begun = bytes.len().min(WORD.len());
    if bytes[..begun] != WORD[..begun] {
        return Err(Broken);
    }
    let Some(end) = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
        return if bytes.len() < LINE_MAX { Ok(None) } else { Err(Broken) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Broken)?;
    let line = std::str::from_utf8(&line[WORD.len()..]).map_err(|_| Broken)?;
    let mut words = line.split(' ');
    let ends = match words.next() {
        // Whatever follows is nobody's business.
        Some("UNKNOWN") => None,
        Some(family @ ("TCP4" | "TCP6")) => {
            let mut next = || words.next().ok_or(Broken);
            let (source, target) = (next()?, next()?);
            let (from, to) = (next()?, next()?);
            let end = |address, port| socket(family, address, port).ok_or(Broken);
            let ends = (end(source, from)?, end(target, to)?);
            if words.next().is_some() {
                return Err(Broken);
            }
            Some(ends)
        }
        _ => return Err(Broken),
    };
    Ok(Some((Proxied { ends, tlvs: Vec::new() }, end + 1)))
}

fn socket(family: &str, address: &str, port: &str) -> Option<SocketAddr> {
    let ip: IpAddr = match family {
        "TCP4" => address.parse::<Ipv4Addr>().ok()?.into(),
        _ => address.parse::<Ipv6Addr>().ok()?.into(),
    };
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    Some(SocketAddr::new(ip, port.parse().ok().filter(|_| is_number)?))
}

/// Version 2: signature, version with command, family with transport, length; then addresses and the rest.
fn second(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, Broken> {
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Ok(None);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || length > BYTES_MAX {
        return Err(Broken);
    }
    let Some(body) = bytes.get(FIXED..length) else { return Ok(None) };
    // LOCAL: a health check of the load balancer's own.
    if command & 0xf == 0 {
        return Ok(Some((Proxied::default(), length)));
    }
    if command & 0xf != 1 {
        return Err(Broken);
    }
    let (ends, rest) = match family {
        0x11 => {
            let (&[a, b, c, d, e, f, g, h, i, j, k, l], rest) =
                body.split_first_chunk::<12>().ok_or(Broken)?;
            let port = |high, low| u16::from_be_bytes([high, low]);
            let source = SocketAddr::from(([a, b, c, d], port(i, j)));
            (Some((source, SocketAddr::from(([e, f, g, h], port(k, l))))), rest)
        }
        0x21 => {
            let (both, rest) = body.split_first_chunk::<36>().ok_or(Broken)?;
            let address = |at: usize| {
                let octets: [u8; 16] = both[at..at + 16].try_into().unwrap_or_default();
                Ipv6Addr::from(octets)
            };
            let port = |at: usize| u16::from_be_bytes([both[at], both[at + 1]]);
            let source = SocketAddr::from((address(0), port(32)));
            (Some((source, SocketAddr::from((address(16), port(34))))), rest)
        }
        // Of other transports and families there is nothing to be told.
        _ => (None, &[][..]),
    };
    Ok(Some((Proxied { ends, tlvs: rest.to_vec() }, length)))
}

/// Names of what may be said beside addresses, as nginx has them.
const NAMES: [(&str, u8); 5] =
    [("alpn", 0x01), ("authority", 0x02), ("unique_id", 0x05), ("ssl", 0x20), ("netns", 0x30)];
/// What stands inside of `ssl`.
const SSL_NAMES: [(&str, u8); 5] = [
    ("ssl_version", 0x21),
    ("ssl_cn", 0x22),
    ("ssl_cipher", 0x23),
    ("ssl_sig_alg", 0x24),
    ("ssl_key_alg", 0x25),
];
/// Before what stands inside of `ssl`: a byte of the client's and four of the verdict on it.
const SSL_FIXED: usize = 5;

impl Proxied {
    /// What was said by this name: `alpn`, `ssl_cn`, `0xea`.
    pub fn tlv(&self, name: &str) -> Option<Vec<u8>> {
        let inside = || find(&self.tlvs, 0x20).filter(|ssl| ssl.len() >= SSL_FIXED);
        if name == "ssl_verify" {
            let verdict = inside()?.get(1..SSL_FIXED)?.try_into().ok()?;
            return Some(u32::from_be_bytes(verdict).to_string().into_bytes());
        }
        if let Some((_, kind)) = SSL_NAMES.iter().find(|(known, _)| *known == name) {
            return find(inside()?.get(SSL_FIXED..)?, *kind).map(<[u8]>::to_vec);
        }
        let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let hex = || u8::from_str_radix(name.strip_prefix("0x")?, 16).ok();
        find(&self.tlvs, known.or_else(hex)?).map(<[u8]>::to_vec)
    }
}

/// The first of this type.
fn find(mut tlvs: &[u8], wanted: u8) -> Option<&[u8]> {
    while let Some((&[kind, high, low], rest)) = tlvs.split_first_chunk::<3>() {
        let (value, next) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        if kind == wanted {
            return Some(value);
        }
        tlvs = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends, and how long the header is.
    type Header<'a> = (Option<(&'a str, &'a str)>, usize);

    fn check(bytes: &[u8], expected: Result<Option<Header<'_>>, Broken>) {
        let address = |text: &str| text.parse().expect("an address");
        let expected = expected.map(|some| {
            some.map(|(ends, length)| (ends.map(|(a, b)| (address(a), address(b))), length))
        });
        let found = read(bytes).map(|some| some.map(|(proxied, length)| (proxied.ends, length)));
        assert_eq!(found, expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn lines_of_version_1() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
        let ends = Some(("192.0.2.1:56324", "192.0.2.2:443"));
        check(line, Ok(Some((ends, line.len()))));
        check(&[line, &b"GET /"[..]].concat(), Ok(Some((ends, line.len()))));
        for length in 0..line.len() {
            check(&line[..length], Ok(None));
        }
        check(
            b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
            Ok(Some((Some(("[2001:db8::1]:1", "[::1]:65535")), 36))),
        );
        check(b"PROXY UNKNOWN\r\n", Ok(Some((None, 15))));
        check(b"PROXY UNKNOWN 1 2 3\r\nx", Ok(Some((None, 21))));
    }

    #[test]
    fn lines_that_are_none() {
        for bad in [
            "G",
            "GET / HTTP/1.1\r\n",
            "PROXY\r\n",
            "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "\r\n\r\nX",
        ] {
            check(bad.as_bytes(), Err(Broken));
        }
        check(format!("PROXY UNKNOWN {}", "x".repeat(100)).as_bytes(), Err(Broken));
    }

    fn second(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, body].concat()
    }

    #[test]
    fn headers_of_version_2() {
        let body = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb];
        let header = second(0x21, 0x11, &body);
        let ends = Some(("192.0.2.1:56324", "192.0.2.2:443"));
        check(&header, Ok(Some((ends, 28))));
        for length in 1..header.len() {
            check(&header[..length], Ok(None));
        }
        let v6 = [&[0; 15][..], &[1], &[0; 15], &[2], &[0, 1, 0, 2]].concat();
        check(&second(0x21, 0x21, &v6), Ok(Some((Some(("[::1]:1", "[::2]:2")), 52))));
        check(&second(0x20, 0, b"anything"), Ok(Some((None, 24))));
        check(&second(0x21, 0x31, &[0; 216]), Ok(Some((None, 232))));
        check(&second(0x21, 0x11, &body[..11]), Err(Broken));
        check(&second(0x11, 0x11, &body), Err(Broken));
        check(&second(0x22, 0x11, &body), Err(Broken));
        check(&second(0x21, 0x11, &vec![0; BYTES_MAX]), Err(Broken));
    }

    #[test]
    fn what_is_said_beside_addresses_has_names() {
        let tlv = |kind: u8, value: &[u8]| {
            let length = u16::try_from(value.len()).expect("short").to_be_bytes();
            [&[kind][..], &length, value].concat()
        };
        let ssl = [&[7, 0, 0, 1, 0][..], &tlv(0x21, b"TLSv1.3"), &tlv(0x22, b"who")].concat();
        let tlvs = [tlv(1, b"h2"), tlv(0x20, &ssl), tlv(0xea, b"own"), vec![0x30, 0]].concat();
        let header = second(0x21, 0x11, &[&[0; 12][..], &tlvs].concat());
        let (proxied, _) = read(&header).expect("good").expect("whole");
        for (name, expected) in [
            ("alpn", Some("h2")),
            ("ssl_version", Some("TLSv1.3")),
            ("ssl_cn", Some("who")),
            ("ssl_verify", Some("256")),
            ("ssl_cipher", None),
            ("0xea", Some("own")),
            ("0xEA", Some("own")),
            ("0xeb", None),
            ("netns", None),
            ("other", None),
        ] {
            let found = proxied.tlv(name);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{name}");
        }
    }
}
