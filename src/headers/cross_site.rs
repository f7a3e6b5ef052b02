//! What a route lets other sites do through a visitor's browser (cross-site request forgery).
//!
//! `SameSite` keeps the ticket back already; this also refuses the request, on routes with or
//! without a session, and covers WebSocket handshakes, which no CORS check guards. A client that
//! says nothing about where its request comes from is no browser of this decade, and passes.

use http::Method;

use super::fetch::is_cross_site;
use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// A route's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CrossSite {
    #[default]
    Allow,
    /// Unsafe requests from other sites are refused, but for these.
    DenyUnsafe(Exceptions),
}

/// What is let through all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// Normalised paths, compared byte for byte; one that ends in `/` covers all below it. To
    /// match too much would let somebody in.
    pub paths: Vec<String>,
    /// Serialised origins (RFC 6454, section 6.2) in lower case, without a default port.
    pub origins: Vec<String>,
}

impl CrossSite {
    /// Whether a request at `host` is refused. `paths` are the normalised path's readings: an
    /// exception must cover all of them.
    pub fn refuses<'a>(
        &self,
        method: &Method,
        head: &Fields,
        host: &[u8],
        mut paths: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let Self::DenyUnsafe(exceptions) = self else { return false };
        is_unsafe(method, head)
            && is_cross_site(head, host)
            && !paths.all(|path| exceptions.covers_path(path))
            && !exceptions.covers_origin(head)
    }
}

impl CrossSite {
    /// What refuses whatever either of the two refuses.
    pub fn joined(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Allow, one) | (one, Self::Allow) => one.clone(),
            (Self::DenyUnsafe(one), Self::DenyUnsafe(other)) => {
                let mut both = one.clone();
                both.paths.retain(|path| other.paths.contains(path));
                both.origins.retain(|origin| other.origins.contains(origin));
                Self::DenyUnsafe(both)
            }
        }
    }
}

impl Exceptions {
    fn covers_path(&self, path: &[u8]) -> bool {
        self.paths.iter().map(String::as_bytes).any(|exception| {
            path == exception || (exception.ends_with(b"/") && path.starts_with(exception))
        })
    }

    fn covers_origin(&self, head: &Fields) -> bool {
        let origin = head.only(Name::Origin);
        origin.is_some_and(|origin| self.origins.iter().any(|known| known.as_bytes() == origin))
    }
}

/// Whether a request may change something: its method is not safe (RFC 9110, section 9.2.1), or it
/// opens another protocol, through which anything may be asked (cross-site WebSocket hijacking).
/// Over HTTP/2 that is CONNECT (RFC 8441), which is not safe by itself.
pub fn is_unsafe(method: &Method, head: &Fields) -> bool {
    !method.is_safe() || head.has(Name::Upgrade)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"shop.example";
    const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");

    fn policy() -> CrossSite {
        CrossSite::DenyUnsafe(Exceptions {
            paths: vec!["/hooks/".to_owned(), "/saml".to_owned()],
            origins: vec!["https://partner.example".to_owned()],
        })
    }

    #[track_caller]
    fn check(method: Method, path: &str, fields: &[(&str, &str)], refused: bool) {
        let head = Fields::of(fields);
        let got = policy().refuses(&method, &head, HOST, [path.as_bytes()].into_iter());
        assert_eq!(got, refused, "{method} {path} {fields:?}");
        assert!(!CrossSite::Allow.refuses(&method, &head, HOST, [path.as_bytes()].into_iter()));
    }

    #[test]
    fn unsafe_requests_of_other_sites_are_refused() {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::CONNECT] {
            check(method.clone(), "/", &[CROSS], true);
            check(method.clone(), "/", &[("origin", "https://evil.example")], true);
            check(method.clone(), "/", &[("origin", "null")], true);
            check(method.clone(), "/", &[("sec-fetch-site", "same-origin")], false);
            check(method.clone(), "/", &[("sec-fetch-site", "same-site")], false);
            check(method.clone(), "/", &[("sec-fetch-site", "none")], false);
            check(method, "/", &[("origin", "https://shop.example")], false);
        }
        check(Method::from_bytes(b"PURGE").expect("a token"), "/", &[CROSS], true);
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
            check(method, "/", &[CROSS], false);
        }
    }

    /// Scripts and programs of an operator's own say neither.
    #[test]
    fn who_says_nothing_passes() {
        check(Method::POST, "/", &[], false);
        check(Method::GET, "/", &[("upgrade", "websocket")], false);
    }

    #[test]
    fn web_socket_handshakes_are_unsafe() {
        let upgrade = ("upgrade", "websocket");
        check(Method::GET, "/ws", &[upgrade, ("origin", "https://evil.example")], true);
        check(Method::GET, "/ws", &[("upgrade", "WebSocket"), CROSS], true);
        check(Method::GET, "/ws", &[upgrade, ("origin", "https://shop.example:8443")], false);
        check(Method::GET, "/ws", &[upgrade, ("origin", "https://partner.example")], false);
    }

    #[test]
    fn exceptions_are_compared_byte_for_byte() {
        for (path, refused) in [
            ("/hooks/", false),
            ("/hooks/stripe", false),
            ("/hooks", true),
            ("/Hooks/stripe", true),
            ("/hooksx", true),
            ("/saml", false),
            ("/saml/", true),
            ("/saml2", true),
            ("/x/hooks/", true),
        ] {
            check(Method::POST, path, &[CROSS], refused);
        }
        for (origin, refused) in [
            ("https://partner.example", false),
            ("http://partner.example", true),
            ("https://partner.example:8443", true),
            ("https://Partner.example", true),
            ("https://partner.example.evil", true),
            ("https://www.partner.example", true),
            ("null", true),
        ] {
            check(Method::POST, "/", &[CROSS, ("origin", origin)], refused);
            check(Method::POST, "/", &[("origin", origin)], refused);
        }
        let partner = ("origin", "https://partner.example");
        check(Method::POST, "/", &[CROSS, partner, partner], true);
        check(Method::POST, "/", &[CROSS, partner, ("origin", "https://evil.example")], true);
    }
}
