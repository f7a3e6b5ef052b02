//! The status page: one file with its style and its script, which asks `/status`.
//!
//! Its policy (CSP) names both by their hashes. It loads nothing, and asks nobody but this listener.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response};
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let page = include_str!("page/page.html");
    page.replace("@STYLE@", STYLE).replace("@SCRIPT@", SCRIPT)
});

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::try_from(policy).expect("hashes are ASCII")
});

/// The page.
pub(super) fn answer() -> Response<String> {
    let mut response = Response::new(PAGE.clone());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_all_that_it_needs_and_names_nobody() {
        let page = answer();
        let text = page.body();
        assert!(text.contains(STYLE) && text.contains(SCRIPT));
        assert!(!text.contains("@STYLE@") && !text.contains("@SCRIPT@"));
        // A name of XML's, which nobody asks.
        let others = text.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !others.contains("http:") && !others.contains("https:") && !others.contains("//cdn")
        );
        for attribute in [" style=", " onclick=", "innerHTML", "eval("] {
            assert!(!text.contains(attribute), "{attribute} is refused by its own policy");
        }
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
            "{policy}"
        );
    }
}
