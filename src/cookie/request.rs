//! Reading and writing the `Cookie` field (RFC 6265bis, section 5.8.3 turned round).

use std::fmt;

use super::lookalike::is_plain;
pub use super::lookalike::{Likeness, likeness};
use super::{pieces, split_pair, trim};

/// One cookie of a `Cookie` field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// Empty where the piece has no `=`: browsers send a nameless cookie as its value alone.
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// The piece as it was sent, without the white space around it.
    pub raw: &'a [u8],
    /// Every reader sees this one cookie in it.
    pub is_plain: bool,
}

impl fmt::Debug for Pair<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("name", &format_args!("{}", self.name.escape_ascii()))
            .field("value", &format_args!("[redacted]"))
            .finish()
    }
}

/// Reads the cookies of one field in their order; several fields are read one after another.
///
/// Empty pieces are skipped. Quotes mean nothing, nor does `$Version`: a server that thinks
/// otherwise can be fed a cookie inside another one's value.
pub fn pairs(field: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    pieces(field).map(trim).filter(|raw| !raw.is_empty()).map(|raw| {
        let (name, value) = split_pair(raw).unwrap_or((b"", raw));
        Pair { name, value, raw, is_plain: is_plain(raw, name, value) }
    })
}

/// One field in the making. HTTP/2 may send its pieces apart (RFC 9113, section 8.2.3), and most
/// HTTP/1 servers read the first field only.
#[derive(Default)]
pub struct Field(Vec<u8>);

impl Field {
    /// Adds a piece as it is.
    pub fn push(&mut self, piece: &[u8]) {
        self.separate(piece.len());
        self.0.extend_from_slice(piece);
    }

    /// Adds a cookie; one without a name is its value alone.
    pub fn push_cookie(&mut self, name: &[u8], value: &[u8]) {
        if name.is_empty() {
            return self.push(value);
        }
        self.separate(name.len() + 1 + value.len());
        self.0.extend_from_slice(name);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
    }

    /// The field's value; empty where there was no piece.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Makes room for so many bytes behind what is there.
    fn separate(&mut self, bytes: usize) {
        const USUAL: usize = 128;
        self.0.reserve((bytes + 2).max(if self.0.is_empty() { USUAL } else { 0 }));
        if !self.0.is_empty() {
            self.0.extend_from_slice(b"; ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn join<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut field = Field::default();
        pieces.into_iter().for_each(|piece| field.push(piece));
        field.0
    }

    #[track_caller]
    fn check(field: impl AsRef<[u8]>, expected: &[(&str, &str)]) {
        let field = field.as_ref();
        let found: Vec<_> = pairs(field).map(|pair| (pair.name, pair.value)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        assert_eq!(found, expected, "{}", field.escape_ascii());
    }

    #[test]
    fn usual_fields() {
        check("a=b", &[("a", "b")]);
        check("a=b; c=d", &[("a", "b"), ("c", "d")]);
        check("a=b;c=d", &[("a", "b"), ("c", "d")]);
        check("a=b;\tc=d", &[("a", "b"), ("c", "d")]);
        check("a=b; a=c", &[("a", "b"), ("a", "c")]);
        check("A=b; a=c", &[("A", "b"), ("a", "c")]);
        check("a=", &[("a", "")]);
        check("EGG_SESS=k; EGG_SESS.sig=s", &[("EGG_SESS", "k"), ("EGG_SESS.sig", "s")]);
        check("connect.sid=s%3Aabc.def%2Bg", &[("connect.sid", "s%3Aabc.def%2Bg")]);
        check("t=eyJhIjoxfQ==", &[("t", "eyJhIjoxfQ==")]);
    }

    #[test]
    fn empty_pieces_are_skipped() {
        check("", &[]);
        check(" \t ", &[]);
        check(";", &[]);
        check(";;; ; \t;", &[]);
        check("a=b;", &[("a", "b")]);
        check(";a=b; ;c=d; ", &[("a", "b"), ("c", "d")]);
    }

    #[test]
    fn nameless_cookies_have_a_value() {
        check("foo", &[("", "foo")]);
        check("a=b; foo; c=d", &[("a", "b"), ("", "foo"), ("c", "d")]);
        check("=foo", &[("", "foo")]);
        check("=", &[("", "")]);
        check("==", &[("", "=")]);
        check("=a=b", &[("", "a=b")]);
        check(" = ", &[("", "")]);
        check("__Host-shop", &[("", "__Host-shop")]);
    }

    #[test]
    fn only_the_first_equals_sign_splits() {
        check("a=b=c", &[("a", "b=c")]);
        check("  A=== BC  ", &[("A", "== BC")]);
        check("\"a=b\"=bar", &[("\"a", "b\"=bar")]);
    }

    #[test]
    fn space_and_tab_are_the_only_white_space() {
        check("  a \t=  b c \t ; d = e", &[("a", "b c"), ("d", "e")]);
        check("\u{2000}a=b", &[("\u{2000}a", "b")]);
        check("\u{a0}a\u{a0}=\u{a0}b", &[("\u{a0}a\u{a0}", "\u{a0}b")]);
        check("\u{feff}a=b\u{3000}", &[("\u{feff}a", "b\u{3000}")]);
        check("\x0ba\x0c=\x1cb\x1f", &[("\x0ba\x0c", "\x1cb\x1f")]);
        check("a\r\n=b", &[("a\r\n", "b")]);
        let latin_1 = b"\x85a\xa0=b";
        let names: Vec<_> = pairs(latin_1).map(|pair| pair.name).collect();
        assert_eq!(names, [b"\x85a\xa0"]);
    }

    #[test]
    fn quotes_commas_and_dollars_mean_nothing() {
        check("a=\"b\"", &[("a", "\"b\"")]);
        check("a=\"b; c=d\"; e=f", &[("a", "\"b"), ("c", "d\""), ("e", "f")]);
        check("a=\"b\\\"; c=d", &[("a", "\"b\\\""), ("c", "d")]);
        check("a=b, c=d", &[("a", "b, c=d")]);
        check("a=b,c=d;e=f", &[("a", "b,c=d"), ("e", "f")]);
        check("$Version=1; a=b; $Path=/", &[("$Version", "1"), ("a", "b"), ("$Path", "/")]);
        check("$Version=1,a=b", &[("$Version", "1,a=b")]);
        check(
            "$Version=1; p=\"x; __Host-shop=evil; q=y\"",
            &[("$Version", "1"), ("p", "\"x"), ("__Host-shop", "evil"), ("q", "y\"")],
        );
        check("a=%3B%20b%3Dc", &[("a", "%3B%20b%3Dc")]);
        check("%61=b", &[("%61", "b")]);
    }

    #[test]
    fn bytes_outside_ascii_survive() {
        check(
            "na\u{ef}ve=caf\u{e9}; \u{1f36a}=\u{6625}",
            &[("na\u{ef}ve", "caf\u{e9}"), ("\u{1f36a}", "\u{6625}")],
        );
        let broken = b"a=\xff\xfe\x80";
        assert_eq!(pairs(broken).map(|pair| pair.value).collect::<Vec<_>>(), [b"\xff\xfe\x80"]);
    }

    #[test]
    fn raw_pieces_are_as_they_were_sent() {
        let field = b" a = \"b c\" ;; d;e=\xe9 ; =f";
        let raw: Vec<_> = pairs(field).map(|pair| pair.raw).collect();
        assert_eq!(raw, [&b"a = \"b c\""[..], b"d", b"e=\xe9", b"=f"]);
    }

    #[test]
    fn pieces_are_joined_as_one_field() {
        assert_eq!(join([]), b"");
        assert_eq!(join([&b"a=b"[..]]), b"a=b");
        assert_eq!(join([&b"a=b"[..], b"c", b"d=e"]), b"a=b; c; d=e");
        let field = b"a=b;; c ;d=\xe9";
        let joined = join(pairs(field).map(|pair| pair.raw));
        assert_eq!(joined, b"a=b; c; d=\xe9");
        assert!(pairs(&joined).eq(pairs(field)));
    }

    #[test]
    fn cookies_are_added_behind_pieces() {
        let mut field = Field::default();
        field.push(b"c");
        field.push_cookie(b"a", b"b=c");
        field.push_cookie(b"", b"value");
        assert_eq!(field.as_bytes(), b"c; a=b=c; value");
    }

    #[test]
    fn debug_shows_no_value() {
        let pair = pairs(b"sid\xa0=secret").next().unwrap();
        assert_eq!(format!("{pair:?}"), r"Pair { name: sid\xa0, value: [redacted] }");
    }
}

#[cfg(test)]
#[path = "request_properties.rs"]
mod properties;
