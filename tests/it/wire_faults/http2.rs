//! HTTP/2 in front of workers that speak HTTP/1.1.

use std::future::poll_fn;

use bytes::Bytes;
use http::{HeaderMap, Request};

use super::{ANSWER, NAME, proxy};
use crate::support::client::Dial;
use crate::support::frames::{Frames, Outcome};
use crate::support::h2::H2;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::within;

fn tls(proxy: &Proxy) -> Dial {
    Dial::to(proxy.addresses()[1]).tls(NAME)
}

fn post() -> Request<()> {
    Request::post(format!("https://{NAME}/")).body(()).expect("a request")
}

/// RFC 9112 section 7.1: a second last chunk would be the next request.
#[tokio::test]
async fn a_body_whose_last_frame_is_empty_ends_once() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut h2 = H2::connect(&tls(&proxy)).await;
    for (body, expected) in [("", "0\r\n\r\n"), ("ab", "2\r\nab\r\n0\r\n\r\n")] {
        for _ in 0..2 {
            let (answer, mut sending) = h2.open(post(), false).await.expect("a stream");
            if !body.is_empty() {
                sending.send_data(Bytes::from(body), false).expect("room");
            }
            sending.send_data(Bytes::new(), true).expect("room");
            let request = origin.answer(ANSWER).await;
            assert_eq!(String::from_utf8_lossy(&request.body.raw), expected);
            assert_eq!(within("an answer", answer).await.expect("no reset").status(), 200);
        }
    }
    assert_eq!(origin.connections(), 1, "nothing was left on it");
}

/// RFC 9110 sections 15.2 and 10.1.1.
#[tokio::test]
async fn interim_answers_reach_http2_clients() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut h2 = H2::connect(&tls(&proxy)).await;
    let request =
        Request::post(format!("https://{NAME}/")).header("expect", "100-continue").body(());
    let (mut answer, mut sending) =
        h2.open(request.expect("a request"), false).await.expect("a stream");
    let mut exchange = origin.next_head().await;
    assert_eq!(exchange.request.field("expect").as_deref(), Some("100-continue"));
    for (head, status, link) in [
        ("100 Continue", 100, None),
        ("102 Processing", 102, None),
        ("103 Early Hints\r\nLink: </a>\r\nConnection: X\r\nX: y", 103, Some("</a>")),
        ("199 Anything", 199, None),
    ] {
        exchange.write(format!("HTTP/1.1 {head}\r\n\r\n")).await;
        let interim = poll_fn(|cx| answer.poll_informational(cx));
        let interim = within("an interim answer", interim).await.expect("one").expect("no reset");
        assert_eq!(interim.status(), status);
        assert!(
            !interim.headers().contains_key("x") && !interim.headers().contains_key("connection")
        );
        let found = interim.headers().get("link").map(|value| value.to_str().expect("text"));
        assert_eq!(found, link);
    }
    sending.send_data(Bytes::from("ab"), true).expect("room");
    exchange.read_body().await.expect("a body");
    assert_eq!(exchange.request.body.content, b"ab");
    exchange.respond(ANSWER).await;
    assert_eq!(within("an answer", answer).await.expect("no reset").status(), 200);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut h2 = H2::connect(&tls(&proxy)).await;
    let request =
        Request::post(format!("https://{NAME}/")).header("te", "trailers").body(()).expect("one");
    let (answer, mut sending) = h2.open(request, false).await.expect("a stream");
    sending.send_data(Bytes::from("ab"), false).expect("room");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "2".parse().expect("a value"));
    trailers.insert("content-length", "9".parse().expect("a value"));
    sending.send_trailers(trailers).expect("room");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nok\r\n0\r\nX-Sum: 3\r\nHost: b\r\n\r\n";
    let request = origin.answer(chunked).await;
    assert_eq!(String::from_utf8_lossy(&request.body.raw), "2\r\nab\r\n0\r\nx-sum: 2\r\n\r\n");
    assert_eq!(request.field("te").as_deref(), Some("trailers"));
    let mut body = within("an answer", answer).await.expect("no reset").into_body();
    assert_eq!(within("a body", body.data()).await.expect("one").expect("no reset"), "ok");
    assert!(within("its end", body.data()).await.is_none());
    let trailers = within("trailers", body.trailers()).await.expect("no reset").expect("some");
    let trailers: Vec<_> = trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(trailers, ["x-sum"]);
}

/// An answer that comes before the body's end is an answer, not a reset.
#[tokio::test]
async fn an_early_answer_is_seen_while_the_body_still_comes() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut h2 = H2::connect(&tls(&proxy)).await;
    for round in 0..10 {
        let (answer, mut sending) = h2.open(post(), false).await.expect("a stream");
        let pushing = async {
            // More than the route takes: 413 of ours.
            let mut left = 4 << 20;
            while left > 0 {
                sending.reserve_capacity(left.min(16 << 10));
                match poll_fn(|cx| sending.poll_capacity(cx)).await {
                    Some(Ok(room)) if room > 0 => {
                        let room = room.min(left);
                        left -= room;
                        if sending.send_data(vec![0; room].into(), left == 0).is_err() {
                            return;
                        }
                    }
                    _ => return,
                }
            }
        };
        let reading = async {
            let answer = within("an answer", answer).await.expect("no reset");
            let (head, mut body) = answer.into_parts();
            let mut length = 0;
            while let Some(piece) = within("a body", body.data()).await {
                length += piece.expect("no reset before the end").len();
            }
            (head.status.as_u16(), length)
        };
        let worker = async {
            let mut exchange = origin.next_head().await;
            exchange.peer_closed().await;
        };
        let (_, (status, length), ()) = tokio::join!(pushing, reading, worker);
        assert_eq!(status, 413, "round {round}");
        assert!(length > 50, "round {round}: its page has {length} bytes");
    }
}

/// A slow typist's frames, all at once.
#[tokio::test]
async fn a_burst_of_small_frames_is_a_body() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut frames = Frames::connect(&tls(&proxy)).await;
    let stream = frames.open(&pseudo("POST", "https", NAME, "/"), false).await;
    for number in 0..600 {
        frames.data(stream, b"x", number == 599).await;
    }
    let request = origin.answer(ANSWER).await;
    assert_eq!(request.body.content, vec![b'x'; 600]);
    assert_eq!(frames.outcome(stream).await, Outcome::Answered(200, b"ok".to_vec()));
}

fn pseudo<'a>(
    method: &'a str,
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
) -> [(&'a [u8], &'a [u8]); 4] {
    [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

/// RFC 9113 section 8.3: they never reach a worker, whatever they are refused with.
#[tokio::test]
async fn odd_pseudo_fields_reach_no_worker() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    for (method, scheme, authority, path) in [
        ("GET", "", NAME, "/"),
        ("GET", "ftp", NAME, "/"),
        ("GET", "https://a/", NAME, "/"),
        ("GET", "http\r\nX: y", NAME, "/"),
        ("", "https", NAME, "/"),
        ("GET / HTTP/1.1\r\nX:", "https", NAME, "/"),
        ("GE T", "https", NAME, "/"),
        ("GET", "https", "app.example b", "/"),
        ("GET", "https", "app.example\r\nX: y", "/"),
        ("GET", "https", "u@app.example", "/"),
        ("GET", "https", "", "/"),
        ("GET", "https", NAME, ""),
        ("GET", "https", NAME, "x"),
        ("GET", "https", NAME, "*"),
        ("GET", "https", NAME, "/a b"),
        ("GET", "https", NAME, "/ HTTP/1.1\r\nX: y"),
        ("GET", "https", NAME, "/\t"),
        ("GET", "https", NAME, "/\u{1}"),
    ] {
        let mut frames = Frames::connect(&tls(&proxy)).await;
        let stream = frames.open(&pseudo(method, scheme, authority, path), true).await;
        let outcome = tokio::select! {
            biased;
            outcome = frames.outcome(stream) => outcome,
            _ = origin.next() => panic!("{method:?} {scheme:?} {authority:?} {path:?} passed"),
        };
        let is_refused = match &outcome {
            Outcome::Reset => true,
            Outcome::Answered(status, _) => (400..500).contains(status),
        };
        assert!(is_refused, "{method:?} {scheme:?} {authority:?} {path:?}: {outcome:?}");
    }
}

/// The h2 crate drops it: RFC 9113 section 8.1 would have the whole request refused.
#[tokio::test]
async fn a_pseudo_field_among_trailers_goes_no_further() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut frames = Frames::connect(&tls(&proxy)).await;
    let stream = frames.open(&pseudo("POST", "https", NAME, "/"), false).await;
    frames.data(stream, b"ab", false).await;
    frames.headers(stream, &[(":path", "/admin"), ("x", "y")], true).await;
    let request = origin.answer(ANSWER).await;
    assert_eq!(request.target, "/");
    assert_eq!(String::from_utf8_lossy(&request.body.raw), "2\r\nab\r\n0\r\nx: y\r\n\r\n");
}

/// An answer that is none is none over HTTP/2 either: chunk syntax is nobody's page.
#[tokio::test]
async fn answers_with_two_readings_are_502_over_http2() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    for fields in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Content-Length: 5, 5",
    ] {
        let mut frames = Frames::connect(&tls(&proxy)).await;
        let stream = frames.open(&pseudo("GET", "https", NAME, "/"), true).await;
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n2\r\nab\r\n0\r\n\r\n");
        let (outcome, _) = tokio::join!(frames.outcome(stream), origin.answer(answer));
        let Outcome::Answered(status, _) = outcome else { panic!("{fields}: {outcome:?}") };
        assert_eq!(status, 502, "{fields}");
    }
    // Broken chunks end in a reset, never as if they were whole.
    let mut frames = Frames::connect(&tls(&proxy)).await;
    let stream = frames.open(&pseudo("GET", "https", NAME, "/"), true).await;
    let answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3 \r\nabc\r\n0\r\n\r\n";
    let (outcome, _) = tokio::join!(frames.outcome(stream), origin.answer(answer));
    assert_eq!(outcome, Outcome::Reset);
}
