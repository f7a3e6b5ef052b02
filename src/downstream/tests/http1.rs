//! HTTP/1: keep-alive, pipelining, upgrades, what leaves when.

use super::*;

#[tokio::test]
async fn connection_is_kept_for_the_next_request() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    assert_eq!(client.get("/a").await.body, "GET /a ");
    client.send("POST /b HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(client.answer().await.body, "POST /b hello");
    let seen = proxy.seen();
    assert_eq!(seen[0].connection, seen[1].connection);
    assert_eq!(seen[0].redirect_to_https, Some(8443));
    assert!(seen[0].tls.is_none());
    assert!(proxy.refused().is_empty());
}

#[tokio::test]
async fn connections_have_numbers_of_their_own() {
    let proxy = Proxy::start(Limits::default()).await;
    for _ in 0..2 {
        RawClient::new(proxy.connect().await).get("/").await;
    }
    let seen = proxy.seen();
    assert_ne!(seen[0].connection, seen[1].connection);
}

#[tokio::test]
async fn https_request_knows_its_server_name() {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let mut client = RawClient::new(proxy.connect_tls(b"http/1.1").await);
    assert_eq!(client.get("/a").await.body, "GET /a ");
    assert_eq!(client.get("/b").await.body, "GET /b ");
    let seen = proxy.seen();
    let tls = seen[1].tls.as_ref().expect("a TLS connection");
    assert_eq!(tls.server_name.as_deref(), Some("shop.example"));
    assert_eq!((tls.protocol, tls.version, tls.resumed), (Protocol::Http1, "TLSv1.3", false));
    let names = tls.names.as_ref().expect("they count");
    assert!(names.covers("shop.example") && !names.covers("other.example"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client
        .send(
            "GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n\
             POST /b HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\nhello\
             POST /c HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nchunk\r\n0\r\n\r\n\
             GET /d HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        )
        .await;
    for expected in ["GET /a ", "POST /b hello", "POST /c chunk", "GET /d "] {
        assert_eq!(client.answer().await.body, expected);
    }
    assert_eq!(client.get("/e").await.body, "GET /e ", "and the connection lives on");
}

#[tokio::test]
async fn request_sent_while_another_is_served_waits_its_turn() {
    for transport in [Transport::Plain, Transport::Tls] {
        let proxy = Proxy::start_over(transport, Limits::default()).await;
        match transport {
            Transport::Plain => check(&proxy, proxy.connect().await).await,
            Transport::Tls => check(&proxy, proxy.connect_tls(b"http/1.1").await).await,
        }
    }

    async fn check(proxy: &Proxy, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut client = RawClient::new(stream);
        client.send("GET /held HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
        proxy.until("the request arrives", |proxy| proxy.has("/held")).await;
        client.send("GET /next HTTP/1.1\r\nHost: shop").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        proxy.release();
        assert_eq!(client.answer().await.body, "GET /held ");
        client.send(".example\r\n\r\n").await;
        assert_eq!(client.answer().await.body, "GET /next ");
    }
}

#[tokio::test]
async fn half_of_a_pipelined_head_has_a_deadline() {
    let limits = Limits { header_timeout: SHORT, ..Limits::default() };
    let proxy = Proxy::start(limits).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\nGET /b HTT").await;
    assert_eq!(client.answer().await.body, "GET /a ");
    client.rest().await;
    assert_eq!(proxy.paths(), ["/a"]);
}

#[tokio::test]
async fn pipelined_head_has_its_limit_too() {
    // Read with the body before it, so the connection does not see its beginning.
    let limits = Limits { header_bytes: 1024, ..Limits::default() };
    let proxy = Proxy::start(limits).await;
    let mut client = RawClient::new(proxy.connect().await);
    let filler = "x".repeat(2000);
    client
        .send(format!(
            "POST /a HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3000\r\n\r\n{}\
             GET /b HTTP/1.1\r\nHost: shop.example\r\nX-Filler: {filler}\r\n\r\n",
            "y".repeat(3000)
        ))
        .await;
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(client.answer().await.status(), 431);
    client.rest().await;
    assert!(!proxy.has("/b"));
}

#[tokio::test]
async fn http_1_0_is_closed_after_its_answer() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /a HTTP/1.0\r\nHost: shop.example\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "GET /a ");
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn upgraded_connection_carries_bytes_both_ways() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client
        .send(
            "GET /upgrade HTTP/1.1\r\nHost: shop.example\r\nConnection: upgrade\r\n\
             Upgrade: websocket\r\n\r\n",
        )
        .await;
    assert_eq!(client.answer().await.status(), 101);
    for text in ["one", "another"] {
        client.send(text).await;
        let RawClient { stream, buffer } = &mut client;
        let echo = within("an echo", read_exact(stream, buffer, text.len())).await;
        assert_eq!(echo.expect("still open"), text.as_bytes());
    }
}

#[tokio::test]
async fn what_the_service_has_flushed_is_not_held_back() {
    for transport in [Transport::Plain, Transport::Tls] {
        let proxy = Proxy::start_over(transport, Limits::default()).await;
        match transport {
            Transport::Plain => check(&proxy, proxy.connect().await).await,
            Transport::Tls => check(&proxy, proxy.connect_tls(b"http/1.1").await).await,
        }
    }

    async fn check(proxy: &Proxy, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut client = RawClient::new(stream);
        client.send("GET /trickle HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
        let RawClient { stream, buffer } = &mut client;
        within("the head", read_head(stream, buffer)).await.expect("open");
        let first = within("the first half", read_exact(stream, buffer, 5)).await;
        assert_eq!(first.expect("open"), b"first");
        proxy.release();
        let last = within("the second half", read_exact(stream, buffer, 5)).await;
        assert_eq!(last.expect("open"), b"-last");
    }
}

#[tokio::test]
async fn head_and_body_leave_together() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    let mut packet = vec![0; 4096];
    let count = within("a packet", client.stream.read(&mut packet)).await.expect("open");
    let text = String::from_utf8_lossy(&packet[..count]);
    assert!(text.ends_with("GET /a "), "the head came alone: {text}");
}

#[tokio::test]
async fn large_answers_arrive_whole() {
    for transport in [Transport::Plain, Transport::Tls] {
        let proxy = Proxy::start_over(transport, Limits::default()).await;
        let answer = match transport {
            Transport::Plain => RawClient::new(proxy.connect().await).get("/big").await,
            Transport::Tls => {
                RawClient::new(proxy.connect_tls(b"http/1.1").await).get("/big").await
            }
        };
        assert_eq!(answer.body.len(), 32 << 20);
    }
}

#[tokio::test]
async fn connection_can_be_ended_by_the_service() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /cut HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    client.rest().await;
    proxy.until("the connection is gone", |proxy| proxy.gate.counts().open == 0).await;
}

#[tokio::test]
async fn pieces_of_an_unknown_length_are_chunks_and_lie_bare_before_http_1_0() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /pieces HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let text = String::from_utf8(client.rest().await).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert_eq!(header(head, "transfer-encoding"), Some("chunked"));
    assert_eq!(body, "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n");

    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let text = String::from_utf8(client.rest().await).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert_eq!(header(head, "transfer-encoding"), None);
    assert_eq!(header(head, "connection"), Some("close"));
    assert_eq!(body, "onetwothree");
}

#[tokio::test]
async fn trailers_come_back() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client
        .send(
            "POST /trailers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n\
             2\r\nhi\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n",
        )
        .await;
    let text = String::from_utf8(client.rest().await).expect("text");
    assert!(text.ends_with("POST /trailers hi\r\n0\r\nX-Sum: 7\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn interim_answers_reach_who_knows_them() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let hints = client.answer().await;
    assert_eq!((hints.status(), header(&hints.head, "link").is_some()), (103, true));
    assert_eq!(client.answer().await.body, "GET /hints ");
    // It waits for the word, gets it, and the connection is kept.
    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status(), 100);
    client.send("hi").await;
    let answer = client.answer().await;
    assert_eq!((answer.body.as_str(), header(&answer.head, "connection")), ("POST /a hi", None));
    client.send("GET /hints HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200, "HTTP/1.0 knows no 103");
}

#[tokio::test]
async fn half_closed_upgrade_still_hears_the_rest() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    let head = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\
                Upgrade: websocket\r\n\r\nfirst";
    client.send(head).await;
    client.stream.shutdown().await.expect("our side is closed");
    assert_eq!(client.answer().await.status(), 101);
    assert_eq!(client.rest().await, b"first", "bytes behind the head are the other protocol's");
}

#[test]
fn connection_that_waits_holds_nothing_of_a_request() {
    type Serving = (Arc<Origin>, &'static Services<Origin>);
    fn size<F: Future>(_: impl FnOnce(Box<Conn>, &'static Context, Serving) -> F) -> usize {
        size_of::<F>()
    }
    let waiting = size(super::super::http1::serve::<Origin>);
    assert!(waiting <= 512, "the future of a connection has {waiting} bytes");
}
