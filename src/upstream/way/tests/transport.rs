//! Connecting, reading and writing over TCP and unix sockets.

use std::path::PathBuf;

use tokio::net::UnixListener;

use super::*;

#[tokio::test]
async fn unix_sockets_are_reached() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("worker.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let pool = pool(upstream(vec![Address::Unix(path)], None), 8);
    let (accepted, link) = tokio::join!(listener.accept(), pool.connect_to_known(0));
    let (mut there, mut link) = (accepted.expect("accepted").0, link.expect("connected"));
    send(&mut link, b"ping").await;
    let mut heard = [0; 4];
    there.read_exact(&mut heard).await.expect("sent");
    let now = Instant::now();
    pool.give_back(0, 0, link, now);
    assert!(pool.take(0, 0, now).is_some_and(|link| link.is_reused()));
}

#[tokio::test]
async fn a_unix_socket_whose_queue_is_full_is_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("worker.sock");
    let socket =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&socket2::SockAddr::unix(&path).expect("a path")).expect("bound");
    socket.listen(1).expect("listens");
    let mut settings = upstream(vec![Address::Unix(path)], None);
    let patient = pool(settings.clone(), 8);
    settings.timeouts.connect = Duration::from_millis(100);
    let pool = pool(settings, 8);
    let mut queued = Vec::new();
    let error = loop {
        match pool.connect_to_known(0).await {
            Ok(link) => queued.push(link),
            Err(error) => break error,
        }
        assert!(queued.len() < 10, "the queue is never full");
    };
    assert!(matches!(error, ConnectError::TimedOut), "{error}");
    let connecting = tokio::spawn(async move { patient.connect_to_known(0).await.map(drop) });
    settle().await;
    let _accepted = socket.accept().expect("somebody waits");
    connecting.await.expect("no panic").expect("there is room now");
}

#[tokio::test]
async fn a_socket_where_nobody_listens_refuses() {
    let (listener, pool) = worker(8).await;
    drop(listener);
    let error = pool.connect_to_known(0).await.expect_err("nobody listens");
    assert!(matches!(error, ConnectError::Refused), "{error}");
    let none = PathBuf::from("/nowhere/worker.sock");
    let pool = super::pool(upstream(vec![Address::Unix(none)], None), 8);
    let error = pool.connect_to_known(0).await.expect_err("no such file");
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error}");
}

#[test]
fn a_path_that_no_socket_can_have_is_an_error_at_start() {
    let path = PathBuf::from(format!("/{}", "x".repeat(200)));
    let error = Ways::new(&[upstream(vec![Address::Unix(path)], None)]).expect_err("too long");
    let text = error.to_string();
    assert!(text.starts_with("upstreams.shop: unix:/xxx"), "{text}");
}

#[tokio::test]
async fn tcp_options_are_set() {
    let (listener, pool) = worker(8).await;
    let (_there, link) = pair(&listener, &pool).await;
    let socket = link.socket();
    assert!(socket.tcp_nodelay().expect("an option"));
    assert!(socket.keepalive().expect("an option"));
    assert_eq!(socket.tcp_keepalive_time().expect("an option"), Duration::from_secs(60));
}

#[tokio::test]
async fn output_and_a_piece_behind_it_are_sent_in_order() {
    let (listener, pool) = worker(8).await;
    let (mut there, mut link) = pair(&listener, &pool).await;
    link.output().extend_from_slice(b"head ");
    assert_eq!(link.pending_output(), 5);
    let taken = poll_fn(|cx| link.poll_write(cx, b"body")).await.expect("written");
    assert_eq!((taken, link.pending_output()), (4, 0));
    let mut heard = [0; 9];
    there.read_exact(&mut heard).await.expect("sent");
    assert_eq!(&heard, b"head body");
}

#[tokio::test]
async fn large_output_waits_for_the_worker_and_arrives_whole() {
    let (listener, pool) = worker(8).await;
    let (mut there, mut link) = pair(&listener, &pool).await;
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (head, body) = bytes.split_at(1_000_000);
    let writing = async {
        link.output().extend_from_slice(head);
        let mut rest = body;
        while !rest.is_empty() {
            let taken = poll_fn(|cx| link.poll_write(cx, rest)).await.expect("written");
            assert!(taken > 0, "progress or an error");
            rest = &rest[taken..];
        }
        poll_fn(|cx| link.poll_shutdown(cx)).await.expect("shut");
    };
    let reading = async {
        let mut heard = Vec::new();
        there.read_to_end(&mut heard).await.expect("sent");
        heard
    };
    let ((), heard) = tokio::join!(writing, reading);
    assert!(heard == bytes, "{} bytes came", heard.len());
}

#[tokio::test]
async fn half_closed_the_worker_may_go_on_to_send() {
    let (listener, pool) = worker(8).await;
    let (mut there, mut link) = pair(&listener, &pool).await;
    poll_fn(|cx| link.poll_shutdown(cx)).await.expect("shut");
    let mut heard = Vec::new();
    there.read_to_end(&mut heard).await.expect("an end");
    assert!(heard.is_empty());
    there.write_all(b"still here").await.expect("our side is open");
    fill_to(&mut link, 10).await;
    assert_eq!(link.input(), b"still here");
    drop(there);
    link.consume(10);
    assert_eq!(fill(&mut link).await, 0);
    assert_eq!(fill(&mut link).await, 0, "an end stays one");
    assert!(!link.is_truncated(), "TCP tells its end");
}

#[tokio::test]
async fn input_grows_while_the_answer_is_large() {
    let (listener, pool) = worker(8).await;
    let (mut there, mut link) = pair(&listener, &pool).await;
    let writing = async {
        there.write_all(&vec![7; 1_000_000]).await.expect("written");
        drop(there);
    };
    let reading = async {
        let mut total = 0;
        loop {
            let read = fill(&mut link).await;
            if read == 0 {
                return total;
            }
            total += read;
            assert!(link.input().iter().all(|byte| *byte == 7));
            link.consume(read);
        }
    };
    let ((), total) = tokio::join!(writing, reading);
    assert_eq!(total, 1_000_000);
    assert_eq!(link.input_capacity(), 64 * 1024);
}

#[tokio::test]
async fn unread_input_has_a_limit() {
    let (listener, pool) = worker(8).await;
    let (mut there, mut link) = pair(&listener, &pool).await;
    let writing = tokio::spawn(async move { there.write_all(&vec![7; 200_000]).await });
    let error = loop {
        if let Err(error) = poll_fn(|cx| link.poll_fill(cx)).await {
            break error;
        }
    };
    assert_eq!(error.to_string(), "64 KiB were read that nobody consumes");
    assert_eq!(link.failure(&error, false), Failure::Flaw);
    assert_eq!(link.input().len(), 64 * 1024);
    link.consume(1);
    fill(&mut link).await;
    assert_eq!(link.input().len(), 64 * 1024, "there is room for one");
    drop(link);
    let _ = writing.await.expect("no panic");
}

#[tokio::test]
async fn a_worker_that_ended_its_side_still_hears_us() {
    let (listener, pool) = worker(8).await;
    let (mut there, mut link) = pair(&listener, &pool).await;
    there.shutdown().await.expect("shut");
    assert_eq!(fill(&mut link).await, 0);
    send(&mut link, b"still here").await;
    let mut heard = [0; 10];
    there.read_exact(&mut heard).await.expect("sent");
    assert_eq!(&heard, b"still here");
}

#[tokio::test]
async fn an_answer_is_read_though_the_worker_slams_the_door() {
    let (listener, pool) = worker(8).await;
    let (mut there, mut link) = pair(&listener, &pool).await;
    send(&mut link, b"POST / HTTP/1.1\r\ncontent-length: 9000000\r\n\r\n").await;
    there.readable().await.expect("something came");
    there.write_all(b"HTTP/1.1 413 \r\n\r\n").await.expect("written");
    // With bytes unread, this resets the connection.
    drop(there);
    let piece = vec![0; 1_000_000];
    let broken = loop {
        if let Err(error) = poll_fn(|cx| link.poll_write(cx, &piece)).await {
            break error;
        }
    };
    assert_eq!(link.failure(&broken, false), Failure::Closed);
    fill_to(&mut link, 16).await;
    assert_eq!(link.input(), b"HTTP/1.1 413 \r\n\r\n");
}

#[tokio::test]
async fn a_quiet_connection_holds_no_buffer() {
    let (listener, pool) = worker(8).await;
    let (mut there, mut link) = pair(&listener, &pool).await;
    let waiting = poll_fn(|cx| Poll::Ready(link.poll_fill(cx).is_pending())).await;
    assert!(waiting && link.input_capacity() == 0, "nothing came yet");
    there.write_all(b"ab").await.expect("written");
    fill_to(&mut link, 2).await;
    link.consume(1);
    link.release_buffers();
    assert_eq!(link.input(), b"b", "what is unread stays");
    link.consume(1);
    link.release_buffers();
    assert_eq!(link.input_capacity(), 0);
    there.write_all(b"cd").await.expect("written");
    fill_to(&mut link, 2).await;
    assert_eq!(link.input(), b"cd");
    link.consume(2);
    link.release_buffers();
    drop(there);
    assert_eq!(fill(&mut link).await, 0);
}

#[tokio::test]
async fn what_broke_is_named_for_the_table() {
    let (listener, pool) = worker(8).await;
    let now = Instant::now();
    let (_there, link) = pair(&listener, &pool).await;
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(link.failure(&reset, false), Failure::Closed, "a new one");
    pool.give_back(0, 0, link, now);
    let link = pool.take(0, 0, now).expect("kept");
    for (kind, has_answered, expected) in [
        (io::ErrorKind::ConnectionReset, false, Failure::ClosedReused),
        (io::ErrorKind::BrokenPipe, false, Failure::ClosedReused),
        (io::ErrorKind::ConnectionReset, true, Failure::Closed),
        (io::ErrorKind::TimedOut, false, Failure::TimedOut),
        (io::ErrorKind::InvalidData, false, Failure::Tls),
    ] {
        assert_eq!(link.failure(&kind.into(), has_answered), expected, "{kind}");
    }
    assert_eq!(link.closed(false), Failure::ClosedReused);
    assert_eq!(link.closed(true), Failure::Closed);
}
