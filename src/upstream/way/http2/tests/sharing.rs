//! Many requests on one connection, up to what either side allows.

use super::*;

#[tokio::test]
async fn requests_share_a_connection() {
    let worker = Worker::new().await;
    let (mut served, mut first) = worker.first().await;
    let mut second = worker.stream();
    assert_eq!((first.is_reused(), second.is_reused()), (false, true));
    assert!(second.is_ready());
    get(&mut second);
    let (_, mut one) = served.next().await;
    let (_, mut two) = served.next().await;
    answer(&mut two, 202);
    assert_eq!(head(&mut second).await.expect("an answer").0.status, 202);
    answer(&mut one, 201);
    assert_eq!(head(&mut first).await.expect("an answer").0.status, 201);
    assert_eq!(worker.pool.http2().count(), 1);
}

#[tokio::test]
async fn a_connection_takes_as_many_requests_as_its_worker_allows() {
    let worker = Worker::new().await;
    let mut first = worker.stream();
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(1);
    let (mut served, ready) = tokio::join!(worker.accept_as(&builder), first.ready());
    assert_eq!(ready, Ok(true));
    get(&mut first);
    let second = worker.stream();
    assert!(!second.is_ready(), "there is no room");
    let (_other, ready) = tokio::join!(worker.accept_as(&builder), second.ready());
    assert_eq!(ready, Ok(true));
    answer(&mut served.next().await.1, 200);
    assert_eq!(head(&mut first).await.expect("an answer").0.status, 200);
    drop(first);
    assert!(worker.stream().is_ready(), "there is room again");
    assert_eq!(worker.pool.http2().count(), 2);
}

#[tokio::test]
async fn who_waited_for_a_connection_that_is_full_asks_again() {
    let worker = Worker::new().await;
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(2);
    let burst: Vec<_> = (0..3).map(|_| worker.stream()).collect();
    let _served = worker.accept_as(&builder).await;
    let mut left = 0;
    let mut burst = burst.into_iter();
    let first = burst.next().expect("three");
    // The first to look finds one too many.
    left += u32::from(first.ready().await == Ok(false));
    drop(first);
    let others: Vec<_> = burst.collect();
    for other in &others {
        left += u32::from(other.ready().await == Ok(false));
    }
    assert_eq!(left, 1);
    assert!(!worker.stream().is_ready(), "the next one needs a connection of its own");
    let waiting: Vec<_> = (0..2).map(|_| worker.stream()).collect();
    assert_eq!(worker.pool.http2().count(), 2, "as many as the last one took wait for the next");
    drop((waiting, others));
}

#[tokio::test]
async fn a_fresh_connection_is_one_from_after_the_last_attempt() {
    let worker = Worker::new().await;
    let (_served, _first) = worker.first().await;
    let since = Instant::now();
    let fresh = worker.stream_since(Some(since));
    assert!(!fresh.is_ready(), "the one that is there is older");
    let another = worker.stream_since(Some(since));
    let (_other, ready) = tokio::join!(worker.accept(), another.ready());
    assert_eq!(ready, Ok(true));
    assert_eq!((fresh.is_ready(), worker.pool.http2().count()), (true, 2), "they share it");
}

#[tokio::test]
async fn a_slow_client_holds_up_no_other() {
    let worker = Worker::new().await;
    let (mut served, mut slow) = worker.first().await;
    let (_, mut respond) = served.next().await;
    let mut sending = respond.send_response(response(200), false).expect("open");
    head(&mut slow).await.expect("an answer");
    let piece = Bytes::from(vec![7; 1_000_000]);
    sending.send_data(piece.clone(), true).expect("open");
    settle().await;
    for _ in 0..3 {
        let mut quick = worker.stream();
        get(&mut quick);
        let (_, mut respond) = served.next().await;
        let mut sending = respond.send_response(response(200), false).expect("open");
        sending.send_data(piece.clone(), true).expect("open");
        head(&mut quick).await.expect("an answer");
        assert_eq!(body(&mut quick).await.expect("whole").len(), piece.len());
    }
    assert_eq!(body(&mut slow).await.expect("whole").len(), piece.len());
    assert_eq!(worker.pool.http2().count(), 1);
}

#[tokio::test]
async fn what_a_slow_client_leaves_lying_is_bounded_however_small_its_frames_are() {
    let worker = Worker::new().await;
    let (mut served, mut slow) = worker.first().await;
    let (_, mut respond) = served.next().await;
    let mut sending = respond.send_response(response(200), false).expect("open");
    head(&mut slow).await.expect("an answer");
    let sent = tokio::spawn(async move {
        let mut sent = 0;
        while sent < 200_000 {
            sending.reserve_capacity(1);
            while sending.capacity() == 0 {
                poll_fn(|cx| sending.poll_capacity(cx)).await.expect("open").expect("open");
            }
            sending.send_data(Bytes::from_static(b"x"), false).expect("open");
            sent += 1;
            if sent % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        sending.send_data(Bytes::new(), true).expect("open");
    });
    let window = super::super::STREAM_WINDOW as usize;
    let length = poll_fn(|cx| slow.poll_piece(cx)).await.expect("whole").expect("a piece");
    let deadline = Instant::now() + Duration::from_secs(20);
    while length + slow.collected() < window && Instant::now() < deadline {
        settle().await;
        collect(&mut slow).await;
    }
    settle().await;
    collect(&mut slow).await;
    assert_eq!(length + slow.collected(), window);
    assert_eq!(body(&mut slow).await.expect("whole").len(), 200_000, "and all of it arrives");
    sent.await.expect("no panic");
}

async fn collect(stream: &mut Stream) {
    poll_fn(|cx| {
        stream.collect(cx);
        std::task::Poll::Ready(())
    })
    .await;
}
