//! Turns that are taken on all nodes, through a real Redis.

use tempfile::TempDir;

use super::*;
use crate::support::redis::Redis;

const FLEET: &str = "serialize: { requests: unsafe, fleet: true }";

/// A scene with two nodes that share key ring and Redis.
async fn fleet() -> (Scene, Redis, TempDir) {
    let (origin, redis) = (Origin::start().await, Redis::start());
    let keys = tempfile::tempdir().expect("a directory");
    let shop = Shop::at(origin.address).store(&redis).policy(FLEET).top(ADMIN);
    let nodes = shop.start_nodes(2, &keys);
    (Scene { origin, nodes }, redis, keys)
}

#[tokio::test]
async fn a_write_waits_for_one_on_another_node_however_long_that_is() {
    let (mut scene, _redis, _keys) = fleet().await;
    let mut visitor = scene.visitor().await;
    let first = send(visitor.node(0), post("/first"));
    let writing = scene.arrives("/first").await;
    let second = send(visitor.node(1), post("/second"));
    // Longer than a lease lasts by itself.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(scene.origin.waiting(), 0, "the lease is extended");
    writing.respond(answer(OK, &[])).await;
    finished(first).await.expect(200);
    let begun = Instant::now();
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "it is given back: {:?}", begun.elapsed());
    finished(second).await.expect(200);
    assert_eq!(counted(&scene.nodes[1], "cloakroom_session_wait_seconds_count").await, 1);
}

#[tokio::test]
async fn pages_and_other_sessions_ask_for_no_lease() {
    let (mut scene, _redis, _keys) = fleet().await;
    let (mut visitor, mut other) = (scene.visitor().await, scene.visitor().await);
    let first = send(visitor.node(0), post("/first"));
    let writing = scene.arrives("/first").await;
    for (browser, ask, target) in
        [(&mut visitor, Ask::get("/page"), "/page"), (&mut other, post("/other"), "/other")]
    {
        let sent = send(browser.node(1), ask);
        scene.arrives(target).await.respond(answer(OK, &[])).await;
        finished(sent).await.expect(200);
    }
    writing.respond(answer(OK, &[])).await;
    finished(first).await.expect(200);
}

/// The other node's login is settled before the write goes on, which then has nothing to write to.
#[tokio::test]
async fn a_write_waits_for_a_login_on_another_node() {
    let (mut scene, _redis, _keys) = fleet().await;
    let mut visitor = scene.visitor().await;
    let logging_in = send(visitor.node(0), login());
    let entering = scene.arrives("/login").await;
    let write = send(visitor.node(1), post("/write"));
    // Longer than rule 18's two seconds: it waits for its turn, not for the login.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(scene.origin.waiting(), 0);
    entering.respond(answer(WELCOME, &["EGG_SESS=alice; Path=/"])).await;
    finished(logging_in).await.expect(302);
    let late = scene.arrives("/write").await;
    assert_eq!(late.request.field("cookie"), None, "its ticket's record was moved");
    late.respond(answer(OK, &[])).await;
    finished(write).await.expect(200);
}

#[tokio::test]
async fn a_login_waits_for_a_write_on_another_node() {
    let (mut scene, _redis, _keys) = fleet().await;
    let mut visitor = scene.visitor().await;
    let write = send(visitor.node(1), post("/write"));
    let writing = scene.arrives("/write").await;
    let logging_in = send(visitor.node(0), login());
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(scene.origin.waiting(), 0, "nor is it cut after two seconds");
    writing.respond(answer(OK, &["EGG_SESS=written; Path=/"])).await;
    finished(write).await.expect(200);
    let entering = scene.arrives("/login").await;
    assert_eq!(entering.request.field("cookie").as_deref(), Some("EGG_SESS=written"));
    entering.respond(answer(WELCOME, &["EGG_SESS=alice; Path=/"])).await;
    finished(logging_in).await.expect(302);
}

#[tokio::test]
async fn a_node_that_dies_has_its_turn_for_two_seconds_more() {
    let (mut scene, _redis, _keys) = fleet().await;
    let mut visitor = scene.visitor().await;
    let first = send(visitor.node(0), post("/first"));
    let _writing = scene.arrives("/first").await;
    let second = send(visitor.node(1), post("/second"));
    scene.stays_quiet().await;
    first.abort();
    scene.nodes.remove(0).stop();
    let begun = Instant::now();
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    finished(second).await.expect(200);
}

#[tokio::test]
async fn nothing_is_left_in_the_store_when_a_turn_is_over() {
    let (mut scene, redis, _keys) = fleet().await;
    let mut visitor = scene.visitor().await;
    let before = redis.keys();
    let first = send(visitor.node(0), post("/first"));
    let writing = scene.arrives("/first").await;
    assert_eq!(redis.keys().len(), before.len() + 1, "the lease");
    writing.respond(answer(OK, &[])).await;
    finished(first).await.expect(200);
    within("the lease to be given back", async {
        while redis.keys() != before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
