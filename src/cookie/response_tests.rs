//! Tests of `Set-Cookie`: tables in the manner of the http-state test suite, adapted to RFC 6265bis.

use super::*;

const NOW: UnixMillis = UnixMillis(1_760_000_000_000);

fn parsed(field: &[u8]) -> SetCookie<'_> {
    SetCookie::parse(field).unwrap_or_else(|| panic!("ignored: {}", field.escape_ascii()))
}

/// Checks name and value.
#[track_caller]
fn pair(field: impl AsRef<[u8]>, name: &str, value: &str) {
    let field = field.as_ref();
    let cookie = parsed(field);
    assert_eq!(
        (cookie.name(), cookie.value()),
        (name.as_bytes(), value.as_bytes()),
        "{}",
        field.escape_ascii()
    );
    assert_eq!(cookie.raw(), field);
    assert_eq!(name_of(field), name.as_bytes(), "{}", field.escape_ascii());
}

#[test]
fn names_and_values() {
    pair("foo=bar", "foo", "bar");
    pair("foo=", "foo", "");
    pair("foo=\"bar\"", "foo", "\"bar\"");
    pair("foo=\"  bar \"", "foo", "\"  bar \"");
    pair("foo=  bar", "foo", "bar");
    pair("   foo     =       bar             ;       ttt", "foo", "bar");
    pair("\tfoo\t=\tbar\t", "foo", "bar");
    pair("  A=== BC  ;foo;;;   bar", "A", "== BC");
    pair("foo bar=baz", "foo bar", "baz");
    pair("1=bar", "1", "bar");
    pair("$=bar", "$", "bar");
    pair("!a=bar", "!a", "bar");
    pair("%a=bar", "%a", "bar");
    pair("(a=bar", "(a", "bar");
    pair("\"a=b\"=bar", "\"a", "b\"=bar");
    pair("$Version=1; foo=bar", "$Version", "1");
    pair("foo=A\"B ;", "foo", "A\"B");
    pair("aBc=\"zzz \"   \"ppp\"  ;", "aBc", "\"zzz \"   \"ppp\"");
    pair("__Host-sid=v; Secure; Path=/", "__Host-sid", "v");
    pair("\u{2000}__Host-sid=v", "\u{2000}__Host-sid", "v");
}

#[test]
fn nameless_cookies() {
    pair("foo", "", "foo");
    pair("=foo", "", "foo");
    pair("=a=bar", "", "a=bar");
    pair("===a=bar", "", "==a=bar");
    pair("foo; Path=/", "", "foo");
    pair("foo;bar=baz", "", "foo");
    pair("\"BLA\\\"HHH\"; path=/;", "", "\"BLA\\\"HHH\"");
}

#[test]
fn semicolons_split_and_commas_do_not() {
    pair("foo=\"bar;baz\"", "foo", "\"bar");
    pair("foo=bar, baz=qux", "foo", "bar, baz=qux");
    pair("z=y; foo=bar, a=b", "z", "y");
    pair("foo=b;max-age=3600, c=d;path=/", "foo", "b");
    assert_eq!(parsed(b"foo=b;max-age=3600, c=d;path=/").max_age(), None);
    pair("test=\"fubar! = foo;bar\\\";\" parser; max-age=6", "test", "\"fubar! = foo");
    let odd = b"test=parser; domain=.parser.test; ;; ;=; ,,, ===,abc,=; abra! max-age=20;=;;";
    let cookie = parsed(odd);
    assert_eq!((cookie.value(), cookie.max_age()), (&b"parser"[..], None));
    assert_eq!(cookie.domain(), Some(&b"parser.test"[..]));
}

#[test]
fn bytes_outside_ascii_survive() {
    pair("foo=\u{6625}\u{8282}\u{56de}", "foo", "\u{6625}\u{8282}\u{56de}");
    pair("\u{6625}=\u{5bb6}; \u{5b8c}", "\u{6625}", "\u{5bb6}");
    assert_eq!(parsed(b"foo=\xff\xfe").value(), b"\xff\xfe");
}

#[test]
fn fields_that_browsers_ignore() {
    for field in ["", "   ", "=", " = ", ";", "; bar", "; Secure", "=;foo=bar", " ; ; "] {
        assert!(SetCookie::parse(field.as_bytes()).is_none(), "{field:?}");
        assert_eq!(name_of(field.as_bytes()), b"", "{field:?}");
    }
    for control in (0x00..=0x1f).chain([0x7f]).filter(|control| *control != b'\t') {
        for field in [
            [b"a".as_slice(), &[control], b"=b"].concat(),
            [b"a=b".as_slice(), &[control]].concat(),
            [b"a=b; Path=/".as_slice(), &[control], b"; Secure"].concat(),
        ] {
            assert!(SetCookie::parse(&field).is_none(), "{}", field.escape_ascii());
            assert!(!is_clean(&field));
        }
    }
    assert!(is_clean(b"a=b\t\x80\xff\xa0~ "));
}

#[test]
fn names_and_values_have_a_limit_together() {
    let field = |name: usize, value: usize| format!("{}={}", "n".repeat(name), "v".repeat(value));
    assert!(SetCookie::parse(field(1, 4095).as_bytes()).is_some());
    assert!(SetCookie::parse(field(4095, 1).as_bytes()).is_some());
    assert!(SetCookie::parse(field(4096, 0).as_bytes()).is_some());
    assert!(SetCookie::parse(field(1, 4096).as_bytes()).is_none());
    assert!(SetCookie::parse(field(2048, 2049).as_bytes()).is_none());
    assert!(SetCookie::parse("v".repeat(4097).as_bytes()).is_none());
    let padded = format!("a={}; {}", "v".repeat(4095), "x".repeat(9000));
    assert!(SetCookie::parse(padded.as_bytes()).is_some(), "attributes do not count");
}

#[test]
fn flags_are_read_in_any_spelling() {
    #[track_caller]
    fn check(field: &str, secure: bool, http_only: bool) {
        let cookie = parsed(field.as_bytes());
        assert_eq!((cookie.secure(), cookie.http_only()), (secure, http_only), "{field:?}");
    }
    check("foo=bar; Secure", true, false);
    check("foo=bar; seCURe", true, false);
    check("foo=bar; \"Secure\"", false, false);
    check("foo=bar; Secure=", true, false);
    check("foo=bar; Secure=aaaa", true, false);
    check("foo=bar; Secure qux", false, false);
    check("foo=bar; Secure =aaaaa", true, false);
    check("foo=bar; Secure= aaaaa", true, false);
    check("foo=bar;Secure;HttpOnly", true, true);
    check("foo=bar;       Secure     ;", true, false);
    check("foo=bar; qux=\"aaa;bbb\"; Secure", true, false);
    check("foo=bar; httponly=0; secure=false", true, true);
    check("foo=bar; Http-Only", false, false);
    check("Secure; HttpOnly", false, true);
    check("foo=bar; a\u{a0}; \u{a0}Secure", false, false);
    check(&format!("foo=bar; Secure={}", "x".repeat(1024)), true, false);
    check(&format!("foo=bar; Secure={}", "x".repeat(1025)), false, false);
    assert!(parsed(b"foo=bar; PARTITIONED; Secure").partitioned());
    assert!(!parsed(b"foo=bar; Secure").partitioned());
}

#[test]
fn the_last_path_counts() {
    #[track_caller]
    fn check(attributes: &str, expected: Option<&str>) {
        let field = format!("foo=bar; {attributes}");
        assert_eq!(parsed(field.as_bytes()).path(), expected.map(str::as_bytes), "{field:?}");
    }
    check("", None);
    check("Path", None);
    check("Path=", None);
    check("Path=/", Some("/"));
    check("Path    =/qux", Some("/qux"));
    check("Path=    /qux      ; taz", Some("/qux"));
    check("Path=/qux; Path=/", Some("/"));
    check("Path=/; Path=/qux", Some("/qux"));
    check("path=/dog; path=", None);
    check("path=; path=/dog", Some("/dog"));
    check("path=/a; path=relative", None);
    check("path=\"/\"", None);
    check("path=/a/b?c#d%6F\u{e9}", Some("/a/b?c#d%6F\u{e9}"));
    check(&format!("path=/a; path=/{}", "x".repeat(1024)), Some("/a"));
}

#[test]
fn the_last_domain_counts() {
    #[track_caller]
    fn check(attributes: &str, expected: Option<&str>) {
        let field = format!("foo=bar; {attributes}");
        assert_eq!(parsed(field.as_bytes()).domain(), expected.map(str::as_bytes), "{field:?}");
    }
    check("", None);
    check("domain=home.example.org", Some("home.example.org"));
    check("domain=.home.example.org", Some("home.example.org"));
    check("domain=..home.example.org", Some(".home.example.org"));
    check("domain=  .home.example.org", Some("home.example.org"));
    check("domain=home.eXaMpLe.org", Some("home.eXaMpLe.org"));
    check("domain=home.example.org.", Some("home.example.org."));
    check("domain=\"home.example.org\"", Some("\"home.example.org\""));
    check("domain=", None);
    check("domain=.", None);
    check("domain=example.org; domain=", None);
    check("domain=; domain=example.org", Some("example.org"));
    check("domain=a.example; domain=b.example; domain=c.example", Some("c.example"));
}

#[test]
fn the_last_same_site_counts() {
    #[track_caller]
    fn check(attributes: &str, expected: Option<SameSite>) {
        let field = format!("foo=bar; {attributes}");
        assert_eq!(parsed(field.as_bytes()).same_site(), expected, "{field:?}");
    }
    check("", None);
    check("SameSite=Strict", Some(SameSite::Strict));
    check("samesite=lax", Some(SameSite::Lax));
    check("SAMESITE = NONE", Some(SameSite::None));
    check("SameSite", None);
    check("SameSite=", None);
    check("SameSite=\"Lax\"", None);
    check("SameSite=Foo", None);
    check("SameSite=Strict; SameSite=None", Some(SameSite::None));
    check("SameSite=Strict; SameSite=Foo", None);
}

#[test]
fn max_age_is_a_whole_number() {
    #[track_caller]
    fn check(attributes: &str, expected: Option<i64>) {
        let field = format!("foo=bar; {attributes}");
        assert_eq!(parsed(field.as_bytes()).max_age(), expected, "{field:?}");
    }
    check("max-age=10000;", Some(10_000));
    check("Max-Age = 0", Some(0));
    check("max-age=-20", Some(-20));
    check("max-age=007", Some(7));
    check("max-age=-0", Some(0));
    check("max-age=", None);
    check("max-age", None);
    check("max-age=-", None);
    check("max-age=+5", None);
    check("max-age=50,399", None);
    check("max-age=2.63", None);
    check("max-age=1e3", None);
    check("max-age=\"60\"", None);
    check("max-age=60s", None);
    check("max-age=--6", None);
    check("max-age=99999999999999999999", Some(i64::MAX));
    check("max-age=-99999999999999999999", Some(i64::MIN));
    check("max-age=10; max-age=20", Some(20));
    check("max-age=10; max-age=soon", Some(10));
    check("maxage=10", None);
}

#[test]
fn lifetimes() {
    #[track_caller]
    fn check(attributes: &str, expected: Lifetime) {
        let field = format!("foo=bar; {attributes}");
        assert_eq!(parsed(field.as_bytes()).lifetime(NOW), expected, "{field:?}");
    }
    let after = |seconds| Lifetime::Until(NOW.plus(Duration::from_secs(seconds)));
    let cap = Lifetime::Until(NOW.plus(Duration::from_hours(9600)));
    check("", Lifetime::Session);
    check("expires=never", Lifetime::Session);
    check("max-age=soon", Lifetime::Session);
    check("max-age=60", after(60));
    check("max-age=0", Lifetime::Expired);
    check("max-age=-1", Lifetime::Expired);
    check("max-age=-99999999999999999999", Lifetime::Expired);
    check("max-age=34560000", cap);
    check("max-age=34560001", cap);
    check("max-age=99999999999999999999", cap);
    check("expires=Thu, 01 Jan 1970 00:00:00 GMT", Lifetime::Expired);
    check("expires=Thu, 10 Apr 1980 16:33:12 GMT", Lifetime::Expired);
    check("expires=Mon, 01 Jan 1601 00:00:00 GMT", Lifetime::Expired);
    // 1,760,000,000 is Thu, 09 Oct 2025 08:53:20 GMT.
    check("expires=Thu, 09 Oct 2025 08:53:20 GMT", Lifetime::Expired);
    check("expires=Thu, 09 Oct 2025 08:53:21 GMT", after(1));
    check("expires=Fri, 31-Dec-9999 23:59:59 GMT", cap);
    check("max-age=60; expires=Thu, 01 Jan 1970 00:00:00 GMT", after(60));
    check("expires=Thu, 09 Oct 2025 09:53:20 GMT; max-age=0", Lifetime::Expired);
    check("expires=Thu, 09 Oct 2025 08:53:30 GMT; expires=junk", after(10));
    check("expires=Fri 07 Aug 2099 08:04:19 GMT, baz=qux", cap);
}

#[test]
fn debug_shows_no_value() {
    let printed = format!("{:?}", parsed(b"sid=secret; Domain=secret.example"));
    assert_eq!(printed, "SetCookie { name: sid, value: [redacted], .. }");
}
