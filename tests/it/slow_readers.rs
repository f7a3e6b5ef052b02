//! Clients that are slow to take an answer hold no worker (nginx `proxy_buffering`).

use std::time::Duration;

use crate::support::client::{Connection, Dial};
use crate::support::http::response;
use crate::support::origin::{Exchange, Origin};
use crate::support::proxy::Proxy;
use crate::support::within;

const HOST: &str = "app.example";
/// More than sockets hold.
const LENGTH: usize = 24 * 1024 * 1024;

fn yaml(origin: &Origin, route: &str) -> String {
    format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\nstore: memory\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{}' }}] }} }}\n\
         servers: [{{ routes: [{{ path: /, upstream: app{route} }}] }}]\n",
        origin.address
    )
}

fn body() -> Vec<u8> {
    (0..LENGTH).map(|n| (n / 7) as u8).collect()
}

async fn asked(origin: &mut Origin, proxy: &Proxy) -> (Connection, Exchange) {
    let mut client = Dial::to(proxy.address()).connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    (client, origin.next().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_free_before_a_slow_client_has_its_answer() {
    for (route, field) in [
        ("", ("X-A", "b")),
        (", ignore_headers: [X-Accel-Buffering]", ("X-Accel-Buffering", "no")),
        (", response_buffering: false", ("X-Accel-Buffering", "yes")),
    ] {
        let mut origin = Origin::start().await;
        let proxy = Proxy::start(&yaml(&origin, route));
        let (mut slow, exchange) = asked(&mut origin, &proxy).await;
        // All of it is taken, though nobody reads.
        exchange.respond(response("200 OK", &[field], &body())).await;
        // Its connection serves the next one.
        let (mut next, exchange) = asked(&mut origin, &proxy).await;
        exchange.respond(response("200 OK", &[], b"next")).await;
        assert_eq!(next.response().await.expect(200).text(), "next");
        assert_eq!(origin.connections(), 1);
        let answer = slow.response().await.expect(200);
        assert!(answer.content() == body());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_chunks_keeps_its_trailers_and_its_end() {
    let mut origin = Origin::start().await;
    let proxy = Proxy::start(&yaml(&origin, ""));
    let (mut slow, exchange) = asked(&mut origin, &proxy).await;
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n";
    let chunks =
        [format!("{head}{LENGTH:x}\r\n").as_bytes(), &body(), b"\r\n0\r\nX-End: yes\r\n\r\n"]
            .concat();
    exchange.respond(chunks).await;
    let answer = slow.response().await.expect(200);
    assert!(answer.content() == body());
    assert_eq!(answer.body.trailers.one("x-end").as_deref(), Some("yes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let mut origin = Origin::start().await;
    let proxy = Proxy::start(&yaml(&origin, ""));
    let (mut slow, mut exchange) = asked(&mut origin, &proxy).await;
    exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LENGTH + 1)).await;
    exchange.write(body()).await;
    exchange.close().await;
    assert!(slow.try_response().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_where_that_is_said() {
    for (route, field) in [
        (", response_buffering: false", ""),
        (", max_temp_file_size: 0", ""),
        ("", "X-Accel-Buffering: no\r\n"),
        ("", "Content-Type: text/event-stream\r\n"),
    ] {
        let mut origin = Origin::start().await;
        let proxy = Proxy::start(&yaml(&origin, route));
        let (mut slow, mut exchange) = asked(&mut origin, &proxy).await;
        exchange.write(format!("HTTP/1.1 200 OK\r\n{field}Content-Length: {LENGTH}\r\n\r\n")).await;
        let mut writing = Box::pin(exchange.respond(body()));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut writing).await;
        assert!(early.is_err(), "{route} {field}");
        let (answer, ()) = within("all of it", async {
            tokio::join!(async { slow.response().await.expect(200) }, writing)
        })
        .await;
        assert!(answer.content() == body());
    }
}
