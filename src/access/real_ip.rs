//! Who a client is, where a trusted proxy tells it: `set_real_ip_from`, `real_ip_header`,
//! `real_ip_recursive`, exactly as nginx reads them.

use std::net::{IpAddr, Ipv6Addr};

use super::rules::Whom;

/// Whom to believe, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealIp {
    pub from: Vec<Whom>,
    pub header: Header,
    /// The last address that is not itself trusted, in place of the last one.
    pub recursive: bool,
}

/// Where a trusted proxy says who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// All lines of it.
    ForwardedFor,
    /// The first line of another field, by its name in lower case.
    Field(Box<str>),
    /// What came before the request (PROXY protocol).
    ProxyProtocol,
}

/// Who asks, as a proxy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub ip: IpAddr,
    /// `None` where it was not said.
    pub port: Option<u16>,
    /// Those in between, the peer last.
    pub passed: Vec<IpAddr>,
}

/// More proxies than anybody has in a row.
const HOPS_MAX: usize = 64;

impl RealIp {
    /// Whether a peer, or who it speaks for, is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.from.iter().any(|whom| whom.is(Some(address)))
    }

    /// Who asks, by the lines of the field; `None`: whoever the peer is.
    pub fn find<'v>(
        &self,
        peer: IpAddr,
        lines: impl DoubleEndedIterator<Item = &'v [u8]>,
    ) -> Option<Found> {
        let mut found = Found { ip: peer.to_canonical(), port: None, passed: Vec::new() };
        let all: Box<dyn Iterator<Item = &[u8]>> = match self.header {
            Header::ForwardedFor => Box::new(lines.rev()),
            Header::Field(_) | Header::ProxyProtocol => Box::new(lines.take(1)),
        };
        for line in all {
            let is_whole = self.walk(line, &mut found);
            if !self.recursive || !is_whole {
                break;
            }
        }
        (!found.passed.is_empty()).then_some(found)
    }

    /// Walks a line from its end; whether all of it was believed.
    fn walk(&self, line: &[u8], found: &mut Found) -> bool {
        let is_between = |byte: &u8| matches!(byte, b' ' | b',');
        let mut rest = line;
        loop {
            if !self.trusts(found.ip) || found.passed.len() >= HOPS_MAX {
                return false;
            }
            let end = rest.iter().rposition(|byte| !is_between(byte)).map_or(0, |at| at + 1);
            rest = rest.get(..end).unwrap_or_default();
            let begin = rest.iter().rposition(is_between).map_or(0, |at| at + 1);
            let Some((ip, port)) = rest.get(begin..).and_then(address) else { return false };
            found.passed.insert(0, std::mem::replace(&mut found.ip, ip));
            found.port = port;
            rest = rest.get(..begin.saturating_sub(1)).unwrap_or_default();
            if !self.recursive || begin == 0 {
                return true;
            }
        }
    }
}

/// An address, with or without a port; one of IPv6 has brackets only where a port follows.
fn address(text: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some((ip.to_canonical(), None));
    }
    let (host, port) = text.rsplit_once(':')?;
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| is_number && *port > 0)?;
    let ip = match host.strip_prefix('[') {
        Some(host) => IpAddr::V6(host.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?),
        None => IpAddr::V4(host.parse().ok()?),
    };
    Some((ip.to_canonical(), Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real_ip(header: Header, recursive: bool) -> RealIp {
        let from = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"];
        let from = from.iter().map(|text| Whom::parse(text).expect(text)).collect();
        RealIp { from, header, recursive }
    }

    #[track_caller]
    fn check(header: Header, recursive: bool, lines: &[&str], expected: Option<&str>) {
        let peer = "10.0.0.1".parse().expect("an address");
        let found = real_ip(header, recursive).find(peer, lines.iter().map(|line| line.as_bytes()));
        let shown = found.map(|Found { ip, port, .. }| match port {
            Some(port) => format!("{ip} {port}"),
            None => ip.to_string(),
        });
        assert_eq!(shown.as_deref(), expected, "{lines:?} {recursive}");
    }

    #[test]
    fn the_last_address_counts() {
        let field = || Header::Field("x-real-ip".into());
        for header in [field, || Header::ForwardedFor] {
            check(header(), false, &["1.2.3.4"], Some("1.2.3.4"));
            check(header(), false, &["1.2.3.4, 5.6.7.8"], Some("5.6.7.8"));
            check(header(), false, &["1.2.3.4,5.6.7.8, , "], Some("5.6.7.8"));
            check(header(), false, &["1.2.3.4 10.0.0.2"], Some("10.0.0.2"));
            check(header(), false, &["5.6.7.8:99"], Some("5.6.7.8 99"));
            check(header(), false, &["[2001:db8::1]:99"], Some("2001:db8::1 99"));
            check(header(), false, &["2001:db8::1"], Some("2001:db8::1"));
            check(header(), false, &["::ffff:1.2.3.4"], Some("1.2.3.4"));
            for nothing in
                ["", "unknown", "[::1]", "1.2.3", "1.2.3.4:0", "1.2.3.4:x", "1.2.3.4:", "a, b"]
            {
                check(header(), false, &[nothing], None);
            }
            check(header(), false, &["1.2.3.4, x"], None);
        }
        check(field(), false, &["1.1.1.1", "2.2.2.2"], Some("1.1.1.1"));
        check(Header::ForwardedFor, false, &["1.1.1.1", "2.2.2.2"], Some("2.2.2.2"));
        check(Header::ForwardedFor, false, &[], None);
        check(Header::ProxyProtocol, false, &["1.1.1.1"], Some("1.1.1.1"));
    }

    #[test]
    fn recursively_the_last_one_that_is_not_trusted_counts() {
        let forwarded = || Header::ForwardedFor;
        check(forwarded(), true, &["1.2.3.4, 10.0.0.2"], Some("1.2.3.4"));
        check(forwarded(), true, &["9.9.9.9, 1.2.3.4, 10.0.0.2, 192.0.2.1"], Some("1.2.3.4"));
        check(forwarded(), true, &["10.0.0.3, 10.0.0.2"], Some("10.0.0.3"));
        check(forwarded(), true, &["x, 10.0.0.2"], Some("10.0.0.2"));
        check(forwarded(), true, &["1.2.3.4", "10.0.0.2"], Some("1.2.3.4"));
        check(forwarded(), true, &["1.2.3.4", "x", "10.0.0.2"], Some("10.0.0.2"));
        check(forwarded(), true, &["9.9.9.9", "1.2.3.4, 10.0.0.2"], Some("1.2.3.4"));
        check(forwarded(), true, &["x"], None);
    }

    #[test]
    fn who_is_not_trusted_tells_nothing() {
        let stranger = "198.51.100.1".parse().expect("an address");
        let lines = [&b"1.2.3.4"[..]];
        assert_eq!(real_ip(Header::ForwardedFor, true).find(stranger, lines.into_iter()), None);
        let peer = "10.0.0.1".parse().expect("an address");
        let lines = [&b"1.2.3.4, 10.0.0.2"[..]];
        let found = real_ip(Header::ForwardedFor, true).find(peer, lines.into_iter());
        let passed: Vec<IpAddr> = ["10.0.0.2", "10.0.0.1"].map(|ip| ip.parse().expect(ip)).into();
        assert_eq!(found.map(|found| found.passed), Some(passed));
    }
}
