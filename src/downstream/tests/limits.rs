//! Deadlines and limits, and what is answered without the service.

use std::time::Instant;

use super::*;

#[tokio::test]
async fn dribbled_head_gets_408() {
    for transport in [Transport::Plain, Transport::Tls] {
        let limits = Limits { header_timeout: SHORT, ..Limits::default() };
        let proxy = Proxy::start_over(transport, limits).await;
        match transport {
            Transport::Plain => check(&proxy, proxy.connect().await).await,
            Transport::Tls => check(&proxy, proxy.connect_tls(b"http/1.1").await).await,
        }
    }

    async fn check(proxy: &Proxy, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let begun = Instant::now();
        let (mut read, mut write) = tokio::io::split(stream);
        let dribble = async {
            for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
                if write.write_all(&[*byte]).await.is_err() || write.flush().await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let all = async { read.read_to_end(&mut answer).await.expect("a clean end") };
        within("the answer", async {
            tokio::select! {
                _ = all => {}
                () = dribble => {}
            }
        })
        .await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 408 Request Time-out\r\n"), "{text}");
        assert!(begun.elapsed() >= SHORT);
        assert_eq!(proxy.refused(), [408]);
        assert_eq!(proxy.gate.counts().header_timeouts, 1);
        assert!(proxy.paths().is_empty(), "nothing was served");
    }
}

#[tokio::test]
async fn request_in_progress_outlives_the_header_deadline() {
    let limits = Limits { header_timeout: SHORT, ..Limits::default() };
    let proxy = Proxy::start(limits).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /held HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    tokio::time::sleep(SHORT * 3).await;
    proxy.release();
    assert_eq!(client.answer().await.body, "GET /held ");
}

#[tokio::test]
async fn idle_connection_is_closed_without_a_word() {
    for transport in [Transport::Plain, Transport::Tls] {
        let limits = Limits { keepalive_timeout: SHORT, ..Limits::default() };
        let proxy = Proxy::start_over(transport, limits).await;
        match transport {
            Transport::Plain => check(proxy.connect().await).await,
            Transport::Tls => check(proxy.connect_tls(b"http/1.1").await).await,
        }
    }

    async fn check(stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut client = RawClient::new(stream);
        let begun = Instant::now();
        client.get("/").await;
        assert!(client.rest().await.is_empty());
        assert!(begun.elapsed() >= SHORT);
    }
}

#[tokio::test]
async fn head_may_have_exactly_its_limit() {
    const LIMIT: usize = 6000;
    let limits = Limits { header_bytes: LIMIT, ..Limits::default() };
    let proxy = Proxy::start(limits).await;
    let head = |size: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: shop.example\r\nX: \r\n\r\n".len();
        let filler = "x".repeat(size - frame);
        format!("GET / HTTP/1.1\r\nHost: shop.example\r\nX: {filler}\r\n\r\n")
    };
    let mut client = RawClient::new(proxy.connect().await);
    client.send(head(LIMIT)).await;
    assert_eq!(client.answer().await.status(), 200);
    client.send(head(LIMIT + 1)).await;
    assert_eq!(client.answer().await.status(), 431);
    assert!(client.rest().await.is_empty());
    assert_eq!(proxy.refused(), [431]);
    assert_eq!(proxy.gate.counts().headers_too_large, 1);
}

#[tokio::test]
async fn body_does_not_count_as_head() {
    let limits = Limits { header_bytes: 1024, ..Limits::default() };
    let proxy = Proxy::start(limits).await;
    let mut client = RawClient::new(proxy.connect().await);
    let body = "y".repeat(100_000);
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert_eq!(client.answer().await.body, format!("POST / {body}"));
}

#[tokio::test]
async fn answer_to_an_endless_head_is_not_lost_to_a_reset() {
    let limits = Limits { header_bytes: 4096, ..Limits::default() };
    let proxy = Proxy::start(limits).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET / HTTP/1.1\r\n").await;
    for _ in 0..200 {
        client.send(format!("X-Filler: {}\r\n", "x".repeat(1000))).await;
    }
    assert_eq!(client.answer().await.status(), 431);
}

#[tokio::test]
async fn early_answer_to_an_upload_is_not_lost_to_a_reset() {
    for transport in [Transport::Plain, Transport::Tls] {
        let proxy = Proxy::start_over(transport, Limits::default()).await;
        match transport {
            Transport::Plain => check(proxy.connect().await).await,
            Transport::Tls => check(proxy.connect_tls(b"http/1.1").await).await,
        }
    }

    async fn check(stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut client = RawClient::new(stream);
        let size = 8 << 20;
        client
            .send(format!(
                "POST /early/413 HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {size}\r\n\r\n"
            ))
            .await;
        client.send(vec![b'x'; size]).await;
        assert_eq!(client.answer().await.status(), 413);
    }
}

#[tokio::test]
async fn every_refused_head_is_reported_with_its_status() {
    let check = async |request: &str, status: u16| {
        let proxy = Proxy::start(Limits::default()).await;
        let mut client = RawClient::new(proxy.connect().await);
        client.send(request).await;
        assert_eq!(client.answer().await.status(), status, "{request}");
        client.rest().await;
        assert_eq!(proxy.refused(), [status], "{request}");
        assert!(proxy.paths().is_empty(), "{request} was served");
    };
    check("GET / HTTP/1.1\r\nBad Header: x\r\n\r\n", 400).await;
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400).await;
    check("GET / HTTP/1.1\r\n\r\n", 400).await;
    check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400).await;
    check("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501).await;
    check("GET / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", 417).await;
    // The PROXY protocol is spoken by no listener, and HTTP/2 only after ALPN.
    check("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n", 400).await;
    check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505).await;
}

#[tokio::test]
async fn peer_that_goes_away_is_reported_where_it_had_begun_a_head() {
    let proxy = Proxy::start(Limits::default()).await;
    for bytes in ["", "GET / HT"] {
        let mut client = RawClient::new(proxy.connect().await);
        client.send(bytes).await;
        drop(client);
    }
    proxy.until("they are served", |proxy| proxy.gate.counts().accepted == 2).await;
    proxy.until("they are gone", |proxy| proxy.gate.counts().open == 0).await;
    assert_eq!(proxy.refused(), [400]);
    assert!(proxy.paths().is_empty(), "nothing was served");
}

#[tokio::test]
async fn last_allowed_request_closes_the_connection() {
    let limits = Limits { keepalive_requests: 2, ..Limits::default() };
    let proxy = Proxy::start(limits).await;
    let mut client = RawClient::new(proxy.connect().await);
    let connection = |answer: &Answer| header(&answer.head, "connection").map(str::to_owned);
    assert_eq!(connection(&client.get("/a").await), None, "HTTP/1.1 keeps without a word");
    assert_eq!(connection(&client.get("/b").await).as_deref(), Some("close"));
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn peer_that_does_not_read_is_cut() {
    for transport in [Transport::Plain, Transport::Tls] {
        let limits = Limits { send_timeout: SHORT, ..Limits::default() };
        let proxy = Proxy::start_over(transport, limits).await;
        match transport {
            Transport::Plain => check(&proxy, proxy.connect().await).await,
            Transport::Tls => check(&proxy, proxy.connect_tls(b"http/1.1").await).await,
        }
    }

    async fn check(proxy: &Proxy, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut client = RawClient::new(stream);
        client.send("GET /big HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
        proxy.until("it is accepted", |proxy| proxy.gate.counts().open == 1).await;
        proxy.until("it is cut", |proxy| proxy.gate.counts().open == 0).await;
    }
}

#[tokio::test]
async fn peer_that_reads_slowly_is_not_cut() {
    let limits = Limits { send_timeout: SHORT, ..Limits::default() };
    let proxy = Proxy::start(limits).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /big HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    let begun = Instant::now();
    let mut piece = vec![0; 256 << 10];
    while begun.elapsed() < SHORT * 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let count = within("a piece", client.stream.read(&mut piece)).await.expect("not cut");
        assert_ne!(count, 0, "cut after {:?}", begun.elapsed());
    }
    assert_eq!(proxy.gate.counts().open, 1);
}
