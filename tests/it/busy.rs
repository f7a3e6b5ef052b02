//! What a busy session costs the store: next to nothing, and no cookie.

use std::time::Duration;

use crate::support::client::Dial;
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{HOST, Shop, TICKET, browser};

/// `/begin?VALUE` sets the session's cookie; everything says which one it is asked with.
async fn application() -> Responder {
    Responder::start(|request: &Request| {
        let asked = request.field("cookie").unwrap_or_default();
        let cookie =
            request.target.strip_prefix("/begin?").map(|v| format!("EGG_SESS={v}; path=/"));
        let fields: Vec<(&str, &str)> =
            cookie.iter().map(|cookie| ("set-cookie", cookie.as_str())).collect();
        response("200 OK", &fields, asked.as_bytes())
    })
    .await
}

/// Commands that Redis has run for sessions. Heartbeats and what connections begin with are left
/// out, and so is the reading of the era, four times a second: its key is not there in these tests,
/// so that every GET which finds something looked a record or an epoch up.
fn commands(redis: &Redis) -> u64 {
    const BESIDE: &[&str] = &[
        "ping", "hello", "client", "auth", "select", "role", "info", "config", "command", "get",
        "script", "wait", "acl",
    ];
    let stats = redis.cli(&["INFO", "commandstats"]);
    let calls = stats.lines().filter_map(|line| {
        let (name, rest) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let name = name.split('|').next().unwrap_or(name);
        let calls: u64 = rest.split(',').next()?.parse().ok()?;
        (!BESIDE.contains(&name)).then_some(calls)
    });
    let found = redis.cli(&["INFO", "stats"]);
    let found = found.lines().find_map(|line| line.trim().strip_prefix("keyspace_hits:"));
    let found: u64 = found.expect("it is counted").parse().expect("a number");
    calls.sum::<u64>() + found
}

/// A connection and the ticket of a session that has come back once.
async fn session(node: &Proxy, n: usize) -> (Dial, String) {
    let mut visitor = browser(std::slice::from_ref(node));
    visitor.get(&format!("/begin?{n}")).await.expect(200);
    for _ in 0..2 {
        assert_eq!(visitor.get("/").await.expect(200).text(), format!("EGG_SESS={n}"));
    }
    let ticket = visitor.cookie(TICKET).expect("a ticket").value.clone();
    let ticket = format!("{TICKET}={}", String::from_utf8(ticket).expect("text"));
    (Dial::to(node.address()).tls(HOST), ticket)
}

/// What so many requests of so many sessions, all at the same time, cost Redis.
async fn cost(sessions: usize, requests: usize, cache: &str) -> u64 {
    let (app, redis) = (application().await, Redis::start());
    let node = Shop::at(app.address).store(&redis).top(cache).start();
    let mut begun = Vec::new();
    for n in 0..sessions {
        begun.push(session(&node, n).await);
    }
    let before = commands(&redis);
    let mut busy = tokio::task::JoinSet::new();
    for (n, (dial, ticket)) in begun.into_iter().enumerate() {
        busy.spawn(async move {
            let mut connection = dial.connect().await;
            for _ in 0..requests {
                let answer = connection.get(HOST, "/", &[("Cookie", &ticket)]).await.expect(200);
                assert_eq!(answer.text(), format!("EGG_SESS={n}"));
            }
        });
    }
    busy.join_all().await;
    commands(&redis) - before
}

/// At most 0.02 commands a request, and a look-up for each session.
#[tokio::test]
async fn busy_sessions_hardly_trouble_the_store() {
    let commands = cost(20, 100, "").await;
    assert!(commands <= 20 + 20 * 100 / 50, "{commands} commands");
}

/// What the test above would say of requests that all look up.
#[tokio::test]
async fn without_a_lease_each_request_is_a_look_up() {
    let commands = cost(4, 25, "cache: { lease: 0s }").await;
    assert!((100..200).contains(&commands), "{commands} commands");
}

/// The idle deadline moves while an answer stores a cookie: whichever comes first, both are kept.
#[tokio::test]
async fn a_session_in_use_lives_on_and_loses_no_cookie() {
    let (app, redis, clock) = (application().await, Redis::start(), TestClock::default());
    let keys = tempfile::tempdir().expect("a directory");
    let shop = Shop::at(app.address).store(&redis).policy("timeouts: { idle: 10m, absolute: 8h }");
    let nodes = shop.start_nodes_at(&clock, 1, &keys);
    let mut visitor = browser(&nodes);
    visitor.get("/begin?0").await.expect(200);
    visitor.get("/").await.expect(200);
    // Three times the idle time, in steps of more than a tenth.
    for n in 1..=25 {
        clock.advance(Duration::from_secs(72));
        visitor.get(&format!("/begin?{n}")).await.expect(200);
        assert_eq!(visitor.get("/").await.expect(200).text(), format!("EGG_SESS={n}"));
    }
}
