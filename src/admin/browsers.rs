//! Keeps browsers away from what changes or shows sessions.
//!
//! The listener asks nobody who they are: whoever can reach it is an operator. A browser on the same
//! machine or network can reach it too, on behalf of any page that it shows, by a form or script of
//! that page or by a name that the page's owner points at us (DNS rebinding). No operator's tool sends
//! what browsers send, nor calls us by a name that the configuration does not list.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Request};

/// How a request came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// With the names, in lower case, that we may be called by.
    Tcp(Arc<[String]>),
    /// No browser can connect to one, and there is no host to speak of.
    UnixSocket,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// It carries what only browsers send.
    Browser,
    /// It has a body that a form could send too.
    Form,
}

/// Whether a request calls us by an address, by a name that is ours, or by none at all, as some probes
/// do and no browser does.
pub(super) fn is_ours<B>(request: &Request<B>, way: &Way) -> bool {
    let Way::Tcp(names) = way else { return true };
    let (headers, target) = (request.headers(), request.uri().authority());
    is_called_properly(headers, target, names) || (!headers.contains_key(HOST) && target.is_none())
}

/// Says whether a request may not have been meant by an operator.
pub(super) fn suspicion<B>(request: &Request<B>) -> Option<Suspicion> {
    let headers = request.headers();
    let is_browsers = |name: &http::HeaderName| name == ORIGIN || name.as_str().starts_with("sec-");
    if headers.keys().any(is_browsers) {
        return Some(Suspicion::Browser);
    }
    // A form can send three types without asking first, and this is none of them.
    if *request.method() != Method::GET && !is_json(headers) {
        return Some(Suspicion::Form);
    }
    None
}

/// Every authority that the request names is one of `names`, an address, or `localhost`, which
/// browsers do not ask a name server for. Which of our addresses does not matter: only names can be
/// pointed elsewhere.
fn is_called_properly(headers: &HeaderMap, target: Option<&Authority>, names: &[String]) -> bool {
    let is_known =
        |host: &str| is_address(host) || names.iter().any(|name| host.eq_ignore_ascii_case(name));
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

    #[track_caller]
    fn check(method: &str, fields: &[(&str, &str)], expected: Option<Suspicion>) {
        let request = Request::builder().method(method).uri("/sessions");
        let add = |request: http::request::Builder, field: &(&str, &str)| {
            request.header(field.0, field.1)
        };
        let request = fields.iter().fold(request, add).body(()).unwrap();
        assert_eq!(suspicion(&request), expected, "{method} {fields:?}");
    }

    /// A page that a browser shows must not reach us by pointing its own name at us.
    #[test]
    fn operators_call_by_address_or_by_a_known_name() {
        let tcp = Way::Tcp(Arc::new(["metrics.internal".to_owned()]));
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
            "",
            "[x]",
        ] {
            check("/sessions", &[host], &tcp, false);
            check("/sessions", &["127.0.0.1", host], &tcp, false);
            check("/sessions", &[host], &Way::UnixSocket, true);
        }
        check("http://evil.example/sessions", &["127.0.0.1"], &tcp, false);
        check("http://evil.example/sessions", &[], &tcp, false);
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
            check("POST", &[JSON, field], Some(Suspicion::Browser));
            check("GET", &[field], Some(Suspicion::Browser));
        }
    }

    #[test]
    fn what_a_form_can_send_changes_nothing() {
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            check("POST", &[("content-type", kind)], Some(Suspicion::Form));
        }
        check("POST", &[], Some(Suspicion::Form));
        check("POST", &[("content-type", "Application/JSON; charset=utf-8")], None);
        check("GET", &[], None);
    }
}
