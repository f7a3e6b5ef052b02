//! Where a request comes from: Fetch Metadata (W3C `Sec-Fetch-*`) and `Origin` (RFC 6454 section 7).
//!
//! For rules 10 and 24 (cross-site requests) and 31 (navigations are redirected). `Referer` is not
//! consulted: pages may withhold it.

use http::Method;

use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// How the site that a request comes from relates to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    SameOrigin,
    SameSite,
    CrossSite,
    /// `Sec-Fetch-Site: none`: the user typed an address or opened a bookmark.
    UserInitiated,
    /// The client does not say: an old browser, or none.
    Unknown,
}

/// Classifies a request, whose `Host` (or `:authority`) is `host`.
///
/// `Sec-Fetch-Site` decides where it is given once, with a value of the standard; given twice, no
/// browser sent it, and it counts as cross-site. Otherwise `Origin` decides: with our host, any
/// scheme and any port, the site is the same; every other one, and `null`, is cross-site. A sibling
/// domain is cross-site then, since registrable domains are not known here: refused too much.
pub fn site(head: &Fields, host: &[u8]) -> Site {
    let mut values = head.all(Name::SecFetchSite);
    if let Some(value) = values.next() {
        if values.next().is_some() {
            return Site::CrossSite;
        }
        match value {
            b"same-origin" => return Site::SameOrigin,
            b"same-site" => return Site::SameSite,
            b"cross-site" => return Site::CrossSite,
            b"none" => return Site::UserInitiated,
            // "Servers should ignore" values to come (Fetch Metadata, section 2).
            _ => {}
        }
    }
    let mut origins = head.all(Name::Origin).peekable();
    if origins.peek().is_none() {
        return Site::Unknown;
    }
    match origins.all(|origin| is_origin_of(origin, host)) {
        true => Site::SameSite,
        false => Site::CrossSite,
    }
}

/// Whether a request is known to come from another site.
pub fn is_cross_site(head: &Fields, host: &[u8]) -> bool {
    site(head, host) == Site::CrossSite
}

/// Whether a request comes from a page of the very origin that it goes to; `None` where it does not
/// say. For what no sibling domain and no other port may do either.
///
/// `authority` is the request's `Host` (or `:authority`), with its port where that is not the
/// scheme's own.
pub fn same_origin(head: &Fields, authority: &[u8], https: bool) -> Option<bool> {
    let mut sites = head.all(Name::SecFetchSite).peekable();
    if sites.peek().is_some() {
        return Some(sites.all(|site| site == b"same-origin"));
    }
    let (scheme, port): (&[u8], &[u8]) =
        if https { (b"https://", b":443") } else { (b"http://", b":80") };
    let ours = authority.strip_suffix(port).unwrap_or(authority);
    let mut origins = head.all(Name::Origin).peekable();
    origins.peek()?;
    Some(origins.all(|origin| {
        let theirs = origin.strip_prefix(scheme).unwrap_or_default();
        !theirs.is_empty() && theirs.eq_ignore_ascii_case(ours)
    }))
}

/// Whether a browser will show the answer as a page, so that it can be redirected to a login form:
/// `Sec-Fetch-Mode: navigate`, or without Fetch Metadata a GET or HEAD that asks for HTML and is not
/// marked as a script's.
pub fn is_navigation(method: &Method, head: &Fields) -> bool {
    if let Some(mode) = head.get(Name::SecFetchMode) {
        return mode == b"navigate";
    }
    matches!(*method, Method::GET | Method::HEAD)
        && !head.has(Name::XRequestedWith)
        && head.all(Name::Accept).any(names_html)
}

/// Whether HTML is asked for.
pub fn wants_html(head: &Fields) -> bool {
    head.all(Name::Accept).any(names_html)
}

/// Whether an answer is a page by itself, in a tab or a frame, and no part of one: by
/// `Sec-Fetch-Dest`, or without Fetch Metadata HTML in answer to a GET.
pub fn is_document(method: &Method, head: &Fields, answer: &Fields) -> bool {
    if let Some(destination) = head.get(Name::SecFetchDest) {
        return matches!(destination, b"document" | b"iframe" | b"frame");
    }
    *method == Method::GET
        && !head.has(Name::XRequestedWith)
        && answer.get(Name::ContentType).is_some_and(names_html)
}

/// Whether the user's browser goes to this page, by a link or a redirect from wherever: a GET for a
/// document of its own, which no frame, form post or script is. Only Fetch Metadata says so.
pub fn is_document_by_get(method: &Method, head: &Fields) -> bool {
    *method == Method::GET
        && head.only(Name::SecFetchMode) == Some(b"navigate")
        && head.only(Name::SecFetchDest) == Some(b"document")
}

/// Whether a browser is about to leave the page that it shows for the answer.
pub fn leaves_page(head: &Fields) -> bool {
    head.get(Name::SecFetchMode) == Some(b"navigate")
}

/// Whether a script says that it will read the answer, so that nobody is shown it.
pub fn is_of_script(head: &Fields) -> bool {
    head.has(Name::XRequestedWith)
        || head.get(Name::SecFetchMode).is_some_and(|mode| mode != b"navigate")
}

/// Whether a request is a CORS preflight (Fetch standard, section 4.8), which carries no cookies.
pub fn is_preflight(method: &Method, head: &Fields) -> bool {
    *method == Method::OPTIONS
        && head.has(Name::Origin)
        && head.has(Name::AccessControlRequestMethod)
}

fn names_html(accept: &[u8]) -> bool {
    accept.split(|byte| *byte == b',').any(|range| {
        let media_type = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        media_type.eq_ignore_ascii_case(b"text/html")
            || media_type.eq_ignore_ascii_case(b"application/xhtml+xml")
    })
}

/// Whether a serialised origin has this host; `null` has none.
fn is_origin_of(origin: &[u8], host: &[u8]) -> bool {
    let Some(scheme_length) = origin.windows(3).position(|three| three == b"://") else {
        return false;
    };
    let ours = without_port(host);
    !ours.is_empty() && without_port(&origin[scheme_length + 3..]).eq_ignore_ascii_case(ours)
}

/// An authority's host, without port and trailing dot. An IPv6 literal keeps its brackets.
fn without_port(authority: &[u8]) -> &[u8] {
    let literal_length = match authority.first() {
        Some(b'[') => authority.iter().position(|byte| *byte == b']').unwrap_or(0),
        _ => 0,
    };
    let port = authority[literal_length..].iter().position(|byte| *byte == b':');
    let host = &authority[..port.map_or(authority.len(), |at| literal_length + at)];
    host.strip_suffix(b".").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code flow of OpenID Connect comes back like this, from another site.
    #[test]
    fn documents_by_get_are_told_from_posts_frames_and_scripts() {
        let (navigate, document) = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"));
        for (method, fields, expected) in [
            (Method::GET, &[navigate, document][..], true),
            (Method::POST, &[navigate, document], false),
            (Method::HEAD, &[navigate, document], false),
            (Method::GET, &[navigate], false),
            (Method::GET, &[document], false),
            (Method::GET, &[navigate, ("sec-fetch-dest", "iframe")], false),
            (Method::GET, &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")], false),
            (Method::GET, &[navigate, navigate, document], false),
            (Method::GET, &[navigate, document, ("sec-fetch-dest", "iframe")], false),
            (Method::GET, &[], false),
        ] {
            assert_eq!(
                is_document_by_get(&method, &Fields::of(fields)),
                expected,
                "{method} {fields:?}"
            );
        }
    }

    #[track_caller]
    fn check(fields: &[(&str, &str)], host: &str, expected: Site) {
        let head = Fields::of(fields);
        assert_eq!(site(&head, host.as_bytes()), expected, "{fields:?} at {host}");
        assert_eq!(is_cross_site(&head, host.as_bytes()), expected == Site::CrossSite);
    }

    #[test]
    fn fetch_metadata_decides() {
        let evil = ("origin", "https://evil.example");
        for (value, expected) in [
            ("same-origin", Site::SameOrigin),
            ("same-site", Site::SameSite),
            ("cross-site", Site::CrossSite),
            ("none", Site::UserInitiated),
            ("", Site::CrossSite),
            ("same-planet", Site::CrossSite),
        ] {
            check(&[("sec-fetch-site", value), evil], "shop.example", expected);
        }
        check(&[("sec-fetch-site", "same-planet")], "shop.example", Site::Unknown);
        check(
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")],
            "shop.example",
            Site::CrossSite,
        );
    }

    #[test]
    fn without_fetch_metadata_the_origin_decides() {
        for (origin, host, expected) in [
            ("https://shop.example", "shop.example", Site::SameSite),
            ("https://Shop.Example:8443", "shop.example", Site::SameSite),
            ("http://shop.example", "SHOP.example.:443", Site::SameSite),
            ("https://[::1]:8443", "[::1]", Site::SameSite),
            ("https://[::1]", "[::2]:443", Site::CrossSite),
            ("https://evil.example", "shop.example", Site::CrossSite),
            ("https://a.shop.example", "shop.example", Site::CrossSite),
            ("https://shop.example.evil", "shop.example", Site::CrossSite),
            ("https://evilshop.example", "shop.example", Site::CrossSite),
            ("https://shop.example@evil.example", "shop.example", Site::CrossSite),
            ("null", "shop.example", Site::CrossSite),
            ("null", "null", Site::CrossSite),
            ("", "", Site::CrossSite),
            ("https://", "", Site::CrossSite),
            ("https://[", "shop.example", Site::CrossSite),
        ] {
            check(&[("origin", origin)], host, expected);
        }
        check(&[], "shop.example", Site::Unknown);
        check(
            &[("origin", "https://shop.example"), ("origin", "https://evil.example")],
            "shop.example",
            Site::CrossSite,
        );
    }

    #[test]
    fn navigations_are_told_from_scripts() {
        let html = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        for (method, fields, expected) in [
            (Method::GET, &[("sec-fetch-mode", "navigate")][..], true),
            (Method::POST, &[("sec-fetch-mode", "navigate")], true),
            (Method::GET, &[("sec-fetch-mode", "cors"), html], false),
            (Method::GET, &[("sec-fetch-mode", "no-cors"), html], false),
            (Method::GET, &[html], true),
            (Method::HEAD, &[html], true),
            (Method::POST, &[html], false),
            (Method::GET, &[("accept", "*/*")], false),
            (Method::GET, &[("accept", "application/json")], false),
            (Method::GET, &[("accept", "image/*"), ("accept", "*/*, Text/HTML;q=0.1")], true),
            (Method::GET, &[html, ("x-requested-with", "XMLHttpRequest")], false),
            (Method::GET, &[], false),
        ] {
            assert_eq!(
                is_navigation(&method, &Fields::of(fields)),
                expected,
                "{method} {fields:?}"
            );
        }
    }

    #[test]
    fn documents_are_told_from_their_parts() {
        let dest = |value| ("sec-fetch-dest", value);
        let html = ("content-type", "text/html; charset=utf-8");
        for (method, fields, answer, expected) in [
            (Method::GET, &[dest("document")][..], &[][..], true),
            (Method::POST, &[dest("document")], &[html], true),
            (Method::GET, &[dest("iframe")], &[html], true),
            (Method::GET, &[dest("empty")], &[html], false),
            (Method::GET, &[dest("image")], &[html], false),
            (Method::GET, &[dest("")], &[html], false),
            (Method::GET, &[], &[html], true),
            (Method::GET, &[], &[("content-type", "Application/XHTML+XML")], true),
            (Method::GET, &[], &[("content-type", "application/json")], false),
            (Method::GET, &[], &[], false),
            (Method::POST, &[], &[html], false),
            (Method::GET, &[("x-requested-with", "XMLHttpRequest")], &[html], false),
        ] {
            let is = is_document(&method, &Fields::of(fields), &Fields::of(answer));
            assert_eq!(is, expected, "{method} {fields:?} {answer:?}");
        }
    }

    #[test]
    fn only_the_very_origin_is_the_same() {
        let site = |value| ("sec-fetch-site", value);
        let origin = |value| ("origin", value);
        let host = &b"shop.example.com:8443"[..];
        for (fields, host, expected) in [
            (&[][..], host, None),
            (&[site("same-origin")], host, Some(true)),
            (&[site("same-origin"), origin("https://evil.example")], host, Some(true)),
            (&[site("same-site")], host, Some(false)),
            (&[site("none")], host, Some(false)),
            (&[site("cross-site"), origin("https://shop.example.com:8443")], host, Some(false)),
            (&[site("same-origin"), site("same-origin, cross-site")], host, Some(false)),
            (&[origin("https://shop.example.com:8443")], host, Some(true)),
            (&[origin("https://SHOP.example.com")], b"shop.example.com:443", Some(true)),
            (&[origin("https://shop.example.com")], host, Some(false)),
            (&[origin("https://shop.example.com:9")], host, Some(false)),
            (&[origin("http://shop.example.com:8443")], host, Some(false)),
            (&[origin("https://evil.shop.example.com:8443")], host, Some(false)),
            (&[origin("null")], host, Some(false)),
            (&[origin("https://")], b"", Some(false)),
            (&[origin("https://shop.example.com:8443"), origin("null")], host, Some(false)),
        ] {
            assert_eq!(same_origin(&Fields::of(fields), host, true), expected, "{fields:?}");
        }
    }

    #[test]
    fn preflights_have_an_origin_and_name_a_method() {
        let origin = ("origin", "https://a.example");
        let asks = ("access-control-request-method", "PUT");
        for (method, fields, expected) in [
            (Method::OPTIONS, &[origin, asks][..], true),
            (Method::OPTIONS, &[origin], false),
            (Method::OPTIONS, &[asks], false),
            (Method::GET, &[origin, asks], false),
        ] {
            assert_eq!(is_preflight(&method, &Fields::of(fields)), expected, "{method} {fields:?}");
        }
    }
}
