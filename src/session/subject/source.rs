//! Names in login requests: form fields and JSON members (PROTOCOL.md 23).
//!
//! What two readers could read in two ways is no claim: duplicates, broken escapes, other
//! encodings. A claim grants nothing, but it decides whose list a session is in.

use std::fmt;

use http::HeaderName;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// Where a login rule finds who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A field of an `application/x-www-form-urlencoded` body.
    Form(String),
    /// A string or whole number in a JSON body, by the names of the members that lead to it.
    Json(Vec<String>),
    /// A field of the answer, which the client never sees.
    Header(HeaderName),
}

/// What a request body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Form,
    Json,
}

impl Format {
    /// What a request head says about its body; `None` where it is neither of the two in UTF-8, or
    /// encoded.
    pub fn of(head: &Fields) -> Option<Self> {
        let mut codings = head.all(Name::ContentEncoding);
        if codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return None;
        }
        let given = head.only(Name::ContentType).filter(|given| given.is_ascii())?;
        let given = std::str::from_utf8(given).ok()?;
        let mut parts = given.split(';').map(str::trim);
        let essence = parts.next()?.to_ascii_lowercase();
        let is_utf8 = |part: &str| {
            let Some((name, value)) = part.split_once('=') else { return true };
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        };
        if !parts.all(is_utf8) {
            return None;
        }
        match essence.as_str() {
            "application/x-www-form-urlencoded" => Some(Self::Form),
            "application/json" => Some(Self::Json),
            other if other.starts_with("application/") && other.ends_with("+json") => {
                Some(Self::Json)
            }
            _ => None,
        }
    }
}

impl Source {
    /// The format of the bodies that it is found in.
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Form(_) => Some(Format::Form),
            Self::Json(_) => Some(Format::Json),
            Self::Header(_) => None,
        }
    }

    /// What a whole body of this format says.
    pub fn find(&self, format: Format, body: &[u8]) -> Option<String> {
        match (self, format) {
            (Self::Form(field), Format::Form) => form(body, field),
            (Self::Json(path), Format::Json) => json(body, path),
            (Self::Form(_) | Self::Json(_) | Self::Header(_), _) => None,
        }
    }
}

/// The one value of a form field (WHATWG URL, 5.1, but that broken escapes and bytes that are not
/// UTF-8 are refused).
fn form(body: &[u8], field: &str) -> Option<String> {
    let mut found = None;
    for pair in body.split(|&byte| byte == b'&') {
        let at = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(at);
        if decoded(name).as_deref() == Some(field) {
            if found.is_some() {
                return None;
            }
            found = Some(decoded(value.strip_prefix(b"=").unwrap_or_default()));
        }
    }
    found?
}

fn decoded(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (&[high, low], after) = rest.split_first_chunk::<2>()?;
                rest = after;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The one value of a member, each of whose parents is there once. A number is a name if it is whole
/// and fits 64 bits: digits that are lost make two users one.
fn json(body: &[u8], path: &[String]) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let found = Member { path }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found
}

/// Reads a value and picks what the path leads to.
#[derive(Clone, Copy)]
struct Member<'a> {
    path: &'a [String],
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((name, rest)) = self.path.split_first() else {
            return Err(A::Error::custom("an object where a name was looked for"));
        };
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != *name {
                map.next_value::<IgnoredAny>()?;
            } else if found.is_some() {
                return Err(A::Error::custom("a duplicate"));
            } else {
                found = Some(map.next_value_seed(Member { path: rest })?);
            }
        }
        Ok(found.flatten())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.path.is_empty().then(|| text.to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.path.is_empty().then(|| number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.path.is_empty().then(|| number.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn form_fields_are_read_exactly() {
        let check = |body: &str, expected: Option<&str>| {
            assert_eq!(form(body.as_bytes(), "user").as_deref(), expected, "{body}");
        };
        check("user=alice", Some("alice"));
        check("password=x&user=alice&next=%2F", Some("alice"));
        check("user=al%69ce+b%2Bc%26", Some("alice b+c&"));
        check("%75ser=alice", Some("alice"));
        check("user=zo%C3%AB", Some("zoë"));
        check("user=zoë", Some("zoë"));
        check("user=a=b", Some("a=b"));
        check("user=", Some(""));
        check("user", Some(""));
        check("", None);
        check("other=alice", None);
        check("User=alice", None);
        check("user[]=alice", None);
        check("user%=alice", None);
        // Duplicates are none, equal or not, in any spelling of the name.
        check("user=alice&user=alice", None);
        check("user=alice&password=x&us%65r=bob", None);
        check("user=alice&user", None);
        // What readers differ on is none.
        for broken in ["user=%", "user=%4", "user=%zz", "user=%+1", "user=%ff", "user=%C3"] {
            check(broken, None);
        }
        assert_eq!(form(b"user=\xff", "user"), None);
    }

    #[test]
    fn json_members_are_read_by_their_path() {
        let check = |body: &str, path: &str, expected: Option<&str>| {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert_eq!(json(body.as_bytes(), &path).as_deref(), expected, "{body} {path:?}");
        };
        check(r#"{"user":"alice"}"#, "user", Some("alice"));
        check(r#" {"a":[1,{"user":"no"}],"user":"alice"} "#, "user", Some("alice"));
        check(r#"{"u\u0073er":"\u0061lice"}"#, "user", Some("alice"));
        check(r#"{"login":{"user":{"name":"alice"}}}"#, "login.user.name", Some("alice"));
        check(r#"{"id":42}"#, "id", Some("42"));
        check(r#"{"id":-7}"#, "id", Some("-7"));
        check(r#"{"id":18446744073709551615}"#, "id", Some("18446744073709551615"));
        check(r#"{"user":""}"#, "user", Some(""));
        // Digits would be lost.
        check(r#"{"id":18446744073709551616}"#, "id", None);
        check(r#"{"id":1.5}"#, "id", None);
        check(r#"{"id":1e3}"#, "id", None);
        for other in ["true", "null", "[]", "{}", r#"["alice"]"#, r#"{"name":"alice"}"#] {
            check(&format!(r#"{{"user":{other}}}"#), "user", None);
        }
        check(r#"{"login":"alice"}"#, "login.user", None);
        check(r#"{"login":[{"user":"alice"}]}"#, "login.user", None);
        check(r#"{"login.user":"alice"}"#, "login.user", None);
        check(r#"{"User":"alice"}"#, "user", None);
        check(r#""alice""#, "user", None);
        // Duplicates are none, on every level of the path, equal or not.
        check(r#"{"user":"alice","user":"alice"}"#, "user", None);
        check(r#"{"user":null,"user":"alice"}"#, "user", None);
        check(r#"{"user":"alice","\u0075ser":"bob"}"#, "user", None);
        check(r#"{"a":{"user":"alice"},"a":{}}"#, "a.user", None);
        // … elsewhere they don't matter.
        check(r#"{"x":1,"x":2,"user":"alice"}"#, "user", Some("alice"));
        for broken in ["", "{", r#"{"user":"alice"}x"#, r#"{"user":"alice""#, "{'user':'alice'}"] {
            check(broken, "user", None);
        }
        check(&"[".repeat(60_000), "user", None);
    }

    #[test]
    fn the_head_says_what_a_body_is_written_in() {
        let check = |fields: &[(&str, &str)], expected: Option<Format>| {
            assert_eq!(Format::of(&Fields::of(fields)), expected, "{fields:?}");
        };
        let form = "application/x-www-form-urlencoded";
        check(&[("content-type", form)], Some(Format::Form));
        check(
            &[("content-type", "Application/X-WWW-Form-URLencoded;charset=UTF-8")],
            Some(Format::Form),
        );
        check(&[("content-type", "application/json; charset=\"utf-8\"")], Some(Format::Json));
        check(&[("content-type", "application/vnd.api+json")], Some(Format::Json));
        check(&[("content-type", form), ("content-encoding", "identity")], Some(Format::Form));
        check(&[], None);
        check(&[("content-type", "text/plain")], None);
        check(&[("content-type", "multipart/form-data; boundary=x")], None);
        check(&[("content-type", "application/json; charset=utf-16")], None);
        check(&[("content-type", form), ("content-type", form)], None);
        check(&[("content-type", "application/json; charset=\u{fc}tf-8")], None);
        check(&[("content-type", form), ("content-encoding", "gzip")], None);
        check(&[("content-type", form), ("content-encoding", "identity, gzip")], None);
    }

    #[test]
    fn a_source_reads_its_own_format_only() {
        let field = Source::Form("user".to_owned());
        assert_eq!(field.find(Format::Form, b"user=alice").as_deref(), Some("alice"));
        assert_eq!(field.find(Format::Json, b"user=alice"), None);
        let member = Source::Json(vec!["user".to_owned()]);
        assert_eq!(member.find(Format::Form, br#"{"user":"alice"}"#), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            form(&body, "user");
            json(&body, &["user".to_owned(), "name".to_owned()]);
        }

        #[test]
        fn nothing_that_looks_like_it_panics(body in "[\\[\\]{}\":,0-9a-f.%+&=user\\\\-]{0,60}") {
            form(body.as_bytes(), "user");
            json(body.as_bytes(), &["user".to_owned()]);
        }

        #[test]
        fn what_a_browser_encodes_is_what_was_typed(text in "\\PC{0,40}") {
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
            prop_assert_eq!(form(format!("a=1&user={encoded}").as_bytes(), "user"), Some(text));
        }
    }
}
