//! Connections that end, are told to end, or are silent.

use h2::Reason;

use super::*;

#[tokio::test]
async fn a_worker_that_goes_away_finishes_what_it_has_begun_and_gets_nothing_new() {
    let worker = Worker::new().await;
    let (mut served, mut first) = worker.first().await;
    let (_, mut respond) = served.next().await;
    let mut sending = respond.send_response(response(200), false).expect("open");
    served.order(Order::Finish);
    let mut second = worker.stream();
    eventually("it gets a connection of its own", || {
        second = worker.stream();
        !second.is_ready()
    })
    .await;
    sending.send_data(Bytes::from_static(b"whole"), true).expect("open");
    head(&mut first).await.expect("an answer");
    assert_eq!(body(&mut first).await.expect("whole"), b"whole");
    let (_other, ready) = tokio::join!(worker.accept(), second.ready());
    assert_eq!(ready, Ok(true));
    drop(first);
    served.task.await.expect("the first connection ends");
}

#[tokio::test]
async fn a_stream_that_the_worker_refuses_was_not_begun_with() {
    let worker = Worker::new().await;
    let (mut served, mut first) = worker.first().await;
    served.next().await.1.send_reset(Reason::REFUSED_STREAM);
    assert_eq!(head(&mut first).await.err(), Some(Failure::Unprocessed));
    let mut second = worker.stream();
    get(&mut second);
    served.next().await.1.send_reset(Reason::REFUSED_STREAM);
    assert_eq!(head(&mut second).await.err(), Some(Failure::UnprocessedReused));
}

/// RFC 9113 section 7: only REFUSED_STREAM says that nothing was done.
#[tokio::test]
async fn other_resets_are_answers_that_broke_off() {
    let worker = Worker::new().await;
    let (mut served, mut stream) = worker.first().await;
    for reason in [
        Reason::NO_ERROR,
        Reason::PROTOCOL_ERROR,
        Reason::INTERNAL_ERROR,
        Reason::CANCEL,
        Reason::ENHANCE_YOUR_CALM,
        Reason::HTTP_1_1_REQUIRED,
    ] {
        served.next().await.1.send_reset(reason);
        assert_eq!(head(&mut stream).await.err(), Some(Failure::Closed), "{reason:?}");
        stream = worker.stream();
        get(&mut stream);
    }
}

#[tokio::test]
async fn requests_above_the_last_of_a_goaway_were_not_begun_with_and_those_below_were() {
    let worker = Worker::new().await;
    let mut stream = worker.stream();
    let (mut tcp, ready) = tokio::join!(raw(&worker), stream.ready());
    assert_eq!(ready, Ok(true));
    get(&mut stream);
    let mut second = worker.stream();
    get(&mut second);
    settle().await;
    // GOAWAY: the last stream is 1, NO_ERROR.
    tcp.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]).await.expect("written");
    assert_eq!(head(&mut second).await.err(), Some(Failure::UnprocessedReused));
    drop(tcp);
    assert_eq!(
        head(&mut stream).await.err(),
        Some(Failure::Closed),
        "it may have been carried out"
    );
}

#[tokio::test]
async fn a_kept_connection_that_breaks_is_told_apart() {
    let worker = Worker::new().await;
    let (served, mut first) = worker.first().await;
    let mut second = worker.stream();
    get(&mut second);
    served.order(Order::Die);
    assert_eq!(head(&mut first).await.err(), Some(Failure::Closed));
    assert_eq!(head(&mut second).await.err(), Some(Failure::ClosedReused));
    eventually("it is over", || !worker.stream().is_ready()).await;
}

#[tokio::test]
async fn a_connection_that_takes_no_more_requests_has_not_begun_with_the_next() {
    let worker = Worker::new().await;
    let (served, _first) = worker.first().await;
    let mut second = worker.stream();
    served.order(Order::Finish);
    eventually("others get another one", || !worker.stream().is_ready()).await;
    get(&mut second);
    assert_eq!(head(&mut second).await.err(), Some(Failure::UnprocessedReused));
}

#[tokio::test]
async fn idle_connections_have_their_time() {
    let worker = Worker::new().await;
    let limit = Timeouts::default().keepalive;
    let (served, first) = worker.first().await;
    worker.pool.sweep(Instant::now() + 2 * limit);
    assert_eq!(worker.pool.http2().count(), 1, "a request has it");
    drop(first);
    let now = Instant::now();
    worker.pool.sweep(now + limit / 2);
    assert_eq!(worker.pool.http2().count(), 1);
    worker.pool.sweep(now + 2 * limit);
    assert_eq!(worker.pool.http2().count(), 0);
    served.task.await.expect("the worker is told");
}

#[tokio::test]
async fn a_connection_on_which_a_request_waited_in_vain_gets_no_other_until_it_is_heard_of() {
    let worker = Worker::new().await;
    let (mut served, first) = worker.first().await;
    let (_, mut respond) = served.next().await;
    eventually("perhaps nobody is there", || {
        first.suspect();
        !worker.stream().is_ready()
    })
    .await;
    answer(&mut respond, 200);
    eventually("somebody is", || worker.stream().is_ready()).await;
}

#[tokio::test]
async fn who_lets_go_of_a_stream_resets_it_and_no_other() {
    let worker = Worker::new().await;
    let (mut served, first) = worker.first().await;
    let mut second = worker.stream();
    get(&mut second);
    let (_, mut one) = served.next().await;
    let (_, mut two) = served.next().await;
    drop(first);
    let reset = poll_fn(|cx| one.poll_reset(cx)).await.expect("a reset");
    assert_eq!(reset, Reason::CANCEL);
    answer(&mut two, 200);
    assert_eq!(head(&mut second).await.expect("an answer").0.status, 200);
}

/// A worker that sends frames by hand: its settings have left.
async fn raw(worker: &Worker) -> TcpStream {
    let mut tcp = worker.tcp().await;
    tcp.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("written");
    tcp
}
