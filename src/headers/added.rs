//! Fields that operators add to answers (nginx `add_header`), and those that protect visitors.

use http::StatusCode;

use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// Statuses whose answers get the fields that are not for all of them (nginx 50).
pub fn is_usual(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308)
}

/// Adds a field behind others of its name. A validator takes the place of the one that is there, and
/// an empty one takes it away; any other empty value adds nothing.
pub fn add(fields: &mut Fields, name: &[u8], value: &[u8]) {
    let known = Name::of(name);
    let replaces = matches!(known, Name::ETag | Name::LastModified);
    if replaces {
        fields.remove(known);
    }
    if value.is_empty() {
        return;
    }
    // A client's text may be in it, and must not begin another field.
    let pushed = match value.iter().any(|byte| is_control(*byte)) {
        false => fields.push(name, value),
        true => {
            let clean = value.iter().map(|byte| if is_control(*byte) { b' ' } else { *byte });
            fields.push(name, &clean.collect::<Vec<_>>())
        }
    };
    if pushed.is_err() {
        tracing::error!("a field that is to be added has no name");
    }
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// Adds the fields that browsers protect visitors by, but for those that the answer has. They break no
/// page that was written with them in mind or without: other sites may not frame it, no type is
/// guessed, no path is told to other sites, and who came over https comes so for a year.
pub fn secure(fields: &mut Fields, is_https: bool) {
    const MISSING: [(&[u8], &[u8]); 2] = [
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Referrer-Policy", b"strict-origin-when-cross-origin"),
    ];
    for (name, value) in MISSING {
        if !fields.has_named(name) {
            add(fields, name, value);
        }
    }
    if !fields.has_named(b"X-Frame-Options") && !says_who_may_frame(fields) {
        add(fields, b"X-Frame-Options", b"SAMEORIGIN");
    }
    if is_https && !fields.has(Name::StrictTransportSecurity) {
        add(fields, b"Strict-Transport-Security", b"max-age=31536000");
    }
}

/// A policy of the application's that knows better.
fn says_who_may_frame(fields: &Fields) -> bool {
    let mut policies = fields.all_named(b"Content-Security-Policy");
    policies.any(|policy| {
        let mut directives = policy.split(|byte| matches!(byte, b';' | b','));
        directives.any(|directive| {
            let directive = directive.trim_ascii();
            let name = directive.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            name.eq_ignore_ascii_case(b"frame-ancestors")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fields: &Fields) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let line = |(name, value)| format!("{}: {}", text(name), text(value));
        let lines = fields.iter().map(|field| (field.name, field.value)).map(line);
        lines.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_field_is_added_behind_the_others() {
        let check = |name: &str, value: &str, expected: &str| {
            let mut fields = Fields::of(&[("ETag", "\"a\""), ("Link", "b"), ("X", "c")]);
            add(&mut fields, name.as_bytes(), value.as_bytes());
            assert_eq!(text(&fields), expected, "{name}: {value}");
        };
        check("x", "d", "ETag: \"a\", Link: b, X: c, x: d");
        check("Link", "d", "ETag: \"a\", Link: b, X: c, Link: d");
        check("x", "", "ETag: \"a\", Link: b, X: c");
        check("etag", "\"d\"", "Link: b, X: c, etag: \"d\"");
        check("etag", "", "Link: b, X: c");
        check("x", "d\r\nSet-Cookie: e\0", "ETag: \"a\", Link: b, X: c, x: d  Set-Cookie: e ");
        check("not a name", "d", "ETag: \"a\", Link: b, X: c");
    }

    #[test]
    fn what_protects_visitors_overrides_nothing() {
        let check = |given: &[(&str, &str)], is_https, expected: &str| {
            let mut fields = Fields::of(given);
            secure(&mut fields, is_https);
            assert_eq!(text(&fields), expected, "{given:?}");
        };
        let both =
            "X-Content-Type-Options: nosniff, Referrer-Policy: strict-origin-when-cross-origin";
        check(&[], false, &format!("{both}, X-Frame-Options: SAMEORIGIN"));
        let https = "Strict-Transport-Security: max-age=31536000";
        check(&[], true, &format!("{both}, X-Frame-Options: SAMEORIGIN, {https}"));
        let own = [
            ("x-content-type-options", "a"),
            ("referrer-policy", "b"),
            ("x-frame-options", "c"),
            ("strict-transport-security", "d"),
        ];
        let kept = "x-content-type-options: a, referrer-policy: b, x-frame-options: c, \
                    strict-transport-security: d";
        check(&own, true, kept);
        let policy = "default-src 'self'; Frame-Ancestors 'none'";
        let framed = [("Content-Security-Policy", policy)];
        check(&framed, false, &format!("Content-Security-Policy: {policy}, {both}"));
        let other = [("Content-Security-Policy", "default-src frame-ancestors.example")];
        let policy = "Content-Security-Policy: default-src frame-ancestors.example";
        check(&other, false, &format!("{policy}, {both}, X-Frame-Options: SAMEORIGIN"));
    }
}
