//! What a route wants while the store does not answer: 503, no session, or the one that was known
//! (PROTOCOL.md 8). Whichever it is, no cookie is touched and nothing is lost.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::admin::{ask, socket};
use crate::support::apps::App;
use crate::support::browser::{Ask, Browser};
use crate::support::client::Response;
use crate::support::counts::{ADMIN, count, total};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{ALICE, Shop, TICKET, browser, whoami};

/// Longer than a test takes.
const STALE: &str = "on_store_down: { stale: 5m }";
/// How long a node may take until it has noticed that the store is gone, or back.
const NOTICE: Duration = Duration::from_secs(20);

/// A shop whose store has gone, and a user with something in her cart.
struct Outage {
    _app: App,
    redis: Redis,
    node: [Proxy; 1],
    alice: Browser,
    ticket: Vec<u8>,
}

impl Outage {
    /// One of a shop whose policy or `/` says this.
    async fn begin(policy: &str, also: &[&str]) -> Self {
        let (app, mut redis) = (App::egg(), Redis::durable());
        let mut shop = Shop::at(app.address)
            .store(&redis)
            .top(ADMIN)
            .policy(policy)
            .route("{ path: /healthz, upstream: shop }")
            .route("{ path: /account/, upstream: shop, session: shop, require: login }");
        for route in also {
            shop = shop.route(route);
        }
        let node = [shop.start()];
        let mut alice = browser(&node);
        alice.post_form("/login", ALICE).await.expect(302);
        alice.post_form("/cart/add", &[("item", "a")]).await.expect(200);
        assert_eq!(whoami(&mut alice).await.as_deref(), Some("alice"));
        let ticket = alice.cookie(TICKET).expect("a ticket").value.clone();
        redis.stop();
        let began = Instant::now();
        while total(&node[0], "cloakroom_store_down_total").await == 0 {
            assert!(began.elapsed() < NOTICE, "the node notices");
            untouched(&alice.send(Ask::get("/whoami")).await, "what a node remembers");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { _app: app, redis, node, alice, ticket }
    }

    /// Asserts what each request gets, `None` for 503: of Alice, and of somebody without a ticket.
    async fn answers(&mut self, alice: &[(Ask, Option<Value>)], nobody: &[(Ask, Option<Value>)]) {
        for (ask, expected) in alice {
            check(ask, &self.alice.send(ask.clone()).await, expected.as_ref());
        }
        for (ask, expected) in nobody {
            check(ask, &browser(&self.node).send(ask.clone()).await, expected.as_ref());
        }
    }

    async fn counted(&self, action: &str) -> u64 {
        count(&self.node[0], &format!("cloakroom_store_down_total{{action=\"{action}\"}}")).await
    }

    /// Asserts that the store's return finds everything as it was.
    async fn ends(mut self) {
        let kept = self.alice.cookie(TICKET).expect("still a ticket").value.clone();
        assert_eq!(kept, self.ticket, "the ticket was not touched");
        self.redis.start_again();
        let back = Instant::now();
        loop {
            let response = self.alice.get("/cart").await;
            // As before the outage, and not what she put there while nobody knew her.
            if response.status == 200 && response.json()["cart"] == json!(["a"]) {
                return;
            }
            assert!(
                back.elapsed() < NOTICE,
                "the session is back: {} {}",
                response.status,
                response.text()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn untouched(response: &Response, what: &str) {
    assert_eq!(response.set_cookies(), Vec::<String>::new(), "{what}: no cookie is touched");
}

fn check(ask: &Ask, response: &Response, expected: Option<&Value>) {
    let what = format!("{ask:?}");
    untouched(response, &what);
    let Some(expected) = expected else {
        assert_eq!(response.status, 503, "{what}");
        assert!(response.field("retry-after").is_some(), "{what}: it is worth trying again");
        return;
    };
    assert_eq!(response.status, 200, "{what}");
    for (key, value) in expected.as_object().expect("members to look at") {
        assert_eq!(response.json()[key], *value, "{what}");
    }
}

fn add() -> Ask {
    Ask::form("/cart/add", &[("item", "b")])
}

fn login() -> Ask {
    Ask::form("/login", ALICE)
}

/// What somebody without a ticket gets, whatever a route wants: the store is asked for nothing until
/// the answer begins a session.
fn without_a_ticket() -> Vec<(Ask, Option<Value>)> {
    vec![
        (Ask::get("/healthz"), Some(json!({}))),
        (Ask::get("/whoami"), Some(json!({ "user": null }))),
        (Ask::form("/login", &[("username", "")]), Some(json!({}))),
        (add(), None),
        (login(), None),
    ]
}

#[tokio::test]
async fn with_reject_whoever_has_a_ticket_waits_for_the_store() {
    let mut outage = Outage::begin("on_store_down: reject", &[]).await;
    let before = outage.counted("reject").await;
    let alice = [
        (Ask::get("/healthz"), Some(json!({}))),
        (Ask::get("/whoami"), None),
        (Ask::get("/account/"), None),
        (add(), None),
        (login(), None),
        (Ask::new("POST", "/logout"), None),
    ];
    outage.answers(&alice, &without_a_ticket()).await;
    assert_eq!(outage.counted("reject").await - before, 5);
    outage.ends().await;
}

#[tokio::test]
async fn with_anonymous_a_visitor_goes_on_without_the_session() {
    let mut outage = Outage::begin("on_store_down: anonymous", &[]).await;
    let before = outage.counted("anonymous").await;
    let alice = [
        (Ask::get("/healthz"), Some(json!({}))),
        (Ask::get("/whoami"), Some(json!({ "user": null }))),
        (Ask::get("/account/"), None),
        // The application begins a session for her, which goes no further.
        (add(), Some(json!({ "cart": ["b"] }))),
        (Ask::get("/cart"), Some(json!({ "cart": [] }))),
        (login(), None),
        (Ask::new("POST", "/logout"), None),
    ];
    outage.answers(&alice, &without_a_ticket()).await;
    assert_eq!(outage.counted("anonymous").await - before, 3);
    outage.ends().await;
}

/// A page that shows less than there is must not be shown again when there is more.
#[tokio::test]
async fn no_cache_keeps_what_an_anonymous_visitor_saw() {
    let mut outage = Outage::begin("on_store_down: anonymous", &[]).await;
    let response = outage.alice.get("/whoami").await.expect(200);
    assert_eq!(response.field("cache-control").as_deref(), Some("private, no-store"));
}

#[tokio::test]
async fn a_worker_is_told_nothing_of_a_session_that_nobody_knows() {
    let mut outage = Outage::begin("on_store_down: anonymous", &[]).await;
    let seen = outage.alice.get("/headers").await.expect(200).text();
    assert!(!seen.to_ascii_lowercase().contains("x-session"), "{seen}");
}

#[tokio::test]
async fn with_stale_a_visitor_goes_on_with_the_session_that_was_known() {
    let mut outage = Outage::begin(STALE, &[]).await;
    let before = outage.counted("stale").await;
    let alice = [
        (Ask::get("/healthz"), Some(json!({}))),
        (Ask::get("/whoami"), Some(json!({ "user": "alice" }))),
        (Ask::get("/account/"), Some(json!({}))),
        (Ask::new("POST", "/echo").body(b"x"), Some(json!({}))),
        (Ask::get("/cart"), Some(json!({ "cart": ["a"] }))),
        // It changes the session, in its cookie.
        (add(), None),
        (login(), None),
        (Ask::new("POST", "/logout"), None),
    ];
    outage.answers(&alice, &without_a_ticket()).await;
    assert_eq!(outage.counted("stale").await - before, 5);
    outage.ends().await;
}

#[tokio::test]
async fn a_worker_is_told_of_the_session_that_was_known() {
    let mut outage = Outage::begin(STALE, &[]).await;
    let seen = outage.alice.get("/headers").await.expect(200).text();
    assert!(seen.to_ascii_lowercase().contains("x-session-id"), "{seen}");
}

#[tokio::test]
async fn what_was_known_longer_ago_is_refused() {
    let mut outage = Outage::begin("on_store_down: { stale: 1ms }", &[]).await;
    outage.answers(&[(Ask::get("/whoami"), None)], &[]).await;
    outage.ends().await;
}

/// A session that this node does not remember is nobody's.
#[tokio::test]
async fn what_was_never_known_is_refused() {
    let (app, mut redis) = (App::egg(), Redis::durable());
    let keys = tempfile::tempdir().expect("a directory");
    let nodes = Shop::at(app.address).store(&redis).policy(STALE).start_nodes(2, &keys);
    let mut alice = browser(&nodes);
    alice.node(0).post_form("/login", ALICE).await.expect(302);
    assert_eq!(whoami(alice.node(0)).await.as_deref(), Some("alice"));
    redis.stop();
    let response = alice.node(1).get("/whoami").await;
    check(&Ask::get("/whoami"), &response, None);
}

/// What this node was asked to end it does not serve, though the store has not heard of it.
#[tokio::test]
async fn a_session_that_is_being_revoked_is_not_remembered() {
    let mut outage = Outage::begin(STALE, &[]).await;
    let seen = outage.alice.get("/headers").await.expect(200).json();
    let id = find(&seen, "x-session-id").expect("the worker is told").to_owned();
    let body = format!("{{\"session\":\"{id}\"}}");
    let request = format!(
        "POST /sessions/revoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let (status, _, said) = ask(&socket(&outage.node[0]), &request).await;
    assert_eq!(status, 503, "{said}");
    outage.answers(&[(Ask::get("/whoami"), None)], &[]).await;
}

/// The value of a field in what the application saw of a request.
fn find<'a>(seen: &'a Value, name: &str) -> Option<&'a str> {
    match seen {
        Value::Object(members) => members.iter().find_map(|(key, value)| {
            if key.eq_ignore_ascii_case(name) { value.as_str() } else { find(value, name) }
        }),
        Value::Array(items) => {
            let pair = items
                .windows(2)
                .find(|pair| pair[0].as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)));
            let deeper = || items.iter().find_map(|item| find(item, name));
            pair.and_then(|pair| pair[1].as_str()).or_else(deeper)
        }
        _ => None,
    }
}

/// A route's own word goes before its policy's, either way.
#[tokio::test]
async fn each_route_has_its_own_price() {
    let route = |path: &str, word: &str| {
        format!("{{ path: {path}, upstream: shop, session: shop, on_store_down: {word} }}")
    };
    let also = [route("/cart", "reject"), route("/headers", "{ stale: 5m }")];
    let mut outage =
        Outage::begin("on_store_down: anonymous", &[also[0].as_str(), also[1].as_str()]).await;
    let alice = [(Ask::get("/cart"), None), (Ask::get("/whoami"), Some(json!({ "user": null })))];
    outage.answers(&alice, &[]).await;
    let seen = outage.alice.get("/headers").await.expect(200).json();
    assert!(find(&seen, "x-session-id").is_some(), "{seen}");
}

#[tokio::test]
async fn a_route_without_sessions_asks_the_store_for_nothing() {
    let mut outage = Outage::begin("on_store_down: reject", &[]).await;
    let before = total(&outage.node[0], "cloakroom_store_calls_total").await;
    for _ in 0..10 {
        outage.alice.get("/healthz").await.expect(200);
    }
    assert_eq!(total(&outage.node[0], "cloakroom_store_calls_total").await, before);
}
