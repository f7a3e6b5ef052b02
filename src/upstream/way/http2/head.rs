//! The head of a request in HTTP/2 (RFC 9113 section 8.3.1), from what one of HTTP/1.1 would say.

use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};
use thiserror::Error;

use crate::wire::fields::Fields;
use crate::wire::map::map_of;
use crate::wire::name::Name;
use crate::wire::write::Announce;

/// What a request says before its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a Method,
    /// In origin-form, or `*`.
    pub target: &'a [u8],
    /// With a `Host`; what is about a connection stays behind.
    pub fields: &'a Fields,
    pub announce: Announce,
}

/// A target or a host that HTTP/2 has no place for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a request that cannot be said in HTTP/2")]
pub struct Unsendable;

impl Head<'_> {
    /// The same in HTTP/2.
    ///
    /// # Errors
    /// [`Unsendable`].
    pub(super) fn compose(&self, scheme: Scheme) -> Result<Request<()>, Unsendable> {
        let host = self.fields.get(Name::Host).ok_or(Unsendable)?;
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(Authority::try_from(host).map_err(|_| Unsendable)?)
            .path_and_query(path(self.target)?)
            .build()
            .map_err(|_| Unsendable)?;
        let mut map = map_of(self.fields);
        map.remove(HOST);
        if let Announce::Length(length) = self.announce {
            map.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = map;
        Ok(request)
    }
}

/// The target byte for byte, where the crate takes it; else with what no URI has in it encoded, which
/// is what senders should have done (RFC 3986 section 2.1).
fn path(target: &[u8]) -> Result<PathAndQuery, Unsendable> {
    let is_origin_form = target.first() == Some(&b'/') || target == b"*";
    if !is_origin_form {
        return Err(Unsendable);
    }
    // The crate would leave out what follows a `#`.
    if !target.contains(&b'#')
        && let Ok(path) = PathAndQuery::try_from(target)
    {
        return Ok(path);
    }
    let mut encoded = String::with_capacity(target.len() + 16);
    for &byte in target {
        match byte {
            b'#'
            | b'"'
            | b'<'
            | b'>'
            | b'`'
            | b'{'
            | b'|'
            | b'}'
            | b'\\'
            | b'^'
            | 0..=b' '
            | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    PathAndQuery::try_from(encoded).map_err(|_| Unsendable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compose(target: &str, host: &str) -> Result<Request<()>, Unsendable> {
        compose_bytes(target.as_bytes(), host)
    }

    fn compose_bytes(target: &[u8], host: &str) -> Result<Request<()>, Unsendable> {
        let mut fields = Fields::new();
        for (name, value) in [
            ("Host", host),
            ("Connection", "TE"),
            ("TE", "trailers"),
            ("Content-Length", "1"),
            ("Cookie", "a=b; c=d"),
        ] {
            fields.push(name.as_bytes(), value.as_bytes()).expect("it is writable");
        }
        let announce = Announce::Length(7);
        let head = Head { method: &Method::POST, target, fields: &fields, announce };
        head.compose(Scheme::HTTPS)
    }

    #[test]
    fn pseudo_fields_are_made_of_what_http_1_would_say() {
        let request = compose("/a%2Fb?c=%20", "shop.example.com:8443").expect("it can be said");
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "https://shop.example.com:8443/a%2Fb?c=%20");
        let fields = request.headers();
        assert_eq!(fields.len(), 3, "{fields:?}");
        assert_eq!(fields["te"], "trailers");
        assert_eq!(fields["content-length"], "7");
        assert_eq!(fields["cookie"], "a=b; c=d", "one line, as HTTP/1 has it");
        let star = compose("*", "a").expect("it can be said");
        assert_eq!(star.uri().path(), "*");
        for host in ["10.0.0.1", "[::1]:80", "a_b.internal"] {
            assert!(compose("/", host).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_target_goes_as_it_came_or_encoded() {
        for (target, expected) in [
            (&b"/a|b{c}"[..], "/a|b{c}"),
            (b"//x/../y", "//x/../y"),
            (b"/a<b>`c", "/a%3Cb%3E%60c"),
            (b"/\xff?\xc3\xa4", "/%FF?%C3%A4"),
            (b"/a#b?c", "/a%23b?c"),
            (b"/?", "/?"),
        ] {
            let request = compose_bytes(target, "a").expect("it can be said");
            let path = request.uri().path_and_query().expect("a path").as_str();
            assert_eq!(path, expected, "{}", target.escape_ascii());
        }
    }

    #[test]
    fn what_has_no_place_is_refused() {
        for (target, host) in [("http://a/b", "a"), ("a", "a"), ("/", ""), ("/", "a b")] {
            assert_eq!(compose(target, host).err(), Some(Unsendable), "{target} {host}");
        }
    }
}
