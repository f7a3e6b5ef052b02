//! Upgrades (RFC 9110 section 7.8): asked for, to what was asked for, and both ways to the end.

use super::{dial, proxy, sent};
use crate::support::client::Connection;
use crate::support::origin::{Exchange, Origin, Responder};
use crate::support::proxy::Proxy;
use crate::wire_faults::stalls::all_are_asked;

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

async fn upgraded(proxy: &Proxy, origin: &mut Origin) -> (Connection, Exchange) {
    let mut client = dial(proxy).await;
    client.send(ASK).await;
    let mut exchange = origin.next().await;
    exchange.write(SWITCH).await;
    client.response_head().await.expect(101);
    (client, exchange)
}

#[tokio::test]
async fn an_upgrade_is_asked_for_in_connection_or_not_at_all() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    for fields in [
        "Upgrade: websocket\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive\r\n",
        "Connection: Upgrade\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: other\r\n",
    ] {
        let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let request = sent(&proxy, &mut origin, raw).await.expect("a request");
        let seen = (request.field("upgrade"), request.field("connection"));
        assert_eq!(seen, (None, None), "{fields}");
    }
}

#[tokio::test]
async fn an_answer_switches_to_what_was_asked_for() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    for (ask, answer) in [
        (ASK, "Connection: Upgrade\r\nUpgrade: other\r\n"),
        (ASK, "Connection: Upgrade\r\nUpgrade: websocket, other\r\n"),
        (ASK, "Connection: Upgrade\r\n"),
        (ASK, ""),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    ] {
        let mut client = dial(&proxy).await;
        client.send(ask).await;
        let mut exchange = origin.next().await;
        exchange.write(format!("HTTP/1.1 101 Switching Protocols\r\n{answer}\r\n")).await;
        client.response().await.expect(502);
        exchange.peer_closed().await;
    }
}

#[tokio::test]
async fn what_a_worker_still_sends_reaches_a_client_that_has_finished() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let (mut client, mut exchange) = upgraded(&proxy, &mut origin).await;
    client.send("last").await;
    client.finish().await;
    exchange.peer_closed().await;
    exchange.write("still").await;
    assert_eq!(client.exactly(5).await.as_deref(), Ok(&b"still"[..]));
    exchange.close().await;
    assert_eq!(client.rest().await, Ok(Vec::new()));
}

#[tokio::test]
async fn what_a_client_still_sends_reaches_a_worker_that_has_finished() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let (mut client, mut exchange) = upgraded(&proxy, &mut origin).await;
    exchange.write("last").await;
    exchange.finish().await;
    assert_eq!(client.rest().await.as_deref(), Ok(&b"last"[..]));
    client.send("still").await;
    assert_eq!(exchange.read_some().await.as_deref(), Ok(&b"still"[..]));
    client.finish().await;
    exchange.peer_closed().await;
}

/// Quiet is no failure: the connection ends, its endpoint does not.
#[tokio::test]
async fn a_websocket_that_is_idle_for_too_long_takes_no_endpoint_out() {
    let mut origin = Origin::start().await;
    let other = Responder::start(|_| super::ANSWER.into()).await;
    let proxy = proxy(&[origin.address, other.address], "");
    for _ in 0..2 {
        let mut client = dial(&proxy).await;
        client.send(ASK).await;
        let Ok(mut exchange) =
            tokio::time::timeout(std::time::Duration::from_millis(200), origin.next()).await
        else {
            // The other one's turn.
            client.response().await.expect(200);
            continue;
        };
        exchange.write(SWITCH).await;
        client.response_head().await.expect(101);
        assert_eq!(client.rest().await, Ok(Vec::new()), "`timeouts.read` is over");
    }
    all_are_asked(&proxy, &mut origin, &other).await;
}
