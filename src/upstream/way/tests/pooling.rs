//! What is kept, for how long, and what is not.

use super::*;

fn give(pool: &Pool, link: Link, now: Instant) {
    pool.give_back(0, 0, link, now);
}

/// The port at our end, by which a connection is known.
fn port(link: &Link) -> u16 {
    link.local_port()
}

#[test]
fn pools_are_shared_and_connections_move_between_threads() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>(_: &T) {}
    shared::<Pool>();
    shared::<Link>();
    let pool = pool(upstream(Vec::new(), None), 8);
    moved(&pool.connect_to_known(0));
}

#[tokio::test]
async fn a_kept_connection_is_used_again() {
    let (listener, pool) = worker(8).await;
    let now = Instant::now();
    let (mut there, mut link) = pair(&listener, &pool).await;
    assert!(!link.is_reused());
    send(&mut link, b"one").await;
    there.write_all(b"first").await.expect("written");
    fill_to(&mut link, 5).await;
    link.consume(5);
    give(&pool, link, now);
    let mut link = pool.take(0, 0, now).expect("kept");
    assert!(link.is_reused());
    assert!(pool.take(0, 0, now).is_none(), "there was one");
    send(&mut link, b"two").await;
    there.write_all(b"second").await.expect("written");
    fill_to(&mut link, 6).await;
    assert_eq!(link.input(), b"second");
    let mut heard = [0; 6];
    there.read_exact(&mut heard).await.expect("sent");
    assert_eq!(&heard, b"onetwo");
}

#[tokio::test]
async fn the_newest_is_taken_first() {
    let (listener, pool) = worker(8).await;
    let now = Instant::now();
    let (_one, first) = pair(&listener, &pool).await;
    let (_two, second) = pair(&listener, &pool).await;
    let newest = port(&second);
    give(&pool, first, now);
    give(&pool, second, now);
    assert_eq!(port(&pool.take(0, 0, now).expect("kept")), newest);
}

#[tokio::test]
async fn a_connection_that_the_worker_closed_is_not_handed_out() {
    let (listener, pool) = worker(8).await;
    let now = Instant::now();
    let (_good, good) = pair(&listener, &pool).await;
    let (bad, link) = pair(&listener, &pool).await;
    let kept = port(&good);
    give(&pool, good, now);
    give(&pool, link, now);
    drop(bad);
    settle().await;
    assert_eq!(port(&pool.take(0, 0, now).expect("the other one")), kept);
    assert_eq!(pool.idle_count(), 0);
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_make_it_unfit() {
    let (listener, pool) = worker(8).await;
    let now = Instant::now();
    let (mut there, link) = pair(&listener, &pool).await;
    give(&pool, link, now);
    there.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("written");
    settle().await;
    assert!(pool.take(0, 0, now).is_none(), "an answer without a question");

    let (mut there, mut link) = pair(&listener, &pool).await;
    there.write_all(b"ab").await.expect("written");
    fill_to(&mut link, 2).await;
    link.consume(1);
    give(&pool, link, now);
    assert_eq!(pool.idle_count(), 0, "read and not consumed");
}

#[tokio::test]
async fn what_is_unwritten_or_half_closed_or_ended_is_not_kept() {
    let (listener, pool) = worker(8).await;
    let now = Instant::now();
    let (_there, mut link) = pair(&listener, &pool).await;
    link.output().push(1);
    give(&pool, link, now);
    assert_eq!(pool.idle_count(), 0, "unwritten");

    let (_there, mut link) = pair(&listener, &pool).await;
    poll_fn(|cx| link.poll_shutdown(cx)).await.expect("shut");
    give(&pool, link, now);
    assert_eq!(pool.idle_count(), 0, "half-closed");

    let (there, mut link) = pair(&listener, &pool).await;
    drop(there);
    assert_eq!(fill(&mut link).await, 0);
    give(&pool, link, now);
    assert_eq!(pool.idle_count(), 0, "ended");
}

#[tokio::test]
async fn idle_connections_have_their_time() {
    let (listener, pool) = worker(8).await;
    let now = Instant::now();
    let limit = Timeouts::default().keepalive;
    let (_one, first) = pair(&listener, &pool).await;
    give(&pool, first, now);
    let link = pool.take(0, 0, now + limit).expect("just in time");
    give(&pool, link, now);
    assert!(pool.take(0, 0, now + limit + Duration::from_millis(1)).is_none());

    let (_two, second) = pair(&listener, &pool).await;
    let (_three, third) = pair(&listener, &pool).await;
    give(&pool, second, now);
    give(&pool, third, now + Duration::from_secs(1));
    pool.sweep(now + limit);
    assert_eq!(pool.idle_count(), 2);
    pool.sweep(now + limit + Duration::from_millis(1));
    assert_eq!(pool.idle_count(), 1);
}

#[tokio::test]
async fn a_sweep_closes_what_the_worker_closed() {
    let (listener, pool) = worker(8).await;
    let now = Instant::now();
    let (there, link) = pair(&listener, &pool).await;
    give(&pool, link, now);
    drop(there);
    settle().await;
    pool.sweep(now);
    assert_eq!(pool.idle_count(), 0);
}

#[tokio::test]
async fn beyond_the_limit_the_longest_idle_one_goes() {
    let one = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let two = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = |listener: &TcpListener| Address::Inet(listener.local_addr().expect("bound"));
    let pool = pool(upstream(vec![address(&one), address(&two)], None), 2);
    let now = Instant::now();
    let second = Duration::from_secs(1);
    let mut accepted = Vec::new();
    for (at, endpoint) in [(0, 0), (1, 1), (2, 1)] {
        let link = pool.connect_to_known(endpoint).await.expect("a connection");
        accepted.push(if endpoint == 0 { one.accept().await } else { two.accept().await });
        pool.give_back(0, endpoint, link, now + at * second);
    }
    assert_eq!(pool.idle_count(), 2);
    assert!(pool.take(0, 0, now).is_none(), "it was idle for longest");
    assert!(pool.take(0, 1, now).is_some());
    assert!(pool.take(0, 1, now).is_some());
}

#[tokio::test]
async fn a_limit_of_none_keeps_none() {
    let (listener, pool) = worker(0).await;
    let (_there, link) = pair(&listener, &pool).await;
    give(&pool, link, Instant::now());
    assert_eq!(pool.idle_count(), 0);
}

#[tokio::test]
async fn connections_that_are_old_or_have_served_enough_are_not_kept() {
    let timeouts = Timeouts { keepalive_requests: 2, ..Timeouts::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = Address::Inet(listener.local_addr().expect("bound"));
    let pool = pool(UpstreamSettings { timeouts, ..upstream(vec![address], None) }, 8);
    let now = Instant::now();
    let (_worker, link) = pair(&listener, &pool).await;
    pool.give_back(0, 0, link, now);
    let link = pool.take(0, 0, now).expect("it has served once");
    pool.give_back(0, 0, link, now);
    assert!(pool.take(0, 0, now).is_none(), "it has served twice");
    let (_worker, link) = pair(&listener, &pool).await;
    pool.give_back(0, 0, link, now + Duration::from_secs(3601));
    assert!(pool.take(0, 0, now + Duration::from_secs(3601)).is_none(), "it is an hour old");
}
