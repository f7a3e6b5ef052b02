//! `store`: what is accepted, and what is said about the rest.

use std::path::Path;

use crate::config::diagnostic::Severity;
use crate::config::environment::{Environment, testing};
use crate::config::shipped_tests::certificate;
use crate::config::{Config, Diagnostics, parse};
use crate::store::StoreSettings;
use crate::store::credentials::Secret;
use crate::store::redis::UrlKind;

fn environment() -> Environment {
    let (chain, key) = certificate();
    let (other, _) = certificate();
    let given = testing::Given::default()
        .with("/c/ca.pem", chain.clone(), 0o644)
        .with("/c/client.pem", chain, 0o644)
        .with("/c/other.pem", other, 0o644)
        .with("/c/client.key", key, 0o600)
        .with("/c/pw", "hunter2\n", 0o600)
        .with("/c/open", "hunter2\n", 0o644)
        .with("/c/empty", "\n", 0o600)
        .with("/c/long", "x".repeat(1025), 0o600)
        .with("/c/both", "of the configuration", 0o600)
        .with("/run/credentials/both", "of the service manager", 0o400)
        .with("/run/credentials/redis.password", "hunter2", 0o400);
    Environment { credentials_directory: Some("/run/credentials".into()), ..given.environment() }
}

fn read(store: &str) -> Result<Config, Diagnostics> {
    let text = format!(
        "listeners: [{{ address: '127.0.0.1:8080' }}]\n{store}\nkeyring: /c/pw\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:7001' }}] }} }}\n\
         servers: [{{ routes: [{{ path: /, upstream: app }}] }}]\n"
    );
    parse(&text, "/c/cloakroom.yaml", &environment())
}

/// Errors and warnings about the store.
#[track_caller]
fn check(store: &str, expected: &[&str]) {
    let found = match read(store) {
        Ok(config) => config.warnings,
        Err(found) => found,
    };
    assert!(!found.to_string().contains("hunter2"), "{store}: {found}");
    let found: Vec<String> = found
        .iter()
        .filter(|one| one.path.starts_with("store") && one.severity != Severity::Notice)
        .map(|one| format!("{}: {}: {}", one.severity.as_str(), one.path, one.message))
        .collect();
    assert_eq!(found, expected, "{store}");
}

fn redis(store: &str) -> crate::store::redis::RedisSettings {
    match read(store).unwrap_or_else(|found| panic!("{store}: {found}")).store {
        StoreSettings::Redis(settings) => settings,
        other => panic!("{store}: {other:?}"),
    }
}

#[test]
fn a_url_says_it_or_a_mapping() {
    let short = redis("store: redis://alice:hunter2@cache:1/2");
    let long = redis("store: { url: 'redis://alice:hunter2@cache:1/2' }");
    assert_eq!(short, long);
    assert_eq!(short.login.username.as_deref(), Some("alice"));
    const SESSIONS: &str = "sessions: { shop: { app_cookies: [s] } }";
    for (store, path) in [
        (SESSIONS, "/c/cloakroom-state/sessions.db"),
        (&format!("{SESSIONS}\nstore: {{}}"), "/c/cloakroom-state/sessions.db"),
        ("store: sqlite:x.db", "/c/x.db"),
        ("store: { url: 'sqlite:x.db' }", "/c/x.db"),
    ] {
        let config = read(store).unwrap_or_else(|found| panic!("{store}: {found}"));
        assert_eq!(config.store, StoreSettings::Sqlite(path.into()), "{store}");
    }
    // Nobody has anything to keep.
    let config = read("").unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(config.store, StoreSettings::Memory);
    check("", &[]);
}

#[test]
fn everything_about_a_redis_server_can_be_said() {
    let settings = redis(
        "store:\n  url: rediss+sentinel://a,b:2/main/3\n  username: alice\n  password_file: pw\n  \
         tls: { ca: ca.pem, certificate: client.pem, key: client.key, server_name: cache.internal }\n  \
         require_replicas: 2\n  sentinel: { username: watcher, password_file: redis.password }\n\
         store_namespace: shop",
    );
    assert_eq!(*settings.url.kind(), UrlKind::Sentinel { master_name: "main".to_owned() });
    assert_eq!((settings.namespace.as_str(), settings.require_replicas), ("shop", 2));
    assert_eq!(settings.login.username.as_deref(), Some("alice"));
    let file = |path: &str| Some(Secret::File(path.into()));
    assert_eq!(settings.login.password, file("/c/pw"));
    assert_eq!(settings.sentinel.username.as_deref(), Some("watcher"));
    assert_eq!(settings.sentinel.password, file("/run/credentials/redis.password"));
    assert_eq!(settings.tls.ca.as_deref(), Some(Path::new("/c/ca.pem")));
    let client = settings.tls.client.expect("given");
    assert_eq!(client.certificate, Path::new("/c/client.pem"));
    assert_eq!(client.key, Path::new("/c/client.key"));
    assert_eq!(settings.tls.server_name.as_deref(), Some("cache.internal"));
}

#[test]
fn a_credential_of_the_service_manager_comes_before_a_file_of_its_name() {
    let password = |file: &str| {
        redis(&format!("store: {{ url: 'redis://a', password_file: {file} }}")).login.password
    };
    let file = |path: &str| Some(Secret::File(path.into()));
    assert_eq!(password("both"), file("/run/credentials/both"));
    assert_eq!(password("./both"), file("/c/./both"));
    assert_eq!(password("/c/both"), file("/c/both"));
}

#[test]
fn stores_that_there_are_not() {
    for (url, message) in [
        ("redis", "names no store that there is"),
        ("rediss:", "names no store that there is"),
        ("redis+sentinel://:hunter2@a", "the master's name is missing: "),
        ("redis+cluster://:hunter2@a/1", "a cluster has database 0 only"),
        ("redis://:hunter2@a,b", "several servers are Sentinels or a cluster"),
        ("redis://:hunter2@0.0.0.0", "the host must not be a wildcard address"),
        ("mysql://:hunter2@a/s", "user and password must not be empty"),
        ("postgres:", "names no store that there is"),
        ("postgres://me:hunter2@a", "the name of the database is missing"),
        ("memcached://:hunter2@a", "names no store that there is"),
        ("sqlite:", "names no SQLite file"),
    ] {
        for (store, path) in [
            (format!("store: '{url}'"), "store"),
            (format!("store: {{ url: '{url}' }}"), "store.url"),
        ] {
            let found = read(&store).expect_err(&store);
            let one = found.iter().find(|one| one.path.starts_with("store")).expect("one");
            assert_eq!(one.path, path);
            assert!(one.message.starts_with(message), "{store}: {}", one.message);
            assert!(!found.to_string().contains("hunter2"), "{found}");
        }
    }
}

#[test]
fn passwords_in_files() {
    let with = |file: &str| format!("store: {{ url: 'redis://a', password_file: {file} }}");
    let path = "store.password_file";
    check(&with("pw"), &[]);
    check(
        &with("open"),
        &[&format!("warning: {path}: every user of this machine can reach `/c/open` (mode 0644)")],
    );
    check(&with("empty"), &[&format!("error: {path}: `/c/empty` is empty")]);
    check(
        &with("long"),
        &[&format!("error: {path}: `/c/long` is longer than 1 KiB: this is no password")],
    );
    check(&with("none"), &[&format!("error: {path}: cannot read `/c/none`: entity not found")]);
    check(
        "store: { url: 'redis://:hunter2@a', password_file: pw }",
        &[&format!("error: {path}: the URL has a password too")],
    );
    check(
        "store: { url: 'redis://alice:hunter2@a', username: bob }",
        &["error: store.username: the URL names a user too"],
    );
    check("store: { url: 'redis://:hunter2@a', username: bob }", &[]);
    check(
        "store: { url: 'redis://a', username: bob }",
        &["error: store.username: a user needs a password"],
    );
    check(
        "store: { url: 'redis://a', sentinel: { username: bob } }",
        &["warning: store.sentinel.username: has no effect: the URL names no Sentinels"],
    );
    check(
        "store: { url: 'redis+sentinel://a/m', sentinel: { username: bob } }",
        &["error: store.sentinel.username: a user needs a password"],
    );
}

#[test]
fn tls_of_a_store() {
    let with = |tls: &str| format!("store: {{ url: 'rediss://a', tls: {{ {tls} }} }}");
    let tls = "store.tls";
    check(&with(""), &[]);
    check(&with("ca: ca.pem, certificate: client.pem, key: client.key"), &[]);
    check(&with("ca: pw"), &[&format!("error: {tls}.ca: `/c/pw` holds no certificate")]);
    check(&with("certificate: client.pem"), &[&format!("error: {tls}.certificate: has no key")]);
    check(&with("key: client.key"), &[&format!("error: {tls}.key: has no certificate")]);
    check(
        &with("certificate: other.pem, key: client.key"),
        &[&format!("error: {tls}.key: is not the key of the certificate")],
    );
    check(
        &with("server_name: 'not a name'"),
        &[&format!(
            "error: {tls}.server_name: `not a name` is no name that a certificate could have"
        )],
    );
    check(
        "store: { url: 'redis://a', tls: { ca: ca.pem } }",
        &[&format!("error: {tls}.ca: has no effect: the connection is not encrypted")],
    );
}

#[test]
fn what_has_no_effect_is_said() {
    check(
        "store: { url: 'sqlite:x', username: a, password_file: pw, tls: { ca: ca.pem }, \
         require_replicas: 1, sentinel: { username: b } }\nstore_namespace: x",
        &[
            "warning: store.username: has no effect: the store is no server",
            "warning: store.password_file: has no effect: the store is no server",
            "warning: store.tls.ca: has no effect: the store is no server",
            "warning: store.require_replicas: has no effect: only Redis has such replicas",
            "warning: store.sentinel.username: has no effect: the store has no Sentinels",
            "warning: store_namespace: has no effect: only Redis keys have a namespace",
        ],
    );
}

#[test]
fn a_database_server_has_a_login_and_authorities_of_its_own() {
    let server = |store: &str| match read(store).unwrap_or_else(|found| panic!("{found}")).store {
        StoreSettings::Server(settings) => settings,
        other => panic!("{store}: {other:?}"),
    };
    let short = server("store: postgres://alice:hunter2@db/s");
    assert_eq!(short.url.to_string(), "postgres://[redacted]@db:5432/s");
    assert_eq!(short.login.username.as_deref(), Some("alice"));
    let long = server(
        "store: { url: 'mysql://db/s', username: bob, password_file: pw, tls: { ca: ca.pem, \
         certificate: client.pem, key: client.key } }",
    );
    assert_eq!(long.login.username.as_deref(), Some("bob"));
    assert_eq!(long.login.password, Some(Secret::File("/c/pw".into())));
    assert_eq!(long.tls.ca.as_deref(), Some(Path::new("/c/ca.pem")));
    assert_eq!(long.tls.identity, Some(("/c/client.pem".into(), "/c/client.key".into())));
    check(
        "store: { url: 'postgres://alice:hunter2@db/s?sslmode=disable', username: bob, \
         password_file: pw, tls: { ca: ca.pem, server_name: db }, sentinel: { username: x } }",
        &[
            "error: store.username: the URL names a user too",
            "error: store.password_file: the URL has a password too",
            "error: store.tls.ca: has no effect: the URL turns TLS off",
            "error: store.tls.server_name: a database server must show a certificate for the host \
             of the URL",
            "warning: store.sentinel.username: has no effect: the store has no Sentinels",
        ],
    );
}
