//! What happens to messages on their way: streaming, framing, retries, failures, upgrades.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpSocket;

use crate::support::client::{Connection, Dial, request};
use crate::support::h2::H2;
use crate::support::http::{Broken, Framing, response};
use crate::support::origin::{Exchange, Origin, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop};
use crate::support::{loopback, within};

/// Larger than what any buffer on the way may hold.
const LARGE: usize = 4 << 20;

/// A plain listener in front of these endpoints: no TLS and no sessions, so that nothing but
/// forwarding is seen.
fn forwarding(endpoints: &[SocketAddr], more: &str, route: &str) -> Proxy {
    let endpoints: Vec<String> =
        endpoints.iter().map(|at| format!("{{ address: '{at}' }}")).collect();
    Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         store: memory\nlimits: {{ header_bytes: 4KiB, header_timeout: 30s }}\nupstreams:\n  app:\n    \
         endpoints: [{}]\n    timeouts: {{ connect: 5s, read: 20s, keepalive: 20s{more} }}\n\
         servers:\n  - routes: [{{ path: /, upstream: app, request_buffering: false{route} }}]\n",
        endpoints.join(", ")
    ))
}

fn to(origin: &Origin) -> Proxy {
    forwarding(&[origin.address], "", ", body_bytes_max: 0")
}

async fn dial(proxy: &Proxy) -> Connection {
    Dial::to(proxy.address()).connect().await
}

/// A port on which nobody listens, and which nobody else gets as long as the socket lives.
fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(loopback(0)).expect("a port");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// Content that is different everywhere, so that nothing can be lost or doubled unseen.
fn large() -> Vec<u8> {
    (0..LARGE).map(|at| (at / 251 + at) as u8).collect()
}

async fn begun(origin: &mut Origin, client: &mut Connection, raw: impl AsRef<[u8]>) -> Exchange {
    client.send(raw).await;
    origin.next_head().await
}

#[tokio::test]
async fn request_bodies_are_streamed() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    let content = large();

    let mut client = dial(&proxy).await;
    let head = format!("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
    let mut exchange = begun(&mut origin, &mut client, head).await;
    assert_eq!(exchange.request.field("content-length"), Some(LARGE.to_string()));
    client.send(&content[..1]).await;
    assert_eq!(exchange.read_some().await.as_deref(), Ok(&content[..1]), "before the last is sent");
    let (_, received) = tokio::join!(client.send(&content[1..]), read(&mut exchange, LARGE - 1));
    assert!(received == content[1..], "what arrived is not what was sent");
    exchange.respond(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);

    let head = "POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\0\r\n";
    let mut exchange = begun(&mut origin, &mut client, head).await;
    assert_eq!(exchange.request.field("transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!(exchange.read_some().await.as_deref(), Ok(&b"1\r\n\0\r\n"[..]));
    let chunks: Vec<u8> = content
        .chunks(100_000)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .chain(*b"0\r\n\r\n")
        .collect();
    let (_, read) = tokio::join!(client.send(&chunks), exchange.read_body());
    read.expect("a whole body");
    assert!(exchange.request.body.content == content, "what arrived is not what was sent");
    exchange.respond(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);
}

#[tokio::test]
async fn response_bodies_are_streamed() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    let content = large();

    let mut client = dial(&proxy).await;
    let mut exchange = begun(&mut origin, &mut client, request("GET", "/", "a", &[], b"")).await;
    exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    assert_eq!(client.response_head().await.framing, Framing::Length(LARGE));
    exchange.write(&content[..1]).await;
    assert_eq!(client.bytes().await.as_deref(), Ok(&content[..1]), "before the last is sent");
    let (_, rest) = tokio::join!(exchange.respond(&content[1..]), client.exactly(LARGE - 1));
    assert!(rest.expect("the rest") == content[1..], "what arrived is not what was sent");

    let mut exchange = begun(&mut origin, &mut client, request("GET", "/", "a", &[], b"")).await;
    exchange.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    assert_eq!(client.response_head().await.framing, Framing::Chunked);
    assert_eq!(client.chunk().await, Ok(Some(b"ab".to_vec())));
    exchange.respond("3\r\ncde\r\n0\r\n\r\n").await;
    assert_eq!(client.chunk().await, Ok(Some(b"cde".to_vec())));
    assert_eq!(client.chunk().await, Ok(None));

    // A worker that speaks HTTP/1.0 ends its body by closing.
    let mut exchange = begun(&mut origin, &mut client, request("GET", "/", "a", &[], b"")).await;
    exchange.write("HTTP/1.0 200 OK\r\n\r\nall ").await;
    assert_eq!(client.response_head().await.framing, Framing::Chunked);
    assert_eq!(client.chunk().await, Ok(Some(b"all ".to_vec())));
    exchange.write("of it").await;
    exchange.close().await;
    assert_eq!(client.chunk().await, Ok(Some(b"of it".to_vec())));
    assert_eq!(client.chunk().await, Ok(None));
}

/// RFC 9112, section 6.3: these have no body, whatever their fields say.
#[tokio::test]
async fn answers_without_a_body_have_none() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    let mut client = dial(&proxy).await;
    client.send(request("HEAD", "/", "a", &[], b"")).await;
    origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    let answer = client.response_to_head().await.expect(200);
    assert_eq!(answer.field("content-length").as_deref(), Some("5"));
    for status in ["204 No Content", "304 Not Modified"] {
        client.send(request("GET", "/", "a", &[], b"")).await;
        origin.answer(format!("HTTP/1.1 {status}\r\nETag: \"a\"\r\n\r\n")).await;
        let answer = client.response().await;
        assert_eq!(answer.head.start, format!("HTTP/1.1 {status}"));
        assert!(!answer.fields().has("transfer-encoding"), "{status}");
    }
    // Nothing was left behind that would be taken for the next answer.
    client.send(request("GET", "/", "a", &[], b"")).await;
    origin.answer(response("200 OK", &[], b"whole")).await;
    assert_eq!(client.response().await.text(), "whole");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_continue() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    let mut client = dial(&proxy).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut exchange = begun(&mut origin, &mut client, head).await;
    exchange.write("HTTP/1.1 100 Continue\r\n\r\n").await;
    let told = within("100", client.bytes()).await.expect("an answer");
    assert!(told.starts_with(b"HTTP/1.1 100 Continue\r\n"), "{}", told.escape_ascii());
    client.send("abc").await;
    exchange.read_body().await.expect("a body");
    assert_eq!(exchange.request.body.content, b"abc");
    exchange.respond(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);

    // A worker may have seen enough.
    let mut client = dial(&proxy).await;
    let exchange = begun(&mut origin, &mut client, head).await;
    exchange.respond(response("403 Forbidden", &[], b"no")).await;
    let answer = client.response().await.expect(403);
    assert_eq!((answer.text().as_str(), answer.interim.len()), ("no", 0));
}

#[tokio::test]
async fn early_hints_pass() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    let mut client = dial(&proxy).await;
    let mut exchange = begun(&mut origin, &mut client, request("GET", "/", "a", &[], b"")).await;
    exchange.write("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n").await;
    exchange.respond(response("200 OK", &[], b"page")).await;
    let answer = client.response().await.expect(200);
    assert_eq!(answer.interim.len(), 1);
    assert_eq!(answer.text(), "page");
}

#[tokio::test]
async fn connections_to_workers_are_kept() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    for _ in 0..3 {
        // Of different clients, and without waiting for each other.
        let mut client = dial(&proxy).await;
        for _ in 0..2 {
            client.send(request("GET", "/", "a", &[], b"")).await;
            origin.answer(response("200 OK", &[], b"")).await;
            client.response().await.expect(200);
        }
    }
    assert_eq!(origin.connections(), 1);
    // Unless the worker says so.
    let mut client = dial(&proxy).await;
    client.send(request("GET", "/", "a", &[], b"")).await;
    origin.answer(response("200 OK", &[("Connection", "close")], b"")).await;
    let answer = client.response().await.expect(200);
    assert_ne!(answer.field("connection").as_deref(), Some("close"), "hop by hop");
    client.send(request("GET", "/", "a", &[], b"")).await;
    origin.answer(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);
    assert_eq!(origin.connections(), 2);
}

/// Nothing was sent, so any request may be tried elsewhere.
#[tokio::test]
async fn another_endpoint_is_tried_where_a_connection_is_refused() {
    let mut origin = Origin::start().await;
    let (_kept, nobody) = refusing();
    for method in ["GET", "POST"] {
        let proxy = forwarding(&[nobody, origin.address], "", "");
        let mut client = dial(&proxy).await;
        for _ in 0..3 {
            client.send(request(method, "/", "a", &[], b"body")).await;
            let seen = origin.answer(response("200 OK", &[], b"")).await;
            assert_eq!((seen.method.as_str(), &seen.body.content[..]), (method, &b"body"[..]));
            client.response().await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let mut origin = Origin::start().await;
    let mut other = Origin::start().await;
    for is_reused in [false, true] {
        let proxy = forwarding(&[origin.address, other.address], "", "");
        let mut client = dial(&proxy).await;
        if is_reused {
            for origin in [&mut origin, &mut other] {
                client.send(request("GET", "/", "a", &[], b"")).await;
                origin.answer(response("200 OK", &[], b"")).await;
                client.response().await.expect(200);
            }
        }
        client.send(request("POST", "/", "a", &[], b"once")).await;
        origin.next().await.close().await;
        let answer = client.response().await.expect(502);
        assert!(answer.text().contains("<h1>502 Bad Gateway</h1>"), "{}", answer.text());
        assert_eq!((origin.waiting(), other.waiting()), (0, 0), "reused: {is_reused}");
    }
}

/// RFC 9110, section 9.2.2: a worker may close an idle connection while a request is on its way.
#[tokio::test]
async fn a_get_is_sent_again_where_a_kept_connection_broke() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    let mut client = dial(&proxy).await;
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        client.send(request("GET", "/first", "a", &[], b"")).await;
        origin.answer(response("200 OK", &[], b"")).await;
        client.response().await.expect(200);
        client.send(request(method, "/again", "a", &[], b"")).await;
        let broken = origin.next().await;
        assert_eq!(broken.request.target, "/again");
        broken.close().await;
        let seen = origin.answer(response("200 OK", &[], b"")).await;
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, "/again"));
        client.response_head().await.expect(200);
    }
}

/// An answer that has begun is never begun again.
#[tokio::test]
async fn a_broken_answer_is_not_asked_for_again() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    let mut client = dial(&proxy).await;
    client.send(request("GET", "/", "a", &[], b"")).await;
    origin.answer(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);
    client.send(request("GET", "/", "a", &[], b"")).await;
    let mut exchange = origin.next().await;
    exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    exchange.close().await;
    assert_eq!(client.try_response().await.err(), Some(Broken::Truncated(b"half".to_vec())));
    assert_eq!(origin.waiting(), 0);
}

#[tokio::test]
async fn a_worker_that_fails_is_told_as_nginx_tells_it() {
    let mut origin = Origin::start().await;
    let proxy = forwarding(&[origin.address], "", "");
    // No answer at all, one that is no HTTP, one that contradicts itself.
    for raw in [
        "",
        "HTTP/1.1 200",
        "220 smtp.example ESMTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let mut client = dial(&proxy).await;
        client.send(request("GET", "/", "a", &[], b"")).await;
        let mut exchange = origin.next().await;
        if !raw.is_empty() {
            exchange.write(raw).await;
        }
        exchange.close().await;
        let answer = client.response().await.expect(502);
        assert!(answer.text().contains("<h1>502 Bad Gateway</h1>"), "{raw}");
        assert_eq!(answer.field("connection").as_deref(), Some("close"), "{raw}");
        assert_eq!(client.rest().await, Ok(Vec::new()));
    }
    let (_kept, nobody) = refusing();
    let proxy = forwarding(&[nobody], "", "");
    dial(&proxy).await.get("a", "/", &[]).await.expect(502);
}

#[tokio::test]
async fn a_worker_that_does_not_answer_has_its_time() {
    let mut origin = Origin::start().await;
    let yaml = format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         store: memory\nupstreams:\n  app: {{ endpoints: [{{ address: '{}' }}], \
         timeouts: {{ read: 100ms }} }}\nservers: [{{ routes: [{{ path: /, upstream: app }}] }}]\n",
        origin.address
    );
    let proxy = Proxy::start(&yaml);
    let mut client = dial(&proxy).await;
    client.send(request("GET", "/", "a", &[], b"")).await;
    let mut held = origin.next().await;
    let answer = client.response().await.expect(504);
    assert!(answer.text().contains("<h1>504 Gateway Timeout</h1>"));
    held.peer_closed().await;
    assert_eq!(origin.waiting(), 0, "not asked again");
}

#[tokio::test]
async fn bodies_have_their_limit() {
    let mut origin = Origin::start().await;
    let proxy = forwarding(&[origin.address], "", ", body_bytes_max: 1KiB");
    let content = vec![b'x'; 1025];

    // Announced: no worker hears of it.
    let mut client = dial(&proxy).await;
    let answer = client.exchange(request("POST", "/", "a", &[], &content)).await.expect(413);
    assert!(answer.text().contains("<h1>413 "), "{}", answer.text());
    assert_eq!(origin.connections(), 0);

    // Found out on the way: what has begun is broken off.
    let mut client = dial(&proxy).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    let mut exchange = begun(&mut origin, &mut client, head).await;
    client.send([b"400\r\n", &content[..1024], b"\r\n"].concat()).await;
    let answer = client.response().await.expect(413);
    assert!(answer.text().contains("<h1>413 "), "{}", answer.text());
    exchange.peer_closed().await;

    // Exactly the limit is fine.
    let mut client = dial(&proxy).await;
    client.send(request("POST", "/", "a", &[], &content[1..])).await;
    assert_eq!(origin.answer(response("200 OK", &[], b"")).await.body.content, content[1..]);
    client.response().await.expect(200);
    let chunked = [
        &b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n"[..],
        &content[1..],
        b"\r\n0\r\n\r\n",
    ];
    client.send(chunked.concat()).await;
    assert_eq!(origin.answer(response("200 OK", &[], b"")).await.body.content, content[1..]);
    client.response().await.expect(200);
}

/// RFC 9112, sections 5.2, 6 and 7.1: whoever reads these otherwise than we do sees another request.
#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let origin = Origin::start().await;
    let proxy = to(&origin);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (what, fields, body) in [
        ("both lengths", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("both, the other way", "transfer-encoding: chunked\r\ncontent-length: 0\r\n", "0\r\n\r\n"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        ("a list of lengths", "Content-Length: 5, 6\r\n", "hello"),
        ("a signed length", "Content-Length: +5\r\n", "hello"),
        ("a negative length", "Content-Length: -1\r\n", ""),
        ("a length in hexadecimal", "Content-Length: 0x5\r\n", "hello"),
        ("no length", "Content-Length: \r\n", ""),
        ("a folded field", "X-A: b\r\n Content-Length: 5\r\n", "hello"),
        ("a blank before the colon", "Content-Length : 5\r\n", "hello"),
        ("a NUL", "X-A: b\0c\r\n", ""),
        ("a bare CR", "X-A: b\rContent-Length: 5\r\n", ""),
    ] {
        let mut client = dial(&proxy).await;
        let raw = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}{smuggled}");
        client.send(raw).await;
        let answer = client.response().await;
        assert_eq!(answer.status, 400, "{what}");
        assert_eq!(answer.field("connection").as_deref(), Some("close"), "{what}");
        assert_eq!(client.rest().await, Ok(Vec::new()), "{what}: nothing after it");
    }
    // Codings that nobody here takes off (RFC 9112, section 6.1; nginx says the same).
    for coding in
        ["identity", "chunked, gzip", "gzip, chunked", "xchunked", ", chunked", "chunked, chunked"]
    {
        let mut client = dial(&proxy).await;
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n");
        client.send(format!("{head}0\r\n\r\n{smuggled}")).await;
        let answer = client.response().await;
        assert_eq!(answer.status, 501, "{coding}");
        assert_eq!(answer.field("connection").as_deref(), Some("close"), "{coding}");
        assert_eq!(client.rest().await, Ok(Vec::new()), "{coding}: nothing after it");
    }
    assert_eq!(origin.connections(), 0, "no worker has seen any of it");
}

#[tokio::test]
async fn bad_chunks_are_refused_and_the_connection_closed() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    for chunk in [
        "x\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
    ] {
        let mut client = dial(&proxy).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(format!("{head}{chunk}{smuggled}")).await;
        let answer = client.response().await;
        assert_eq!(answer.status, 400, "{chunk:?}");
        assert_eq!(client.rest().await, Ok(Vec::new()), "{chunk:?}: nothing after it");
    }
    // A worker may have seen the heads, never a whole request.
    while origin.waiting() > 0 {
        let mut exchange = origin.next_head().await;
        assert_ne!(exchange.request.target, "/smuggled");
        assert!(exchange.read_body().await.is_err(), "{:?}", exchange.request.body);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let worker = Responder::start(|request| {
        let text = format!("{} {}", request.target, request.body.content.escape_ascii());
        response("200 OK", &[], text.as_bytes())
    })
    .await;
    let proxy = forwarding(&[worker.address], "", "");
    let mut client = dial(&proxy).await;
    let raw = [
        request("GET", "/1", "a", &[], b""),
        request("POST", "/2", "a", &[], b"two"),
        b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\n"
            .to_vec(),
        request("GET", "/%", "a", &[], b""),
        // What follows a request that is none may be anything.
        request("GET", "/5", "a", &[], b""),
    ];
    client.send(raw.concat()).await;
    for expected in ["/1 ", "/2 two", "/3 three"] {
        assert_eq!(client.response().await.expect(200).text(), expected);
    }
    client.response().await.expect(400);
    assert!(client.try_response().await.is_err());
    assert_eq!(worker.seen().len(), 3);
}

#[tokio::test]
async fn a_pipelined_head_that_is_too_large_is_refused() {
    let worker = Responder::start(|_| response("200 OK", &[], b"")).await;
    let proxy = forwarding(&[worker.address], "", "");
    let mut client = dial(&proxy).await;
    // Read together with the body before it, so that its beginning is not noticed.
    let long = "x".repeat(5000);
    let raw = [
        request("POST", "/1", "a", &[], &[b'y'; 3000]),
        request("GET", "/2", "a", &[("X-Long", &long)], b""),
    ];
    client.send(raw.concat()).await;
    client.response().await.expect(200);
    let answer = client.response().await.expect(431);
    assert!(answer.text().contains("<h1>431 "), "{}", answer.text());
    assert_eq!(worker.seen().len(), 1);
}

/// Bytes both ways after an upgrade, on a route with sessions and on one without.
#[tokio::test]
async fn websockets_pass() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).route("{ path: /plain/, upstream: shop }").start();
    for target in ["/chat", "/plain/chat"] {
        let mut client = Dial::to(proxy.address()).tls(HOST).connect().await;
        let fields = [
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        client.send(request("GET", target, HOST, &fields, b"")).await;
        let mut exchange = origin.next().await;
        assert_eq!(exchange.request.field("upgrade").as_deref(), Some("websocket"));
        assert_eq!(exchange.request.field("connection").as_deref(), Some("Upgrade"));
        let key = exchange.request.field("sec-websocket-key");
        assert_eq!(key.as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        exchange
            .write(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )
            .await;
        let answer = client.response_head().await.expect(101);
        assert_eq!(answer.field("upgrade").as_deref(), Some("websocket"));
        assert!(answer.field("sec-websocket-accept").is_some());
        // Frames of every length class, in both directions, with pauses between.
        for size in [2, 125, 126, 65_535, 65_536, 1 << 20] {
            let frame = &large()[..size];
            let (_, received) = tokio::join!(client.send(frame), read(&mut exchange, size));
            assert!(received == frame, "{size} bytes to the worker at {target}");
            let (_, received) = tokio::join!(exchange.write(frame), client.exactly(size));
            assert!(received.expect("a frame") == frame, "{size} bytes to the client at {target}");
        }
        client.finish().await;
        exchange.peer_closed().await;
    }
}

/// So many bytes, and not one more that came with them.
async fn read(exchange: &mut Exchange, size: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while received.len() < size {
        let some = exchange.read_some().await.expect("more");
        assert!(!some.is_empty(), "closed after {} of {size} bytes", received.len());
        received.extend(some);
    }
    received
}

#[tokio::test]
async fn an_upgrade_that_a_worker_declines_is_an_ordinary_answer() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).start();
    let mut client = Dial::to(proxy.address()).tls(HOST).connect().await;
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    client.send(request("GET", "/chat", HOST, &fields, b"")).await;
    origin.answer(response("400 Bad Request", &[], b"no")).await;
    assert_eq!(client.response().await.expect(400).text(), "no");
    client.send(request("GET", "/", HOST, &[], b"")).await;
    origin.answer(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);
    // Nothing else is upgraded to: h2c would lead around every rule of ours.
    let fields = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ];
    client.send(request("GET", "/", HOST, &fields, b"")).await;
    let seen = origin.answer(response("200 OK", &[], b"")).await;
    assert_eq!((seen.field("upgrade"), seen.field("http2-settings")), (None, None));
    client.response().await.expect(200);
}

#[tokio::test]
async fn server_sent_events_pass_one_by_one() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).start();
    let mut client = Dial::to(proxy.address()).tls(HOST).connect().await;
    client.send(request("GET", "/events", HOST, &[("Accept", "text/event-stream")], b"")).await;
    let mut exchange = origin.next().await;
    exchange
        .write(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    client.response_head().await.expect(200);
    for number in 0..3 {
        let event = format!("data: {number}\n\n");
        exchange.write(format!("{:x}\r\n{event}\r\n", event.len())).await;
        assert_eq!(client.chunk().await, Ok(Some(event.into_bytes())));
    }
    client.reset();
    exchange.peer_closed().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_not_served_on() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    let mut client = dial(&proxy).await;
    let mut exchange = begun(&mut origin, &mut client, request("GET", "/", "a", &[], b"")).await;
    client.reset();
    exchange.peer_closed().await;
}

#[tokio::test]
async fn plain_requests_are_sent_to_https() {
    let origin = Origin::start().await;
    for (port, shown) in [(8443, ":8443"), (443, "")] {
        let yaml = Shop::at(origin.address).yaml().replace(
            "store:",
            &format!("  - {{ address: 127.0.0.1:0, redirect_to_https: {port} }}\nstore:"),
        );
        let proxy = Proxy::start(&yaml);
        let plain = Dial::to(proxy.addresses()[1]);
        for (method, target, status, location) in [
            ("GET", "/a//b?c=%2F", 301, "/a//b?c=%2F"),
            ("HEAD", "/", 301, "/"),
            ("POST", "/login", 308, "/login"),
            ("DELETE", "/x?y", 308, "/x?y"),
            ("OPTIONS", "http://shop.example.com/p", 308, "/p"),
        ] {
            let sent = request(method, target, HOST, &[], b"");
            let answer = plain.connect().await.exchange(sent).await.expect(status);
            let expected = format!("https://{HOST}{shown}{location}");
            assert_eq!(answer.field("location"), Some(expected), "{method} {target}");
            assert!(answer.set_cookies().is_empty());
        }
        plain.connect().await.exchange("GET / HTTP/1.1\r\n\r\n").await.expect(400);
        // Whatever port the client spoke of, it is ours that counts.
        let answer = plain.connect().await.get("shop.example.com:80", "/", &[]).await.expect(301);
        assert_eq!(answer.field("location"), Some(format!("https://{HOST}{shown}/")));
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn http2_streams_are_served_side_by_side() {
    const STREAMS: usize = 60;
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).start();
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let mut answers = Vec::new();
    for number in 0..STREAMS {
        let sent = http::Request::get(format!("https://{HOST}/{number}")).body(());
        let (answer, _) = h2.open(sent.expect("a request"), true).await.expect("a stream");
        answers.push((number, answer));
    }
    // All of them are at the worker before any is answered, and the last is answered first.
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        held.push(origin.next().await);
    }
    for exchange in held.into_iter().rev() {
        let text = exchange.request.target.clone();
        exchange.respond(response("200 OK", &[], text.as_bytes())).await;
    }
    for (number, answer) in answers {
        let (head, mut body) = within("an answer", answer).await.expect("a response").into_parts();
        assert_eq!(head.status, 200);
        let text = within("its body", body.data()).await.expect("a body").expect("no reset");
        assert_eq!(text, format!("/{number}"));
    }
}

#[tokio::test]
async fn http2_bodies_are_streamed_both_ways() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).streaming().start();
    let yaml_limit = 1 << 20;
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let sent = http::Request::post(format!("https://{HOST}/")).body(()).expect("a request");
    let (answer, mut body) = h2.open(sent, false).await.expect("a stream");
    body.send_data(Bytes::from_static(b"first"), false).expect("room");
    let mut exchange = origin.next_head().await;
    assert_eq!(exchange.request.field("transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!(exchange.read_some().await.as_deref(), Ok(&b"5\r\nfirst\r\n"[..]));
    exchange.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n").await;
    let mut answer = within("the head", answer).await.expect("a head").into_body();
    let data = within("a piece", answer.data()).await.expect("a piece").expect("no reset");
    assert_eq!(data, "ok");
    // More than the route takes: the stream ends, the connection does not.
    let too_much = Bytes::from(vec![b'x'; yaml_limit]);
    body.reserve_capacity(too_much.len());
    body.send_data(too_much, true).expect("room");
    exchange.peer_closed().await;
    let answer = h2.request(http::Method::POST, HOST, "/", &[], &vec![b'x'; yaml_limit + 1]).await;
    assert_eq!(answer.expect("an answer").status, 413);
}

#[tokio::test]
async fn an_http2_stream_that_is_reset_ends_alone() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).start();
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let get = |path: &str| {
        http::Request::get(format!("https://{HOST}{path}")).body(()).expect("a request")
    };
    let (_answer, mut stream) = h2.open(get("/reset"), true).await.expect("a stream");
    let mut reset = origin.next().await;
    let (answer, _) = h2.open(get("/kept"), true).await.expect("a stream");
    let kept = origin.next().await;
    stream.send_reset(h2::Reason::CANCEL);
    reset.peer_closed().await;
    kept.respond(response("200 OK", &[], b"")).await;
    assert_eq!(within("an answer", answer).await.expect("a response").status(), 200);
}

#[tokio::test]
async fn an_http2_stream_whose_client_takes_nothing_is_cut_alone() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).top("limits: { send_timeout: 1s }").start();
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let get = |path: &str| {
        http::Request::get(format!("https://{HOST}{path}")).body(()).expect("a request")
    };
    let (answer, _) = h2.open(get("/large"), true).await.expect("a stream");
    let mut exchange = origin.next().await;
    exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    exchange.write(vec![b'x'; 256 << 10]).await;
    // The client's window is 64 KiB; nothing of it is given back.
    let begun = std::time::Instant::now();
    let mut body = within("an answer", answer).await.expect("a response").into_body();
    exchange.peer_closed().await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    let cut = within("a reset", async {
        loop {
            match body.data().await {
                Some(Ok(_)) => {}
                other => break other,
            }
        }
    });
    cut.await.expect("it is not whole").expect_err("reset");
    let (answer, _) = h2.open(get("/kept"), true).await.expect("a stream");
    origin.answer(response("200 OK", &[], b"")).await;
    assert_eq!(within("an answer", answer).await.expect("a response").status(), 200);
}

#[tokio::test]
async fn http2_is_told_to_go_away_by_a_drain_and_finishes() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).start();
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let mut idle = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let sent = || http::Request::get(format!("https://{HOST}/")).body(()).expect("a request");
    let (first, _) = idle.open(sent(), true).await.expect("a stream");
    origin.answer(response("200 OK", &[], b"")).await;
    within("an answer", first).await.expect("a response");
    let (answer, _) = h2.open(sent(), true).await.expect("a stream");
    let exchange = origin.next().await;
    let drained = tokio::spawn(proxy.drain());
    idle.closed().await;
    assert!(!drained.is_finished(), "a request is under way");
    exchange.respond(response("200 OK", &[], b"last")).await;
    let (head, mut body) = within("an answer", answer).await.expect("a response").into_parts();
    assert_eq!(head.status, 200);
    assert_eq!(within("a body", body.data()).await.expect("a body").expect("no reset"), "last");
    within("the drain", drained).await.expect("no panic");
    h2.closed().await;
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_closes_what_is_idle() {
    let mut origin = Origin::start().await;
    let proxy = to(&origin);
    let mut idle = dial(&proxy).await;
    idle.send(request("GET", "/", "a", &[], b"")).await;
    origin.answer(response("200 OK", &[], b"")).await;
    idle.response().await.expect(200);
    let mut client = dial(&proxy).await;
    let exchange = begun(&mut origin, &mut client, request("GET", "/", "a", &[], b"")).await;
    let address = proxy.address();
    let drained = tokio::spawn(proxy.drain());
    assert_eq!(idle.rest().await, Ok(Vec::new()));
    // Idle ones are closed after the listener is.
    assert!(Dial::to(address).try_connect().await.is_err(), "the listener is closed");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!drained.is_finished(), "a request is under way");
    exchange.respond(response("200 OK", &[], b"last")).await;
    let answer = client.response().await.expect(200);
    assert_eq!(
        (answer.text().as_str(), answer.field("connection").as_deref()),
        ("last", Some("close"))
    );
    within("the drain", drained).await.expect("no panic");
}
