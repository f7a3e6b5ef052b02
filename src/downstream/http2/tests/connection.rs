//! Requests, and the end of a connection.

use super::frames::{DATA, END_STREAM};
use super::*;

#[tokio::test]
async fn requests_are_served_and_know_their_connection() {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let (mut requests, _connection) = connect(&proxy).await;
    let answer = within("an answer", request(&mut requests, get("/a"), None)).await;
    assert_eq!(answer.expect("answered"), (200, "GET /a ".to_owned()));
    let post = http::Request::post("https://shop.example/b").body(()).expect("a request");
    let answer =
        within("an answer", request(&mut requests, post, Some(Bytes::from_static(b"hello")))).await;
    assert_eq!(answer.expect("answered"), (200, "POST /b hello".to_owned()));

    let seen = proxy.seen();
    assert_eq!(seen[0].connection, seen[1].connection);
    let tls = seen[1].tls.as_ref().expect("a TLS connection");
    assert_eq!(tls.server_name.as_deref(), Some("shop.example"));
    assert_eq!(tls.protocol, Protocol::Http2);
}

#[tokio::test]
async fn large_answers_arrive_whole() {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let (mut requests, _connection) = connect(&proxy).await;
    let answer = within("an answer", request(&mut requests, get("/big"), None)).await;
    assert_eq!(answer.expect("answered").1.len(), 32 << 20);
}

/// Ours up to four times the limit, then the crate's, which is nowhere noted.
#[tokio::test]
async fn large_head_gets_431() {
    let limits = Limits { header_bytes: 2048, ..Limits::default() };
    let proxy = Proxy::start_over(Transport::Tls, limits).await;
    let (mut requests, _connection) = connect(&proxy).await;
    for (length, is_noted) in [(2048, true), (7000, true), (9000, false)] {
        let mut large = get("/a");
        large.headers_mut().insert("x-filler", "x".repeat(length).parse().expect("a value"));
        let answer = within("an answer", request(&mut requests, large, None)).await;
        assert_eq!(answer.expect("answered").0, 431, "{length}");
        let noted = std::mem::take(&mut *proxy.notes.refused.lock().expect("no panic"));
        assert_eq!(noted == [431], is_noted, "{length}: {noted:?}");
    }
    let long = format!("/{}", "x".repeat(2048));
    let answer = within("an answer", request(&mut requests, get(&long), None)).await;
    assert_eq!(answer.expect("answered").0, 431);
    assert!(proxy.paths().is_empty());
}

#[tokio::test]
async fn silent_connection_is_closed() {
    let limits = Limits { header_timeout: SHORT, ..Limits::default() };
    let proxy = Proxy::start_over(Transport::Tls, limits).await;
    // A preface and settings, and no request.
    let (_requests, connection) = connect(&proxy).await;
    let _ = within("the end", connection).await;
    proxy.until("it is gone", |proxy| proxy.gate.counts().open == 0).await;
}

#[tokio::test]
async fn idle_connection_is_closed() {
    let limits = Limits { keepalive_timeout: SHORT, ..Limits::default() };
    let proxy = Proxy::start_over(Transport::Tls, limits).await;
    let (mut requests, connection) = connect(&proxy).await;
    within("an answer", request(&mut requests, get("/a"), None)).await.expect("answered");
    let _ = within("the end", connection).await;
    proxy.until("it is gone", |proxy| proxy.gate.counts().open == 0).await;
}

#[tokio::test]
async fn last_allowed_request_gets_a_goaway() {
    let limits = Limits { keepalive_requests: 2, ..Limits::default() };
    let proxy = Proxy::start_over(Transport::Tls, limits).await;
    let (mut requests, connection) = connect(&proxy).await;
    for path in ["/a", "/b"] {
        let answer = within("an answer", request(&mut requests, get(path), None)).await;
        assert_eq!(answer.expect("answered").0, 200, "{path}");
    }
    within("the end", connection).await.expect("no panic").expect("a clean end");
    let refused = within("an answer", request(&mut requests, get("/c"), None)).await;
    refused.expect_err("the connection has ended");
}

#[tokio::test]
async fn drain_lets_streams_finish_and_says_goaway() {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let (mut requests, connection) = connect(&proxy).await;
    let held = tokio::spawn({
        let mut requests = requests.clone();
        async move { request(&mut requests, get("/held"), None).await }
    });
    proxy.until("it arrives", |proxy| proxy.has("/held")).await;
    proxy.shutdown.send_replace(Shutdown::Draining);
    proxy
        .until("nobody listens", |proxy| std::net::TcpStream::connect(proxy.address).is_err())
        .await;
    assert!(!proxy.worker.is_finished(), "a stream is being served");
    proxy.release();
    let answer = within("an answer", held).await.expect("no panic");
    assert_eq!(answer.expect("finished"), (200, "GET /held ".to_owned()));
    within("the end", connection).await.expect("no panic").expect("a clean end");
    let refused = within("an answer", request(&mut requests, get("/late"), None)).await;
    refused.expect_err("the connection has ended");
    proxy.returned().await;
}

#[tokio::test]
async fn drain_ends_idle_connections() {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let (mut requests, connection) = connect(&proxy).await;
    within("an answer", request(&mut requests, get("/a"), None)).await.expect("answered");
    proxy.shutdown.send_replace(Shutdown::Draining);
    within("the end", connection).await.expect("no panic").expect("a clean end");
    proxy.returned().await;
}

/// What the crate keeps for frames is its own; beside that nothing grows with what was moved.
#[tokio::test]
async fn idle_connections_hold_little() {
    const NUMBER: u64 = 100;
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let (mut all, mut before) = (Vec::new(), 0);
    for number in 0..NUMBER + 20 {
        // The first ones pay for what is shared.
        if number == 20 {
            before = resident();
        }
        let mut frames = Frames::open(&proxy, &[]).await;
        frames.post(1, "/a").await;
        for _ in 0..3 {
            frames.send(DATA, 0, 1, &[b'x'; 16 << 10]).await;
        }
        frames.send(DATA, END_STREAM, 1, b"").await;
        assert_eq!(frames.answer(1).await.1.len(), (48 << 10) + "POST /a ".len());
        all.push(frames);
    }
    let cost = resident().saturating_sub(before) / NUMBER;
    assert!(cost <= 96, "{cost} KiB");
}
