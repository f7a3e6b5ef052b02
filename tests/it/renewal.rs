//! Renewal: one successor for the whole fleet, lost answers repeated, old tickets found out.

use std::time::Duration;

use crate::support::browser::Browser;
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{Shop, TICKET, browser};
use crate::support::soon;

/// An application that begins a session at `/begin` and says which one it is asked with.
async fn application() -> Responder {
    Responder::start(|request: &Request| {
        let asked = request.field("cookie").unwrap_or_default();
        let mut fields = Vec::new();
        if request.head.start.contains("/begin") {
            fields.push(("set-cookie", "EGG_SESS=one; path=/"));
        }
        response("200 OK", &fields, asked.as_bytes())
    })
    .await
}

struct Fleet {
    clock: TestClock,
    nodes: Vec<Proxy>,
    _app: Responder,
    _redis: Redis,
    _keys: tempfile::TempDir,
}

/// Two nodes that share store, key ring and time; a browser that has been in for `renew_every`.
async fn fleet(on_reuse: &str) -> (Fleet, Browser) {
    let (app, redis, clock) = (application().await, Redis::start(), TestClock::default());
    let keys = tempfile::tempdir().expect("a temporary directory can be made");
    let shop = Shop::at(app.address).store(&redis).policy(&format!("on_reuse: {on_reuse}"));
    let nodes = shop.start_nodes_at(&clock, 2, &keys);
    let mut visitor = browser(&nodes);
    visitor.get("/begin").await.expect(200);
    assert_eq!(visitor.get("/").await.expect(200).text(), "EGG_SESS=one");
    clock.advance(Duration::from_secs(900));
    (Fleet { clock, nodes, _app: app, _redis: redis, _keys: keys }, visitor)
}

fn ticket(browser: &Browser) -> Vec<u8> {
    browser.cookie(TICKET).expect("a ticket").value.clone()
}

async fn is_in(browser: &mut Browser) -> bool {
    browser.get("/").await.expect(200).text() == "EGG_SESS=one"
}

/// PROTOCOL 13, 14: whoever renews, there is one successor; an answer that was lost is repeated
/// until the new ticket has come back, and then for the grace.
#[tokio::test]
async fn a_ticket_is_renewed_and_a_lost_answer_repeated() {
    let (fleet, mut visitor) = fleet("revoke").await;
    let mut lost = visitor.clone();
    assert!(is_in(lost.node(0)).await, "its answer carries the new ticket");
    assert_ne!(ticket(&lost), ticket(&visitor));

    let mut again = visitor.clone();
    assert!(is_in(again.node(1)).await, "the old one is still good, on the other node too");
    assert_ne!(ticket(&again), ticket(&visitor), "and its answer carries the new one again");
    let mut late = visitor.clone();
    assert!(is_in(again.node(1)).await, "the new ticket comes back");
    fleet.clock.advance(Duration::from_secs(59));
    assert!(is_in(late.node(0)).await, "the old one is good for the grace");
    fleet.clock.advance(Duration::from_secs(2));
    assert!(is_in(&mut again).await);
    assert!(!is_in(visitor.node(0)).await, "then it is a copy");
    soon(false, "the session has ended for everybody", async || is_in(again.node(1)).await).await;
}

/// PROTOCOL 15: with `on_reuse: log` the old ticket gains nothing and harms nobody.
#[tokio::test]
async fn an_old_ticket_may_only_be_logged() {
    let (fleet, mut visitor) = fleet("log").await;
    let mut thief = visitor.clone();
    assert!(is_in(&mut visitor).await, "renewed");
    assert!(is_in(&mut visitor).await, "presented");
    fleet.clock.advance(Duration::from_secs(61));
    let answer = thief.node(1).get("/").await.expect(200);
    assert_eq!((answer.text(), answer.set_cookies()), (String::new(), Vec::new()));
    assert!(is_in(&mut visitor).await);
    // No request is late by then: whoever comes with it may begin a session of his own.
    let answer = thief.node(1).get("/begin").await.expect(200);
    assert_eq!(answer.set_cookies(), Vec::<String>::new());
    fleet.clock.advance(Duration::from_secs(30));
    thief.node(0).get("/begin").await.expect(200);
    assert_ne!(ticket(&thief), ticket(&visitor));
    assert!(is_in(&mut thief).await && is_in(&mut visitor).await, "each has his own");
    drop(fleet.nodes);
}

/// PROTOCOL 15: with `on_reuse: recent` a copied profile only loses its own claim; anybody else who comes
/// with the old ticket ends the session.
#[tokio::test]
async fn a_copied_profile_only_loses_its_own_claim() {
    let (fleet, visitor) = fleet("recent").await;
    let mut owner = visitor.clone().with_field("User-Agent", "Firefox");
    let mut twin = owner.clone();
    let mut thief = visitor.clone().with_field("User-Agent", "curl");
    assert!(is_in(&mut owner).await, "renewed");
    assert!(is_in(&mut owner).await, "presented");
    fleet.clock.advance(Duration::from_secs(61));
    let answer = twin.node(1).get("/").await.expect(200);
    assert_eq!(answer.text(), "", "it is nobody");
    assert!(twin.cookie(TICKET).is_none(), "its ticket is taken away");
    assert!(is_in(owner.node(0)).await && is_in(owner.node(1)).await, "its twin goes on");
    assert!(!is_in(&mut thief).await);
    soon(false, "the session has ended", async || is_in(owner.node(1)).await).await;
}

/// … and may log in at once, with a session of its own.
#[tokio::test]
async fn a_copied_profile_may_begin_anew() {
    let (fleet, mut owner) = fleet("recent").await;
    let mut twin = owner.clone();
    assert!(is_in(&mut owner).await && is_in(&mut owner).await, "renewed and presented");
    fleet.clock.advance(Duration::from_secs(61));
    twin.get("/begin").await.expect(200);
    assert_ne!(ticket(&twin), ticket(&owner));
    assert!(is_in(&mut twin).await && is_in(owner.node(1)).await);
    drop(fleet.nodes);
}
