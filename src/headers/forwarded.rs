//! `X-Forwarded-*` and who the client is.
//!
//! What a peer says about a client before it is believed only from the networks in
//! `trusted_proxies`, and of the address chain only the part that trusted hops wrote (nginx
//! `real_ip_recursive on`). Towards the workers the fields are always ours: applications such as
//! Rails or Django behind gunicorn believe them from anyone.
//!
//! The client's address is taken from `X-Forwarded-For` alone. `X-Real-IP` and `Forwarded` (RFC
//! 7239) are not read: a proxy that writes the one passes the others on as clients sent them.

use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::spelling;
use crate::wire::fields::{Field, Fields, Unwritable};
use crate::wire::name::Name;
use crate::wire::write::decimal;

/// What we know of a request's connection by ourselves.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The address at its other end (from the PROXY line where there was one).
    pub peer: IpAddr,
    pub tls: bool,
    /// The listener's port.
    pub port: u16,
}

/// The client on whose behalf a request was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub ip: IpAddr,
    /// Whether the client itself speaks TLS, be it with us or with a trusted proxy.
    pub https: bool,
    /// The host that it asked a trusted proxy for, where that was said.
    asked_before: Option<Box<[u8]>>,
    /// The port that the client connected to.
    pub port: u16,
    /// Whether the peer is a trusted proxy.
    pub via_trusted: bool,
    /// Whether its `Forwarded` may be passed on.
    keeps_forwarded: bool,
    /// The addresses behind the client's own, to the peer's.
    chain: Vec<IpAddr>,
}

impl Client {
    /// Works out the client from the connection, and where the peer is trusted from the head.
    ///
    /// IPv4 addresses in IPv6 form (`::ffff:192.0.2.1`, a dual-stack socket's) become IPv4.
    pub fn of(connection: Connection, trusted: &[IpNet], head: &Fields) -> Self {
        let peer = connection.peer.to_canonical();
        if !is_trusted(peer, trusted) {
            return Self {
                ip: peer,
                https: connection.tls,
                asked_before: None,
                port: connection.port,
                via_trusted: false,
                keeps_forwarded: false,
                chain: Vec::new(),
            };
        }
        let (ip, chain) = believed_chain(peer, trusted, head);
        Self::told(connection, head, ip, chain)
    }

    /// The client as a trusted proxy tells it: its address, and those behind it to the peer's.
    pub fn told(connection: Connection, head: &Fields, ip: IpAddr, chain: Vec<IpAddr>) -> Self {
        let proto = believed_proto(head);
        let https = proto.unwrap_or(connection.tls);
        let asked_before =
            last_element(head, Name::XForwardedHost).and_then(authority_value).map(Box::from);
        let port = last_element(head, Name::XForwardedPort)
            .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
            .filter(|port| *port != 0)
            .unwrap_or(match proto {
                // The proxy's own port is unknown: the scheme's, then.
                Some(true) => 443,
                Some(false) => 80,
                None => connection.port,
            });
        let keeps_forwarded = !head.has(Name::XForwardedFor);
        Self { ip, https, asked_before, port, via_trusted: true, keeps_forwarded, chain }
    }

    /// The host that the client asked for, where we were asked for `authority`; nothing where it named
    /// none, or nonsense.
    pub fn host<'a>(&'a self, authority: Option<&'a [u8]>) -> Option<&'a [u8]> {
        self.asked_before.as_deref().or_else(|| authority.and_then(authority_value))
    }

    /// No fewer bytes than [`write`](Self::write) adds beside the host that we were asked for.
    pub fn room(&self) -> usize {
        const NAMES: usize = 80;
        const ADDRESS: usize = 41;
        NAMES
            + ADDRESS * (2 + self.chain.len())
            + self.asked_before.as_ref().map_or(0, |it| it.len())
    }

    /// Makes the fields fit for the worker: every spelling of what a client may have sent goes, ours
    /// are set.
    ///
    /// A trusted proxy's fields that we have no word for (`X-Forwarded-Prefix`) stay, and so does its
    /// `Forwarded` where it sends no `X-Forwarded-For`: beside that, nobody knows who wrote it.
    ///
    /// # Errors
    /// [`Unwritable`] where the head has no room for more.
    pub fn write(&self, authority: Option<&[u8]>, fields: &mut Fields) -> Result<(), Unwritable> {
        fields.retain(|field| {
            !is_about_client(field.name)
                || (self.via_trusted && may_stay(field, self.keeps_forwarded))
        });
        // None of these is there any more.
        fields.push_with(b"X-Forwarded-For", |text| write_chain(text, self.ip, &self.chain))?;
        fields.push(b"X-Forwarded-Proto", if self.https { b"https" } else { b"http" })?;
        if let Some(host) = self.host(authority) {
            fields.push(b"X-Forwarded-Host", host)?;
        }
        fields.push_with(b"X-Forwarded-Port", |text| decimal(text, self.port.into()))?;
        fields.push_with(b"X-Real-Ip", |text| write_address(text, self.ip))
    }
}

/// Whether a field, of a head or a trailer, says something about the client or its request that
/// only a proxy may say.
pub fn is_about_client(name: &[u8]) -> bool {
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
fn may_stay(field: Field<'_>, keeps_forwarded: bool) -> bool {
    // In another spelling it was not the proxy that wrote it.
    spelling::is_plain(field.name)
        && !SAME_AS_PROTO.iter().any(|proto| field.name.eq_ignore_ascii_case(proto.as_bytes()))
        && !OURS.contains(&field.known)
        && (field.known != Name::Forwarded || keeps_forwarded)
}

/// What we set.
const OURS: [Name; 5] = [
    Name::XForwardedFor,
    Name::XForwardedProto,
    Name::XForwardedHost,
    Name::XForwardedPort,
    Name::XRealIp,
];

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Walks `X-Forwarded-For` from its end to the first address that is not a trusted proxy's. What is
/// no address ends the walk, since nothing before it can be vouched for.
fn believed_chain(peer: IpAddr, trusted: &[IpNet], head: &Fields) -> (IpAddr, Vec<IpAddr>) {
    let (mut client, mut chain) = (peer, Vec::new());
    let values = head.all(Name::XForwardedFor).rev();
    for element in values.flat_map(elements_from_end).take(HOPS_MAX) {
        let Some(address) = parse_address(element) else { break };
        chain.push(std::mem::replace(&mut client, address));
        if !is_trusted(address, trusted) {
            break;
        }
    }
    chain.reverse();
    (client, chain)
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
fn believed_proto(head: &Fields) -> Option<bool> {
    let proto = last_element(head, Name::XForwardedProto)?;
    if proto.eq_ignore_ascii_case(b"https") {
        return Some(true);
    }
    proto.eq_ignore_ascii_case(b"http").then_some(false)
}

/// The last element of a list in all fields of a name: what the peer itself wrote.
fn last_element(head: &Fields, name: Name) -> Option<&[u8]> {
    head.all(name).rev().flat_map(elements_from_end).next()
}

/// The elements of a list (RFC 9110 section 5.6.1), the last one first, empty ones left out.
fn elements_from_end(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|text| !text.is_empty())
}

/// A host with or without port as a field value, if nothing in it can be misread.
fn authority_value(text: &[u8]) -> Option<&[u8]> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
    (!text.is_empty() && text.iter().all(plain)).then_some(text)
}

/// Addresses as `X-Forwarded-For` lists them.
fn write_chain(text: &mut Vec<u8>, client: IpAddr, others: &[IpAddr]) {
    write_address(text, client);
    for address in others {
        text.extend_from_slice(b", ");
        write_address(text, *address);
    }
}

fn write_address(text: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    text.push(b'.');
                }
                decimal(text, octet.into());
            }
        }
        // Writing to memory does not fail.
        IpAddr::V6(address) => drop(write!(text, "{address}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a field that is there.
    fn value<'a>(head: &'a Fields, name: &'a str) -> &'a str {
        let value = head.all_named(name.as_bytes()).next().expect("it is there");
        std::str::from_utf8(value).expect("ASCII")
    }

    /// The head that the worker gets.
    fn written(client: &Client, mut head: Fields) -> Fields {
        client.write(Some(b"shop.example:8080"), &mut head).expect("there is room");
        head
    }

    fn client(peer: &str, head: &Fields) -> Client {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().expect("a network")).into();
        let peer = peer.parse().expect("an address");
        let connection = Connection { peer, tls: false, port: 8080 };
        Client::of(connection, &trusted, head)
    }

    /// The client's address and the `X-Forwarded-For` that the worker gets.
    #[track_caller]
    fn check_chain(peer: &str, fields: &[&str], expected: (&str, &str)) {
        let fields: Vec<_> = fields.iter().map(|field| ("x-forwarded-for", *field)).collect();
        let head = Fields::of(&fields);
        let client = client(peer, &head);
        let head = written(&client, head);
        let sent: Vec<_> = head.all_named(b"x-forwarded-for").collect();
        assert_eq!(sent, [expected.1.as_bytes()], "{peer} {fields:?}");
        assert_eq!(client.ip.to_string(), expected.0, "{peer} {fields:?}");
        assert_eq!(value(&head, "x-real-ip"), expected.0);
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
        let client = client("10.0.0.1", &Fields::of(&[("x-forwarded-for", long.as_str())]));
        assert_eq!(client.chain.len(), HOPS_MAX);
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
            let head = Fields::of(fields);
            let client = client(peer, &head);
            let head = written(&client, head);
            let found = (client.https, value(&head, host), client.port);
            assert_eq!(found, expected, "{peer} {fields:?}");
            assert_eq!(value(&head, proto), if expected.0 { "https" } else { "http" });
            assert_eq!(value(&head, port), expected.2.to_string().as_str());
        }
    }

    /// The names that are left of a head after the edits, but for ours.
    fn kept(peer: &str, names: &[&str]) -> Vec<String> {
        // No address, scheme, host or port: even where the peer is trusted, it becomes none of ours.
        let fields: Vec<_> = names.iter().map(|name| (*name, "not ours")).collect();
        let head = Fields::of(&fields);
        let head = written(&client(peer, &head), head);
        let mut kept: Vec<String> = head
            .iter()
            .filter(|field| field.value == b"not ours")
            .map(|field| field.name.escape_ascii().to_string())
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
        // Heads keep the case of names.
        let names = ["X-Forwarded-For", "X-FORWARDED-SSL", "Forwarded", "X-Real-IP", "X-Other"];
        assert_eq!(kept("192.0.2.1", &names), ["X-Other"]);
        assert_eq!(kept("10.0.0.1", &names), ["X-Other"]);
    }

    #[test]
    fn forwarded_is_kept_from_a_trusted_peer_that_speaks_nothing_else() {
        assert_eq!(kept("10.0.0.1", &["forwarded"]), ["forwarded"]);
        assert_eq!(kept("10.0.0.1", &["forwarded", "x-forwarded-for"]), [""; 0]);
        assert_eq!(kept("192.0.2.1", &["forwarded"]), [""; 0]);
        // What came decides, also where `Connection` had the other field taken out.
        let came = Fields::of(&[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.1")]);
        let head = written(&client("10.0.0.1", &came), Fields::of(&[("forwarded", "x")]));
        assert!(!head.has_named(b"forwarded"));
    }

    #[test]
    fn what_is_no_text_stays_as_it_is() {
        let mut head = Fields::new();
        head.push(b"X-Forwarded-For", b"192.0.2.1\xff").expect("it is writable");
        head.push(b"X-Other", b"\xff\xe4").expect("it is writable");
        let head = written(&client("10.0.0.1", &head), head);
        assert_eq!(value(&head, "x-forwarded-for"), "10.0.0.1");
        assert_eq!(head.all_named(b"x-other").collect::<Vec<_>>(), [b"\xff\xe4"]);
    }

    #[test]
    fn a_request_without_host_gets_no_forwarded_host() {
        let connection =
            Connection { peer: "192.0.2.1".parse().expect("an address"), tls: true, port: 443 };
        let mut head = Fields::of(&[("x-forwarded-host", "evil.example")]);
        Client::of(connection, &[], &head).write(None, &mut head).expect("there is room");
        assert!(!head.has_named(b"x-forwarded-host"));
        assert_eq!(value(&head, "x-forwarded-proto"), "https");
    }
}
