//! What operators say in answers, whoever gave them.

use crate::support::apps::App;
use crate::support::client::Dial;
use crate::support::http::response;
use crate::support::origin::Responder;
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, Shop, browser};

/// A worker that says something itself, and the status that it is asked for.
async fn worker() -> Responder {
    Responder::start(|request| {
        let status = match request.target.trim_start_matches("/own/").trim_start_matches('/') {
            "500" => "500 Internal Server Error",
            "404" => "404 Not Found",
            _ => "200 OK",
        };
        let own = [
            ("X-Frame-Options", "DENY"),
            ("Cache-Control", "public"),
            ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ];
        let own: &[_] = if request.target.starts_with("/own/") { &own } else { &[] };
        response(status, own, b"")
    })
    .await
}

async fn proxy(worker: &Responder, keys: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners: [{{ address: '127.0.0.1:0' }}]\nstore: memory\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{}' }}] }} }}\n\
         defaults: {{ {keys} }}\n\
         servers:\n- routes:\n  - {{ path: /, upstream: app }}\n",
        worker.address
    ))
}

#[tokio::test]
async fn freshness_is_said_of_what_is_nobodys_own() {
    let app = App::egg();
    let shop = Shop::at(app.address)
        .top("defaults: { expires: 1h }")
        .route("{ path: /account/, upstream: shop, session: shop, require: login }")
        .route("{ path: /old/, upstream: shop, expires: '-1' }");
    let nodes = [shop.start()];
    let mut alice = browser(&nodes);
    let old = alice.get("/old/").await;
    assert!(old.status >= 400 && old.field("expires").is_none(), "{}", old.status);
    let login = alice.post_form("/login", ALICE).await.expect(302);
    assert_eq!(login.field("cache-control").as_deref(), Some("private, no-store"));
    assert!(login.field("expires").is_none(), "it sets a ticket");
    let account = alice.get("/account/").await.expect(200);
    assert_ne!(account.field("cache-control").as_deref(), Some("max-age=3600"));
    // In place of what the worker says, as in nginx.
    let worker = worker().await;
    let proxy = proxy(&worker, "expires: 1h").await;
    let public =
        Dial::to(proxy.address()).connect().await.get(HOST, "/own/", &[]).await.expect(200);
    assert_eq!(public.fields().all("cache-control"), ["max-age=3600"]);
    assert!(public.fields().all("expires").iter().all(|date| !date.contains("1970")));
}

#[tokio::test]
async fn visitors_are_protected_where_an_application_says_nothing() {
    let worker = worker().await;
    let shop = Shop::at(worker.address)
        .top("defaults: { security_headers: true, session: none }")
        .route("{ path: /files/, root: /nonexistent }");
    let secure = shop.start();
    for (target, status, framing) in
        [("/", 200, "SAMEORIGIN"), ("/own/", 200, "DENY"), ("/files/x", 404, "SAMEORIGIN")]
    {
        let mut client = Dial::to(secure.address()).tls(HOST).connect().await;
        let answer = client.get(HOST, target, &[]).await.expect(status);
        assert_eq!(answer.fields().all("x-frame-options"), [framing], "{target}");
        assert_eq!(answer.fields().all("x-content-type-options"), ["nosniff"], "{target}");
        let https = answer.field("strict-transport-security");
        assert_eq!(https.as_deref(), Some("max-age=31536000"), "{target}");
    }
    let plain = proxy(&worker, "security_headers: true").await;
    let answer = Dial::to(plain.address()).connect().await.get(HOST, "/", &[]).await.expect(200);
    assert!(answer.field("strict-transport-security").is_none(), "it came over http");
    assert_eq!(answer.fields().all("x-content-type-options"), ["nosniff"]);
}

#[test]
fn mistakes_name_their_place_and_a_remedy() {
    for (keys, expected) in [
        ("expires: soon", "`soon` is no time"),
        ("expires: '@25h'", "is later than the day is long"),
    ] {
        let yaml = format!(
            "listeners: [{{ address: '127.0.0.1:0' }}]\nstore: memory\n\
             upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:1' }}] }} }}\n\
             servers:\n- routes:\n  - {{ path: /, upstream: app, {keys} }}\n"
        );
        let problem = Proxy::try_start(&yaml).map(|_| ()).expect_err(keys);
        assert!(problem.contains(expected), "{keys}: {problem}");
    }
}
