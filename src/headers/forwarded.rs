//! `X-Forwarded-*` and who the client is.
//!
//! What a peer says about a client before it is believed only from the networks in
//! `trusted_proxies`, and of the address chain only the part that trusted hops wrote (nginx
//! `real_ip_recursive on`). Towards the workers the fields are always ours: applications such as
//! Rails or Django behind gunicorn believe them from anyone.
//!
//! The client's address is taken from `X-Forwarded-For` alone. `X-Real-IP` and `Forwarded` (RFC
//! 7239) are not read: a proxy that writes the one passes the others on as clients sent them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::{Edits, spelling};

const FORWARDED: HeaderName = http::header::FORWARDED;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What we know of a request's connection by ourselves.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// The address at its other end (from the PROXY line where there was one).
    pub peer: IpAddr,
    pub tls: bool,
    /// The listener's port.
    pub port: u16,
    /// The request's `Host` or `:authority`.
    pub host: Option<&'a [u8]>,
}

/// The client on whose behalf a request was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub ip: IpAddr,
    /// Whether the client itself speaks TLS, be it with us or with a trusted proxy.
    pub https: bool,
    /// The host that the client asked for; `None` where it named none, or nonsense.
    pub host: Option<HeaderValue>,
    /// The port that the client connected to.
    pub port: u16,
    /// Whether the peer is a trusted proxy.
    pub via_trusted: bool,
    /// The addresses from the client's to the peer's, both included.
    chain: Vec<IpAddr>,
}

impl Client {
    /// Works out the client from the connection, and where the peer is trusted from the head.
    ///
    /// IPv4 addresses in IPv6 form (`::ffff:192.0.2.1`, a dual-stack socket's) become IPv4.
    pub fn of(connection: Connection<'_>, trusted: &[IpNet], headers: &HeaderMap) -> Self {
        let peer = connection.peer.to_canonical();
        let host = connection.host.and_then(authority_value);
        if !is_trusted(peer, trusted) {
            return Self {
                ip: peer,
                https: connection.tls,
                host,
                port: connection.port,
                via_trusted: false,
                chain: vec![peer],
            };
        }
        let chain = believed_chain(peer, trusted, headers);
        let proto = believed_proto(headers);
        let https = proto.unwrap_or(connection.tls);
        let host = last_element(headers, &X_FORWARDED_HOST).and_then(authority_value).or(host);
        let port = last_element(headers, &X_FORWARDED_PORT)
            .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
            .filter(|port| *port != 0)
            .unwrap_or(match proto {
                // The proxy's own port is unknown: the scheme's, then.
                Some(true) => 443,
                Some(false) => 80,
                None => connection.port,
            });
        Self { ip: chain[0], https, host, port, via_trusted: true, chain }
    }

    /// The fields for the worker: every spelling of what a client may have sent goes, ours are set.
    ///
    /// A trusted proxy's fields that we have no word for (`X-Forwarded-Prefix`) stay, and so does its
    /// `Forwarded` where it sends no `X-Forwarded-For`: beside that, nobody knows who wrote it.
    pub fn edits(&self, headers: &HeaderMap) -> Edits {
        let keeps_forwarded = self.via_trusted && !headers.contains_key(X_FORWARDED_FOR);
        let remove = headers
            .keys()
            .filter(|name| {
                is_about_client(name.as_str())
                    && !(self.via_trusted && may_stay(name.as_str(), keeps_forwarded))
            })
            .cloned()
            .collect();
        let mut set = Vec::with_capacity(5);
        set.push(("X-Forwarded-For", chain_value(&self.chain)));
        let proto = if self.https { "https" } else { "http" };
        set.push(("X-Forwarded-Proto", HeaderValue::from_static(proto)));
        if let Some(host) = &self.host {
            set.push(("X-Forwarded-Host", host.clone()));
        }
        set.push(("X-Forwarded-Port", HeaderValue::from(self.port)));
        set.push(("X-Real-Ip", chain_value(&[self.ip])));
        Edits { remove, set }
    }
}

/// Whether a field, of a head or a trailer, says something about the client or its request that
/// only a proxy may say.
pub fn is_about_client(name: &str) -> bool {
    spelling::begins(name, "x-forwarded-")
        || SAME_AS_PROTO.iter().chain(ABOUT_CLIENT).any(|known| spelling::is(name, known))
}

/// Other fields that proxies write. The last ones replace the path of a request for some frameworks,
/// which would lead it around the rules of its route.
const ABOUT_CLIENT: &[&str] = &[
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// Other ways to write `X-Forwarded-Proto`. They are never passed on: workers that find two that
/// differ refuse the request (gunicorn) or take the wrong one.
const SAME_AS_PROTO: &[&str] = &[
    "x-forwarded-ssl",
    "x-forwarded-scheme",
    "x-forwarded-protocol",
    "x-scheme",
    "x-url-scheme",
    "front-end-https",
];

/// Whether a field about the client may be passed on from a trusted proxy.
fn may_stay(name: &str, keeps_forwarded: bool) -> bool {
    // In another spelling it was not the proxy that wrote it.
    spelling::is_plain(name)
        && !SAME_AS_PROTO.contains(&name)
        && !OURS.iter().any(|ours| ours == name)
        && (name != FORWARDED.as_str() || keeps_forwarded)
}

/// What we set.
const OURS: [HeaderName; 5] =
    [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_FORWARDED_PORT, X_REAL_IP];

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Walks `X-Forwarded-For` from its end to the first address that is not a trusted proxy's. What is
/// no address ends the walk, since nothing before it can be vouched for.
fn believed_chain(peer: IpAddr, trusted: &[IpNet], headers: &HeaderMap) -> Vec<IpAddr> {
    let mut chain = vec![peer];
    let fields = headers.get_all(X_FORWARDED_FOR).iter().rev();
    for element in fields.flat_map(|field| elements_from_end(field.as_bytes())).take(HOPS_MAX) {
        let Some(address) = parse_address(element) else { break };
        chain.push(address);
        if !is_trusted(address, trusted) {
            break;
        }
    }
    chain.reverse();
    chain
}

/// More proxies than anybody has in a row.
const HOPS_MAX: usize = 32;

/// Reads an address, with or without a port (some load balancers write one).
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let literal = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| literal().map(IpAddr::V6))?;
    Some(address.to_canonical())
}

/// The scheme that the nearest proxy speaks of: `Some(true)` for `https`.
fn believed_proto(headers: &HeaderMap) -> Option<bool> {
    let proto = last_element(headers, &X_FORWARDED_PROTO)?;
    if proto.eq_ignore_ascii_case(b"https") {
        return Some(true);
    }
    proto.eq_ignore_ascii_case(b"http").then_some(false)
}

/// The last element of a list in all fields of a name: what the peer itself wrote.
fn last_element<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    headers.get_all(name).iter().rev().flat_map(|field| elements_from_end(field.as_bytes())).next()
}

/// The elements of a list (RFC 9110 section 5.6.1), the last one first, empty ones left out.
fn elements_from_end(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|text| !text.is_empty())
}

/// A host with or without port as a field value, if nothing in it can be misread.
fn authority_value(text: &[u8]) -> Option<HeaderValue> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
    if text.is_empty() || !text.iter().all(plain) {
        return None;
    }
    HeaderValue::from_bytes(text).ok()
}

fn chain_value(chain: &[IpAddr]) -> HeaderValue {
    let mut text = String::with_capacity(chain.len() * 16);
    for address in chain {
        let separator = if text.is_empty() { "" } else { ", " };
        write!(text, "{separator}{address}").expect("writing to a string does not fail");
    }
    HeaderValue::try_from(text).expect("addresses are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::from_str(value).expect("a good value");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    fn client(peer: &str, headers: &HeaderMap) -> Client {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().expect("a network")).into();
        let peer = peer.parse().expect("an address");
        let connection =
            Connection { peer, tls: false, port: 8080, host: Some(b"shop.example:8080") };
        Client::of(connection, &trusted, headers)
    }

    /// The client's address and the `X-Forwarded-For` that the worker gets.
    #[track_caller]
    fn check_chain(peer: &str, fields: &[&str], expected: (&str, &str)) {
        let fields: Vec<_> = fields.iter().map(|field| ("x-forwarded-for", *field)).collect();
        let mut headers = head(&fields);
        let client = client(peer, &headers);
        client.edits(&headers).apply(&mut headers);
        let sent: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        assert_eq!(sent, [expected.1], "{peer} {fields:?}");
        assert_eq!(client.ip.to_string(), expected.0, "{peer} {fields:?}");
        assert_eq!(headers["x-real-ip"], expected.0);
    }

    #[test]
    fn strangers_are_not_believed() {
        check_chain("192.0.2.1", &[], ("192.0.2.1", "192.0.2.1"));
        check_chain("192.0.2.1", &["10.0.0.1"], ("192.0.2.1", "192.0.2.1"));
        check_chain("::ffff:192.0.2.1", &["10.0.0.1"], ("192.0.2.1", "192.0.2.1"));
    }

    #[test]
    fn the_chain_is_believed_as_far_as_trusted_hops_wrote_it() {
        for (fields, expected) in [
            (&[][..], ("10.0.0.1", "10.0.0.1")),
            (&["192.0.2.1"], ("192.0.2.1", "192.0.2.1, 10.0.0.1")),
            (&["6.6.6.6, 192.0.2.1"], ("192.0.2.1", "192.0.2.1, 10.0.0.1")),
            (&["192.0.2.1, 10.0.0.2"], ("192.0.2.1", "192.0.2.1, 10.0.0.2, 10.0.0.1")),
            (&["192.0.2.1", "10.0.0.2"], ("192.0.2.1", "192.0.2.1, 10.0.0.2, 10.0.0.1")),
            (&["10.0.0.3, 10.0.0.2"], ("10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1")),
            (&["192.0.2.1, junk, 10.0.0.2"], ("10.0.0.2", "10.0.0.2, 10.0.0.1")),
            (&["192.0.2.1, unknown"], ("10.0.0.1", "10.0.0.1")),
            (&["192.0.2.1,, "], ("192.0.2.1", "192.0.2.1, 10.0.0.1")),
            (&["192.0.2.1:5678"], ("192.0.2.1", "192.0.2.1, 10.0.0.1")),
            (&["[2001:DB9::1]:5678"], ("2001:db9::1", "2001:db9::1, 10.0.0.1")),
            (&["[2001:db9::1]"], ("2001:db9::1", "2001:db9::1, 10.0.0.1")),
            (&["::ffff:192.0.2.1"], ("192.0.2.1", "192.0.2.1, 10.0.0.1")),
            (&["192.0.2.1, 2001:db8::7"], ("192.0.2.1", "192.0.2.1, 2001:db8::7, 10.0.0.1")),
            (&["192.0.2.256"], ("10.0.0.1", "10.0.0.1")),
        ] {
            check_chain("10.0.0.1", fields, expected);
        }
    }

    #[test]
    fn endless_chains_are_cut() {
        let long = vec!["10.0.0.2"; 1000].join(",");
        let client = client("10.0.0.1", &head(&[("x-forwarded-for", long.as_str())]));
        assert_eq!(client.chain.len(), HOPS_MAX + 1);
    }

    #[test]
    fn scheme_host_and_port_come_from_trusted_peers_only() {
        let proto = "x-forwarded-proto";
        let host = "x-forwarded-host";
        let port = "x-forwarded-port";
        let own = "shop.example:8080";
        for (peer, fields, expected) in [
            ("192.0.2.1", &[(proto, "https"), (host, "evil"), (port, "1")][..], (false, own, 8080)),
            ("10.0.0.1", &[], (false, own, 8080)),
            ("10.0.0.1", &[(proto, "https")], (true, own, 443)),
            ("10.0.0.1", &[(proto, "HTTP")], (false, own, 80)),
            ("10.0.0.1", &[(proto, "gopher")], (false, own, 8080)),
            ("10.0.0.1", &[(proto, "https, http")], (false, own, 80)),
            ("10.0.0.1", &[(proto, "http"), (proto, "https")], (true, own, 443)),
            ("10.0.0.1", &[(host, "a, shop.test")], (false, "shop.test", 8080)),
            ("10.0.0.1", &[(host, "a b")], (false, own, 8080)),
            ("10.0.0.1", &[(proto, "https"), (port, "8443")], (true, own, 8443)),
            ("10.0.0.1", &[(port, "0")], (false, own, 8080)),
            ("10.0.0.1", &[(port, "99999")], (false, own, 8080)),
        ] {
            let mut headers = head(fields);
            let client = client(peer, &headers);
            client.edits(&headers).apply(&mut headers);
            let found = (client.https, headers[host].to_str().expect("ASCII"), client.port);
            assert_eq!(found, expected, "{peer} {fields:?}");
            assert_eq!(headers[proto], if expected.0 { "https" } else { "http" });
            assert_eq!(headers[port], expected.2.to_string().as_str());
        }
    }

    /// The names that are left of a head after the edits, but for ours.
    fn kept(peer: &str, names: &[&'static str]) -> Vec<String> {
        // No address, scheme, host or port: even where the peer is trusted, it becomes none of ours.
        let fields: Vec<_> = names.iter().map(|name| (*name, "not ours")).collect();
        let mut headers = head(&fields);
        client(peer, &headers).edits(&headers).apply(&mut headers);
        let mut kept: Vec<String> = headers
            .iter()
            .filter(|(_, value)| *value == "not ours")
            .map(|(name, _)| name.to_string())
            .collect();
        kept.sort();
        kept
    }

    #[test]
    fn forged_fields_go_in_every_spelling() {
        let names = [
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded_for",
            "x-forwarded-proto",
            "x_forwarded_proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-user",
            "x-forwarded-ssl",
            "x-real-ip",
            "x_real_ip",
            "forwarded",
            "client_ip",
            "x-original-url",
            "front-end-https",
            "x-other",
            "x_other",
        ];
        assert_eq!(kept("192.0.2.1", &names), ["x-other", "x_other"]);
        assert_eq!(
            kept("10.0.0.1", &names),
            ["x-forwarded-prefix", "x-forwarded-user", "x-original-url", "x-other", "x_other"]
        );
    }

    #[test]
    fn forwarded_is_kept_from_a_trusted_peer_that_speaks_nothing_else() {
        assert_eq!(kept("10.0.0.1", &["forwarded"]), ["forwarded"]);
        assert_eq!(kept("10.0.0.1", &["forwarded", "x-forwarded-for"]), [""; 0]);
        assert_eq!(kept("192.0.2.1", &["forwarded"]), [""; 0]);
    }

    #[test]
    fn a_request_without_host_gets_no_forwarded_host() {
        let connection = Connection {
            peer: "192.0.2.1".parse().expect("an address"),
            tls: true,
            port: 443,
            host: None,
        };
        let mut headers = head(&[("x-forwarded-host", "evil.example")]);
        Client::of(connection, &[], &headers).edits(&headers).apply(&mut headers);
        assert!(!headers.contains_key("x-forwarded-host"));
        assert_eq!(headers["x-forwarded-proto"], "https");
    }
}
