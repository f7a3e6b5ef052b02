//! Tests of the jar.

use std::time::Duration;

use super::*;

const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

fn edit(field: &str, host: &str, path: &str) -> Edit {
    let parsed = SetCookie::parse(field.as_bytes()).expect("a readable field");
    Edit::read(&parsed, host, path.as_bytes(), NOW)
}

fn jar(fields: &[&str]) -> Jar {
    let mut jar = Jar::default();
    for field in fields {
        let edit = edit(field, "shop.example.com", "/a/b");
        jar.apply(&[edit], JarLimits::default(), NOW);
    }
    jar
}

fn sent(jar: &Jar, host: &str, path: &str, now: UnixMillis) -> String {
    jar.written(host, path, now)
}

#[test]
fn cookies_come_back_where_they_belong() {
    let check = |fields: &[&str], host: &str, path: &str, expected: &str| {
        assert_eq!(sent(&jar(fields), host, path, NOW), expected, "{fields:?} {host}{path}");
    };
    let here = "shop.example.com";
    check(&["a=1; path=/"], here, "/", "a=1");
    check(&["a=1"], here, "/a/c", "a=1"); // default-path of /a/b is /a
    check(&["a=1"], here, "/ab", "");
    check(&["a=1; path=/x"], here, "/x", "a=1");
    check(&["a=1; path=/x"], here, "/xy", "");
    check(&["a=1; path=/x/"], here, "/x", "");
    check(&["a=1; path=/x/"], here, "/x/y", "a=1");
    check(&["a=1; path=relative"], here, "/a/", "a=1");
    check(&["a=1; path=/", "b=2; path=/a", "c=3; path=/"], here, "/a/b", "b=2; a=1; c=3");
    check(&["a=1; path=/", "a=2; path=/"], here, "/", "a=2");
    check(&["a=1; path=/", "a=2; path=/a"], here, "/a", "a=2; a=1");
    check(&["a=1; path=/", "b=2; path=/", "a=3; path=/"], here, "/", "a=3; b=2");
    check(&["a=1; path=/; domain=example.com"], "www.example.com", "/", "a=1");
    check(&["a=1; path=/; domain=.Example.COM"], "www.example.com", "/", "a=1");
    check(&["a=1; path=/"], "www.example.com", "/", "");
    check(&["a=\"quoted x\"; path=/"], here, "/", "a=\"quoted x\"");
}

/// Browsers drop such a cookie, and its user with it.
#[test]
fn a_cookie_with_a_foreign_domain_goes_where_the_ticket_goes() {
    let here = "shop.example.com";
    let check = |field: &str, host: &str, is_foreign: bool| {
        let edit = edit(field, host, "/");
        assert_eq!(edit.foreign(), is_foreign.then_some(&b"a"[..]), "{field} on {host}");
        let mut jar = Jar::default();
        jar.apply(&[edit], JarLimits::default(), NOW);
        assert_eq!(sent(&jar, host, "/", NOW), "a=1", "{field} on {host}");
        if is_foreign {
            // Another host's requests have this jar only where the policy spans the two.
            assert_eq!(sent(&jar, "www.example.com", "/", NOW), "a=1", "{field} on {host}");
        }
    };
    for domain in ["example.org", "other.example.com", "com.evil", "hop.example.com"] {
        check(&format!("a=1; domain={domain}"), here, true);
    }
    for domain in ["localhost", "localhost:3000", "10.0.0.7", "..example.com", "\u{e9}", "\"\""] {
        check(&format!("a=1; domain={domain}"), here, true);
    }
    for domain in ["example.com", ".example.com", "SHOP.Example.com", ".Shop.example.COM", "."] {
        check(&format!("a=1; domain={domain}"), here, false);
    }
    for (domain, is_foreign) in [("127.0.0.1", false), ("0.0.1", true), ("127.0.0.2", true)] {
        check(&format!("a=1; domain={domain}"), "127.0.0.1", is_foreign);
    }
}

#[test]
fn a_foreign_cookie_is_replaced_and_deleted_under_its_domain() {
    let check = |fields: &[&str], expected: &str| {
        assert_eq!(sent(&jar(fields), "shop.example.com", "/a", NOW), expected, "{fields:?}");
    };
    let foreign = "a=1; path=/; domain=example.org";
    check(&[foreign, "a=2; path=/; domain=example.org"], "a=2");
    check(&[foreign, "a=2; path=/; domain=.EXAMPLE.org"], "a=2");
    check(&[foreign, "a=; path=/; domain=.Example.ORG; max-age=0"], "");
    check(&[foreign, "a=; path=/x; domain=example.org; max-age=0"], "a=1");
    // A mistake that was mended by another one.
    check(&[foreign, "a=2; path=/; domain=localhost"], "a=2");
    check(&[foreign, "a=2; path=/; domain=localhost", "b=3; path=/; domain=x"], "a=2; b=3");
    check(&[foreign, "a=; path=/; domain=localhost; max-age=0"], "a=1");
    check(&[foreign, "a=2; path=/a; domain=localhost"], "a=2; a=1");
}

/// An application that browsers understand goes on as it was: its cookies for other hosts change
/// nothing.
#[test]
fn a_foreign_cookie_gives_way_to_one_that_browsers_keep() {
    let check = |fields: &[&str], expected: &str| {
        assert_eq!(sent(&jar(fields), "shop.example.com", "/a", NOW), expected, "{fields:?}");
    };
    let foreign = "a=1; path=/; domain=example.org";
    for own in ["a=2; path=/", "a=2; path=/a", "a=2; path=/; domain=example.com"] {
        check(&[foreign, own], "a=2");
        check(&[own, foreign], "a=2");
        check(&[own, "a=; path=/; domain=example.org; max-age=0"], "a=2");
    }
    // It is there for others.
    check(&["a=2; path=/elsewhere", foreign], "a=1");
    check(&["b=2; path=/", foreign], "b=2; a=1");
    // Whoever logs out by deleting the one that browsers have is logged out.
    let own_gone = "a=; path=/; max-age=0";
    check(&["a=2; path=/", foreign, own_gone], "");
    check(&["a=2; path=/", own_gone, foreign], "a=1");
    check(&[foreign, own_gone], "a=1");
    // The former cookie is cleaned up.
    let mut jar = jar(&["a=2; path=/"]);
    let edits = [foreign, own_gone].map(|field| edit(field, "shop.example.com", "/"));
    jar.apply(&edits, JarLimits::default(), NOW);
    assert_eq!(sent(&jar, "shop.example.com", "/", NOW), "a=1");
}

#[test]
fn cookies_are_deleted_and_expire() {
    let check = |fields: &[&str], now: UnixMillis, expected: &str| {
        assert_eq!(sent(&jar(fields), "shop.example.com", "/", now), expected, "{fields:?}");
    };
    check(&["a=1; path=/", "a=; path=/; max-age=0"], NOW, "");
    check(&["a=1; path=/", "a=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT"], NOW, "");
    check(&["a=1; path=/", "a=; path=/x; max-age=0"], NOW, "a=1");
    check(&["a=1; path=/; max-age=10"], UnixMillis(NOW.0 + 9_999), "a=1");
    check(&["a=1; path=/; max-age=10"], UnixMillis(NOW.0 + 10_000), "");
    check(&["a=1; path=/; max-age=10; expires=Thu, 01 Jan 1970 00:00:00 GMT"], NOW, "a=1");
}

/// PROTOCOL 29: edits that take nothing away are left as they are.
#[test]
fn a_jar_is_spared() {
    let check = |hold, fields: &[&str], left: usize| {
        let read = |field: &&str| edit(field, "shop.example.com", "/");
        let mut edits: Vec<Edit> = fields.iter().map(read).collect();
        jar(&["a=1; path=/"]).spare(&mut edits, hold);
        assert_eq!(edits.len(), left, "{hold:?} {fields:?}");
    };
    for hold in [CookiesHold::Content, CookiesHold::Identifier] {
        check(hold, &["a=; path=/; max-age=0", "b=; path=/; max-age=0", "c=3; path=/"], 2);
        check(hold, &["a=1; path=/; max-age=60"], 1);
    }
    check(CookiesHold::Content, &["a=2; path=/"], 1);
    check(CookiesHold::Identifier, &["a=2; path=/"], 0);
}

/// Frameworks set their cookie with every answer: as it is, or with an expiry that slides.
#[test]
fn edits_that_say_what_is_there_are_told_from_others() {
    let jar = jar(&["a=1; path=/", "b=2; path=/; max-age=1000", "c=3"]);
    let check = |fields: &[&str], secs: u64, expected: bool| {
        let now = UnixMillis(NOW.0 + secs * 1000);
        let read = |field: &&str| {
            let parsed = SetCookie::parse(field.as_bytes()).expect("a readable field");
            Edit::read(&parsed, "shop.example.com", b"/a/b", now)
        };
        let edits: Vec<Edit> = fields.iter().map(read).collect();
        assert_eq!(jar.has_already(&edits, now), expected, "{fields:?} after {secs} s");
    };
    check(&[], 0, true);
    check(&["a=1; path=/", "c=3"], 0, true);
    check(&["a=1; path=/; secure; httponly; samesite=lax"], 0, true);
    check(&["a=2; path=/"], 0, false);
    check(&["a=1; path=/a"], 0, false);
    check(&["a=1; path=/; domain=shop.example.com"], 0, false);
    check(&["a=1; path=/; domain=example.org"], 0, false);
    check(&["d=4; path=/"], 0, false);
    check(&["d=; path=/; max-age=0"], 0, true);
    check(&["a=; path=/; domain=example.org; max-age=0"], 0, true);
    check(&["a=; path=/; max-age=0"], 0, false);
    check(&["a=2; path=/", "a=1; path=/"], 0, true);
    check(&["a=1; path=/", "a=; path=/; max-age=0"], 0, false);
    // An expiry appears, goes, moves.
    check(&["a=1; path=/; max-age=1000"], 0, false);
    check(&["b=2; path=/"], 0, false);
    check(&["b=2; path=/; max-age=1000"], 0, true);
    check(&["b=2; path=/; max-age=1099"], 0, true);
    check(&["b=2; path=/; max-age=1100"], 0, false);
    check(&["b=2; path=/; max-age=901"], 0, true);
    check(&["b=2; path=/; max-age=900"], 0, false);
    // It slides: 1000 s of life, of which 90 and 91 have gone by.
    check(&["b=2; path=/; max-age=1000"], 90, true);
    check(&["b=2; path=/; max-age=1000"], 91, false);
    check(&["b=2; path=/; max-age=1000"], 1000, false);
}

#[test]
fn the_longest_lived_of_the_named_cookies_says_how_long_a_browser_keeps_them() {
    let soon = NOW.plus(Duration::from_secs(1800));
    let check = |fields: &[&str], names: &[&str], expected: Option<u64>| {
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let until = jar(fields).lasts_until(&names, soon, NOW);
        let expected = expected.map(|seconds| NOW.plus(Duration::from_secs(seconds)));
        assert_eq!(until, expected, "{fields:?} by {names:?}");
    };
    let (session, hour, day) = ("a=1", "b=1; Max-Age=3600", "c=1; Max-Age=86400");
    let (short, dead) = ("d=1; Max-Age=10", "e=1; Max-Age=0");
    check(&[], &[], None);
    check(&[session], &[], None);
    check(&[session, hour, day], &[], Some(86_400));
    check(&[session, hour, day], &["a", "b"], Some(3600));
    check(&[session, hour, day], &["a"], None);
    check(&[session, day], &["b"], None);
    check(&[dead, hour], &["e"], None);
    // A message that is shown once does not end the session.
    check(&[session, short], &[], None);
    check(&[session, short], &["d"], None);
    check(&[short, day], &["d"], None);
    check(&[short], &[], Some(10));
}

#[test]
fn two_jars_become_one_within_limits() {
    let limits = JarLimits { cookies: 2, bytes: 100 };
    let own = jar(&["a=1; path=/"]);
    let other = jar(&["a=2; path=/", "b=2; path=/", "c=3; path=/"]);
    assert_eq!(sent(&own.and(&other, limits), "shop.example.com", "/", NOW), "a=1; b=2");
}

/// PROTOCOL 9: a jar has its limits; what does not fit leaves the rest alone.
#[test]
fn a_full_jar_takes_nothing_more() {
    let limits = JarLimits { cookies: 2, bytes: 100 };
    let mut jar = Jar::default();
    let put = |field: &str| edit(field, "h", "/");
    assert_eq!(jar.apply(&[put("a=1"), put("b=2"), put("c=3")], limits, NOW), 1);
    assert_eq!(sent(&jar, "h", "/", NOW), "a=1; b=2");
    assert_eq!(jar.apply(&[put(&format!("a={}", "x".repeat(100)))], limits, NOW), 1);
    assert_eq!(jar.apply(&[put("b=new")], limits, NOW), 0, "replacing needs no new place");
    assert_eq!(sent(&jar, "h", "/", NOW), "a=1; b=new");
}
