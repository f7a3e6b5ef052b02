//! Streams end with their session on every node, in time, and not because of an outage (PROTOCOL 18,
//! 26). What ends them on their own node is in `interleavings/streams.rs`.

use std::time::{Duration, Instant};

use crate::interleavings::streams::{KINDS, Stream};
use crate::interleavings::{Scene, farewell, login, ok, send, welcome};
use crate::support::admin::{ADMIN, ask, metric, socket};
use crate::support::browser::{Ask, Browser};
use crate::support::http::message;
use crate::support::within;

/// The rule says a second; this machine may be busy with much else.
const SOON: Duration = Duration::from_secs(3);

const ROUTE: &str = "location: /account/ } }";
const NAMED: &str = "location: /account/ }, subject: { header: X-User } }";

#[tokio::test]
async fn revoking_a_user_closes_her_streams_on_every_node() {
    let mut scene = Scene::with(2, |yaml, _| {
        assert!(yaml.contains(ROUTE), "{yaml}");
        format!("{ADMIN}\n{}", yaml.replace(ROUTE, NAMED))
    })
    .await;
    let mut users = Vec::new();
    for name in ["alice", "bob"] {
        let mut user = scene.visitor().await;
        let welcome =
            answer("HTTP/1.1 302 Found\r\nLocation: /account/\r\nX-User: ".to_owned() + name);
        scene.exchange(&mut user, login(), &welcome).await.1.expect(302);
        let mut streams = Vec::new();
        for kind in KINDS {
            for node in [0, 1] {
                streams.push(Stream::open_at(&mut scene, node, &user, kind).await);
            }
        }
        users.push(streams);
    }
    let (mut of_bob, of_alice) = (users.pop().expect("two"), users.pop().expect("two"));
    let begun = Instant::now();
    let body = r#"{"subject":"alice"}"#;
    let request = format!(
        "POST /sessions/revoke HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, _, text) = ask(&socket(&scene.nodes[0]), &request).await;
    assert_eq!(status, 200, "{text}");
    all_ended(of_alice, begun).await;
    all_live(&mut of_bob).await;
}

fn answer(head: String) -> Vec<u8> {
    message(&head, &[], b"..")
}

/// A visitor at the first node with streams of each kind at the second.
async fn visitor(scene: &mut Scene) -> (Browser, Vec<Stream>) {
    let visitor = scene.visitor().await;
    let mut streams = Vec::new();
    for kind in KINDS {
        let mut stream = Stream::open_at(scene, 1, &visitor, kind).await;
        stream.lives().await;
        streams.push(stream);
    }
    (visitor, streams)
}

async fn all_ended(streams: Vec<Stream>, begun: Instant) {
    for stream in streams {
        stream.ended().await;
    }
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
}

async fn all_live(streams: &mut [Stream]) {
    for stream in streams {
        stream.lives().await;
    }
}

/// Long enough for several looks at every record.
async fn looks() {
    tokio::time::sleep(Duration::from_millis(1300)).await;
}

/// Waits until a node serves this visitor again.
async fn is_served(scene: &mut Scene, visitor: &Browser) {
    let served = async {
        loop {
            let mut response = Box::pin(send(visitor, Ask::get("/")).response());
            tokio::select! {
                exchange = scene.origin.next() => {
                    exchange.respond(ok(&[])).await;
                    response.await.expect(200);
                    return;
                }
                refused = &mut response => drop(refused.expect(503)),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the store to be back", served).await;
}

#[tokio::test]
async fn a_logout_on_one_node_closes_the_streams_on_another() {
    let mut scene = Scene::of(2).await;
    let (mut alice, streams) = visitor(&mut scene).await;
    let (_bob, mut others) = visitor(&mut scene).await;
    let begun = Instant::now();
    let logout = Ask::new("POST", "/logout");
    scene.exchange(&mut alice, logout, &farewell()).await.1.expect(302);
    all_ended(streams, begun).await;
    all_live(&mut others).await;
}

#[tokio::test]
async fn a_login_on_one_node_closes_the_streams_on_another() {
    let mut scene = Scene::of(2).await;
    let (mut alice, streams) = visitor(&mut scene).await;
    let begun = Instant::now();
    let sent = send(&alice, login());
    let forwarded = scene.origin.next().await;
    // While it is on its way: what answers them is the session from before it.
    all_ended(streams, begun).await;
    forwarded.respond(welcome(&[])).await;
    sent.kept(&mut alice).await.expect(302);
    let mut new = Stream::open_at(&mut scene, 1, &alice, KINDS[0]).await;
    looks().await;
    new.lives().await;
}

/// A chat for longer than `idle`, whose page asks for nothing else. Silence ends it, and the end.
#[tokio::test]
async fn traffic_on_a_stream_keeps_its_session_up_to_the_absolute_end() {
    for kind in KINDS {
        let mut scene = Scene::with(2, |yaml, _| {
            let timeouts = "timeouts: { idle: 30m, absolute: 2h }";
            yaml.replace("mode: vault\n", &format!("mode: vault\n    {timeouts}\n"))
        })
        .await;
        let mut alice = scene.visitor().await;
        let mut stream = Stream::open_at(&mut scene, 1, &alice, kind).await;
        for _ in 0..5 {
            scene.clock.advance(Duration::from_secs(20 * 60));
            stream.lives().await;
            looks().await;
        }
        assert_eq!(scene.lent(alice.node(0)).await, "EGG_SESS=before", "{kind:?}");
        stream.lives().await;
        let begun = Instant::now();
        scene.clock.advance(Duration::from_secs(20 * 60));
        all_ended(vec![stream], begun).await;
    }
}

#[tokio::test]
async fn a_silent_stream_ends_when_its_session_is_idle() {
    let mut scene = Scene::of(2).await;
    let (_alice, mut streams) = visitor(&mut scene).await;
    scene.clock.advance(Duration::from_secs(29 * 60));
    all_live(&mut streams).await;
    looks().await;
    scene.clock.advance(Duration::from_secs(29 * 60));
    looks().await;
    let begun = Instant::now();
    scene.clock.advance(Duration::from_secs(61));
    all_ended(streams, begun).await;
}

/// One write for each step of the idle time, however much goes over it.
#[tokio::test]
async fn traffic_on_a_stream_hardly_writes() {
    let mut scene = Scene::with(2, |yaml, _| format!("{ADMIN}\n{yaml}")).await;
    let (_alice, mut streams) = visitor(&mut scene).await;
    let series = "cloakroom_store_calls_total{operation=\"replace\",outcome=\"ok\"}";
    let writes = async |scene: &Scene| metric(&scene.nodes[1], series).await.unwrap_or(0);
    scene.clock.advance(Duration::from_secs(10 * 60));
    let before = writes(&scene).await;
    for _ in 0..20 {
        all_live(&mut streams).await;
    }
    looks().await;
    all_live(&mut streams).await;
    looks().await;
    assert_eq!(writes(&scene).await - before, 1);
}

#[tokio::test]
async fn a_streams_own_traffic_does_not_keep_its_session_where_it_is_not_to() {
    let mut scene = Scene::with(2, |yaml, _| {
        yaml.replace("mode: vault\n", "mode: vault\n    idle_counts_streams: false\n")
    })
    .await;
    let (_alice, mut streams) = visitor(&mut scene).await;
    scene.clock.advance(Duration::from_secs(29 * 60));
    all_live(&mut streams).await;
    looks().await;
    all_live(&mut streams).await;
    scene.clock.advance(Duration::from_secs(61));
    all_ended(streams, Instant::now()).await;
}

#[tokio::test]
async fn streams_end_at_the_absolute_end() {
    let mut scene = Scene::with(2, |yaml, _| {
        yaml.replace("mode: vault\n", "mode: vault\n    timeouts: { idle: 1h, absolute: 1h }\n")
    })
    .await;
    let (mut alice, mut streams) = visitor(&mut scene).await;
    scene.clock.advance(Duration::from_secs(1800));
    assert_eq!(scene.lent(&mut alice).await, "EGG_SESS=before", "so that it is not idle");
    scene.clock.advance(Duration::from_secs(1799));
    all_live(&mut streams).await;
    scene.clock.advance(Duration::from_secs(1));
    all_ended(streams, Instant::now()).await;
}

#[tokio::test]
async fn an_outage_of_the_store_closes_no_stream() {
    let mut scene = Scene::of(2).await;
    let (mut alice, mut streams) = visitor(&mut scene).await;
    scene.redis.stop();
    looks().await;
    all_live(&mut streams).await;
    scene.redis.start_again();
    for node in [0, 1] {
        is_served(&mut scene, alice.node(node)).await;
    }
    alice.node(0);
    looks().await;
    all_live(&mut streams).await;
    let begun = Instant::now();
    let logout = Ask::new("POST", "/logout");
    scene.exchange(&mut alice, logout, &farewell()).await.1.expect(302);
    all_ended(streams, begun).await;
}

#[tokio::test]
async fn closed_streams_are_counted() {
    let mut scene = Scene::with(2, |yaml, _| format!("{ADMIN}\n{yaml}")).await;
    let (mut alice, streams) = visitor(&mut scene).await;
    let logout = Ask::new("POST", "/logout");
    scene.exchange(&mut alice, logout, &farewell()).await.1.expect(302);
    all_ended(streams, Instant::now()).await;
    within("the count", async {
        let of = async |series| metric(&scene.nodes[1], series).await;
        while of("cloakroom_session_streams_closed_total").await != Some(3)
            || of("cloakroom_session_streams_open").await != Some(0)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// With a route for long polls, and with turns for all requests.
async fn with_polls(nodes: usize) -> Scene {
    Scene::with(nodes, |yaml, _| {
        let all = "- { path: /, upstream: shop, session: shop }";
        let polls = "- { path: /poll/, upstream: shop, session: shop, stream: true }";
        let yaml = yaml.replace(all, &format!("{all}\n      {polls}"));
        format!("{ADMIN}\n{}", yaml.replace("mode: vault\n", "mode: vault\n    serialize: all\n"))
    })
    .await
}

/// Long polls look like any other request until they are answered.
fn polls() -> [Ask; 2] {
    [Ask::get("/poll/"), Ask::form("/poll/send", &[("channel", "news")])]
}

#[tokio::test]
async fn a_login_does_not_wait_for_long_polls_but_ends_them() {
    let mut scene = with_polls(1).await;
    let mut alice = scene.visitor().await;
    let mut held = Vec::new();
    for ask in polls() {
        let sent = send(&alice, ask);
        held.push((sent, scene.origin.next().await));
    }
    // They hold no turn either.
    assert_eq!(scene.lent(&mut alice).await, "EGG_SESS=before");
    let begun = Instant::now();
    let sent = send(&alice, login());
    let forwarded = scene.origin.next().await;
    assert!(begun.elapsed() < Duration::from_millis(1900), "it took {:?}", begun.elapsed());
    for (poll, mut exchange) in held {
        assert_eq!(poll.response().await.expect(503).set_cookies(), Vec::<String>::new());
        exchange.peer_closed().await;
    }
    forwarded.respond(welcome(&[])).await;
    sent.kept(&mut alice).await.expect(302);
    for reason in ["connect", "timeout", "broken"] {
        let series =
            format!("cloakroom_upstream_failures_total{{reason=\"{reason}\",upstream=\"shop\"}}");
        assert_eq!(metric(&scene.nodes[0], &series).await, Some(0), "its endpoint is not to blame");
    }
}

#[tokio::test]
async fn a_logout_on_one_node_ends_long_polls_on_another() {
    let mut scene = with_polls(2).await;
    let mut alice = scene.visitor().await;
    let poll = send(alice.node(1), Ask::get("/poll/"));
    let mut exchange = scene.origin.next().await;
    let begun = Instant::now();
    let logout = Ask::new("POST", "/logout");
    scene.exchange(alice.node(0), logout, &farewell()).await.1.expect(302);
    poll.response().await.expect(503);
    exchange.peer_closed().await;
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_long_poll_is_answered_and_stores_what_it_sets() {
    let mut scene = with_polls(1).await;
    let mut alice = scene.visitor().await;
    for ask in polls() {
        let set = ok(&["EGG_SESS=polled; Path=/"]);
        scene.exchange(&mut alice, ask, &set).await.1.expect(200);
        assert_eq!(scene.lent(&mut alice).await, "EGG_SESS=polled");
    }
}
