//! Keeps browsers away from what changes or shows sessions.
//!
//! The listener asks nobody who they are: whoever can reach it is an operator. A browser on the same
//! machine or network can reach it too, on behalf of any page that it shows, by a form or script of
//! that page or by a name that the page's owner points at us (DNS rebinding). No operator's tool sends
//! what browsers send, nor calls us by a name.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Request};

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Tcp,
    /// No browser can connect to one, and there is no host to speak of.
    UnixSocket,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// It carries what only browsers send.
    Browser,
    /// It calls us by a name.
    Host,
    /// It has a body that a form could send too.
    Form,
}

/// Says whether a request may not have been meant by an operator.
pub(super) fn suspicion<B>(request: &Request<B>, way: Way) -> Option<Suspicion> {
    let headers = request.headers();
    let is_browsers = |name: &http::HeaderName| name == ORIGIN || name.as_str().starts_with("sec-");
    if headers.keys().any(is_browsers) {
        return Some(Suspicion::Browser);
    }
    if way == Way::Tcp && !is_called_by_address(headers, request.uri().authority()) {
        return Some(Suspicion::Host);
    }
    // A form can send three types without asking first, and this is none of them.
    if *request.method() != Method::GET && !is_json(headers) {
        return Some(Suspicion::Form);
    }
    None
}

/// Every authority that the request names is an address, or `localhost`, which browsers do not ask a
/// name server for. Which of our addresses does not matter: only names can be pointed elsewhere.
fn is_called_by_address(headers: &HeaderMap, target: Option<&Authority>) -> bool {
    let mut hosts = headers.get_all(HOST).iter().peekable();
    hosts.peek().is_some()
        && hosts.all(|host| {
            host.to_str()
                .ok()
                .and_then(|host| host.parse::<Authority>().ok())
                .is_some_and(|host| is_address(host.host()))
        })
        && target.is_none_or(|target| is_address(target.host()))
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

    #[track_caller]
    fn check(
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        way: Way,
        expected: Option<Suspicion>,
    ) {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        assert_eq!(suspicion(&request, way), expected, "{method} {target} {fields:?}");
    }

    #[test]
    fn operators_call_by_address() {
        for host in ["127.0.0.1:9000", "10.0.0.7", "[::1]:9000", "localhost:9000", "LOCALHOST"] {
            check("GET", "/sessions", &[("host", host)], Way::Tcp, None);
            check("POST", "/sessions/revoke", &[("host", host), JSON], Way::Tcp, None);
        }
        for host in
            ["evil.example:9000", "127.0.0.1.evil.example", "localhost.evil.example", "", "[x]"]
        {
            let rebound = Some(Suspicion::Host);
            check("GET", "/sessions", &[("host", host)], Way::Tcp, rebound);
            check("POST", "/sessions/revoke", &[("host", host), JSON], Way::Tcp, rebound);
            check("GET", "/sessions", &[("host", "127.0.0.1"), ("host", host)], Way::Tcp, rebound);
            check("GET", "/sessions", &[("host", host)], Way::UnixSocket, None);
        }
        check("GET", "/sessions", &[], Way::Tcp, Some(Suspicion::Host));
        let absolute = "http://evil.example/sessions";
        check("GET", absolute, &[("host", "127.0.0.1")], Way::Tcp, Some(Suspicion::Host));
    }

    #[test]
    fn browsers_are_told_by_what_they_send() {
        for field in [
            ("origin", "http://127.0.0.1:9000"),
            ("origin", "null"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
            ("sec-fetch-mode", "no-cors"),
            ("sec-ch-ua", "x"),
        ] {
            for way in [Way::Tcp, Way::UnixSocket] {
                let fields = [("host", "127.0.0.1:9000"), JSON, field];
                check("POST", "/sessions/revoke", &fields, way, Some(Suspicion::Browser));
                check("GET", "/sessions", &fields, way, Some(Suspicion::Browser));
            }
        }
    }

    #[test]
    fn what_a_form_can_send_changes_nothing() {
        let host = ("host", "127.0.0.1:9000");
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            let fields = [host, ("content-type", kind)];
            check("POST", "/sessions/revoke", &fields, Way::Tcp, Some(Suspicion::Form));
        }
        check("POST", "/sessions/revoke", &[host], Way::UnixSocket, Some(Suspicion::Form));
        let fields = [host, ("content-type", "Application/JSON; charset=utf-8")];
        check("POST", "/sessions/revoke", &fields, Way::Tcp, None);
    }
}
