//! Another configuration while the process runs: what is under way goes on, and what did not change is kept.

use std::io::ErrorKind;

use tokio::net::TcpStream;

use crate::support::client::{Connection, Dial, request};
use crate::support::http::response;
use crate::support::origin::{Origin, Responder};
use crate::support::proxy::Proxy;
use crate::support::{soon, within};

const LISTENER: &str = "listeners: [{ address: '127.0.0.1:0' }]\n";

/// One route to one worker.
fn to(origin: std::net::SocketAddr, more: &str) -> String {
    with(
        &format!(
            "{LISTENER}upstreams:\n  app: {{ endpoints: [{{ address: '{origin}' }}] }}\n\
             servers: [{{ routes: [{{ path: /, upstream: app }}] }}]\n"
        ),
        more,
    )
}

fn with(yaml: &str, more: &str) -> String {
    format!("workers: 2\nstate_directory: '{{directory}}'\nstore: memory\n{more}{yaml}")
}

async fn says(text: &'static str) -> Responder {
    Responder::start(move |_| response("200 OK", &[], text.as_bytes())).await
}

async fn asked(connection: &mut Connection) -> String {
    connection.get("a", "/", &[]).await.expect(200).text()
}

#[tokio::test]
async fn the_next_request_of_a_connection_is_served_by_the_new_configuration() {
    let (old, new) = (says("old").await, says("new").await);
    let mut proxy = Proxy::start(&to(old.address, ""));
    let address = proxy.address();
    let mut kept = Dial::to(address).connect().await;
    assert_eq!(asked(&mut kept).await, "old");
    assert_eq!(proxy.reload_with(&to(new.address, "")), Ok(vec![]));
    assert_eq!(proxy.address(), address, "the socket is the same");
    assert_eq!(asked(&mut kept).await, "new");
    assert_eq!(asked(&mut Dial::to(address).connect().await).await, "new");
}

#[tokio::test]
async fn a_request_and_a_websocket_keep_the_configuration_that_they_began_with() {
    let mut old = Origin::start().await;
    let new = says("new").await;
    let mut proxy = Proxy::start(&to(old.address, ""));
    let mut client = Dial::to(proxy.address()).connect().await;
    client.send(request("GET", "/", "a", &[], b"")).await;
    let under_way = old.next().await;
    let mut socket = Dial::to(proxy.address()).connect().await;
    let upgrade = [("Connection", "upgrade"), ("Upgrade", "websocket")];
    socket.send(request("GET", "/", "a", &upgrade, b"")).await;
    let mut other_end = old.next_head().await;
    other_end.write(response("101 Switching Protocols", &upgrade, b"")).await;
    socket.response_head().await;
    assert_eq!(proxy.reload_with(&to(new.address, "")), Ok(vec![]));
    under_way.respond(response("200 OK", &[], b"old")).await;
    assert_eq!(client.response().await.expect(200).text(), "old");
    assert_eq!(asked(&mut client).await, "new", "the connection goes on");
    socket.send(b"ping").await;
    assert_eq!(other_end.read_some().await.expect("it is open"), b"ping");
    other_end.write(b"pong").await;
    assert_eq!(socket.exactly(4).await.expect("it is open"), b"pong");
}

#[tokio::test]
async fn listeners_come_and_go() {
    let origin = says("here").await;
    let two = to(origin.address, "").replace(
        LISTENER,
        "listeners: [{ address: '127.0.0.1:0' }, \
        { address: '127.0.0.1:0' }]\n",
    );
    let mut proxy = Proxy::start(&to(origin.address, ""));
    let first = proxy.address();
    proxy.reload_with(&two).expect("it is good");
    let second = proxy.addresses()[1];
    assert_eq!(proxy.address(), first);
    let mut kept = Dial::to(second).connect().await;
    assert_eq!(asked(&mut kept).await, "here");
    proxy.reload_with(&to(origin.address, "")).expect("it is good");
    within("the connection to end", kept.finish()).await;
    soon(ErrorKind::ConnectionRefused, "the listener to close", async || {
        TcpStream::connect(second).await.err().map_or(ErrorKind::Other, |error| error.kind())
    })
    .await;
    assert_eq!(asked(&mut Dial::to(first).connect().await).await, "here");
}

#[tokio::test]
async fn what_is_under_way_on_a_listener_that_goes_is_answered() {
    let mut origin = Origin::start().await;
    let two = to(origin.address, "").replace(
        LISTENER,
        "listeners: [{ address: '127.0.0.1:0' }, \
        { address: '127.0.0.1:0' }]\n",
    );
    let mut proxy = Proxy::start(&two);
    let mut client = Dial::to(proxy.addresses()[1]).connect().await;
    client.send(request("GET", "/", "a", &[], b"")).await;
    let under_way = origin.next().await;
    proxy.reload_with(&to(origin.address, "")).expect("it is good");
    under_way.respond(response("200 OK", &[], b"last")).await;
    let answer = client.response().await.expect(200);
    assert_eq!(
        (answer.text().as_str(), answer.field("connection")),
        ("last", Some("close".into()))
    );
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing() {
    let origin = says("old").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let taken = taken.local_addr().expect("bound");
    let mut proxy = Proxy::start(&to(origin.address, ""));
    let mut kept = Dial::to(proxy.address()).connect().await;
    for (wrong, word) in [
        ("listeners: [".to_owned(), "cloakroom.yaml"),
        (to(origin.address, "").replace("upstream: app", "upstream: none"), "none"),
        (
            to(origin.address, "").replace(
                LISTENER,
                &format!("listeners: [{{ address: '127.0.0.1:0' }}, {{ address: '{taken}' }}]\n"),
            ),
            "already in use",
        ),
    ] {
        let error = proxy.reload_with(&wrong).expect_err("it is wrong");
        assert!(error.contains(word), "{error}");
        assert_eq!(asked(&mut kept).await, "old");
    }
}

#[tokio::test]
async fn what_cannot_change_is_named() {
    let origin = says("here").await;
    let mut proxy = Proxy::start(&to(origin.address, ""));
    let other = to(origin.address, "cache: { bytes: 2MiB }\n").replace("workers: 2", "workers: 1");
    assert_eq!(proxy.reload_with(&other), Ok(vec!["workers", "cache"]));
}

#[tokio::test]
async fn endpoints_that_failed_stay_out_where_their_upstream_is_the_same() {
    let good = says("good").await;
    let bad = Responder::start(|_| response("503 Service Unavailable", &[], b"bad")).await;
    let two = |more: &str| {
        let upstream = format!(
            "upstreams:\n  app: {{ endpoints: [{{ address: '{}', fail_timeout: 1h }}, \
             {{ address: '{}' }}], next_upstream: [error, timeout, http_503] }}\n",
            bad.address, good.address
        );
        with(
            &format!(
                "{LISTENER}{upstream}servers: [{{ routes: [{{ path: /, upstream: app }}{more}] }}]\n"
            ),
            "",
        )
    };
    let mut proxy = Proxy::start(&two(""));
    let mut client = Dial::to(proxy.address()).connect().await;
    for _ in 0..4 {
        assert_eq!(asked(&mut client).await, "good");
    }
    assert_eq!(bad.seen().len(), 1, "it is out");
    proxy.reload_with(&two(", { path: /b/, upstream: app }")).expect("it is good");
    for _ in 0..4 {
        assert_eq!(asked(&mut client).await, "good");
    }
    assert_eq!(bad.seen().len(), 1, "it stays out");
}

#[tokio::test]
async fn connections_to_workers_are_kept_where_their_upstream_is_the_same() {
    let mut origin = Origin::start().await;
    let mut proxy = Proxy::start(&to(origin.address, "").replace("workers: 2", "workers: 1"));
    let mut client = Dial::to(proxy.address()).connect().await;
    for round in 0..3 {
        client.send(request("GET", "/", "a", &[], b"")).await;
        origin.answer(response("200 OK", &[], b"")).await;
        client.response().await.expect(200);
        let more = format!("trusted_proxies: [10.0.0.{round}]\n");
        let next = to(origin.address, &more).replace("workers: 2", "workers: 1");
        proxy.reload_with(&next).expect("it is good");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn limits_go_on_counting() {
    let origin = says("here").await;
    let limited = |more: &str| {
        with(
            &format!(
                "{LISTENER}upstreams:\n  app: {{ endpoints: [{{ address: '{}' }}] }}\n\
                 limit_zones: {{ one: {{ key: $host, rate: 1r/m }} }}\n\
                 servers: [{{ routes: [{{ path: /, upstream: app, limit_req: one }}{more}] }}]\n",
                origin.address
            ),
            "",
        )
    };
    let mut proxy = Proxy::start(&limited(""));
    let mut client = Dial::to(proxy.address()).connect().await;
    client.get("a", "/", &[]).await.expect(200);
    proxy.reload_with(&limited(", { path: /b/, upstream: app }")).expect("it is good");
    client.get("a", "/", &[]).await.expect(503);
}
