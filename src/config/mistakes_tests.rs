//! Mistakes of meaning, as an operator reads them: severity, key, message.

use super::diagnostic::Severity;
use super::environment::testing::Given;
use super::parse;
use super::shipped_tests::certificate;

/// A good file, with a mark where each case puts its lines.
const GOOD: &str = "\
listeners:
  - address: 127.0.0.1:8443
    tls: { certificates: [{ chain: /shop.pem, key: /shop.key }]<tls> }
keyring: /ring.json
sessions:
  shop:
    cookie: { name: shop<cookie> }
    app_cookies: [sid]
    login: [{ request: POST /login, success: { status: [302] }, failure: { location: /login } }]
    logout: [{ request: POST /logout<logout> }]
<policy>
upstreams:
  shop: { endpoints: [{ address: 127.0.0.1:7001 }]<upstream> }
servers:
  - names: [shop.example.com]
    routes:
      - { path: /, upstream: shop, session: shop<route> }
";

/// Puts `text` in the place of `<mark>` and compares what is found, notices aside.
#[track_caller]
fn check(mark: &str, text: &str, expected: &[&str]) {
    let marks = ["tls", "cookie", "logout", "policy", "upstream", "route"];
    assert!(marks.contains(&mark), "no place is named {mark}");
    let mut file = GOOD.replace(&format!("<{mark}>"), text);
    for other in marks {
        file = file.replace(&format!("<{other}>"), "");
    }
    let (chain, key) = certificate();
    let environment = Given::default()
        .with("/shop.pem", chain.clone(), 0o644)
        .with("/clients.pem", chain, 0o644)
        .with("/other.key", certificate().1, 0o644)
        .with("/empty.pem", "", 0o644)
        .with("/shop.key", key, 0o600)
        .environment();
    let found = match parse(&file, "cloakroom.yaml", &environment) {
        Ok(config) => config.warnings,
        Err(found) => found,
    };
    let found: Vec<String> = found
        .iter()
        .filter(|one| one.severity != Severity::Notice)
        .filter(|one| !one.path.starts_with("keyring"))
        .map(|one| format!("{}: {}: {}", one.severity.as_str(), one.path, one.message))
        .collect();
    assert_eq!(found, expected, "{mark}: {text}");
    for one in found {
        assert!(!one.ends_with(": "), "{one}");
    }
}

#[test]
fn requests_of_other_sites() {
    let route = "servers[0].routes[0].cross_site";
    check(
        "route",
        ", cross_site: { unsafe: deny, except: [/hooks/], origins: ['https://a.b'] }",
        &[],
    );
    check("route", ", cross_site: { unsafe: allow }", &[]);
    check(
        "route",
        ", cross_site: { unsafe: refuse, except: [hooks], origins: [a.b, 'null'] }",
        &[
            &format!("error: {route}.unsafe: `refuse` is no answer to other sites"),
            &format!("error: {route}.except[0]: `hooks` does not begin with `/`"),
            &format!("error: {route}.origins[0]: `a.b` is no origin"),
            &format!("error: {route}.origins[1]: `null` is no origin"),
        ],
    );
    check(
        "route",
        ", cross_site: { except: [/hooks/], origins: ['https://a.b'] }",
        &[
            &format!("warning: {route}.except: has no effect: nothing is denied here"),
            &format!("warning: {route}.origins: has no effect: nothing is denied here"),
        ],
    );
}

#[test]
fn what_a_logout_clears() {
    let list = "sessions.shop.logout[0].clear_site_data";
    check("logout", ", clear_site_data: [cache, storage]", &[]);
    check(
        "logout",
        ", clear_site_data: [cookies, cash, cache, cache]",
        &[
            &format!(
                "warning: {list}[0]: browsers then delete the cookies of the whole registrable \
                 domain, other hosts' as well"
            ),
            &format!("error: {list}[1]: `cash` is no data that a browser clears"),
            &format!("warning: {list}[3]: is listed twice"),
        ],
    );
    check("cookie", ", remember: true", &[]);
}

#[test]
fn what_workers_are_told() {
    let session = |parts: &str| format!("    identity: {parts}");
    check("policy", &session("[]"), &[]);
    check("policy", &session("[id, subject, age, created, authenticated]"), &[]);
    check(
        "policy",
        &session("[id, name, id]"),
        &[
            "error: sessions.shop.identity[1]: `name` is no part of a session's identity",
            "warning: sessions.shop.identity[2]: is listed twice",
        ],
    );
}

#[test]
fn what_sessions_are_bound_to() {
    let bind = "sessions.shop.bind";
    check("policy", "    bind: { user_agent: true, network: { v4: 32, v6: 1 } }", &[]);
    check("policy", "    bind: { network: {}, on_mismatch: deny }", &[]);
    check("policy", "    bind: {}", &[&format!("error: {bind}: binds to nothing")]);
    check(
        "policy",
        "    bind: { network: { v4: 33, v6: 0 }, on_mismatch: log }",
        &[
            &format!("error: {bind}.network.v4: `33` is no prefix length"),
            &format!("error: {bind}.network.v6: `0` is no prefix length"),
            &format!("error: {bind}.on_mismatch: `log` is no answer to another client"),
        ],
    );
    check(
        "policy",
        "    bind: { client_certificate: true }",
        &[&format!(
            "warning: {bind}.client_certificate: has no effect: no listener asks for a client's \
             certificate"
        )],
    );
}

#[test]
fn certificates_of_clients() {
    let clients = "listeners[0].tls.client_certificates";
    check("tls", ", client_certificates: { ca: /clients.pem, require: true }", &[]);
    check(
        "tls",
        ", client_certificates: { require: true }",
        &[&format!("error: {clients}.ca: is missing")],
    );
    check(
        "tls",
        ", client_certificates: { ca: /empty.pem }",
        &[&format!("error: {clients}.ca: `/empty.pem` holds no certificate")],
    );
    check(
        "tls",
        ", client_certificates: { ca: /nowhere.pem }",
        &[&format!("error: {clients}.ca: cannot read `/nowhere.pem`: entity not found")],
    );
}

#[test]
fn a_certificate_to_show_to_workers() {
    let at = "upstreams.shop.tls.certificate";
    for (files, expected) in [
        ("{ chain: /shop.pem, key: /shop.key }", &[][..]),
        ("{ chain: /shop.pem }", &["error: {at}.key: is missing"]),
        ("{}", &["error: {at}.chain: is missing", "error: {at}.key: is missing"]),
        (
            "{ chain: /empty.pem, key: /nowhere.key }",
            &[
                "error: {at}.chain: `/empty.pem` holds no certificate",
                "error: {at}.key: cannot read `/nowhere.key`: entity not found",
            ],
        ),
        (
            "{ chain: /shop.pem, key: /other.key }",
            &[
                "warning: {at}.key: every user of this machine can reach `/other.key` (mode 0644)",
                "error: {at}.key: is not the key of the certificate",
            ],
        ),
    ] {
        let expected: Vec<_> = expected.iter().map(|line| line.replace("{at}", at)).collect();
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        let tls = format!(", tls: {{ server_name: a.internal, certificate: {files} }}");
        check("upstream", &tls, &expected);
    }
}

#[test]
fn protocols_of_workers() {
    for good in ["http/1.1", "h2"] {
        check("upstream", &format!(", protocol: {good}"), &[]);
    }
    let expected =
        "error: upstreams.shop.protocol: `h2c` is no protocol that is spoken with workers";
    check("upstream", ", protocol: h2c", &[expected]);
}

#[test]
fn what_an_outage_of_the_store_costs() {
    let policy = |value: &str| format!("    on_store_down: {value}");
    let route = |value: &str| format!(", on_store_down: {value}");
    for good in ["reject", "anonymous", "{ stale: 30s }", "{ stale: 5m }"] {
        check("policy", &policy(good), &[]);
        check("route", &route(good), &[]);
    }
    check("route", &route("anonymous, require: nothing"), &[]);
    check("route", &route("{ stale: 30s }, require: login"), &[]);
    for (value, key, message) in [
        ("ignore", "", "`ignore` is no answer to a store that is down"),
        ("stale", "", "`stale` does not say for how long"),
        ("{}", ".stale", "is missing"),
        ("{ stale: 30 }", ".stale", "`30` has no unit"),
        ("{ stale: 0s }", ".stale", "must be longer than nothing"),
        ("{ stale: soon }", ".stale", "`soon` is no duration"),
        ("{ stale: 30s, anonymous: 30s }", ".anonymous", "unknown key"),
    ] {
        check(
            "policy",
            &policy(value),
            &[&format!("error: sessions.shop.on_store_down{key}: {message}")],
        );
        check(
            "route",
            &route(value),
            &[&format!("error: servers[0].routes[0].on_store_down{key}: {message}")],
        );
    }
    let long = "a session that was revoked may be served for 301s of an outage";
    check(
        "policy",
        &policy("{ stale: 301s }"),
        &[&format!("warning: sessions.shop.on_store_down.stale: {long}")],
    );
    check(
        "route",
        &route("{ stale: 301s }"),
        &[&format!("warning: servers[0].routes[0].on_store_down.stale: {long}")],
    );
    check(
        "route",
        ", require: login, on_store_down: anonymous",
        &["warning: servers[0].routes[0].on_store_down: nobody is anonymous where a login is \
           required: such requests get 503"],
    );
    check(
        "route",
        " }\n      - { path: /plain/, upstream: shop, on_store_down: anonymous",
        &["error: servers[0].routes[1].on_store_down: such requests never ask the store"],
    );
}

/// Two tickets of one name that a browser sends to one host would count as none.
#[test]
fn domains_that_overlap() {
    let two = |one: &str, other: &str| {
        format!(
            "  one: {{ cookie: {{ name: wide, domain: {one} }}, app_cookies: [sid] }}\n  \
             two: {{ cookie: {{ name: wide, domain: {other} }}, app_cookies: [sid] }}"
        )
    };
    let unused =
        ["warning: sessions.one: no route uses it", "warning: sessions.two: no route uses it"];
    for (one, other, overlap) in [
        ("example.com", "example.com", true),
        ("example.com", "shop.example.com", true),
        ("shop.example.com", "example.com", true),
        ("example.com", "other-example.com", false),
        ("a.example.com", "b.example.com", false),
    ] {
        let twin = "error: sessions.two.cookie.name: session `one` has the same cookie \
                    `__Secure-wide` for the same domain, or one that lies in it";
        let mut expected = unused.to_vec();
        if overlap {
            expected.push(twin);
        }
        check("policy", &two(one, other), &expected);
    }
}

#[test]
fn what_is_kept_of_the_store() {
    check("policy", "cache: { lease: 0s, bytes: 1MiB }", &[]);
    check("policy", "cache: { lease: 60s }", &[]);
    check(
        "policy",
        "cache: { lease: 61s, bytes: 1023KiB }",
        &["error: cache.lease: `61s` is too long", "error: cache.bytes: `1023KiB` is too small"],
    );
}
