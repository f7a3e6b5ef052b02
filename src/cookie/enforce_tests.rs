//! Tests of enforcement: tables, and properties over fields that nobody would write.

use proptest::prelude::*;

use super::super::response::SetCookie;
use super::*;

const STRICT: Attributes =
    Attributes { secure: Some(true), http_only: Some(true), same_site: Some(SameSite::Lax) };
const NOTHING: Attributes = Attributes { secure: None, http_only: None, same_site: None };

fn defaults(defaults: Attributes) -> CookieSettings {
    CookieSettings { defaults, exceptions: Vec::new() }
}

fn exceptions(defaults: Attributes, exceptions: &[(&str, Attributes)]) -> CookieSettings {
    let own = |(name, attributes): &(&str, Attributes)| ((*name).to_owned(), *attributes);
    CookieSettings { defaults, exceptions: exceptions.iter().map(own).collect() }
}

#[track_caller]
fn check(settings: &CookieSettings, https: bool, field: &str, expected: &str) {
    let rewritten = settings.rewrite(field.as_bytes(), https);
    assert_eq!(String::from_utf8_lossy(&rewritten), expected, "from {field:?}");
    let borrowed = matches!(rewritten, Cow::Borrowed(_));
    assert_eq!(borrowed, field == expected, "a field that stays is not copied: {field:?}");
    let again = settings.rewrite(&rewritten, https);
    assert_eq!(again, rewritten, "twice is once: {field:?}");
}

#[test]
fn missing_attributes_are_added_at_the_end() {
    let check = |field, expected| check(&defaults(STRICT), true, field, expected);
    check("a=b", "a=b; Secure; HttpOnly; SameSite=Lax");
    check("a=b; Path=/", "a=b; Path=/; Secure; HttpOnly; SameSite=Lax");
    check("a=b; secure", "a=b; secure; HttpOnly; SameSite=Lax");
    check("a=b;httponly;path=/", "a=b;httponly;path=/; Secure; SameSite=Lax");
    check("a=b; SameSite=Lax", "a=b; SameSite=Lax; Secure; HttpOnly");
    check("a=b;", "a=b; Secure; HttpOnly; SameSite=Lax");
    check("a=b; ", "a=b; Secure; HttpOnly; SameSite=Lax");
    check("a=b;;", "a=b;; Secure; HttpOnly; SameSite=Lax");
    check("a=b  ", "a=b  ; Secure; HttpOnly; SameSite=Lax");
    check("a=", "a=; Secure; HttpOnly; SameSite=Lax");
    check("nameless", "nameless; Secure; HttpOnly; SameSite=Lax");
    check("=nameless", "=nameless; Secure; HttpOnly; SameSite=Lax");
}

#[test]
fn what_is_there_stays_byte_for_byte() {
    let check = |field, expected| check(&defaults(STRICT), true, field, expected);
    check("a=b; SECURE; HttpOnly; samesite=LAX", "a=b; SECURE; HttpOnly; samesite=LAX");
    check("a=b; Secure=1;HTTPONLY ;SameSite = Lax", "a=b; Secure=1;HTTPONLY ;SameSite = Lax");
    check(
        "a=b; Secure; Secure; HttpOnly; SameSite=Lax",
        "a=b; Secure; Secure; HttpOnly; SameSite=Lax",
    );
    check(
        "  a = \"b c\" ; Priority=High;  x=\"y;z\" ;Expires=Wed, 09 Dec 2099 16:27:23 GMT",
        "  a = \"b c\" ; Priority=High;  x=\"y;z\" ;Expires=Wed, 09 Dec 2099 16:27:23 GMT; Secure; \
         HttpOnly; SameSite=Lax",
    );
    check(
        "caf\u{e9}=\u{6625}; note=\u{a0}Secure",
        "caf\u{e9}=\u{6625}; note=\u{a0}Secure; Secure; HttpOnly; SameSite=Lax",
    );
    check("Secure; HttpOnly; SameSite=Lax", "Secure; HttpOnly; SameSite=Lax; Secure");
    check("a=Secure", "a=Secure; Secure; HttpOnly; SameSite=Lax");
}

#[test]
fn nothing_demanded_changes_nothing() {
    for field in [
        "a=b",
        "a=b; Secure; HttpOnly; SameSite=Strict",
        "a=b; SameSite=Foo",
        "a=b; Path=/x; Domain=example.org;;",
        "",
        ";",
        "=",
        "; Secure",
    ] {
        check(&CookieSettings::default(), true, field, field);
        check(&CookieSettings::default(), false, field, field);
    }
}

#[test]
fn fields_that_browsers_ignore_are_left_alone() {
    for field in ["", " ", "=", " = ", ";", "; Path=/", "=; Secure"] {
        check(&defaults(STRICT), true, field, field);
    }
}

#[test]
fn secure_is_never_added_on_plain_http() {
    let strict = defaults(STRICT);
    check(&strict, false, "a=b", "a=b; HttpOnly; SameSite=Lax");
    check(&strict, false, "a=b; Secure", "a=b; Secure; HttpOnly; SameSite=Lax");
    check(&strict, false, "__Host-a=b", "__Host-a=b; Path=/; HttpOnly; SameSite=Lax");
    check(&strict, false, "__Secure-a=b; Path=/x", "__Secure-a=b; Path=/x; HttpOnly; SameSite=Lax");
    // Without `Secure` a browser would drop the cookie for its `SameSite=None`.
    let none = defaults(Attributes { same_site: Some(SameSite::None), ..NOTHING });
    check(&none, false, "a=b", "a=b");
    check(&none, false, "a=b; Secure", "a=b; Secure; SameSite=None");
    check(&none, false, "a=b; SameSite=None", "a=b; SameSite=None");
}

#[test]
fn same_site_none_and_partitioned_bring_secure() {
    let none = defaults(Attributes { same_site: Some(SameSite::None), ..NOTHING });
    check(&none, true, "a=b", "a=b; Secure; SameSite=None");
    let nothing = CookieSettings::default();
    check(&nothing, true, "a=b; SameSite=None", "a=b; SameSite=None; Secure");
    check(&nothing, true, "a=b; Partitioned", "a=b; Partitioned; Secure");
    let insecure = defaults(Attributes { secure: Some(false), ..NOTHING });
    check(&insecure, true, "a=b; Secure; SameSite=None", "a=b; Secure; SameSite=None");
    check(&insecure, true, "a=b; SameSite=None", "a=b; SameSite=None; Secure");
    check(&insecure, true, "a=b; Secure; Partitioned", "a=b; Secure; Partitioned");
}

#[test]
fn defaults_never_weaken_same_site() {
    #[track_caller]
    fn case(demand: SameSite, given: &str, expected: &str) {
        let settings = defaults(Attributes { same_site: Some(demand), ..NOTHING });
        let field = format!("a=b; Secure; {given}; Path=/");
        check(&settings, true, &field, &format!("a=b; Secure; {expected}; Path=/"));
    }
    case(SameSite::Lax, "SameSite=Strict", "SameSite=Strict");
    case(SameSite::None, "SameSite=Strict", "SameSite=Strict");
    case(SameSite::None, "SameSite=Lax", "SameSite=Lax");
    case(SameSite::Lax, "SameSite=Lax", "SameSite=Lax");
    case(SameSite::Lax, "SameSite=None", "SameSite=Lax");
    case(SameSite::Strict, "samesite=lax", "SameSite=Strict");
}

#[test]
fn unknown_same_site_values_are_replaced_where_they_stand() {
    let check = |field, expected| check(&defaults(STRICT), true, field, expected);
    check("a=b; SameSite=Foo; Secure; HttpOnly", "a=b; SameSite=Lax; Secure; HttpOnly");
    check("a=b;SameSite;Secure;HttpOnly", "a=b;SameSite=Lax;Secure;HttpOnly");
    check("a=b; \t samesite = ; Secure; HttpOnly", "a=b; \t SameSite=Lax; Secure; HttpOnly");
    check("a=b; SameSite=\"Strict\"; Secure; HttpOnly", "a=b; SameSite=Lax; Secure; HttpOnly");
    check(
        "a=b; SameSite=Strict; x; SameSite=Foo; Secure; HttpOnly",
        "a=b; SameSite=Lax; x; Secure; HttpOnly",
    );
}

#[test]
fn exceptions_loosen_and_take_away() {
    let loose =
        Attributes { secure: Some(false), http_only: Some(false), same_site: Some(SameSite::Lax) };
    let settings = exceptions(STRICT, &[("a", loose)]);
    check(&settings, true, "a=b", "a=b; SameSite=Lax");
    check(&settings, true, "a=b; Secure; HttpOnly; SameSite=Strict", "a=b; SameSite=Lax");
    check(&settings, true, "a=b;secure=1 ; x ;HTTPONLY; Secure;", "a=b; x ; SameSite=Lax");
    check(&settings, false, "a=b; Secure", "a=b; SameSite=Lax");
    check(&settings, true, "A=b", "A=b; Secure; HttpOnly; SameSite=Lax");
    let embedded =
        exceptions(STRICT, &[("a", Attributes { same_site: Some(SameSite::None), ..NOTHING })]);
    check(&embedded, true, "a=b; SameSite=Strict", "a=b; SameSite=None; Secure; HttpOnly");
    check(&embedded, false, "a=b; SameSite=Strict", "a=b; SameSite=Strict; HttpOnly");
}

#[test]
fn the_closest_exception_counts() {
    let http_only = |wanted| Attributes { http_only: Some(wanted), ..NOTHING };
    let settings = exceptions(
        NOTHING,
        &[
            ("*", http_only(true)),
            ("ab*", http_only(false)),
            ("a*", http_only(true)),
            ("abc", http_only(true)),
            ("abcd*", NOTHING),
        ],
    );
    check(&settings, true, "x=", "x=; HttpOnly");
    check(&settings, true, "a=", "a=; HttpOnly");
    check(&settings, true, "ab=; HttpOnly", "ab=");
    check(&settings, true, "abc=", "abc=; HttpOnly");
    check(&settings, true, "abx=; HttpOnly", "abx=");
    check(&settings, true, "abcde=", "abcde=");
    check(&settings, true, "nameless", "nameless; HttpOnly");
    let literal = exceptions(NOTHING, &[("a*b", http_only(true))]);
    check(&literal, true, "axb=", "axb=");
    check(&literal, true, "a*b=", "a*b=; HttpOnly");
}

#[test]
fn prefixed_names_get_what_browsers_demand() {
    let check = |field, expected| {
        let loose = Attributes { secure: Some(false), http_only: None, same_site: None };
        check(&defaults(loose), true, field, expected);
    };
    check("__Secure-a=b", "__Secure-a=b; Secure");
    check("__secure-a=b; Domain=example.org", "__secure-a=b; Domain=example.org; Secure");
    check("__Host-a=b", "__Host-a=b; Path=/; Secure");
    check("__HOST-a=b; Secure; path=/", "__HOST-a=b; Secure; path=/");
    check("__Host-a=b; Path=/x; Secure", "__Host-a=b; Path=/; Secure");
    check("__Host-a=b; Path=/; Path=; Secure", "__Host-a=b; Path=/; Secure");
    check("__Host-a=b; Path=/x; q; Path=/; Secure", "__Host-a=b; Path=/x; q; Path=/; Secure");
    check("__Host-a=b; Domain=example.org; Path=/; domain=; Secure", "__Host-a=b; Path=/; Secure");
    check("__Host-a=b; Domain=x; Max-Age=0", "__Host-a=b; Max-Age=0; Path=/; Secure");
    check("__Hosta=b; Path=/x", "__Hosta=b; Path=/x");
    check("x__Host-a=b; Path=/x", "x__Host-a=b; Path=/x");
    check("a=__Host-b; Path=/x", "a=__Host-b; Path=/x");
}

#[test]
fn attributes_too_long_for_browsers_count_as_missing() {
    let long = "x".repeat(1025);
    let field = format!("a=b; Secure={long}; SameSite=Lax; HttpOnly={long}");
    check(&defaults(STRICT), true, &field, &format!("{field}; Secure; HttpOnly"));
}

#[test]
fn cookies_of_real_applications() {
    let settings = defaults(STRICT).with_well_known();
    let check = |field, expected| check(&settings, true, field, expected);
    check(
        "csrfToken=yX-Q5CKNbe2I-Iy7uQRidcb-; path=/",
        "csrfToken=yX-Q5CKNbe2I-Iy7uQRidcb-; path=/; Secure; SameSite=Lax",
    );
    check(
        "EGG_SESS=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; httponly",
        "EGG_SESS=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; httponly; Secure; SameSite=Lax",
    );
    check(
        "sessionid=cw; expires=Sun, 06 Dec 2026 19:33:06 GMT; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax",
        "sessionid=cw; expires=Sun, 06 Dec 2026 19:33:06 GMT; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax; Secure",
    );
    check(
        "XSRF-TOKEN=eyJpdiI6; expires=Tue, 24 Nov 2026 01:00:00 GMT; Max-Age=7200; path=/; samesite=lax",
        "XSRF-TOKEN=eyJpdiI6; expires=Tue, 24 Nov 2026 01:00:00 GMT; Max-Age=7200; path=/; samesite=lax; Secure",
    );
    check(
        "connect.sid=s%3Aabc.def; Path=/; HttpOnly",
        "connect.sid=s%3Aabc.def; Path=/; HttpOnly; Secure; SameSite=Lax",
    );
}

#[test]
fn well_known_exceptions_stand_below_configured_ones() {
    let hidden = Attributes { http_only: Some(true), ..NOTHING };
    let strict = Attributes { same_site: Some(SameSite::Strict), ..NOTHING };
    let given = [("csrf*", hidden), ("XSRF*", strict), ("csrftoken", strict)];
    let settings = exceptions(STRICT, &given).with_well_known();
    check(&settings, true, "csrfToken=a", "csrfToken=a; Secure; HttpOnly; SameSite=Lax");
    check(&settings, true, "csrftoken=a", "csrftoken=a; Secure; SameSite=Strict");
    // What an exception leaves open stays as it is built in, also where it is a pattern.
    check(&settings, true, "XSRF-TOKEN=a", "XSRF-TOKEN=a; Secure; SameSite=Strict");
    check(&settings, true, "_xsrf=a; HttpOnly", "_xsrf=a; Secure; SameSite=Lax");
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let same_site = prop::sample::select(vec![
        None,
        Some(SameSite::Strict),
        Some(SameSite::Lax),
        Some(SameSite::None),
    ]);
    (any::<Option<bool>>(), any::<Option<bool>>(), same_site)
        .prop_map(|(secure, http_only, same_site)| Attributes { secure, http_only, same_site })
}

fn settings() -> impl Strategy<Value = CookieSettings> {
    let name = prop::sample::select(vec!["a", "a*", "*", "__Host-*", "", "__Secure-a"]);
    (attributes(), prop::collection::vec((name.prop_map(str::to_owned), attributes()), 0..4))
        .prop_map(|(defaults, exceptions)| CookieSettings { defaults, exceptions })
}

/// Fields made of what matters, in odd orders and spellings, with odd bytes between.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "a=b",
        "a",
        "=",
        "=b",
        "__Host-a=b",
        "__secure-a=b",
        "Secure",
        "secure=1",
        "HTTPONLY",
        "HttpOnly",
        "SameSite=Lax",
        "samesite = none",
        "SameSite=Strict",
        "SameSite=x",
        "SameSite",
        "Path=/",
        "path=/x",
        "Path",
        "Domain=example.org",
        "domain=",
        "Partitioned",
        "Max-Age=0",
        "Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "Priority=High",
        "",
        " ",
        "\t",
        ";",
        "; ",
        " ;",
        "\u{a0}",
        "\"",
        ",",
        "$Version=1",
    ]);
    let piece = prop_oneof![
        8 => known.prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    let separator = prop::sample::select(vec![";", "; ", " ; ", ";\t", ""]);
    prop::collection::vec((piece, separator), 0..9).prop_map(|pieces| {
        pieces.into_iter().flat_map(|(piece, by)| [&piece, by.as_bytes()].concat()).collect()
    })
}

/// The attributes that no enforcement is about, and those that it never changes.
fn untouched(field: &[u8]) -> Vec<&[u8]> {
    let about = |kind| {
        matches!(
            kind,
            AttributeKind::Secure
                | AttributeKind::HttpOnly
                | AttributeKind::SameSite
                | AttributeKind::Domain
                | AttributeKind::Path
        )
    };
    pieces(field)
        .skip(1)
        .filter(|piece| !about(Attribute::read(piece).kind) && !trim(piece).is_empty())
        .collect()
}

fn count(field: &[u8], kind: AttributeKind) -> usize {
    pieces(field).skip(1).filter(|piece| Attribute::read(piece).kind == kind).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn rewriting_twice_is_rewriting_once(
        settings in settings(), field in field(), https in any::<bool>()
    ) {
        let once = settings.rewrite(&field, https);
        prop_assert_eq!(settings.rewrite(&once, https).into_owned(), once.into_owned());
    }

    #[test]
    fn only_what_is_demanded_changes(
        settings in settings(), field in field(), https in any::<bool>()
    ) {
        let rewritten = settings.rewrite(&field, https);
        prop_assert_eq!(pieces(&rewritten).next(), pieces(&field).next(), "the pair");
        prop_assert_eq!(untouched(&rewritten), untouched(&field), "other attributes");
        for kind in [AttributeKind::Secure, AttributeKind::HttpOnly, AttributeKind::SameSite, AttributeKind::Path] {
            let before = count(&field, kind);
            prop_assert!(count(&rewritten, kind) <= before.max(1), "{:?} is doubled", kind);
        }
    }

    #[test]
    fn what_is_demanded_holds(settings in settings(), field in field(), https in any::<bool>()) {
        let rewritten = settings.rewrite(&field, https);
        let (Some(before), Some(after)) = (SetCookie::parse(&field), SetCookie::parse(&rewritten))
        else {
            return Ok(());
        };
        prop_assert_eq!((before.name(), before.value()), (after.name(), after.value()));
        prop_assert_eq!(before.lifetime(crate::clock::UnixMillis(7)), after.lifetime(crate::clock::UnixMillis(7)));
        prop_assert!(https || before.secure() || !after.secure(), "Secure on plain HTTP");
        let exception = settings.exception(before.name()).copied().unwrap_or(NOTHING);
        let http_only = exception.http_only.or(settings.defaults.http_only);
        prop_assert_eq!(after.http_only(), http_only.unwrap_or(before.http_only()));
        if https {
            let secure = exception.secure.or(settings.defaults.secure);
            prop_assert!(after.secure() || secure != Some(true));
            prop_assert!(after.secure() || after.same_site() != Some(SameSite::None));
            prop_assert!(after.secure() || !after.partitioned());
            prop_assert!(after.same_site() == exception.same_site || exception.same_site.is_none());
        }
        if exception.same_site.is_none() && let Some(given) = before.same_site() {
            let kept = after.same_site().expect("what was there is there");
            prop_assert_eq!(kept.stricter(given), kept, "weakened");
        }
        if Prefix::of(before.name()) == Prefix::Host {
            prop_assert_eq!((after.path(), after.domain()), (Some(&b"/"[..]), None));
        }
    }
}
