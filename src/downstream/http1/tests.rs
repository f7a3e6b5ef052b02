//! What a connection has of a request, and gives back after it.

use tokio::sync::mpsc;

use super::*;
use crate::downstream::tests::{LONG, Proxy, RawClient, Transport, within};
use crate::listen::Limits;

/// What a connection holds.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    buffers: bool,
    timer: bool,
    trailers: bool,
}

fn held(http1: &mut Http1) -> Held {
    Held {
        buffers: http1.conn.held() > 0,
        timer: http1.alarm.has_timer(),
        trailers: http1.take_trailers().is_some(),
    }
}

/// Serves one request, and says what is held while it is, after it, and while the next one is awaited.
async fn serve_once(conn: Box<Conn>, service: &impl Service, told: mpsc::UnboundedSender<Held>) {
    let mut http1 = Http1::new(conn);
    assert!(http1.conn.readable().await);
    let Head { request, framing, .. } =
        head::read(&mut http1.conn, 4096, service).await.expect("a good head");
    http1.begin_request(&request, framing);
    service.serve(request, Client::Http1(&mut http1)).await;
    http1.end_request();
    assert!(http1.keeps && http1.conn.held() > 0 && http1.alarm.has_timer());
    http1.rest();
    told.send(held(&mut http1)).expect("the test waits");
    assert!(!http1.conn.readable().await, "nothing follows");
    told.send(held(&mut http1)).expect("the test waits");
}

#[tokio::test]
async fn idle_connection_holds_no_buffer_no_timer_and_no_trailers() {
    for transport in [Transport::Plain, Transport::Tls] {
        let (told, mut hears) = mpsc::unbounded_channel();
        let proxy = Proxy::start_by(
            transport,
            Limits::default(),
            LONG,
            |origin, listeners, context, shutdown| {
                let origin = Arc::new(origin);
                let begin = move || {
                    let (origin, told) = (origin.clone(), told.clone());
                    move |conn| {
                        let (origin, told) = (origin.clone(), told.clone());
                        async move { serve_once(conn, &*origin, told).await }
                    }
                };
                let changes = mpsc::unbounded_channel().1;
                tokio::spawn(listen::run(listeners, context, begin, (changes, shutdown)))
            },
        );
        match transport {
            Transport::Plain => ask(RawClient::new(proxy.connect().await)).await,
            Transport::Tls => ask(RawClient::new(proxy.connect_tls(b"http/1.1").await)).await,
        }
        let nothing = Held { buffers: false, timer: false, trailers: false };
        for _ in 0..2 {
            assert_eq!(within("a word", hears.recv()).await, Some(Held { ..nothing }));
        }
    }

    async fn ask<S>(mut client: RawClient<S>)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        // In two pieces, so that the service waits and sets its alarm.
        client
            .send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        client.send("0\r\nX-Sum: 7\r\n\r\n").await;
        assert_eq!(client.answer().await.body, "POST /a hi");
    }
}
