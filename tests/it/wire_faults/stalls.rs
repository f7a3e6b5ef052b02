//! A body that stops: 408 wherever it does, and nobody's fault but the client's.

use std::time::Duration;

use bytes::Bytes;

use super::{ANSWER, NAME, dial, proxy};
use crate::support::client::{Connection, Dial};
use crate::support::h2::H2;
use crate::support::http::Broken;
use crate::support::origin::{Origin, Responder};
use crate::support::proxy::Proxy;
use crate::support::within;

const SHORT: &str = ", body_timeout: 200ms";

/// Where a body may stop.
const STOPS: &[(&str, &str)] = &[
    ("Content-Length: 3", ""),
    ("Content-Length: 3", "ab"),
    ("Transfer-Encoding: chunked", ""),
    ("Transfer-Encoding: chunked", "5"),
    ("Transfer-Encoding: chunked", "5;ext"),
    ("Transfer-Encoding: chunked", "5\r\n"),
    ("Transfer-Encoding: chunked", "5\r\nab"),
    ("Transfer-Encoding: chunked", "2\r\nab"),
    ("Transfer-Encoding: chunked", "2\r\nab\r\n"),
    ("Transfer-Encoding: chunked", "2\r\nab\r\n0\r\n"),
    ("Transfer-Encoding: chunked", "2\r\nab\r\n0\r\nX-Tr"),
    ("Transfer-Encoding: chunked", "2\r\nab\r\n0\r\nX-Trailer: a\r\n"),
];

/// Asks until both endpoints must have been asked.
pub async fn all_are_asked(proxy: &Proxy, origin: &mut Origin, other: &Responder) {
    let before = other.seen().len();
    let mut asked = 0;
    for _ in 0..4 {
        let mut client = dial(proxy).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        tokio::select! {
            biased;
            answer = client.response() => drop(answer.expect(200)),
            exchange = origin.next() => {
                exchange.respond(ANSWER).await;
                asked += 1;
            }
        }
    }
    assert_eq!((asked, other.seen().len() - before), (2, 2), "both endpoints are asked in turn");
}

/// An origin that never answers what has no whole body, and one that answers by itself.
async fn endpoints() -> (Origin, Responder, Proxy) {
    let origin = Origin::start().await;
    let other = Responder::start(|_| ANSWER.into()).await;
    let proxy = proxy(&[origin.address, other.address], SHORT);
    (origin, other, proxy)
}

async fn stop(mut client: Connection, fields: &str, body: &str) {
    client.send(format!("POST / HTTP/1.1\r\nHost: {NAME}\r\n{fields}\r\n\r\n{body}")).await;
    let answer = client.response().await;
    assert_eq!(answer.status, 408, "{fields} {body:?}");
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
}

/// What they were sent of broken requests.
async fn forget(origin: &mut Origin) {
    while origin.waiting() > 0 {
        origin.next_head().await.peer_closed().await;
    }
}

#[tokio::test]
async fn a_body_that_stops_is_408_and_takes_no_endpoint_out() {
    let (mut origin, other, proxy) = endpoints().await;
    for (fields, body) in STOPS {
        stop(dial(&proxy).await, fields, body).await;
    }
    forget(&mut origin).await;
    all_are_asked(&proxy, &mut origin, &other).await;
    let tls = Dial::to(proxy.addresses()[1]).tls(NAME);
    for (fields, body) in STOPS.iter().step_by(3) {
        stop(tls.connect().await, fields, body).await;
    }
    forget(&mut origin).await;
    all_are_asked(&proxy, &mut origin, &other).await;
}

#[tokio::test]
async fn a_body_that_stops_behind_a_100_is_408() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], SHORT);
    let mut client = dial(&proxy).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .await;
    let mut exchange = origin.next_head().await;
    exchange.write("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(client.bytes().await.expect("a word").starts_with(b"HTTP/1.1 100 "));
    client.send("a").await;
    client.response().await.expect(408);
    exchange.peer_closed().await;
}

#[tokio::test]
async fn a_body_that_stops_over_http2_is_408_and_takes_no_endpoint_out() {
    let (mut origin, other, proxy) = endpoints().await;
    let mut h2 = H2::connect(&Dial::to(proxy.addresses()[1]).tls(NAME)).await;
    for (length, body) in [(Some("3"), ""), (Some("3"), "ab"), (None, ""), (None, "ab")] {
        let mut request = http::Request::post(format!("https://{NAME}/"));
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let request = request.body(()).expect("a request");
        let (answer, mut sending) = h2.open(request, false).await.expect("a stream");
        if !body.is_empty() {
            sending.send_data(Bytes::from(body), false).expect("room");
        }
        let answer = within("an answer", answer).await.expect("no reset");
        assert_eq!(answer.status(), 408, "{length:?} {body}");
    }
    // Frames that carry nothing are no progress.
    let request = http::Request::post(format!("https://{NAME}/")).body(()).expect("a request");
    let (answer, mut sending) = h2.open(request, false).await.expect("a stream");
    let drip = async {
        while sending.send_data(Bytes::new(), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = async { within("an answer", answer).await.expect("no reset").status() };
    tokio::select! {
        status = answer => assert_eq!(status, 408),
        () = drip => panic!("the stream was reset without an answer"),
    }
    forget(&mut origin).await;
    all_are_asked(&proxy, &mut origin, &other).await;
}

/// It cannot be told any more; it notices.
#[tokio::test]
async fn a_body_that_stops_beside_its_answer_breaks_that_off_and_takes_no_endpoint_out() {
    let (mut origin, other, proxy) = endpoints().await;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab";
    let mut met = 0;
    for _ in 0..2 {
        let mut client = dial(&proxy).await;
        client.send(post).await;
        tokio::select! {
            biased;
            answer = client.response() => drop(answer.expect(408)),
            mut exchange = origin.next_head() => {
                exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhalf").await;
                let answer = client.try_response().await.map(|answer| answer.status);
                assert_eq!(answer, Err(Broken::Truncated(b"half".to_vec())));
                exchange.peer_closed().await;
                met += 1;
            }
        }
    }
    assert_eq!(met, 1);
    all_are_asked(&proxy, &mut origin, &other).await;
}
