//! What a login rule's failure part finds in an answer's body (PROTOCOL.md 17).
//!
//! Only its beginning is looked at, as the bytes that the application wrote. Whoever logs in chooses
//! much of a request; so an answer whose body cannot be read counts as one that has the text.

use std::fmt;

use http::{Method, StatusCode};
use regex::bytes::{Regex, RegexBuilder};

use crate::wire::elements;
use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// Bytes of a body that are looked at.
pub const LOOKED_AT_MAX: usize = 64 * 1024;
const PATTERN_BYTES_MAX: usize = 1024;
/// What a pattern is compiled to. The time that a search takes at worst grows with it: some
/// milliseconds, mostly microseconds.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// A regular expression that is found in time that is linear in the body's length, however the body
/// looks.
#[derive(Clone, Debug)]
pub struct BodyPattern(Regex);

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternFlaw {
    TooLong,
    TooLarge,
    /// It is found in an empty body, so in any.
    Anywhere,
    /// What the parser says.
    Syntax(String),
}

impl BodyPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternFlaw`]
    pub fn new(text: &str) -> Result<Self, PatternFlaw> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternFlaw::TooLong);
        }
        let regex = RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
        let regex = regex.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternFlaw::TooLarge,
            // It shows the pattern with a mark beneath; its last line says what is wrong.
            error => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                PatternFlaw::Syntax(last.trim_start_matches("error: ").to_owned())
            }
        })?;
        if regex.is_match(b"") {
            return Err(PatternFlaw::Anywhere);
        }
        Ok(Self(regex))
    }

    /// Whether it is found in what was read of a body.
    pub fn is_in(&self, body: &[u8]) -> bool {
        self.0.is_match(body.get(..LOOKED_AT_MAX).unwrap_or(body))
    }
}

/// Why what an answer has for a body says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// `HEAD`, 304: there would be one.
    LeftOut,
    /// 206 and its like, which a client asks for.
    Part,
    /// `Content-Encoding`, although none was asked for.
    Encoded,
    /// It goes on while events come; whoever waits for it holds them up.
    Stream,
}

impl Unreadable {
    /// Of an answer to a request by `method`; `None` where its body can be read.
    pub fn of(method: &Method, status: StatusCode, fields: &Fields) -> Option<Self> {
        if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
            return Some(Self::LeftOut);
        }
        if matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::IM_USED) {
            return Some(Self::Part);
        }
        let mut codings = fields.all(Name::ContentEncoding).flat_map(elements);
        if codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return Some(Self::Encoded);
        }
        let is_stream = fields.all(Name::ContentType).any(|media_type| {
            let begin = media_type.get(..EVENT_STREAM.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(EVENT_STREAM))
        });
        is_stream.then_some(Self::Stream)
    }
}

const EVENT_STREAM: &[u8] = b"text/event-stream";

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeftOut => "it is left out",
            Self::Part => "it is a part of one",
            Self::Encoded => "it has a Content-Encoding, although `identity` was asked for",
            Self::Stream => "it is an event stream",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::path::{NormalPath, PathRule};
    use crate::session::matching::Head;
    use crate::session::policy::{FailurePart, Policy, SuccessPart};
    use crate::session::tests::policy;

    fn pattern(text: &str) -> BodyPattern {
        BodyPattern::new(text).expect("a good pattern")
    }

    fn path(path: &str) -> NormalPath {
        NormalPath::from_target(path.as_bytes()).expect("a good path")
    }

    /// A policy whose login is any 200, but for these failures.
    fn with(failure: Vec<FailurePart>) -> Policy {
        let mut policy = policy();
        policy.login[0].success = SuccessPart { status: vec![200, 302], ..SuccessPart::default() };
        policy.login[0].failure = failure;
        policy
    }

    fn saying(text: &str) -> FailurePart {
        FailurePart { body: Some(pattern(text)), ..FailurePart::default() }
    }

    /// PROTOCOL 17: the form again, with 200.
    #[test]
    fn a_body_with_the_text_is_a_failed_attempt() {
        let policy = with(vec![saying("(?i)wrong (name|password)")]);
        let check = |status, body: Option<&[u8]>, expected: bool| {
            let answer = Head { status, fields: &Fields::new(), cookies: &[], body };
            let got = policy.has_logged_in(&Method::POST, &path("/login"), answer);
            assert_eq!(got, expected, "{status} {body:?}");
        };
        check(200, Some(b"<p class=error>Wrong password</p>"), false);
        check(200, Some(b"\xff\xfe wrong name"), false);
        check(200, Some(b"<p>Welcome</p>"), true);
        check(302, Some(b""), true);
        check(200, None, false);
        let far = [vec![b' '; LOOKED_AT_MAX - 4], b"wrong name".to_vec()].concat();
        check(200, Some(&far), true);
        check(200, Some(&far[6..]), false);
    }

    /// All of a part must hold; what does not depend on a body is said without one.
    #[test]
    fn a_body_is_read_only_where_the_rest_of_its_part_holds() {
        let part = FailurePart {
            status: vec![200],
            location: Some(PathRule::new("/login", false).expect("a good path")),
            body: Some(pattern("wrong")),
        };
        let status = FailurePart { location: None, ..part.clone() };
        let (to_login, nowhere) = (Fields::of(&[("location", "/login")]), Fields::new());
        for (part, status, fields, expected) in [
            (&status, 200, &nowhere, true),
            (&status, 302, &to_login, false),
            (&part, 200, &to_login, true),
            (&part, 200, &nowhere, false),
        ] {
            let policy = with(vec![part.clone()]);
            let looks = |method, at| policy.looks_at_body(method, &path(at));
            assert!(looks(&Method::POST, "/login/"));
            assert!(!looks(&Method::GET, "/login") && !looks(&Method::POST, "/cart"));
            let answer = Head { status, fields, cookies: &[], body: None };
            let at = path("/login");
            assert_eq!(policy.needs_body(&Method::POST, &at, answer), expected, "{part:?}");
            assert!(!policy.needs_body(&Method::GET, &at, answer));
            let succeeds = policy.has_logged_in(&Method::POST, &at, answer);
            assert_eq!(succeeds, !expected, "without a body: {part:?}");
        }
        let head = FailurePart { status: vec![401], ..FailurePart::default() };
        assert!(!with(vec![head]).looks_at_body(&Method::POST, &path("/login")));
    }

    #[test]
    fn a_body_that_says_nothing_is_known() {
        let check = |method, status: u16, fields: &[(&str, &str)], expected| {
            let status = StatusCode::from_u16(status).expect("a status");
            let found = Unreadable::of(&method, status, &Fields::of(fields));
            assert_eq!(found, expected, "{method} {status} {fields:?}");
        };
        check(Method::POST, 200, &[("Content-Type", "text/html")], None);
        check(Method::POST, 204, &[], None);
        check(Method::POST, 302, &[("Content-Encoding", "Identity")], None);
        for coding in ["gzip", "identity, br", "unheard-of"] {
            let fields = [("Content-Encoding", coding)];
            check(Method::POST, 200, &fields, Some(Unreadable::Encoded));
        }
        check(Method::HEAD, 200, &[], Some(Unreadable::LeftOut));
        check(Method::GET, 304, &[], Some(Unreadable::LeftOut));
        check(Method::GET, 206, &[], Some(Unreadable::Part));
        let stream = [("Content-Type", "Text/Event-Stream; charset=utf-8")];
        check(Method::POST, 200, &stream, Some(Unreadable::Stream));
    }

    #[test]
    fn a_pattern_that_cannot_be_meant_is_none() {
        let check = |text: &str, expected| {
            assert_eq!(BodyPattern::new(text).err(), expected, "{text}");
        };
        for good in ["Wrong password", "(?i)w\\w+ password", "(?-u)\\xe9", "(?s)<form.*password"] {
            check(good, None);
        }
        for anywhere in ["", "x*", "error|", "^$"] {
            check(anywhere, Some(PatternFlaw::Anywhere));
        }
        check("(", Some(PatternFlaw::Syntax("unclosed group".to_owned())));
        check("(a)\\1", Some(PatternFlaw::Syntax("backreferences are not supported".to_owned())));
        check(&"x".repeat(PATTERN_BYTES_MAX), None);
        check(&"x".repeat(PATTERN_BYTES_MAX + 1), Some(PatternFlaw::TooLong));
        check("(\\w{100}){100}", Some(PatternFlaw::TooLarge));
    }
}
