//! Whether a client asks for a file that it has, or for one that has changed meanwhile (RFC 9110
//! section 13), as nginx decides it.
//!
//! nginx differs from section 13.2.2 in one point: `If-Modified-Since` counts beside `If-None-Match`,
//! and only both together say that nothing has changed.

use crate::wire::fields::Fields;
use crate::wire::name::Name;

use super::time;

/// What the conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The file is sent.
    Send,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// How `If-Modified-Since` is compared (nginx `if_modified_since`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModifiedSince {
    /// Always: the file has changed.
    Off,
    /// Only the very same moment counts as unchanged.
    #[default]
    Exact,
    /// So does any later one.
    Before,
}

/// Decides on what would be a 200.
pub fn verdict(
    asked: &Fields,
    etag: Option<&[u8]>,
    modified: i64,
    compared: ModifiedSince,
) -> Verdict {
    if let Some(since) = asked.get(Name::IfUnmodifiedSince)
        && time::parse(since).is_none_or(|since| since < modified)
    {
        return Verdict::Failed;
    }
    if asked.get(Name::IfMatch).is_some_and(|list| !matches(list, etag, Comparison::Strong)) {
        return Verdict::Failed;
    }
    let since = asked.get(Name::IfModifiedSince);
    let none_match = asked.get(Name::IfNoneMatch);
    if since.is_none() && none_match.is_none() {
        return Verdict::Send;
    }
    if since.is_some_and(|since| has_changed(since, modified, compared))
        || none_match.is_some_and(|list| !matches(list, etag, Comparison::Weak))
    {
        return Verdict::Send;
    }
    Verdict::NotModified
}

fn has_changed(since: &[u8], modified: i64, compared: ModifiedSince) -> bool {
    let since = time::parse(since);
    match compared {
        ModifiedSince::Off => true,
        ModifiedSince::Exact => since != Some(modified),
        ModifiedSince::Before => since.is_none_or(|since| since < modified),
    }
}

/// RFC 9110 section 8.8.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of tags, or `*`, names this one.
fn matches(list: &[u8], etag: Option<&[u8]>, comparison: Comparison) -> bool {
    if list == b"*" {
        return true;
    }
    let Some(etag) = etag else { return false };
    let opaque = |tag| match comparison {
        Comparison::Strong => tag,
        Comparison::Weak => without_weakness(tag),
    };
    let etag = opaque(etag);
    let mut rest = list;
    while !rest.is_empty() {
        if let Some(after) = opaque(rest).strip_prefix(etag) {
            let after = after.trim_ascii_start();
            if matches!(after.first(), None | Some(b',')) {
                return true;
            }
        }
        let next = memchr::memchr(b',', rest).unwrap_or(rest.len());
        rest = rest.get(next..).unwrap_or_default();
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
    }
    false
}

fn without_weakness(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Failed, NotModified, Send};
    use super::*;

    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const MODIFIED: i64 = 784_111_777;

    fn of(asked: &[(&str, &str)], etag: Option<&str>, compared: ModifiedSince) -> Verdict {
        verdict(&Fields::of(asked), etag.map(str::as_bytes), MODIFIED, compared)
    }

    #[track_caller]
    fn check(asked: &[(&str, &str)], expected: Verdict) {
        assert_eq!(of(asked, Some("\"a\""), ModifiedSince::Exact), expected, "{asked:?}");
    }

    #[test]
    fn a_file_that_a_client_has_is_not_sent_again() {
        check(&[], Send);
        check(&[("If-None-Match", "\"a\"")], NotModified);
        check(&[("If-None-Match", "W/\"a\"")], NotModified);
        check(&[("If-None-Match", "\"b\", W/\"a\" , \"c\"")], NotModified);
        check(&[("If-None-Match", "*")], NotModified);
        check(&[("If-None-Match", "\"b\"")], Send);
        check(&[("If-None-Match", "\"a\"x")], Send);
        check(&[("If-None-Match", "\"aa\"")], Send);
        check(&[("If-None-Match", "")], Send);
        check(&[("If-Modified-Since", NOW)], NotModified);
        check(&[("If-Modified-Since", LATER)], Send);
        check(&[("If-Modified-Since", "soon")], Send);
        check(&[("If-Modified-Since", NOW), ("If-None-Match", "\"a\"")], NotModified);
        check(&[("If-Modified-Since", BEFORE), ("If-None-Match", "\"a\"")], Send);
        check(&[("If-Modified-Since", NOW), ("If-None-Match", "\"b\"")], Send);
    }

    #[test]
    fn a_file_that_has_changed_fails_a_condition() {
        check(&[("If-Match", "\"a\"")], Send);
        check(&[("If-Match", "*")], Send);
        check(&[("If-Match", "\"b\",\"a\"")], Send);
        check(&[("If-Match", "W/\"a\"")], Failed);
        check(&[("If-Match", "\"b\"")], Failed);
        check(&[("If-Unmodified-Since", NOW)], Send);
        check(&[("If-Unmodified-Since", LATER)], Send);
        check(&[("If-Unmodified-Since", BEFORE)], Failed);
        check(&[("If-Unmodified-Since", "soon")], Failed);
        check(&[("If-Match", "\"b\""), ("If-None-Match", "\"a\"")], Failed);
        check(&[("If-Match", "\"a\""), ("If-None-Match", "\"a\"")], NotModified);
    }

    #[test]
    fn weak_tags_match_weakly_only() {
        let weak = Some("W/\"a\"");
        assert_eq!(of(&[("If-None-Match", "\"a\"")], weak, ModifiedSince::Exact), NotModified);
        assert_eq!(of(&[("If-Match", "\"a\"")], weak, ModifiedSince::Exact), Failed);
    }

    #[test]
    fn a_file_without_a_tag_matches_any_only() {
        assert_eq!(of(&[("If-None-Match", "\"a\"")], None, ModifiedSince::Exact), Send);
        assert_eq!(of(&[("If-None-Match", "*")], None, ModifiedSince::Exact), NotModified);
        assert_eq!(of(&[("If-Match", "\"a\"")], None, ModifiedSince::Exact), Failed);
    }

    #[test]
    fn a_date_is_compared_as_configured() {
        let since = |date, compared| of(&[("If-Modified-Since", date)], None, compared);
        assert_eq!(since(LATER, ModifiedSince::Before), NotModified);
        assert_eq!(since(NOW, ModifiedSince::Before), NotModified);
        assert_eq!(since(BEFORE, ModifiedSince::Before), Send);
        assert_eq!(since("soon", ModifiedSince::Before), Send);
        assert_eq!(since(NOW, ModifiedSince::Off), Send);
    }
}
