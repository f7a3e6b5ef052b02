//! Properties of `Cookie` text over fields that nobody would write, and the cases of RFC 6265bis
//! that browsers and servers read differently.

use proptest::prelude::*;

use super::super::response::SetCookie;
use super::tests::join;
use super::*;

/// Bytes that mean something to one grammar or another, and those that mean something to none.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let telling = prop::sample::select(
        b"=;,\"\\$ \t%+[].'()<>@:/?{}&\x0b\x0c\r\n\0\x7f\x85\xa0\xc2\xe2\x80\xef\xbb\xbf".to_vec(),
    );
    prop::collection::vec(
        prop_oneof![telling, any::<u8>(), prop::sample::select(b"ab1_-".to_vec())],
        0..80,
    )
}

proptest! {
    /// Joining what was read gives a field that reads the same: nothing is decoded, unquoted,
    /// merged or lost on the way to a worker.
    #[test]
    fn reading_and_joining_changes_no_cookie(field in field()) {
        let joined = join(pairs(&field).map(|pair| pair.raw));
        prop_assert!(pairs(&joined).eq(pairs(&field)));
        let again = join(pairs(&joined).map(|pair| pair.raw));
        prop_assert_eq!(again, joined);
    }

    /// No byte but `;`, SP and HTAB is ever left out.
    #[test]
    fn only_separators_are_left_out(field in field()) {
        let rest = |bytes: &[u8]| -> Vec<u8> {
            bytes.iter().copied().filter(|byte| !matches!(byte, b';' | b' ' | b'\t')).collect()
        };
        prop_assert_eq!(rest(&join(pairs(&field).map(|pair| pair.raw))), rest(&field));
    }

    /// Two fields are read as the one that their pieces make.
    #[test]
    fn fields_are_read_one_after_another(one in field(), other in field()) {
        let both = [one.as_slice(), b";", &other].concat();
        prop_assert!(pairs(&both).eq(pairs(&one).chain(pairs(&other))));
    }

    /// What a browser keeps of a `Set-Cookie` comes back as the cookie that was set: its own pair,
    /// for whoever puts `name=value` together as RFC 6265bis, section 5.8.3 says.
    #[test]
    fn what_is_set_comes_back(field in field()) {
        let Some(set) = SetCookie::parse(&field) else { return Ok(()) };
        let sent = match set.name().is_empty() {
            true => set.value().to_vec(),
            false => [set.name(), b"=", set.value()].concat(),
        };
        let mut back = pairs(&sent);
        let pair = back.next();
        prop_assert!(back.next().is_none(), "one cookie, not two");
        prop_assert!(pair.is_some(), "an empty cookie is not kept");
        let pair = pair.expect("just seen");
        // The nameless `a=b` comes back named: browsers refuse it where that would be a prefix.
        if !set.name().is_empty() || !set.value().contains(&b'=') {
            prop_assert_eq!((pair.name, pair.value), (set.name(), set.value()));
        }
    }
}

/// Web platform tests, cookies/size: limits count bytes, not characters, and no white space.
#[test]
fn limits_count_bytes() {
    let two_bytes = "\u{e9}".repeat(2048);
    for (name, value, kept) in [
        (String::new(), "v".repeat(4096), true),
        (String::new(), "v".repeat(4097), false),
        ("n".repeat(4096), String::new(), true),
        ("n".repeat(4097), String::new(), false),
        (two_bytes.clone(), String::new(), true),
        (two_bytes.clone(), "v".to_owned(), false),
        (format!("   {}   ", "n".repeat(2048)), format!("  {}  ", "v".repeat(2048)), true),
    ] {
        let field = format!("{name}={value}; Path=/");
        assert_eq!(SetCookie::parse(field.as_bytes()).is_some(), kept, "{}", field.len());
    }
}

/// Web platform tests, cookies/size/attributes: a value beyond 1024 bytes is as if the attribute
/// were not there, whatever it is; the cookie is kept.
#[test]
fn attributes_beyond_their_limit_are_not_there() {
    let long = "a".repeat(1025);
    for attribute in ["Path=/", "Domain=", "Max-Age=", "Expires=", "SameSite=Strict", "Secure="] {
        let field = format!("n=v; {attribute}{long}");
        let cookie = SetCookie::parse(field.as_bytes()).expect("the cookie is kept");
        assert_eq!((cookie.path(), cookie.domain(), cookie.max_age()), (None, None, None));
        assert_eq!((cookie.expires(), cookie.same_site(), cookie.secure()), (None, None, false));
    }
    let digits = format!("n=v; Max-Age={}", "1".repeat(1024));
    let cookie = SetCookie::parse(digits.as_bytes()).expect("kept");
    assert_eq!(cookie.max_age(), Some(i64::MAX), "1024 bytes are read");
    let earlier = format!("n=v; Domain=example.org; Domain={long}");
    let cookie = SetCookie::parse(earlier.as_bytes()).expect("kept");
    assert_eq!(cookie.domain(), Some(&b"example.org"[..]), "the one before it counts");
}
