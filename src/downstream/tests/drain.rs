//! The end of a worker, HTTP/1.

use std::time::Instant;

use super::*;

#[tokio::test]
async fn idle_connections_are_closed_at_once() {
    for transport in [Transport::Plain, Transport::Tls] {
        let proxy = Proxy::start_over(transport, Limits::default()).await;
        match transport {
            Transport::Plain => check(proxy.connect().await, proxy).await,
            Transport::Tls => check(proxy.connect_tls(b"http/1.1").await, proxy).await,
        }
    }

    async fn check(stream: impl AsyncRead + AsyncWrite + Unpin, proxy: Proxy) {
        let mut client = RawClient::new(stream);
        client.get("/").await;
        let begun = Instant::now();
        proxy.shutdown.send_replace(Shutdown::Draining);
        assert!(client.rest().await.is_empty());
        proxy.returned().await;
        assert!(begun.elapsed() < Duration::from_secs(1), "it waited for the peer to close");
    }
}

#[tokio::test]
async fn request_in_progress_is_finished() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /held HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    proxy.until("it arrives", |proxy| proxy.has("/held")).await;
    proxy.shutdown.send_replace(Shutdown::Draining);
    proxy
        .until("nobody listens", |proxy| std::net::TcpStream::connect(proxy.address).is_err())
        .await;
    assert!(!proxy.worker.is_finished(), "a request is being served");
    proxy.release();
    assert_eq!(client.answer().await.body, "GET /held ");
    assert!(client.rest().await.is_empty());
    proxy.returned().await;
}

#[tokio::test]
async fn head_on_its_way_is_waited_for_and_its_connection_closed() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.get("/first").await;
    client.send("GET /second HTTP/1.1\r\n").await;
    // The loop runs when the test waits; the head is begun after this.
    tokio::time::sleep(Duration::from_millis(20)).await;
    proxy.shutdown.send_replace(Shutdown::Draining);
    tokio::time::sleep(Duration::from_millis(20)).await;
    client.send("Host: shop.example\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.body, "GET /second ");
    assert_eq!(header(&answer.head, "connection"), Some("close"));
    assert!(client.rest().await.is_empty());
    drop(client);
    proxy.returned().await;
}

#[tokio::test]
async fn connection_that_waits_to_be_accepted_is_answered() {
    let proxy = Proxy::start(Limits::default()).await;
    // The runtime has one thread: nothing is accepted before the test waits.
    let stream = std::net::TcpStream::connect(proxy.address).expect("listening");
    stream.set_nonblocking(true).expect("a socket");
    proxy.shutdown.send_replace(Shutdown::Draining);
    let mut client = RawClient::new(TcpStream::from_std(stream).expect("a socket"));
    assert_eq!(client.get("/").await.body, "GET / ");
    assert!(client.rest().await.is_empty());
    drop(client);
    proxy.returned().await;
}

#[tokio::test]
async fn silent_connection_does_not_hold_up_the_drain() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    proxy.until("it is accepted", |proxy| proxy.gate.counts().open == 1).await;
    proxy.shutdown.send_replace(Shutdown::Draining);
    assert!(client.rest().await.is_empty());
    proxy.returned().await;
}

#[tokio::test]
async fn stop_cuts_a_request_in_progress() {
    let proxy = Proxy::start(Limits::default()).await;
    let mut client = RawClient::new(proxy.connect().await);
    client.send("GET /held HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    proxy.until("it arrives", |proxy| proxy.has("/held")).await;
    proxy.shutdown.send_replace(Shutdown::Draining);
    tokio::task::yield_now().await;
    proxy.shutdown.send_replace(Shutdown::Stopped);
    let Proxy { worker, .. } = proxy;
    within("the worker returns", worker).await.expect("no panic").expect("served");
    let mut rest = Vec::new();
    let _ = within("the end", client.stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
}
