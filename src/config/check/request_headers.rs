//! `request_headers` and `uri`: what is changed in what workers get.

use crate::config::schema::key;
use crate::config::value::Flaw;
use crate::headers::identity;
use crate::proxy::request_headers::{SetHeader, WorkerRequest};
use crate::proxy::settings::Replaced;
use crate::routing::location;

use super::Checker;
use super::cursor::{At, RouteAt};

/// What frames a message, concerns one connection, or is the vault's.
const NOT_SET: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "cookie",
    "expect",
];

impl Checker<'_> {
    /// The fields that a route sets; the nearest level wins whole.
    pub(super) fn request_headers(&mut self, route: &RouteAt<'_>) -> Vec<SetHeader> {
        let Some(found) = route.find(&key::request_headers) else { return Vec::new() };
        let mut set = Vec::new();
        for (name, value) in &found.at.value.0 {
            let value = At::new(found.at.path_of(&name.value), value);
            let lower = name.value.to_ascii_lowercase();
            let is_token = http::HeaderName::from_bytes(lower.as_bytes()).is_ok();
            if !is_token {
                let flaw = Flaw::new("is no field's name", "write letters, digits and `-`");
                self.error_at(&value, flaw);
            } else if NOT_SET.contains(&lower.as_str()) || identity::is_reserved(lower.as_bytes()) {
                let help =
                    "leave it out: it is set by itself, for this connection and this session";
                self.error_at(&value, Flaw::new("is not the configuration's to set", help));
            } else if let Some(template) = self.template(&value) {
                set.push(SetHeader { name: name.value.clone(), value: template });
            }
        }
        set
    }

    /// In which other way a worker is asked than the client does; nothing where it is in none.
    pub(super) fn worker_request(&mut self, route: &RouteAt<'_>) -> Option<WorkerRequest> {
        let with_headers = route.unless_off(&key::pass_request_headers);
        let with_body = route.unless_off(&key::pass_request_body);
        let method = route.find(&key::request_method).and_then(|found| {
            let method = self.template(&found.at)?;
            let is_method = |text: &[u8]| http::Method::from_bytes(text).is_ok();
            if method.constant().is_some_and(|text| !is_method(text)) {
                self.error_at(&found.at, Flaw::new("is no method", "write one such as `GET`"));
            }
            Some(method)
        });
        let body = route.find(&key::request_body).and_then(|found| self.template(&found.at));
        let is_usual = with_headers && with_body && method.is_none() && body.is_none();
        (!is_usual).then_some(WorkerRequest { method, body, with_headers, with_body })
    }

    /// What stands in place of the route's own path (nginx: `proxy_pass` with a URI).
    pub(super) fn uri(&mut self, route: &RouteAt<'_>) -> Option<Replaced> {
        let uri = route.at.key("uri", &route.at.value.uri)?;
        let (modifier, path) = location::split(route.at.value.path.as_ref()?.value.as_str());
        let is_literal =
            !uri.value.contains('$') && uri.value.bytes().all(|byte| byte > b' ' && byte < 0x7f);
        let prefix = location::path(path).ok();
        match prefix.filter(|_| matches!(modifier, "" | "=" | "^~")) {
            None => {
                let flaw = Flaw::new(
                    "has nothing that it could replace",
                    "only in routes with a path, not in ones with a pattern or a name",
                );
                self.error_at(&uri, flaw);
                None
            }
            Some(_) if !uri.value.starts_with('/') || !is_literal => {
                let flaw = Flaw::new("is no path", "begin with `/`, without blanks and variables");
                self.error_at(&uri, flaw);
                None
            }
            Some(prefix) => Some(Replaced { prefix, by: uri.value.as_bytes().into() }),
        }
    }
}
