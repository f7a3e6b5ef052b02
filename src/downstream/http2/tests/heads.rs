//! Heads and trailers, answers before the answer.

use std::future::poll_fn;

use super::frames::{DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM};
use super::*;

const PROTOCOL_ERROR: u32 = 1;

/// What comes of a head: its status, or how the stream was reset.
async fn outcome(fields: &[(&str, &str)]) -> (Result<u16, u32>, Vec<u16>) {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let mut frames = Frames::open(&proxy, &[]).await;
    frames.head(1, fields, END_STREAM).await;
    let frame = frames.of_kind(&[HEADERS, RST_STREAM]).await;
    let outcome = if frame.kind == HEADERS { Ok(frame.status()) } else { Err(frame.number()) };
    let is_served = !proxy.paths().is_empty();
    assert_eq!(is_served, outcome == Ok(200), "{fields:?}");
    // The connection lives on, whatever it was.
    frames.get(3, "/after").await;
    loop {
        let frame = frames.of_kind(&[HEADERS]).await;
        if frame.stream == 3 {
            assert_eq!(frame.status(), 200);
            return (outcome, proxy.refused());
        }
    }
}

/// RFC 9113 section 8.3.1. What the crate cannot read is reset; what only we refuse is 400, and is
/// noted.
#[tokio::test]
async fn pseudo_fields_are_what_a_request_line_would_be() {
    let good = [(":method", "GET"), (":scheme", "https"), (":path", "/")];
    let check = async |more: &[(&str, &str)], expected: Result<u16, u32>| {
        let fields = [&good[..], more].concat();
        let (outcome, refused) = outcome(&fields).await;
        assert_eq!(outcome, expected, "{more:?}");
        let noted = expected.ok().filter(|status| *status != 200);
        assert_eq!(refused, noted.into_iter().collect::<Vec<_>>(), "{more:?}");
    };
    check(&[(":authority", "shop.example")], Ok(200)).await;
    check(&[(":authority", "shop.example"), ("host", "SHOP.example")], Ok(200)).await;
    check(&[("host", "shop.example")], Ok(200)).await;
    check(&[], Ok(400)).await;
    check(&[(":authority", "shop.example"), ("host", "other.example")], Ok(400)).await;
    check(&[("host", "shop.example"), ("host", "shop.example")], Ok(400)).await;
    check(&[(":authority", "a"), (":authority", "b")], Err(PROTOCOL_ERROR)).await;
    check(&[(":authority", "a"), ("connection", "close")], Err(PROTOCOL_ERROR)).await;
    check(&[(":authority", "a"), ("te", "gzip")], Err(PROTOCOL_ERROR)).await;
    check(&[(":authority", "a"), ("expect", "more")], Ok(417)).await;
}

#[tokio::test]
async fn odd_schemes_are_refused() {
    for (scheme, expected) in [
        ("https", Ok(200)),
        ("http", Ok(200)),
        ("", Ok(400)),
        ("ftp", Ok(400)),
        ("https/x", Err(PROTOCOL_ERROR)),
        ("ht tps", Err(PROTOCOL_ERROR)),
    ] {
        let fields = [(":method", "GET"), (":scheme", scheme), (":authority", "a"), (":path", "/")];
        assert_eq!(outcome(&fields).await.0, expected, "{scheme:?}");
    }
}

#[tokio::test]
async fn crumbs_of_cookies_arrive_in_their_order() {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let mut frames = Frames::open(&proxy, &[]).await;
    let crumbs = [("cookie", "a=1"), ("x-other", "x"), ("cookie", "b=2"), ("cookie", "c=3; d=4")];
    let fields = [&frames::request("GET", "/a")[..], &crumbs[..]].concat();
    frames.head(1, &fields, END_STREAM).await;
    assert_eq!(frames.answer(1).await.0, 200);
    assert_eq!(proxy.seen()[0].cookies, ["a=1", "b=2", "c=3; d=4"]);
    assert_eq!(proxy.seen()[0].host, "shop.example");
}

#[tokio::test]
async fn interim_answers_reach_the_client() {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let (requests, _connection) = connect(&proxy).await;
    let mut ready = requests.clone().ready().await.expect("open");
    let (mut answer, _) = ready.send_request(get("/hints"), true).expect("sent");
    let interim = within("a 103", poll_fn(|cx| answer.poll_informational(cx))).await;
    let interim = interim.expect("there is one").expect("it is good");
    assert_eq!(interim.status(), 103);
    assert_eq!(interim.headers()["link"], "</a.css>; rel=preload");
    assert_eq!(within("the answer", answer).await.expect("answered").status(), 200);

    let mut ready = requests.clone().ready().await.expect("open");
    let post = Request::post("https://shop.example/a").header("expect", "100-continue");
    let post = post.body(()).expect("a request");
    let (mut answer, mut sending) = ready.send_request(post, false).expect("sent");
    let interim = within("a 100", poll_fn(|cx| answer.poll_informational(cx))).await;
    assert_eq!(interim.expect("there is one").expect("it is good").status(), 100);
    sending.send_data(Bytes::from_static(b"hi"), true).expect("open");
    assert_eq!(within("the answer", answer).await.expect("answered").status(), 200);
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let (requests, _connection) = connect(&proxy).await;
    let mut ready = requests.ready().await.expect("open");
    let post = Request::post("https://shop.example/trailers").body(()).expect("a request");
    let (answer, mut sending) = ready.send_request(post, false).expect("sent");
    sending.send_data(Bytes::from_static(b"hi"), false).expect("open");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().expect("a value"));
    trailers.insert("cookie", "sid=1".parse().expect("a value"));
    sending.send_trailers(trailers).expect("open");
    let mut body = within("the answer", answer).await.expect("answered").into_body();
    let data = within("data", body.data()).await.expect("there is some").expect("open");
    assert_eq!(data, "POST /trailers hi");
    let trailers = within("trailers", body.trailers()).await.expect("whole").expect("some");
    assert_eq!(trailers.len(), 1, "a cookie may not stand there: {trailers:?}");
    assert_eq!(trailers["x-sum"], "7");
}

/// A pseudo-field that the crate knows is dropped by it, and nobody sees it; any other ends the
/// connection.
#[tokio::test]
async fn no_trailer_is_named_like_a_pseudo_field() {
    for (name, is_known) in [(":path", true), (":authority", true), (":x", false), ("", false)] {
        let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
        let mut frames = Frames::open(&proxy, &[]).await;
        frames.post(1, "/trailers").await;
        frames.send(DATA, 0, 1, b"hi").await;
        frames.head(1, &[(name, "/other"), ("x-sum", "7")], END_STREAM).await;
        let frame = frames.of_kind(&[HEADERS, GOAWAY]).await;
        assert_eq!(frame.kind, if is_known { HEADERS } else { GOAWAY }, "{name:?}: {frame:?}");
        if is_known {
            assert_eq!(proxy.paths(), ["/trailers"]);
            frames.of_kind(&[DATA]).await;
            let trailers = frames.of_kind(&[HEADERS]).await;
            let text = trailers.payload.escape_ascii().to_string();
            assert!(trailers.ends_stream() && !text.contains(name), "{text}");
        }
    }
}
