//! Heads, bodies and trailers, both ways.

use super::*;

#[tokio::test]
async fn a_request_is_what_was_said() {
    let worker = Worker::new().await;
    let mut stream = worker.stream();
    let (mut served, ready) = tokio::join!(worker.accept(), stream.ready());
    assert_eq!(ready, Ok(true));
    begin(&mut stream, &Method::POST, Announce::Length(5), false);
    send(&mut stream, b"abcde").await;
    stream.finish(None).expect("taken");
    let (request, _respond) = served.next().await;
    let (parts, mut sent) = request.into_parts();
    assert_eq!(
        (parts.method, parts.uri.to_string().as_str()),
        (Method::POST, "http://shop.internal/path")
    );
    assert_eq!(parts.headers["content-length"], "5");
    assert_eq!(parts.headers.len(), 1, "no host beside the authority");
    let mut heard = Vec::new();
    while let Some(piece) = sent.data().await {
        heard.extend_from_slice(&piece.expect("whole"));
    }
    assert_eq!(heard, b"abcde");
    assert!(sent.trailers().await.expect("an end").is_none());
}

#[tokio::test]
async fn messages_and_trailers_go_both_ways_at_once() {
    let worker = Worker::new().await;
    let mut stream = worker.stream();
    let (mut served, ready) = tokio::join!(worker.accept(), stream.ready());
    assert_eq!(ready, Ok(true));
    begin(&mut stream, &Method::POST, Announce::Chunked, false);
    let (request, mut respond) = served.next().await;
    let mut sent = request.into_body();
    let mut sending = respond.send_response(response(200), false).expect("open");
    assert_eq!(head(&mut stream).await.expect("before the body").1, Framing::Chunked);
    for word in [&b"one"[..], b"two"] {
        send(&mut stream, word).await;
        let heard = sent.data().await.expect("a body").expect("whole");
        sending.send_data(heard, false).expect("open");
        let length = poll_fn(|cx| stream.poll_piece(cx)).await.expect("whole").expect("a piece");
        assert_eq!(stream.piece(), word);
        stream.consume(length);
    }
    let mut trailers = Fields::new();
    trailers.push(b"X-Sum", b"2").expect("it is writable");
    stream.finish(Some(&trailers)).expect("taken");
    assert!(sent.data().await.is_none(), "trailers end it");
    assert_eq!(sent.trailers().await.expect("whole").expect("some")["x-sum"], "2");
    let mut map = HeaderMap::new();
    map.insert("grpc-status", "0".parse().expect("a value"));
    map.insert("set-cookie", "a=b".parse().expect("a value"));
    sending.send_trailers(map).expect("open");
    assert_eq!(poll_fn(|cx| stream.poll_piece(cx)).await.expect("whole"), None);
    let trailers = stream.take_trailers().expect("some");
    assert_eq!(trailers.len(), 1, "a cookie is no trailer");
    assert!(trailers.has_named(b"grpc-status"));
}

#[tokio::test]
async fn interim_answers_come_before_the_final_one() {
    let worker = Worker::new().await;
    let (mut served, mut stream) = worker.first().await;
    let (_, mut respond) = served.next().await;
    respond.send_informational(response(103)).expect("open");
    assert_eq!(head(&mut stream).await.expect("an answer").0.status, 103);
    respond.send_informational(response(103)).expect("open");
    answer(&mut respond, 204);
    assert_eq!(head(&mut stream).await.expect("an answer").0.status, 103);
    assert_eq!(head(&mut stream).await.expect("an answer").0.status, 204);
    assert_eq!(body(&mut stream).await, Ok(Vec::new()));
}

/// RFC 9113 section 8.1.1: a length is what comes.
#[tokio::test]
async fn lengths_are_held_to() {
    let worker = Worker::new().await;
    let (mut served, _first) = worker.first().await;
    let _first_there = served.next().await;
    for (announced, sent, method, framing, expected) in [
        ("5", Some("abcde"), Method::GET, Framing::Length(5), Ok(b"abcde".to_vec())),
        ("5", Some("abcd"), Method::GET, Framing::Length(5), Err(())),
        ("5", Some("abcdef"), Method::GET, Framing::Length(5), Err(())),
        ("0", None, Method::GET, Framing::Empty, Ok(Vec::new())),
        ("5", None, Method::HEAD, Framing::Empty, Ok(Vec::new())),
    ] {
        let mut stream = worker.stream();
        begin(&mut stream, &method, Announce::Nothing, true);
        let (_, mut respond) = served.next().await;
        let mut head = response(200);
        head.headers_mut().insert("content-length", announced.parse().expect("a value"));
        let mut sending = respond.send_response(head, sent.is_none()).expect("open");
        if let Some(sent) = sent {
            // The crate's server counts as well.
            let _ = sending.send_data(Bytes::from_static(sent.as_bytes()), true);
        }
        let found = head_to(&mut stream, &method).await.expect("an answer").1;
        assert_eq!(found, framing, "{announced} {sent:?}");
        let found = body(&mut stream).await.map_err(|_| ());
        assert_eq!(found, expected, "{announced} {sent:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_body_may_end_with_its_head() {
    let worker = Worker::new().await;
    let (mut served, mut stream) = worker.first().await;
    answer(&mut served.next().await.1, 200);
    assert_eq!(head(&mut stream).await.expect("an answer").1, Framing::Empty);
    assert_eq!(body(&mut stream).await, Ok(Vec::new()));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_whole() {
    let worker = Worker::new().await;
    let (mut served, mut stream) = worker.first().await;
    let (_, mut respond) = served.next().await;
    let mut sending = respond.send_response(response(200), false).expect("open");
    sending.send_data(Bytes::from_static(b"half"), false).expect("open");
    head(&mut stream).await.expect("an answer");
    let length = poll_fn(|cx| stream.poll_piece(cx)).await.expect("a piece").expect("a piece");
    stream.consume(length);
    served.order(Order::Die);
    assert!(poll_fn(|cx| stream.poll_piece(cx)).await.is_err());
}

#[tokio::test]
async fn a_worker_that_takes_nothing_keeps_the_client_waiting() {
    let worker = Worker::new().await;
    let mut stream = worker.stream();
    let mut builder = server::Builder::new();
    builder.initial_window_size(0);
    let (mut served, ready) = tokio::join!(worker.accept_as(&builder), stream.ready());
    assert_eq!(ready, Ok(true));
    begin(&mut stream, &Method::POST, Announce::Chunked, false);
    let asked = served.next().await;
    let taken = poll_fn(|cx| std::task::Poll::Ready(stream.poll_send(cx, b"abc"))).await;
    assert!(taken.is_pending() && stream.is_blocked());
    drop(asked);
    let refused = poll_fn(|cx| stream.poll_send(cx, b"abc")).await;
    assert!(refused.is_err(), "the worker has let go of the stream");
}

#[tokio::test]
async fn a_worker_may_answer_before_it_has_all_of_the_request() {
    let worker = Worker::new().await;
    let mut stream = worker.stream();
    let (mut served, ready) = tokio::join!(worker.accept(), stream.ready());
    assert_eq!(ready, Ok(true));
    begin(&mut stream, &Method::POST, Announce::Chunked, false);
    send(&mut stream, b"abc").await;
    let (_request, mut respond) = served.next().await;
    answer(&mut respond, 413);
    assert_eq!(head(&mut stream).await.expect("an answer").0.status, 413);
    assert_eq!(body(&mut stream).await, Ok(Vec::new()));
}
