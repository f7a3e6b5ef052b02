//! Fields of the operator's own for workers, and paths that are replaced: `request_headers`, `uri`.

use crate::support::client::Dial;
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;

async fn start(server: &str, routes: &str) -> (Responder, Proxy) {
    let app = Responder::start(|_| response("200 OK", &[], b"")).await;
    let proxy = Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{}' }}] }} }}\n\
         servers:\n- {server}\n  routes:\n{routes}",
        app.address
    ));
    (app, proxy)
}

/// What the worker gets of a request.
async fn sent(app: &Responder, proxy: &Proxy, target: &str, fields: &str) -> Request {
    let mut client = Dial::to(proxy.address()).connect().await;
    let raw = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
    client.exchange(raw).await.expect(200);
    app.last()
}

#[tokio::test]
async fn fields_are_set_with_variables_and_taken_out() {
    let server = "request_headers: { X-Path: '$uri of ${host}', Accept: '', X-Given: '$http_x_in', \
                  Host: app.internal }";
    let (app, proxy) = start(server, "  - { path: /, upstream: app }\n").await;
    let fields = "Accept: a/b\r\nAccept: c/d\r\nX-In: i\r\nX-Path: forged\r\n";
    let got = sent(&app, &proxy, "/a%20b?c", fields).await;
    assert_eq!(got.field("x-path").as_deref(), Some("/a b of a.example"));
    assert_eq!(got.field("accept"), None);
    assert_eq!(got.field("x-given").as_deref(), Some("i"));
    assert_eq!(got.field("host").as_deref(), Some("app.internal"));
    assert_eq!(sent(&app, &proxy, "/", "").await.field("x-given"), None, "nothing is no value");
}

#[tokio::test]
async fn the_nearest_level_wins_whole() {
    let routes = "  - { path: /, upstream: app }\n  - { path: /b, upstream: app, request_headers: \
                  { X-B: b } }\n";
    let (app, proxy) = start("request_headers: { X-A: a }", routes).await;
    let outer = sent(&app, &proxy, "/", "").await;
    assert_eq!((outer.field("x-a"), outer.field("x-b")), (Some("a".to_owned()), None));
    let inner = sent(&app, &proxy, "/b", "").await;
    assert_eq!((inner.field("x-a"), inner.field("x-b")), (None, Some("b".to_owned())));
}

/// A line break that a variable brings ends no field.
#[tokio::test]
async fn what_cannot_stand_in_a_field_is_refused() {
    let (app, proxy) =
        start("request_headers: { X-Path: $uri }", "  - { path: /, upstream: app }\n").await;
    let mut client = Dial::to(proxy.address()).connect().await;
    client.get("a.example", "/a%0d%0aX-Forged:%20b", &[]).await.expect(400);
    assert!(app.seen().is_empty());
}

#[tokio::test]
async fn a_path_is_replaced_in_what_workers_are_asked_for() {
    let routes = "  - { path: /, upstream: app }\n  - { path: /api/, upstream: app, uri: /v2/ }\n  \
                  - { path: '= /one', upstream: app, uri: '/other?x=y' }\n  \
                  - { path: '^~ /cut/', upstream: app, uri: / }\n";
    let (app, proxy) = start("names: [a.example]", routes).await;
    for (target, expected) in [
        ("/x/../y?z", "/y?z"),
        ("/api/", "/v2/"),
        ("/api/a?b=c%20d", "/v2/a?b=c%20d"),
        ("/api/a%20b%3Fc%25", "/v2/a%20b%3Fc%25"),
        ("/api/./a//b", "/v2/a/b"),
        ("/%61pi/a", "/v2/a"),
        ("/cut/a/b", "/a/b"),
        ("/one", "/other?x=y"),
    ] {
        assert_eq!(sent(&app, &proxy, target, "").await.target, expected, "{target}");
    }
}
