//! What `check` says about modes: place, message and remedy.

use crate::config::diagnostic::{Diagnostics, Severity};
use crate::config::environment::testing::Given;
use crate::config::{Config, parse};

/// A file with these policies, and the routes of one server.
fn read(sessions: &str, routes: &str, top: &str) -> Result<Config, Diagnostics> {
    let text = format!(
        "listeners: [{{ address: 127.0.0.1:8443, tls: {{ self_signed: true }} }}]\n\
         {top}\n\
         sessions:\n{sessions}\n\
         upstreams: {{ up: {{ endpoints: [{{ address: 127.0.0.1:7001 }}] }} }}\n\
         servers: [{{ names: [shop.example.com], routes: [{routes}] }}]\n"
    );
    parse(&text, "config.yaml", &Given::default().environment())
}

const ROUTE: &str = "{ path: /, upstream: up, session: a }";

/// Errors as `path: message; help`.
fn errors(result: Result<Config, Diagnostics>) -> Vec<String> {
    let Err(found) = result else { return Vec::new() };
    found
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .map(|found| {
            assert!(found.place.is_some(), "{} has no place", found.path);
            format!("{}: {}; {}", found.path, found.message, found.help)
        })
        .collect()
}

#[track_caller]
fn check(policy: &str, expected: &[&str]) {
    let found = errors(read(&format!("  a: {{ {policy} }}"), ROUTE, ""));
    assert_eq!(found, expected, "{policy}");
}

#[test]
fn keys_have_a_meaning_in_some_modes_only() {
    check("mode: harden, app_cookies: [s]", &[]);
    check(
        "mode: harden, app_cookies: [s], report_only: true, \
         cookie: { prefix: secure, same_site: strict, domain: example.com, partitioned: true }",
        &[],
    );
    for (key, path) in [
        ("cookie: { name: x }", "cookie.name"),
        ("cookie: { remember: true }", "cookie.remember"),
        ("timeouts: { renew_every: 5m }", "timeouts.renew_every"),
        ("timeouts: { grace: 5s }", "timeouts.grace"),
        ("idle_counts_streams: false", "idle_counts_streams"),
        ("on_reuse: log", "on_reuse"),
        ("login: [{ request: POST /login, success: { location: / } }]", "login"),
        ("logout: [{ request: POST /logout }]", "logout"),
        ("serialize: login", "serialize"),
        ("jar: { cookies: 3 }", "jar.cookies"),
        ("jar: { bytes: 3KiB }", "jar.bytes"),
        ("anonymous_per_minute: 3", "anonymous_per_minute"),
        ("anonymous_life: 5m", "anonymous_life"),
        ("anonymous_waiting: 3", "anonymous_waiting"),
        ("max_sessions_per_subject: { sessions: 3 }", "max_sessions_per_subject"),
        ("bind: { user_agent: true }", "bind"),
        ("cookie: { remember: true }", "cookie.remember"),
        ("users: staff", "users"),
        ("own_sessions: true", "own_sessions"),
        ("identity: [id]", "identity"),
        ("on_store_down: reject", "on_store_down"),
        ("on_store_down: { stale: 30s }", "on_store_down"),
        ("bind: { user_agent: true }", "bind"),
        ("app_cookies_hold: identifier", "app_cookies_hold"),
        ("on_app_delete: end", "on_app_delete"),
    ] {
        for mode in ["seal", "harden"] {
            check(
                &format!("mode: {mode}, app_cookies: [s], {key}"),
                &[&format!(
                    "sessions.a.{path}: has no meaning with `mode: {mode}`; leave it out, or write \
                     `mode: vault`"
                )],
            );
        }
    }
    check(
        "mode: seal, app_cookies: [s], cookie: { prefix: none, partitioned: true }, \
         timeouts: { idle: 5m, absolute: 1h }",
        &[],
    );
    check(
        "mode: seal, app_cookies: [s], timeouts: { idle: 2h, absolute: 1h }",
        &["sessions.a.timeouts.idle: `idle` (7200s) is longer than `absolute` (3600s); a session \
           never outlives `absolute`: shorten `idle`, or lengthen `absolute`"],
    );
    check(
        "mode: harden, app_cookies: [s], timeouts: { idle: 5m }",
        &["sessions.a.timeouts.idle: has no meaning with `mode: harden`; leave it out, or write \
           `mode: vault` or `mode: seal`"],
    );
    check(
        "mode: seal, app_cookies: [s], report_only: true",
        &["sessions.a.report_only: has no meaning with `mode: seal`; leave it out, or write \
           `mode: harden`"],
    );
    check(
        "app_cookies: [s], report_only: true",
        &["sessions.a.report_only: has no meaning with `mode: vault`; leave it out, or write \
           `mode: harden`"],
    );
}

#[test]
fn only_a_vault_has_a_store_that_can_be_down() {
    for mode in ["seal", "harden"] {
        let policy = format!("  a: {{ mode: {mode}, app_cookies: [s] }}");
        let route = "{ path: /, upstream: up, session: a, on_store_down: anonymous }";
        assert_eq!(
            errors(read(&policy, route, "")),
            [
                "servers[0].routes[0].on_store_down: session `a` keeps nothing in the store; leave it \
              out"
            ]
        );
    }
}

#[test]
fn a_mode_that_is_wrong_is_one_mistake() {
    check(
        "mode: native, app_cookies: [s], report_only: true",
        &[
            "sessions.a.mode: `native` is not built yet; write `vault`, `seal` or `harden`, or leave \
           `mode` out",
        ],
    );
    check(
        "mode: hardened, app_cookies: [s], login: []",
        &[
            "sessions.a.mode: `hardened` is no mode; did you mean `harden`? one of: vault, seal, harden",
        ],
    );
}

#[test]
fn prefixes_fit_domain_and_names() {
    check(
        "mode: harden, app_cookies: [s], cookie: { prefix: host, domain: example.com }",
        &["sessions.a.cookie.prefix: browsers refuse a `__Host-` cookie with a `Domain`; write \
           `secure`, or leave `domain` out"],
    );
    check(
        "mode: harden, app_cookies: [s], cookie: { prefix: __Host- }",
        &["sessions.a.cookie.prefix: `__Host-` is no prefix; one of: host, secure, none"],
    );
    for pattern in ["*", "_*", "__host-*", "__s*"] {
        check(
            &format!("mode: harden, app_cookies: ['{pattern}']"),
            &[&format!(
                "sessions.a.app_cookies[0]: `{pattern}` also covers cookies that carry a prefix of \
                 their own; list the application's session cookies by name, or write `prefix: none`"
            )],
        );
    }
    check("mode: harden, app_cookies: ['wp_*', '__Host-own', '__Secure-own-*']", &[]);
    check("mode: harden, app_cookies: ['a*'], cookie: { prefix: none }", &[]);
    check(
        "mode: harden, app_cookies: [s, __Host-s]",
        &["sessions.a.app_cookies[0]: leaves as `__Host-s`, which is listed too; keep one of the \
           two, or choose another `prefix`"],
    );
}

#[test]
fn what_needs_secure_is_refused_over_plain_http() {
    let insecure = "insecure_cookies: true";
    let policy = "  a: { mode: harden, app_cookies: [s], cookie: { partitioned: true } }";
    assert_eq!(
        errors(read(policy, ROUTE, insecure)),
        ["sessions.a.cookie.partitioned: browsers refuse a cookie with `Partitioned` that is not \
          `Secure`; leave it out, or leave `insecure_cookies` out"]
    );
    let policy = "  a: { mode: harden, app_cookies: [s] }";
    let config = read(policy, ROUTE, insecure).expect("a good file");
    let appearance = config.sessions[0].appearance().expect("it lets cookies out");
    assert_eq!((appearance.prefix.as_str(), appearance.secure), ("", false));
}

#[test]
fn a_login_is_required_of_vaults_only() {
    let route = "{ path: /, upstream: up, session: a, require: login }";
    assert_eq!(
        errors(read("  a: { mode: harden, app_cookies: [s] }", route, "")),
        ["servers[0].routes[0].require: session `a` knows no logins; use `mode: vault` in \
          `sessions.a`, or leave `require` out"]
    );
}

#[test]
fn a_ticket_and_a_cookie_that_leaves_have_different_names() {
    let routes = "{ path: /, upstream: up, session: a }, { path: /b, upstream: up, session: b }";
    let sessions = |prefix: &str| {
        format!(
            "  a: {{ app_cookies: [x] }}\n  \
             b: {{ mode: harden, app_cookies: [a], cookie: {{ prefix: {prefix} }} }}"
        )
    };
    assert_eq!(
        errors(read(&sessions("host"), routes, "")),
        [
            "servers[0].routes[1].session: sessions `a` and `b` have the same cookie `__Host-a` on this \
          server; they would overwrite each other: choose another name or `prefix`"
        ]
    );
    assert_eq!(errors(read(&sessions("secure"), routes, "")), Vec::<String>::new());
}

#[test]
fn a_sealed_cookie_belongs_to_one_policy_of_a_host() {
    let routes = "{ path: /, upstream: up, session: a }, { path: /b, upstream: up, session: b }";
    let sessions = |other: &str| {
        format!("  a: {{ mode: seal, app_cookies: ['wp_*'] }}\n  b: {{ app_cookies: [{other} }}")
    };
    for (other, expected) in [
        ("wp_1], mode: harden", 1),
        ("'wp*'], mode: seal", 1),
        ("'*'], mode: seal, cookie: { prefix: none }", 1),
        ("wp_1], mode: seal, cookie: { prefix: secure }", 0),
    ] {
        assert_eq!(errors(read(&sessions(other), routes, "")).len(), expected, "{other}");
    }
    assert_eq!(errors(read(&sessions("x], mode: seal"), routes, "")), Vec::<String>::new());
}

/// Where nothing is changed, nothing is refused over plain HTTP.
#[test]
fn a_report_alone_needs_no_tls() {
    let warnings = |policy: &str| {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:8080 }}]\n\
             sessions: {{ a: {{ mode: harden, app_cookies: [s], {policy} }} }}\n\
             upstreams: {{ up: {{ endpoints: [{{ address: 127.0.0.1:7001 }}] }} }}\n\
             servers: [{{ routes: [{ROUTE}] }}]\n"
        );
        let config = parse(&text, "config.yaml", &Given::default().environment());
        config.expect("a good file").warnings.count(Severity::Warning)
    };
    assert_eq!(warnings("report_only: true"), 0);
    assert_eq!(warnings("report_only: false"), 1);
}
