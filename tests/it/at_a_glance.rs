//! The configuration that the design shows, with other paths and ports, in front of a real
//! application and through the binary: every key is accepted, and one whose feature is still to
//! come says so at start instead of being ignored.

use crate::support::apps::App;
use crate::support::browser::{Ask, Browser};
use crate::support::proxy::Binary;
use crate::support::redis::Redis;
use crate::support::shop::{ALICE, HOST, TICKET, whoami};
use crate::support::tls::Certificate;
use crate::support::{free_port, loopback};

const CONFIGURATION: &str = r#"
workers: auto                           # one runtime per core
listeners:
  - address: 127.0.0.1:{port}
    tls:
      certificates: [{ chain: CERTIFICATES/shop.pem, key: CERTIFICATES/shop.key }]
      min_version: "1.2"
    protocols: [h2, http/1.1]
    proxy_protocol: false
  - address: 127.0.0.1:PLAIN
    redirect_to_https: true

store: REDIS
keyring: CERTIFICATES/keyring.json

sessions:
  shop:
    mode: vault
    cookie: { name: shop, same_site: lax }        # sent as __Host-shop
    app_cookies: [EGG_SESS, EGG_SESS.sig]
    timeouts: { idle: 30m, absolute: 12h, renew_every: 15m, grace: 60s }
    login:
      - { request: POST /login, success: { status: [302], location: /account/ }, subject: { form: username } }
    logout:
      - { request: POST /logout }
    on_store_down: reject

cookies:                                # every other cookie on its way out
  defaults: { secure: true, http_only: true, same_site: lax }
  exceptions:
    csrfToken: { http_only: false }

upstreams:
  shop:
    balance: round_robin                # least_conn | ip_hash | session (affinity)
    endpoints:
      - { address: FIRST }
      - { address: SECOND, weight: 2 }
    health_check: { path: /healthz, interval: 5s }

servers:
  - names: [shop.example.com]
    routes:
      - { path: /, upstream: shop, session: shop }
      - { path: /account/, upstream: shop, session: shop, require: login, denied: redirect /login }
      - { path: /static/, root: CERTIFICATES }

trusted_proxies: [10.0.0.0/8]           # whose X-Forwarded-* and PROXY lines are believed
admin: { address: unix:{directory}/admin.sock }
"#;

#[tokio::test]
async fn the_designs_configuration_serves_a_real_application() {
    let (first, second, redis) = (App::egg(), App::egg(), Redis::start());
    let files = tempfile::tempdir().expect("a temporary directory can be made");
    let (chain, key) = Certificate::for_names(&[HOST]).write(files.path(), "shop");
    std::fs::rename(chain, files.path().join("shop.pem")).expect("the directory can be written");
    std::fs::rename(key, files.path().join("shop.key")).expect("the directory can be written");
    let ring = files.path().join("keyring.json").display().to_string();
    assert!(Binary::run(&["keys", "new", &ring]).status.success());
    let plain = free_port();
    let yaml = CONFIGURATION
        .replace("CERTIFICATES", &files.path().display().to_string())
        .replace("PLAIN", &plain.to_string())
        .replace("REDIS", &redis.url())
        .replace("FIRST", &first.address.to_string())
        .replace("SECOND", &second.address.to_string());
    let shop = Binary::serve(&yaml, &[]);

    let mut alice = Browser::https(HOST, &[loopback(shop.port)]);
    let denied = alice.send(Ask::get("/account/").field("accept", "text/html")).await;
    assert_eq!(denied.status, 302, "a navigation without a login is sent to the form");
    assert_eq!(denied.field("location").as_deref(), Some("/login"));
    let login = alice.post_form("/login", ALICE).await.expect(302);
    assert!(login.set_cookies().iter().all(|field| !field.contains("EGG_SESS")));
    assert!(alice.cookie(TICKET).is_some_and(|ticket| ticket.secure && ticket.http_only));
    assert_eq!(whoami(&mut alice).await.as_deref(), Some("alice"));
    alice.get("/account/").await.expect(200);
    std::fs::create_dir(files.path().join("static")).expect("the directory can be written");
    std::fs::write(files.path().join("static/x.css"), "p {}").expect("it can be written");
    let style = alice.get("/static/x.css").await.expect(200);
    assert_eq!(
        (style.field("content-type").as_deref(), &*style.text()),
        (Some("text/css"), "p {}")
    );
    alice.get("/static/y.css").await.expect(404);

    let redirected = Browser::http(HOST, &[loopback(plain)]).get("/cart?x=1").await;
    assert_eq!(redirected.status, 301);
    let location = format!("https://{HOST}:{}/cart?x=1", shop.port);
    assert_eq!(redirected.field("location"), Some(location));

    let log = shop.process.log();
    assert!(!log.contains("unhealthy"), "both are well:\n{log}");
}
