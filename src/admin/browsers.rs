//! Keeps from sessions, and from what is changed, whoever was not let in: other pages in an operator's browser,
//! and other users of the machine.
//!
//! Whoever can connect to the unix socket is an operator; over TCP one shows the token. A browser on the same
//! machine or network can reach the listener too, on behalf of any page that it shows: by a form or
//! script of that page, by a name that the page's owner points at us (DNS rebinding), through a tunnel that
//! ends at the unix socket. So what comes from a browser must come from our own page, and nobody calls us by a
//! name that the configuration does not list.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Request};

use crate::admin::Token;

/// How a request came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Tcp {
        /// The names, in lower case, that we may be called by.
        names: Arc<[String]>,
        token: Option<Token>,
    },
    UnixSocket,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Sessions: tools need no token over TCP where the configuration has none.
    Sessions,
    Operators,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// A browser sent it, and not from our own page.
    Browser,
    /// It has a body that a form could send too.
    Form,
    /// It shows no token, or another one.
    Token,
    /// There is no token that it could show.
    NoToken,
}

/// Whether a request calls us by an address, by a name that is ours, or by none at all, as some probes
/// do and no browser does. Behind a unix socket a word without a dot will do: nobody can point it at us.
pub(super) fn is_ours<B>(request: &Request<B>, way: &Way) -> bool {
    let (headers, target) = (request.headers(), request.uri().authority());
    let by_name = |host: &str| match way {
        Way::Tcp { names, .. } => names.iter().any(|name| host.eq_ignore_ascii_case(name)),
        Way::UnixSocket => !host.contains(['.', ':', '[']),
    };
    let is_nameless = target.is_none()
        && match way {
            Way::Tcp { .. } => !headers.contains_key(HOST),
            Way::UnixSocket => headers.get_all(HOST).iter().all(|host| host.is_empty()),
        };
    is_nameless || is_called_properly(headers, target, by_name)
}

/// Says whether a request may not have been meant by an operator.
pub(super) fn suspicion<B>(request: &Request<B>, way: &Way, room: Room) -> Option<Suspicion> {
    let headers = request.headers();
    let is_browsers = |name: &http::HeaderName| name == ORIGIN || name.as_str().starts_with("sec-");
    let is_browser = headers.keys().any(is_browsers);
    if is_browser && !is_from_our_page(headers) {
        return Some(Suspicion::Browser);
    }
    match way {
        Way::Tcp { token: Some(token), .. } if !token.is_shown(headers) => {
            return Some(Suspicion::Token);
        }
        Way::Tcp { token: None, .. } if is_browser => return Some(Suspicion::Browser),
        Way::Tcp { token: None, .. } if room == Room::Operators => return Some(Suspicion::NoToken),
        Way::Tcp { .. } | Way::UnixSocket => {}
    }
    // A form can send three types without asking first, and this is none of them.
    if *request.method() != Method::GET && !is_json(headers) {
        return Some(Suspicion::Form);
    }
    None
}

/// Whether a browser says that it asks for a page of this very origin: all that it says must say so.
fn is_from_our_page(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter().peekable();
    let mut origins = headers.get_all(ORIGIN).iter().peekable();
    let says_nothing = sites.peek().is_none() && origins.peek().is_none();
    let host = headers.get(HOST).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let is_own = |origin: &http::HeaderValue| {
        let origin = origin.as_bytes();
        let schemes: [&[u8]; 2] = [b"http://", b"https://"];
        let authority = schemes.iter().find_map(|scheme| origin.strip_prefix(*scheme));
        authority.is_some_and(|it| !it.is_empty() && it.eq_ignore_ascii_case(host))
    };
    !says_nothing && sites.all(|site| site == "same-origin") && origins.all(is_own)
}

/// Every authority that the request names is one of `names`, an address, or `localhost`, which
/// browsers do not ask a name server for. Which of our addresses does not matter: only names can be
/// pointed elsewhere.
fn is_called_properly(
    headers: &HeaderMap,
    target: Option<&Authority>,
    by_name: impl Fn(&str) -> bool,
) -> bool {
    let is_known = |host: &str| is_address(host) || by_name(host);
    let mut hosts = headers.get_all(HOST).iter().peekable();
    hosts.peek().is_some()
        && hosts.all(|host| {
            host.to_str()
                .ok()
                .and_then(|host| host.parse::<Authority>().ok())
                .is_some_and(|host| is_known(host.host()))
        })
        && target.is_none_or(|target| is_known(target.host()))
}

fn is_address(host: &str) -> bool {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match literal {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost"),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("application/json")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: (&str, &str) = ("content-type", "application/json");

    fn tcp(token: Option<&str>) -> Way {
        let token = token.map(|token| Token::read(token).expect("long enough"));
        Way::Tcp { names: Arc::new(["metrics.internal".to_owned()]), token }
    }

    #[track_caller]
    fn check(
        way: &Way,
        room: Room,
        method: &str,
        fields: &[(&str, &str)],
        expected: Option<Suspicion>,
    ) {
        let request = Request::builder().method(method).uri("/sessions");
        let request = request.header("host", "127.0.0.1:9000");
        let add = |request: http::request::Builder, field: &(&str, &str)| {
            request.header(field.0, field.1)
        };
        let request = fields.iter().fold(request, add).body(()).unwrap();
        assert_eq!(suspicion(&request, way, room), expected, "{way:?} {method} {fields:?}");
    }

    /// A page that a browser shows must not reach us by pointing its own name at us.
    #[test]
    fn operators_call_by_address_or_by_a_known_name() {
        let tcp = tcp(None);
        let check = |target: &str, hosts: &[&str], way: &Way, expected| {
            let request = Request::builder().uri(target);
            let request = hosts.iter().fold(request, |request, host| request.header(HOST, *host));
            let request = request.body(()).unwrap();
            assert_eq!(is_ours(&request, way), expected, "{target} {hosts:?}");
        };
        for host in [
            "127.0.0.1:9000",
            "10.0.0.7",
            "[::1]:9000",
            "localhost:9000",
            "LOCALHOST",
            "metrics.internal:9000",
            "METRICS.internal",
        ] {
            check("/metrics", &[host], &tcp, true);
        }
        check("/metrics", &[], &tcp, true);
        for host in [
            "evil.example:9000",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "x.metrics.internal",
            "[x]",
        ] {
            check("/sessions", &[host], &tcp, false);
            check("/sessions", &["127.0.0.1", host], &tcp, false);
            check("/sessions", &[host], &Way::UnixSocket, false);
        }
        check("/sessions", &[""], &tcp, false);
        check("/sessions", &["127.0.0.1", ""], &tcp, false);
        for hosts in [&[][..], &[""], &["localhost"], &["localhost:9000"], &["admin"], &["::1"]] {
            let expected = hosts != ["::1"];
            check("/sessions", hosts, &Way::UnixSocket, expected);
        }
        check("http://evil.example/sessions", &["127.0.0.1"], &tcp, false);
        check("http://evil.example/sessions", &[], &tcp, false);
        check("http://evil.example/sessions", &[], &Way::UnixSocket, false);
    }

    #[test]
    fn other_pages_get_nowhere() {
        const SHOWN: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");
        let with_token = tcp(Some("0123456789abcdef"));
        for fields in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://127.0.0.1:9001")],
            &[("origin", "http://127.0.0.1")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:9000")],
            &[("sec-fetch-mode", "no-cors")],
            &[("sec-ch-ua", "x")],
        ] {
            let fields = [&[JSON, SHOWN], fields].concat();
            for way in [&with_token, &tcp(None), &Way::UnixSocket] {
                for room in [Room::Sessions, Room::Operators] {
                    check(way, room, "POST", &fields, Some(Suspicion::Browser));
                    check(way, room, "GET", &fields, Some(Suspicion::Browser));
                }
            }
        }
        for fields in [
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")][..],
            &[("origin", "http://127.0.0.1:9000")],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:9000")],
        ] {
            let fields = [&[JSON, SHOWN], fields].concat();
            check(&with_token, Room::Operators, "POST", &fields, None);
            check(&Way::UnixSocket, Room::Operators, "POST", &fields, None);
            check(&tcp(None), Room::Sessions, "POST", &fields, Some(Suspicion::Browser));
        }
    }

    #[test]
    fn over_tcp_operators_show_the_token() {
        let way = tcp(Some("0123456789abcdef"));
        let other = ("authorization", "Bearer 0123456789abcdeg");
        for room in [Room::Sessions, Room::Operators] {
            check(&way, room, "POST", &[JSON], Some(Suspicion::Token));
            check(&way, room, "GET", &[other], Some(Suspicion::Token));
            check(&way, room, "GET", &[("authorization", "Bearer 0123456789abcdef")], None);
            check(&Way::UnixSocket, room, "POST", &[JSON], None);
        }
        check(&tcp(None), Room::Operators, "GET", &[other], Some(Suspicion::NoToken));
        check(&tcp(None), Room::Sessions, "POST", &[JSON], None);
    }

    #[test]
    fn what_a_form_can_send_changes_nothing() {
        let check = |method, fields: &[(&str, &str)], expected| {
            check(&Way::UnixSocket, Room::Operators, method, fields, expected);
        };
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            check("POST", &[("content-type", kind)], Some(Suspicion::Form));
        }
        check("POST", &[], Some(Suspicion::Form));
        check("POST", &[("content-type", "Application/JSON; charset=utf-8")], None);
        check("GET", &[], None);
    }
}
