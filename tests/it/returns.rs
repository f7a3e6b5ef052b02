//! Answers of a route's own: `return`.

use crate::support::client::{Connection, Dial};
use crate::support::http::response;
use crate::support::origin::Responder;
use crate::support::proxy::Proxy;

const ROUTES: &str = "  - { path: /, upstream: app }
  - { path: '= /none', return: 204 }
  - { path: '= /empty', return: 200 }
  - { path: '= /text', return: '200 you are $remote_addr at ${host}', default_type: text/x }
  - { path: '= /refused', return: 403 }
  - { path: '= /teapot', return: 418 }
  - { path: '= /said', return: 404 not here }
  - { path: /moved/, return: '301 https://$host$request_uri' }
  - { path: '= /here', return: 302 /there?a=b }
  - { path: '= /relative', return: 307 /there, absolute_redirect: false }
  - { path: '= /url', return: 'https://other.example/' }
  - { path: '= /closed', return: 444 }
  - { path: '@old', return: 200 the old one }
";

async fn start() -> (Responder, Proxy) {
    let app = Responder::start(|_| response("200 OK", &[], b"app")).await;
    let proxy = Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{}' }}] }} }}\nservers:\n- names: [a.example]\n  \
         error_page: {{ 418: '= @old' }}\n  routes:\n{ROUTES}",
        app.address
    ));
    (app, proxy)
}

async fn dial(proxy: &Proxy) -> Connection {
    Dial::to(proxy.address()).connect().await
}

#[tokio::test]
async fn a_route_answers_by_itself() {
    let (app, proxy) = start().await;
    let mut client = dial(&proxy).await;
    let none = client.get("a.example", "/none", &[]).await.expect(204);
    assert_eq!(none.field("content-length"), None);
    assert_eq!(client.get("a.example", "/empty", &[]).await.expect(200).text(), "");
    let text = client.get("a.example", "/text", &[]).await.expect(200);
    assert_eq!(text.text(), "you are 127.0.0.1 at a.example");
    assert_eq!(text.field("content-type").as_deref(), Some("text/x"));
    let refused = client.get("a.example", "/refused", &[]).await.expect(403);
    assert!(refused.text().contains("403 Forbidden"), "{}", refused.text());
    assert_eq!(client.get("a.example", "/said", &[]).await.expect(404).text(), "not here");
    assert!(app.seen().is_empty());
    client.get("a.example", "/other", &[]).await.expect(200);
    assert_eq!(app.seen().len(), 1);
}

#[tokio::test]
async fn an_error_that_is_returned_may_have_a_page() {
    let (_app, proxy) = start().await;
    let old = dial(&proxy).await.get("a.example", "/teapot", &[]).await.expect(200);
    assert_eq!(old.text(), "the old one");
}

#[tokio::test]
async fn redirects_lead_where_they_say() {
    let (_app, proxy) = start().await;
    let mut client = dial(&proxy).await;
    let port = proxy.address().port();
    for (target, status, location) in [
        ("/moved/a%20b?c=%0d", 301, "https://a.example/moved/a%20b?c=%0d".to_owned()),
        ("/here", 302, format!("http://a.example:{port}/there?a=b")),
        ("/relative", 307, "/there".to_owned()),
        ("/url", 302, "https://other.example/".to_owned()),
    ] {
        let moved = client.get("a.example", target, &[]).await.expect(status);
        assert_eq!(moved.field("location"), Some(location), "{target}");
        assert_eq!(moved.field("cache-control"), None, "who may keep it is the operator's to say");
    }
}

#[tokio::test]
async fn nothing_is_answered_where_that_is_asked_for() {
    let (_app, proxy) = start().await;
    let mut client = dial(&proxy).await;
    client.send("GET /closed HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!(client.rest().await, Ok(Vec::new()));
}

/// A body that nobody reads is no request.
#[tokio::test]
async fn a_body_is_thrown_away() {
    let (app, proxy) = start().await;
    let mut client = dial(&proxy).await;
    let post = "POST /text HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nGET /";
    client.exchange(post).await.expect(200);
    client.get("a.example", "/none", &[]).await.expect(204);
    assert!(app.seen().is_empty());
}

/// Whoever is kept out by a pattern cannot get in by making it slow.
#[tokio::test]
async fn a_pattern_that_takes_too_long_lets_nobody_in() {
    let app = Responder::start(|_| response("200 OK", &[], b"app")).await;
    let proxy = Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{}' }}] }} }}\nservers:\n- names: [a.example]\n  \
         routes:\n  - {{ path: '~ ^/x(?:(a+)(?!b))+\\1c$', return: 403 }}\n  \
         - path: /\n    upstream: app\n    rewrite:\n    \
         - {{ if: '$arg_q ~ ^(?:(a+)(?!b))+\\1c$', then: [{{ return: 403 }}] }}\n",
        app.address
    ));
    let slow = format!("{}!c", "a".repeat(2000));
    let mut client = dial(&proxy).await;
    client.get("a.example", "/?q=aac", &[]).await.expect(403);
    client.get("a.example", "/?q=b", &[]).await.expect(200);
    client.get("a.example", "/xaac", &[]).await.expect(403);
    let asked = app.seen().len();
    for target in [format!("/?q={slow}"), format!("/x{slow}")] {
        dial(&proxy).await.get("a.example", &target, &[]).await.expect(500);
    }
    assert_eq!(app.seen().len(), asked);
}
