//! Addresses of `listen`, `server` and their like, without looking names up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::number::number;

/// Whom an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A number, or `*`, or only a port: every address of IPv4.
    Ip(IpAddr),
    /// To be looked up.
    Name(String),
    /// A socket in the file system.
    Unix(String),
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: Host,
    /// As written; a socket of the file system has none.
    pub port: Option<u16>,
    /// Where a range of ports ends.
    pub last_port: Option<u16>,
}

/// Which forms are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `listen`: a port alone, `*`, ranges of ports.
    Listen,
    /// `server` in `upstream`: always a host.
    Server,
}

/// The longest path of a socket in the file system.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Reads an address.
///
/// # Errors
/// nginx's words for what is wrong; the directive says of what.
pub fn address(text: &str, form: Form) -> Result<Address, &'static str> {
    let unix = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("unix:"));
    if unix {
        let path = &text[5..];
        return match path.len() {
            0 => Err("no path in the unix domain socket"),
            length if length > UNIX_PATH_BYTES_MAX => {
                Err("too long path in the unix domain socket")
            }
            _ => Ok(Address { host: Host::Unix(path.to_owned()), port: None, last_port: None }),
        };
    }
    match text.strip_prefix('[') {
        Some(rest) => ipv6(rest, form),
        None => inet(text, form),
    }
}

fn ipv6(text: &str, form: Form) -> Result<Address, &'static str> {
    let (host, rest) = text.split_once(']').ok_or("invalid host")?;
    if rest.contains('/') {
        return Err("invalid host");
    }
    let (port, last_port) = match rest.strip_prefix(':') {
        Some(port) => ports(port, form)?,
        None if rest.is_empty() => (None, None),
        None => return Err("invalid host"),
    };
    if host.is_empty() {
        return Err("no host");
    }
    // A zone says through which interface; it is of use on this machine only.
    let bare = host.split('%').next().unwrap_or(host);
    let ip: Ipv6Addr = bare.parse().map_err(|_| "invalid IPv6 address")?;
    Ok(Address { host: Host::Ip(ip.into()), port, last_port })
}

fn inet(text: &str, form: Form) -> Result<Address, &'static str> {
    if text.contains(['/', '?']) {
        return Err("invalid host");
    }
    let (host, (port, last_port)) = match text.split_once(':') {
        Some((host, port)) => (host, ports(port, form)?),
        None if form == Form::Listen && is_ports(text) => {
            let (port, last_port) = ports(text, form)?;
            return Ok(Address { host: Host::Ip(ANY), port, last_port });
        }
        None => (text, (None, None)),
    };
    let host = match host {
        "" => return Err("no host"),
        "*" if form == Form::Listen => Host::Ip(ANY),
        _ => ipv4(host).map_or_else(|| Host::Name(host.to_owned()), |ip| Host::Ip(IpAddr::V4(ip))),
    };
    Ok(Address { host, port, last_port })
}

/// Four numbers with dots between them. nginx takes none for zero, and leading zeros for nothing.
pub fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        for digit in parts.next()?.bytes() {
            let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
            *octet = octet.checked_mul(10)?.checked_add(digit)?;
        }
    }
    parts.next().is_none().then(|| octets.into())
}

/// A network: an address, with or without the length of its prefix.
pub fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(number(length)?)),
        None => (text, None),
    };
    let ip = match ipv4(address) {
        Some(ip) => IpAddr::V4(ip),
        None => IpAddr::V6(address.parse().ok()?),
    };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let length = u8::try_from(length.unwrap_or(most)).ok()?;
    (u64::from(length) <= most).then_some((ip, length))
}

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Whether a text is a port or two of them, of whatever size.
fn is_ports(text: &str) -> bool {
    let (first, last) = text.split_once('-').unwrap_or((text, "0"));
    number(first).is_some() && number(last).is_some()
}

/// One port, or where they are allowed a range.
fn ports(text: &str, form: Form) -> Result<(Option<u16>, Option<u16>), &'static str> {
    let port = |text: &str| {
        let port = number(text).and_then(|port| u16::try_from(port).ok());
        port.filter(|port| *port > 0).ok_or("invalid port")
    };
    match text.split_once('-') {
        Some((first, last)) if form == Form::Listen => {
            let (last, first) = (port(last)?, port(first)?);
            if first > last {
                return Err("invalid port range");
            }
            Ok((Some(first), Some(last)))
        }
        _ => Ok((Some(port(text)?), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Host, address, network};

    #[track_caller]
    fn check(text: &str, form: Form, expected: &str) {
        let shown = match address(text, form) {
            Ok(address) => {
                let host = match address.host {
                    Host::Ip(ip) => ip.to_string(),
                    Host::Name(name) => format!("name {name}"),
                    Host::Unix(path) => format!("unix {path}"),
                };
                let port = address.port.map_or_else(String::new, |port| format!(" {port}"));
                let last = address.last_port.map_or_else(String::new, |last| format!("-{last}"));
                format!("{host}{port}{last}")
            }
            Err(wrong) => format!("! {wrong}"),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn addresses_of_listen() {
        for (text, expected) in [
            ("80", "0.0.0.0 80"),
            ("080", "0.0.0.0 80"),
            ("80-90", "0.0.0.0 80-90"),
            ("*", "0.0.0.0"),
            ("*:80", "0.0.0.0 80"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1:8080", "127.0.0.1 8080"),
            ("127.000.00.01:80", "127.0.0.1 80"),
            ("127.1:80", "name 127.1 80"),
            ("1.2.3.256", "name 1.2.3.256"),
            ("127.0.0.1:80-90", "127.0.0.1 80-90"),
            ("[::1]", "::1"),
            ("[::]:80", ":: 80"),
            ("[::ffff:1.2.3.4]:80", "::ffff:1.2.3.4 80"),
            ("[::1%lo]:80", "::1 80"),
            ("localhost:80", "name localhost 80"),
            ("80a", "name 80a"),
            ("80-", "name 80-"),
            ("99999999999999999999", "name 99999999999999999999"),
            ("unix:/run/x.sock", "unix /run/x.sock"),
            ("UNIX:/run/x.sock", "unix /run/x.sock"),
            ("0", "! invalid port"),
            ("65536", "! invalid port"),
            ("*:0", "! invalid port"),
            ("127.0.0.1:", "! invalid port"),
            ("127.0.0.1:x", "! invalid port"),
            ("127.0.0.1:80-70000", "! invalid port"),
            ("1:2:3", "! invalid port"),
            ("90-80", "! invalid port range"),
            (":80", "! no host"),
            ("", "! no host"),
            ("[]:80", "! no host"),
            ("[::1", "! invalid host"),
            ("[::1]80", "! invalid host"),
            ("80/udp", "! invalid host"),
            ("a?b", "! invalid host"),
            ("[x]:80", "! invalid IPv6 address"),
            ("unix:", "! no path in the unix domain socket"),
        ] {
            check(text, Form::Listen, expected);
        }
        let long = format!("unix:/{}", "x".repeat(107));
        check(&long, Form::Listen, "! too long path in the unix domain socket");
    }

    #[test]
    fn networks_have_a_length() {
        let shown = |text| network(text).map(|(ip, length)| format!("{ip}/{length}"));
        assert_eq!(shown("10.0.0.0/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(shown("10.0.0.1").as_deref(), Some("10.0.0.1/32"));
        assert_eq!(shown("fd00::/8").as_deref(), Some("fd00::/8"));
        assert_eq!(shown("::1").as_deref(), Some("::1/128"));
        for text in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/8/8"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_of_upstreams_always_have_a_host() {
        check("80", Form::Server, "name 80");
        check("*:80", Form::Server, "name * 80");
        check("app:8080", Form::Server, "name app 8080");
        check("127.0.0.1:80-90", Form::Server, "! invalid port");
        check("http://127.0.0.1", Form::Server, "! invalid host");
    }
}
