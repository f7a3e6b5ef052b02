//! Where a login leads that came too late: its record was moved by another one (PROTOCOL.md 22).
//!
//! Its worker was lent no jar, so that most applications say 403: the form's token is of a session that
//! they were not shown. Its user did nothing but click twice. She is led to the form again, where a
//! token waits that is good. Scripts get the application's own answer.

use http::{Method, StatusCode};

use crate::headers::fetch;
use crate::proxy::respond::NOT_KEPT;
use crate::wire::fields::{Fields, Unwritable};
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// The login form that a request came from: the page in `Referer` if that is ours, else the request's
/// own path. `None` where its answer is to be left as it is.
pub fn form(
    method: &Method,
    head: &Fields,
    authority: Option<&[u8]>,
    target: &[u8],
    status: StatusCode,
) -> Option<String> {
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || method.is_safe() || fetch::is_of_script(head) {
        return None;
    }
    let page = head.get(Name::Referer);
    let page = page.zip(authority).and_then(|(page, authority)| path_at(page, authority));
    page.or_else(|| local(target))
}

/// Leads there in place of what the answer says.
///
/// # Errors
/// A field that is none.
pub fn lead_to(response: &mut ResponseHead, form: &str) -> Result<(), Unwritable> {
    response.set_status(StatusCode::SEE_OTHER);
    response.fields.set(b"Location", form.as_bytes())?;
    response.fields.set(b"Cache-Control", NOT_KEPT)
}

/// Path and query of a page of ours.
fn path_at(page: &[u8], authority: &[u8]) -> Option<String> {
    let rest = page.strip_prefix(b"https://").or_else(|| page.strip_prefix(b"http://"))?;
    let ours = authority.strip_suffix(b":443").unwrap_or(authority);
    let (host, path) = rest.split_at(rest.iter().position(|byte| *byte == b'/')?);
    if host.eq_ignore_ascii_case(ours) { local(path) } else { None }
}

/// A path on this host and nothing else: browsers read `//x` and `/\x` as another host.
fn local(path: &[u8]) -> Option<String> {
    let path = path.split(|byte| *byte == b'#').next().unwrap_or_default();
    let is_local = path.first() == Some(&b'/') && path.get(1) != Some(&b'/');
    let is_plain = path.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    (is_local && is_plain).then(|| String::from_utf8_lossy(path).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &[(&str, &str)], target: &str, expected: Option<&str>) {
        let head = Fields::of(fields);
        let form = |method, status| {
            form(method, &head, Some(b"shop.example.com"), target.as_bytes(), status)
        };
        assert_eq!(form(&Method::POST, StatusCode::FORBIDDEN).as_deref(), expected, "{fields:?}");
        assert_eq!(form(&Method::GET, StatusCode::FORBIDDEN), None, "it would lead to itself");
        for status in [StatusCode::OK, StatusCode::FOUND] {
            assert_eq!(form(&Method::POST, status), None, "a form or the way to it");
        }
    }

    #[test]
    fn a_late_login_leads_to_its_form() {
        check(&[], "/login?next=/cart", Some("/login?next=/cart"));
        let page = |page| ("referer", page);
        check(&[page("https://shop.example.com/sign-in?a=b#c")], "/x", Some("/sign-in?a=b"));
        check(&[page("https://SHOP.example.com/")], "/login", Some("/"));
        for elsewhere in [
            "https://evil.example.net/login",
            "https://shop.example.com.evil.example.net/",
            "https://shop.example.com@evil.example.net/",
            "https://shop.example.com",
            "https://shop.example.com//evil.example.net/",
            "https://shop.example.com/\\evil.example.net/",
            "javascript:alert(1)",
            "/login",
        ] {
            check(&[page(elsewhere)], "/login", Some("/login"));
        }
        for target in ["//evil.example.net/login", "/\\evil.example.net", "*", "https://x/login"] {
            check(&[], target, None);
        }
    }

    #[test]
    fn a_script_gets_the_applications_own_answer() {
        check(&[("sec-fetch-mode", "cors")], "/login", None);
        check(&[("x-requested-with", "XMLHttpRequest")], "/login", None);
        check(&[("sec-fetch-mode", "navigate")], "/login", Some("/login"));
    }
}
