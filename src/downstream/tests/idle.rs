//! What connections hold while nothing is asked.

use std::any::Any;

use super::*;

/// Connections that moved much before they became idle.
const NUMBER: usize = 200;
const BODY: usize = 256 << 10;

/// KiB for each connection, both ends together.
async fn cost_of_idle(transport: Transport) -> u64 {
    let proxy = Proxy::start_over(transport, Limits::default()).await;
    let mut all = Vec::new();
    let mut before = 0;
    for number in 0..NUMBER + 20 {
        // The first ones pay for what is shared.
        if number == 20 {
            before = resident();
        }
        all.push(match transport {
            Transport::Plain => Box::new(use_once(proxy.connect().await).await) as Box<dyn Any>,
            Transport::Tls => Box::new(use_once(proxy.connect_tls(b"http/1.1").await).await),
        });
        proxy.notes.seen.lock().expect("no panic").clear();
        proxy.notes.arrived.lock().expect("no panic").clear();
    }
    assert_eq!(proxy.gate.counts().open, all.len());
    resident().saturating_sub(before) / NUMBER as u64
}

/// 256 KiB up and down.
async fn use_once<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> S {
    let mut client = RawClient::new(stream);
    let body = "x".repeat(BODY);
    client
        .send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n{body}"))
        .await;
    assert_eq!(client.answer().await.body.len(), BODY + "POST / ".len());
    client.stream
}

#[tokio::test]
async fn idle_connections_hold_no_buffers() {
    let cost = cost_of_idle(Transport::Plain).await;
    assert!(cost <= 8, "{cost} KiB");
}

#[tokio::test]
async fn idle_tls_connections_hold_no_buffers() {
    let cost = cost_of_idle(Transport::Tls).await;
    assert!(cost <= 40, "{cost} KiB");
}
