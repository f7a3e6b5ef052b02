//! `cross_site: { unsafe: deny }`: what another site makes a visitor's browser do never reaches a
//! worker, but for the exceptions, and is counted.

use crate::support::browser::{Ask, Browser};
use crate::support::client::{Dial, request};
use crate::support::counts::{ADMIN, count};
use crate::support::http::response;
use crate::support::origin::{Origin, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop, browser};

const ROUTE: &str =
    "cross_site: { unsafe: deny, except: [/bank/hooks/], origins: [https://partner.example.net] }";
const REFUSED: &str = "cloakroom_session_events_total{event=\"cross_site_refused\"}";

fn shop(app: &Responder) -> Shop {
    Shop::at(app.address)
        .top(ADMIN)
        .route(&format!("{{ path: /bank/, upstream: shop, session: shop, {ROUTE} }}"))
        .route(&format!("{{ path: /plain/, upstream: shop, {ROUTE} }}"))
}

async fn application() -> Responder {
    Responder::start(|_| response("200 OK", &[], b"done")).await
}

async fn stage() -> (Responder, Vec<Proxy>) {
    let app = application().await;
    let nodes = vec![shop(&app).start()];
    (app, nodes)
}

/// Sends it, and says whether a worker has seen it.
async fn arrives(app: &Responder, visitor: &mut Browser, ask: Ask) -> bool {
    let before = app.seen().len();
    let answer = visitor.send(ask).await;
    let arrived = app.seen().len() > before;
    assert_eq!(answer.status, if arrived { 200 } else { 403 });
    arrived
}

#[tokio::test]
async fn a_forged_request_is_answered_with_403_before_any_worker_sees_it() {
    let (app, nodes) = stage().await;
    let mut victim = browser(&nodes);
    for path in ["/bank/pay", "/plain/pay", "/bank/hooks/../pay", "/bank/Hooks/x"] {
        let forged = Ask::form(path, &[("to", "mallory")]).cross_site_navigation();
        let answer = victim.send(forged).await.expect(403);
        assert!(answer.text().contains("from another site"), "{}", answer.text());
        assert_eq!(answer.field("cache-control").as_deref(), Some("private, no-store"));
        assert_eq!(answer.set_cookies(), Vec::<String>::new());
    }
    assert!(app.seen().is_empty());
    assert_eq!(count(&nodes[0], REFUSED).await, 4);
}

#[tokio::test]
async fn our_own_pages_safe_requests_and_programs_go_on() {
    let (app, nodes) = stage().await;
    let visitor = &mut browser(&nodes);
    let pay = || Ask::form("/bank/pay", &[("to", "bob")]);
    assert!(arrives(&app, visitor, pay().field("Sec-Fetch-Site", "same-origin")).await);
    assert!(arrives(&app, visitor, pay().field("Origin", &format!("https://{HOST}"))).await);
    assert!(arrives(&app, visitor, pay()).await, "a program that says nothing");
    assert!(arrives(&app, visitor, Ask::get("/bank/").cross_site_navigation()).await);
    let other = Ask::form("/pay", &[("to", "bob")]).cross_site_subresource();
    assert!(arrives(&app, visitor, other).await, "a route that allows it, as is the default");
    assert_eq!(count(&nodes[0], REFUSED).await, 0);
}

#[tokio::test]
async fn exceptions_are_a_path_or_an_origin() {
    let (app, nodes) = stage().await;
    let visitor = &mut browser(&nodes);
    let from = |path: &str, origin: &str| {
        let form = Ask::form(path, &[("a", "b")]);
        form.field("Sec-Fetch-Site", "cross-site").field("Origin", origin)
    };
    assert!(arrives(&app, visitor, from("/bank/hooks/paid", "https://evil.example.net")).await);
    assert!(arrives(&app, visitor, from("/bank/pay", "https://partner.example.net")).await);
    assert!(!arrives(&app, visitor, from("/bank/pay", "https://evil.example.net")).await);
    assert!(!arrives(&app, visitor, from("/bank/pay", "null")).await);
}

/// No CORS check guards a WebSocket: whoever opens one speaks with the visitor's cookies.
#[tokio::test]
async fn a_web_socket_of_another_site_is_not_opened() {
    let mut origin = Origin::start().await;
    let route = format!("{{ path: /bank/, upstream: shop, session: shop, {ROUTE} }}");
    let node = Shop::at(origin.address).route(&route).start();
    let handshake = |from: &str| {
        let fields = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Origin", from),
        ];
        request("GET", "/bank/ws", HOST, &fields, b"")
    };
    let mut client = Dial::to(node.address()).tls(HOST).connect().await;
    client.exchange(handshake("https://evil.example.net")).await.expect(403);
    assert_eq!(origin.waiting(), 0);

    let mut client = Dial::to(node.address()).tls(HOST).connect().await;
    client.send(handshake(&format!("https://{HOST}"))).await;
    let switched =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut exchange = origin.next().await;
    exchange.write(switched).await;
    assert_eq!(client.response_head().await.status, 101);
}

/// The code flow of OpenID Connect: the identity provider's site leads the browser back by GET. What it
/// posts, frames or loads is refused (PROTOCOL 24).
#[tokio::test]
async fn another_site_may_lead_a_visitor_to_a_login_by_get() {
    let app = application().await;
    let yaml = Shop::at(app.address).top(ADMIN).yaml().replace(
        "    login:\n",
        "    login:\n      - { request: /callback, success: { cookie: user } }\n",
    );
    let nodes = vec![Proxy::start(&yaml)];
    let visitor = &mut browser(&nodes);
    let back = || Ask::get("/callback?code=x&state=y");
    assert!(arrives(&app, visitor, back().cross_site_navigation()).await);
    assert!(!arrives(&app, visitor, back().cross_site_subresource()).await, "an image");
    let framed = back()
        .field("Sec-Fetch-Site", "cross-site")
        .field("Sec-Fetch-Mode", "navigate")
        .field("Sec-Fetch-Dest", "iframe");
    assert!(!arrives(&app, visitor, framed).await);
    let posted = Ask::form("/callback", &[("code", "x")]).cross_site_navigation();
    assert!(!arrives(&app, visitor, posted).await);
    assert_eq!(count(&nodes[0], REFUSED).await, 3);
}

/// A login rule that welcomes other sites has the last word about its own requests; one that does
/// not is counted as well (PROTOCOL 24).
#[tokio::test]
async fn a_login_rule_has_the_last_word() {
    let app = application().await;
    let login =
        "{ request: POST /saml, success: { status: [302], location: / }, cross_site: allow }";
    let yaml = Shop::at(app.address)
        .top(ADMIN)
        .route(&format!("{{ path: /saml, upstream: shop, session: shop, {ROUTE} }}"))
        .yaml()
        .replace("    login:\n", &format!("    login:\n      - {login}\n"));
    let nodes = vec![Proxy::start(&yaml)];
    let visitor = &mut browser(&nodes);
    let post = |path| Ask::form(path, &[("a", "b")]).cross_site_navigation();
    assert!(arrives(&app, visitor, post("/saml")).await);
    assert!(!arrives(&app, visitor, post("/saml/x")).await);
    assert!(!arrives(&app, visitor, post("/login")).await);
    assert_eq!(count(&nodes[0], REFUSED).await, 2);
}
