//! Paths of routes and rules, which are compared with decoded and normalised request paths.

use http::Method;

use crate::routing::location::{self, BadLocation, Location};
use crate::routing::path::PathRule;

use super::{Flaw, Parsed, name};

/// Checks a path that normalised request paths are compared with.
///
/// # Errors
/// Anything that a normalised path can never be or begin with: such a rule would silently
/// match nothing.
pub fn normal(text: &str) -> Parsed<String> {
    let flawed = |why: &str, help: &str| Err(Flaw::new(format!("`{text}` {why}"), help));
    if !text.starts_with('/') {
        return flawed("does not begin with `/`", &format!("write `/{text}`"));
    }
    if text.contains(['?', '#']) {
        return flawed(
            "has a query or fragment",
            "paths are compared without them: leave them out",
        );
    }
    if text.contains('%') {
        return flawed(
            "is percent-encoded",
            "paths are compared decoded: write the character itself",
        );
    }
    if text.contains("//") {
        return flawed(
            "has an empty segment",
            "slashes are merged before paths are compared: write one",
        );
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return flawed("has a dot segment", "dot segments are resolved before paths are compared");
    }
    if text.contains(char::is_control) {
        return flawed("has a control character", "no request path has one");
    }
    Ok(text.to_owned())
}

/// Checks the path of a route, with nginx's modifiers; `outer` is the path of the route around it.
///
/// # Errors
/// What [`normal`] refuses; a regular expression that is none; what cannot lie there.
pub fn location(text: &str, outer: Option<&str>) -> Parsed<String> {
    match location::split(text) {
        ("" | "=" | "^~", path) => {
            written(path)?;
        }
        ("@", name) => {
            name::identifier(name)?;
        }
        _ => {}
    }
    let parsed = Location::parse(text).map_err(|bad| flaw(text, &bad))?;
    if let Some(Ok(outer)) = outer.map(Location::parse) {
        parsed.fits_in(&outer).map_err(|bad| flaw(text, &bad))?;
    }
    Ok(text.to_owned())
}

/// Checks what a route's path has to be to be compared. As in nginx it may be one that no request has.
fn written(path: &str) -> Parsed<()> {
    let flawed = |why: &str, help: &str| Err(Flaw::new(format!("`{path}` {why}"), help));
    if !path.starts_with('/') {
        return flawed("does not begin with `/`", &format!("write `/{path}`"));
    }
    // Paths are compared decoded, but a percent sign has to be told from an escape.
    if path.replace("%25", "-").contains('%') {
        let help =
            "paths are compared decoded: write the character itself, and %25 for a percent sign";
        return flawed("is percent-encoded", help);
    }
    if path.contains(char::is_control) {
        return flawed("has a control character", "no request path has one");
    }
    Ok(())
}

/// Why no request has the path of a route, if that is so; `merges`: doubled slashes are merged before.
pub fn unmet(text: &str, merges: bool) -> Option<Flaw> {
    let ("" | "=" | "^~", path) = location::split(text) else { return None };
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        let help = "dot segments are resolved before paths are compared: leave them out";
        return Some(Flaw::new("is met by no request: it has a dot segment", help));
    }
    (merges && path.contains("//")).then(|| {
        let help = "slashes are merged before paths are compared: write one, or \
                    `merge_slashes: false` in the server";
        Flaw::new("is met by no request: it has an empty segment", help)
    })
}

fn flaw(text: &str, bad: &BadLocation) -> Flaw {
    let help = match bad {
        BadLocation::Pattern(_) => {
            "write a regular expression such as `~ \\.php$`, `~*` without regard to case"
        }
        BadLocation::Outside => {
            "inside of `/a/` write `/a/b`, or a regular expression (`~ \\.php$`)"
        }
        BadLocation::Inside | BadLocation::Nested => "put it into the server itself",
        BadLocation::Path(_) | BadLocation::Name => "write a path such as `/account/`",
    };
    Flaw::new(format!("`{text}`: {bad}"), help)
}

/// Reads the request part of a rule: `POST /login`, or `/login` for any method.
///
/// # Errors
/// An unknown method or a path that [`normal`] refuses.
pub fn request(text: &str, exact: bool) -> Parsed<(Option<Method>, PathRule)> {
    let (method, path) = match text.split_once(char::is_whitespace) {
        Some((method, path)) => (Some(name::method(method)?), path.trim()),
        None if text.starts_with('/') => (None, text),
        None => {
            return Err(Flaw::new(
                format!("`{text}` is no request"),
                "write a method and a path, such as `POST /login`, or a path for any method",
            ));
        }
    };
    Ok((method, PathRule { path: normal(path)?, exact }))
}

/// Checks where a visitor is redirected to: a path on the same host, or an absolute URL.
///
/// # Errors
/// A relative or protocol-relative reference, or characters that no `Location` carries.
pub fn redirect(text: &str) -> Parsed<String> {
    let on_this_host = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
    let absolute = ["http://", "https://"].iter().any(|scheme| {
        text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    });
    let visible = text.bytes().all(|b| b.is_ascii_graphic());
    if visible && (on_this_host || absolute) {
        return Ok(text.to_owned());
    }
    Err(Flaw::new(
        format!("`{text}` is no place to redirect to"),
        "write a path such as `/login`, or an absolute URL; percent-encode what is not ASCII",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_that_a_normalised_request_can_have() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let parsed = normal(text).map_err(|flaw| flaw.message);
            assert_eq!(parsed, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        };
        check("/", Ok("/"));
        check("/konto/ä b", Ok("/konto/ä b"));
        check("/.well-known/", Ok("/.well-known/"));
        check("login", Err("`login` does not begin with `/`"));
        check("", Err("`` does not begin with `/`"));
        check("/a?b=1", Err("`/a?b=1` has a query or fragment"));
        check("/a%20b", Err("`/a%20b` is percent-encoded"));
        check("/a//b", Err("`/a//b` has an empty segment"));
        check("/a/../b", Err("`/a/../b` has a dot segment"));
        check("/a/.", Err("`/a/.` has a dot segment"));
        check("/a\u{7}", Err("`/a\u{7}` has a control character"));
    }

    #[test]
    fn a_percent_sign_is_told_from_an_escape() {
        assert_eq!(location("= /100%25", None).as_deref(), Ok("= /100%25"));
        let flaw = location("/a%20b", None).expect_err("an escape");
        assert_eq!(flaw.message, "`/a%20b` is percent-encoded");
        assert!(flaw.help.ends_with("%25 for a percent sign"), "{}", flaw.help);
    }

    #[test]
    fn a_route_may_have_a_path_that_no_request_has() {
        for (path, merged, unmerged) in [
            ("/a", true, true),
            ("/a//b", false, true),
            ("= /a/../b", false, false),
            ("/a?b#c", true, true),
            ("~ //", true, true),
            ("@a", true, true),
        ] {
            assert_eq!(location(path, None).as_deref(), Ok(path));
            assert_eq!(unmet(path, true).is_none(), merged, "{path}");
            assert_eq!(unmet(path, false).is_none(), unmerged, "{path}");
        }
    }

    #[test]
    fn a_request_is_a_method_and_a_path() {
        let check = |text: &str, expected: Result<(Option<Method>, &str), &str>| {
            let parsed = request(text, true).map_err(|flaw| flaw.message);
            let expected = expected
                .map(|(method, path)| (method, PathRule { path: path.to_owned(), exact: true }))
                .map_err(str::to_owned);
            assert_eq!(parsed, expected, "{text}");
        };
        check("POST /login", Ok((Some(Method::POST), "/login")));
        check("POST   /login", Ok((Some(Method::POST), "/login")));
        check("/login", Ok((None, "/login")));
        check("post /login", Err("`post` is no method"));
        check("/login POST", Err("`/login` is no method"));
        check("POST", Err("`POST` is no request"));
        check("POST login", Err("`login` does not begin with `/`"));
    }

    #[test]
    fn a_redirect_stays_on_the_host_or_names_another_in_full() {
        for (text, fine) in [
            ("/login", true),
            ("/login?next=%2Faccount", true),
            ("https://id.example.com/", true),
            ("//evil.example", false),
            ("/\\evil.example", false),
            ("https:///x", false),
            ("javascript:alert(1)", false),
            ("login", false),
            ("/a b", false),
            ("/a\r\nSet-Cookie: x", false),
        ] {
            assert_eq!(redirect(text).is_ok(), fine, "{text}");
        }
    }
}
