//! Requests that wait for an endpoint with room (nginx `queue`), and endpoints that are chosen by how fast
//! they are (`least_time`).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::client::{Connection, Dial};
use crate::support::http::response;
use crate::support::loopback;
use crate::support::origin::Origin;
use crate::support::proxy::Binary;

/// In which a request is sure to be where it waits.
const A_WHILE: Duration = Duration::from_millis(200);

fn conf(upstream: &str) -> String {
    format!(
        "events {{}}\nhttp {{ log_format q '$upstream_queue_time'; upstream app {{ {upstream} }} server {{ \
         listen 127.0.0.1:{{port}}; location / {{ proxy_pass http://app; add_header X-Waited \
         $upstream_queue_time; }} }} }}\n"
    )
}

fn one(app: SocketAddr, queue: &str) -> Binary {
    let conf = conf(&format!("server {app} max_conns=1; queue {queue};"));
    Binary::serve(&conf, &["import", "--run", "-q"])
}

async fn send(binary: &Binary, target: &str) -> Connection {
    let mut connection = Dial::to(loopback(binary.port)).connect().await;
    connection.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_wait_in_their_order_and_no_more_than_so_many() {
    let mut app = Origin::start().await;
    let binary = one(app.address, "2 timeout=30");
    let mut first = send(&binary, "/1").await;
    let exchange = app.next().await;
    let mut second = send(&binary, "/2").await;
    tokio::time::sleep(A_WHILE).await;
    let mut third = send(&binary, "/3").await;
    tokio::time::sleep(A_WHILE).await;
    send(&binary, "/4").await.response().await.expect(502);
    assert_eq!(app.waiting(), 0, "one has all that it may have");
    exchange.respond(response("200 OK", &[], b"")).await;
    let answer = first.response().await.expect(200);
    assert_eq!(answer.field("x-waited").as_deref(), Some("-"));
    for (waits, target) in [(&mut second, "/2"), (&mut third, "/3")] {
        let exchange = app.next().await;
        assert_eq!(exchange.request.target, target);
        exchange.respond(response("200 OK", &[], b"")).await;
        let waited = waits.response().await.expect(200).field("x-waited").expect("it is told");
        assert!(waited.parse::<f64>().is_ok_and(|waited| waited > 0.1), "{waited}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_waits_no_longer_than_it_may() {
    let mut app = Origin::start().await;
    let binary = one(app.address, "5 timeout=200ms");
    let _first = send(&binary, "/1").await;
    let _exchange = app.next().await;
    let begun = Instant::now();
    send(&binary, "/2").await.response().await.expect(502);
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    assert_eq!(app.waiting(), 0);
}

/// Who has gone away holds no place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_the_queue_leaves_room_for_others() {
    let mut app = Origin::start().await;
    let binary = one(app.address, "1 timeout=30");
    let mut first = send(&binary, "/1").await;
    let exchange = app.next().await;
    let second = send(&binary, "/2").await;
    tokio::time::sleep(A_WHILE).await;
    drop(second);
    tokio::time::sleep(A_WHILE).await;
    let mut third = send(&binary, "/3").await;
    tokio::time::sleep(A_WHILE).await;
    exchange.respond(response("200 OK", &[], b"")).await;
    first.response().await.expect(200);
    let exchange = app.next().await;
    assert_eq!(exchange.request.target, "/3");
    exchange.respond(response("200 OK", &[], b"")).await;
    third.response().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_that_answers_soonest_gets_the_requests() {
    let (mut slow, mut fast) = (Origin::start().await, Origin::start().await);
    let conf =
        conf(&format!("least_time header; server {}; server {};", slow.address, fast.address));
    let binary = Binary::serve(&conf, &["import", "--run", "-q"]);
    let (mut of_slow, mut of_fast) = (0, 0);
    for _ in 0..12 {
        let mut client = send(&binary, "/").await;
        tokio::select! {
            exchange = slow.next() => {
                of_slow += 1;
                tokio::time::sleep(Duration::from_millis(150)).await;
                exchange.respond(response("200 OK", &[], b"")).await;
            }
            exchange = fast.next() => {
                of_fast += 1;
                exchange.respond(response("200 OK", &[], b"")).await;
            }
        }
        client.response().await.expect(200);
    }
    assert_eq!((of_slow, of_fast), (1, 11));
}
