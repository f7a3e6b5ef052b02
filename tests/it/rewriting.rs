//! Scripts (`rewrite`) change where a request goes, and nothing about who may ask.

use crate::support::client::{Connection, Dial, Response, request};
use crate::support::http::response;
use crate::support::origin::Responder;
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop};

const NAVIGATION: (&str, &str) = ("Sec-Fetch-Mode", "navigate");

/// A worker that says what it was asked for.
async fn echo() -> Responder {
    Responder::start(|request| response("200 OK", &[], request.target.as_bytes())).await
}

/// A shop whose route `/account/` asks for a login, with these routes beside it.
async fn shop(routes: &[&str]) -> (Responder, Proxy) {
    let worker = echo().await;
    let guarded = "{ path: /account/, upstream: shop, session: shop, require: login, \
                   denied: redirect /login, rewrite: [{ if: $arg_x, with: { upstream: shop } }] }";
    let shop = routes
        .iter()
        .fold(Shop::at(worker.address).route(guarded), |shop, route| shop.route(route));
    let proxy = shop.start();
    (worker, proxy)
}

async fn dial(proxy: &Proxy) -> Connection {
    Dial::to(proxy.address()).tls(HOST).connect().await
}

#[tokio::test]
async fn a_rewritten_path_is_guarded_as_any_other() {
    let (worker, proxy) = shop(&[
        "{ path: /last/, upstream: shop, rewrite: [{ rewrite: '^/last/(.*)$ /$1 last' }] }",
        "{ path: /arg, upstream: shop, rewrite: [{ rewrite: '^ /open/$arg_p last' }] }",
        "{ path: /open/, upstream: shop }",
        "{ path: /page, error_page: { 403: /account/page }, return: 403 }",
    ])
    .await;
    let mut client = dial(&proxy).await;
    for target in [
        "/last/account/",
        "/last/account/1?x=1",
        "/last/ACCOUNT/1",
        "/last/account;v=1/1",
        "/last//account/1",
        "/last/%61ccount/1",
        "/last/account%2F1",
        "/last/x/../account/1",
        "/last/last/last/account/1",
        "/arg?p=../account/1",
        "/arg?p=x/../../account/1",
        "/arg?p=./../ACCOUNT/1",
        "/page",
        "/account/1?x=1",
    ] {
        client.get(HOST, target, &[NAVIGATION]).await.expect(302);
        let sent = request("DELETE", target, HOST, &[], b"");
        client.exchange(sent).await.expect(401);
    }
    for target in [
        "/arg?p=%2e%2e/account/1",
        "/arg?p=..%2faccount/1",
        "/arg?p=..\\account/1",
        "/arg?p=../../account/1",
        "/arg?p=..;/account/1",
    ] {
        dial(&proxy).await.get(HOST, target, &[NAVIGATION]).await.expect(400);
    }
    assert_eq!(worker.seen().len(), 0, "{:?}", worker.seen());
    let open = client.get(HOST, "/last/open/a%20b?c=%20", &[]).await.expect(200);
    assert_eq!(open.text(), "/open/a%20b?c=%20");
}

/// A route inside of which a condition holds is still that route.
#[tokio::test]
async fn a_condition_takes_no_guard_away() {
    let worker = echo().await;
    let proxy = Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         store: memory\nupstreams:\n  shop: {{ endpoints: [{{ address: '{}' }}] }}\nservers:\n- routes:\n  \
         - {{ path: /, upstream: shop, cross_site: {{ unsafe: deny }}, body_bytes_max: 2, rewrite: [{{ if: $arg_x, \
         with: {{ uri: /inside/, request_headers: {{ X-Inside: $arg_x }} }} }}] }}\n",
        worker.address
    ));
    let mut client = Dial::to(proxy.address()).connect().await;
    let other = [("Origin", "https://evil.example")];
    for target in ["/a", "/a?x=1"] {
        client.exchange(request("POST", target, "a", &other, b"")).await.expect(403);
        client.exchange(request("POST", target, "a", &[], b"abc")).await.expect(413);
        client = Dial::to(proxy.address()).connect().await;
    }
    assert_eq!(worker.seen().len(), 0);
    client.get("a", "/a?x=1", &[]).await.expect(200);
    assert_eq!(worker.last().field("x-inside").as_deref(), Some("1"));
    client.get("a", "/a", &[]).await.expect(200);
    assert_eq!(worker.last().field("x-inside"), None);
}

async fn text(proxy: &Proxy, target: &str) -> Response {
    Dial::to(proxy.address()).connect().await.get("a", target, &[]).await
}

#[tokio::test]
async fn steps_stand_at_servers_and_routes() {
    let worker = echo().await;
    let proxy = Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         store: memory\nupstreams:\n  shop: {{ endpoints: [{{ address: '{}' }}] }}\nservers:\n- rewrite:\n  \
         - set: $kind plain\n  - if: $arg_print = 1\n    then: [{{ set: $kind print }}]\n  \
         - rewrite: ^/old/(.*)$ /$1\n  error_page: {{ 404: /missing }}\n  routes:\n  \
         - path: /blog/\n    upstream: shop\n    rewrite_log: true\n    rewrite:\n    \
         - if: $arg_none\n      then: [break]\n    - rewrite: ^/blog/(\\d+)$ /post?id=$1&kind=$kind break\n    \
         - return: 410\n  - {{ path: = /missing, return: 200 missing }}\n",
        worker.address
    ));
    assert_eq!(text(&proxy, "/blog/7").await.expect(200).text(), "/post?id=7&kind=plain");
    assert_eq!(text(&proxy, "/old/blog/7?print=1").await.text(), "/post?id=7&kind=print&print=1");
    assert_eq!(text(&proxy, "/blog/x?none=1").await.text(), "/blog/x?none=1");
    text(&proxy, "/blog/x").await.expect(410);
    assert_eq!(
        text(&proxy, "/nowhere").await.expect(404).text(),
        "missing",
        "the server's own page"
    );
}
