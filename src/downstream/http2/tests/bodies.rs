//! Bodies: answers before them, windows, deadlines, floods.

use std::time::Instant;

use super::frames::{
    DATA, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING, RST_STREAM, WINDOW_UPDATE, frame,
};
use super::*;

const NO_ERROR: u32 = 0;

async fn start(patience: Duration) -> Proxy {
    Proxy::start_with(Transport::Tls, Limits::default(), patience).await
}

/// RFC 9113 section 8.1. A reset in the packet of the answer hides the answer from some clients, so
/// it comes later.
#[tokio::test]
async fn answer_to_a_body_that_still_comes_is_whole_before_any_reset() {
    for status in [401, 413] {
        let proxy = start(LONG).await;
        let mut frames = Frames::open(&proxy, &[]).await;
        frames.post(1, &format!("/early/{status}")).await;
        frames.send(DATA, 0, 1, &[b'x'; 16 << 10]).await;
        assert_eq!(frames.answer(1).await, (status, "too early".to_owned()));
        let soon = tokio::time::timeout(SHORT, frames.of_kind(&[RST_STREAM])).await;
        assert!(soon.is_err(), "{status}: {soon:?}");
        frames.send(DATA, 0, 1, &[b'x'; 16 << 10]).await;
        let reset = frames.of_kind(&[RST_STREAM]).await;
        assert_eq!((reset.stream, reset.number()), (1, NO_ERROR));
        frames.get(3, "/after").await;
        assert_eq!(frames.answer(3).await, (200, "GET /after ".to_owned()));
        proxy.until("both are over", |proxy| proxy.serving() == 0).await;
    }
}

#[tokio::test]
async fn early_answer_is_seen_by_whoever_sends_all_of_the_body() {
    let proxy = start(LONG).await;
    let (mut requests, _connection) = connect(&proxy).await;
    let post = Request::post("https://shop.example/early/413").body(()).expect("a request");
    let body = Bytes::from(vec![b'x'; 8 << 20]);
    let answer = within("an answer", request(&mut requests, post, Some(body))).await;
    assert_eq!(answer.expect("seen"), (413, "too early".to_owned()));
}

#[tokio::test]
async fn stream_whose_client_takes_nothing_is_cut_and_others_are_not() {
    let proxy = start(SHORT).await;
    let mut frames = Frames::open(&proxy, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let begun = Instant::now();
    frames.get(1, "/big").await;
    assert_eq!(frames.of_kind(&[HEADERS, DATA]).await.kind, HEADERS);
    let reset = frames.of_kind(&[RST_STREAM, DATA]).await;
    assert_eq!((reset.kind, reset.stream), (RST_STREAM, 1));
    assert!(begun.elapsed() >= SHORT);
    proxy.until("it is over", |proxy| proxy.serving() == 0).await;
    frames.get(3, "/after").await;
    frames.send(WINDOW_UPDATE, 0, 3, &1000_u32.to_be_bytes()).await;
    assert_eq!(frames.answer(3).await.0, 200);
}

#[tokio::test]
async fn streams_that_nobody_reads_cost_little_and_hold_up_nobody() {
    let proxy = start(SHORT * 20).await;
    let before = resident();
    let mut all = Vec::new();
    for _ in 0..10 {
        let mut frames = Frames::open(&proxy, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        for number in 0..90 {
            frames.get(number * 2 + 1, "/big").await;
        }
        all.push(frames);
    }
    proxy.until("all are served", |proxy| proxy.serving() == 900).await;
    // Each of them has 32 MiB to send; two thirds of what this may cost are the clients' own.
    let cost = resident().saturating_sub(before);
    assert!(cost < 120 << 10, "{cost} KiB");
    let (mut requests, _connection) = connect(&proxy).await;
    let answer = within("an answer", request(&mut requests, get("/a"), None)).await;
    assert_eq!(answer.expect("answered").0, 200);
    proxy.until("all are cut", |proxy| proxy.serving() == 0).await;
}

#[tokio::test]
async fn body_that_stalls_is_answered_and_then_reset() {
    let proxy = start(SHORT).await;
    let mut frames = Frames::open(&proxy, &[]).await;
    frames.post(1, "/a").await;
    frames.send(DATA, 0, 1, b"half").await;
    let begun = Instant::now();
    let head = frames.of_kind(&[HEADERS, RST_STREAM]).await;
    assert_eq!(head.status(), 408);
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(frames.of_kind(&[DATA, RST_STREAM]).await.payload, b"late");
    assert_eq!(frames.of_kind(&[RST_STREAM]).await.number(), NO_ERROR);
    frames.get(3, "/after").await;
    assert_eq!(frames.answer(3).await.0, 200);
}

/// Only bytes are progress.
#[tokio::test]
async fn body_of_empty_frames_stalls() {
    let proxy = start(SHORT).await;
    let mut frames = Frames::open(&proxy, &[]).await;
    frames.post(1, "/a").await;
    for _ in 0..60 {
        frames.send(DATA, 0, 1, b"").await;
        tokio::time::sleep(SHORT / 20).await;
    }
    assert_eq!(frames.of_kind(&[HEADERS, RST_STREAM]).await.status(), 408);
}

#[tokio::test]
async fn burst_of_small_frames_is_taken() {
    let proxy = start(LONG).await;
    let mut frames = Frames::open(&proxy, &[]).await;
    frames.post(1, "/asleep").await;
    let mut burst: Vec<u8> = (0..300).flat_map(|_| frame(DATA, 0, 1, b"x")).collect();
    burst.extend(frame(DATA, END_STREAM, 1, b""));
    frames.send_raw(&burst).await;
    // Nobody reads until the whole burst is here: the ping behind it is answered.
    frames.send(PING, 0, 0, b"12345678").await;
    assert_eq!(frames.of_kind(&[PING]).await.payload, b"12345678");
    proxy.release();
    assert_eq!(frames.answer(1).await, (200, format!("POST /asleep {}", "x".repeat(300))));
}

/// Sends as much as the windows let, then hears what came, again and again.
#[tokio::test]
async fn four_mebibytes_take_few_round_trips() {
    let proxy = start(LONG).await;
    let mut frames = Frames::open(&proxy, &[]).await;
    let initial = frames.settings.iter().find(|(name, _)| *name == INITIAL_WINDOW_SIZE);
    let mut stream_window = u64::from(initial.expect("it is larger than by default").1);
    let mut connection_window = 65_535;
    frames.post(1, "/a").await;
    let (size, mut sent, mut rounds) = (4_u64 << 20, 0, 0);
    let piece = vec![b'x'; 16 << 10];
    while sent < size {
        rounds += 1;
        loop {
            let room = stream_window.min(connection_window).min(size - sent).min(16 << 10);
            if room == 0 {
                break;
            }
            let length = usize::try_from(room).expect("small");
            frames.send(DATA, 0, 1, &piece[..length]).await;
            (stream_window, connection_window) = (stream_window - room, connection_window - room);
            sent += room;
        }
        let mut has_more = sent < size && stream_window.min(connection_window) == 0;
        frames.send(PING, 0, 0, b"12345678").await;
        let mut is_answered = false;
        while has_more || !is_answered {
            let frame = frames.of_kind(&[WINDOW_UPDATE, PING]).await;
            match (frame.kind, frame.stream) {
                (PING, _) => is_answered = true,
                (_, 0) => connection_window += u64::from(frame.number()),
                _ => stream_window += u64::from(frame.number()),
            }
            has_more &= stream_window.min(connection_window) == 0;
        }
    }
    assert!(rounds <= 32, "{rounds} round trips");
    frames.send(DATA, END_STREAM, 1, b"").await;
    // Large as it is: the answer goes beyond the client's windows.
    assert_eq!(frames.of_kind(&[HEADERS]).await.status(), 200);
}

/// RFC 9113 section 6.8: two GOAWAYs, and a ping in between that this client does not answer.
#[tokio::test]
async fn peer_that_never_answers_the_goodbye_is_not_served_without_end() {
    let limits = Limits { keepalive_requests: 1, ..Limits::default() };
    let proxy = Proxy::start_over(Transport::Tls, limits).await;
    let mut frames = Frames::open(&proxy, &[]).await;
    frames.stay_silent();
    frames.get(1, "/a").await;
    assert_eq!(frames.of_kind(&[HEADERS, GOAWAY]).await.kind, GOAWAY);
    let (begun, mut stream) = (Instant::now(), 3);
    // It goes on asking; some of it is served, in case it was on its way.
    within("the end", async {
        while frames.try_send(HEADERS, 5, stream, &[0x82, 0x84, 0x87, 0x01, 1, b'a']).await {
            stream += 2;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    proxy.until("it is gone", |proxy| proxy.gate.counts().open == 0).await;
}

#[tokio::test]
async fn idle_connection_gets_a_goaway() {
    let limits = Limits { keepalive_timeout: SHORT, ..Limits::default() };
    let proxy = Proxy::start_over(Transport::Tls, limits).await;
    let mut frames = Frames::open(&proxy, &[]).await;
    frames.get(1, "/a").await;
    assert_eq!(frames.answer(1).await.0, 200);
    let goaway = frames.of_kind(&[GOAWAY]).await;
    assert_eq!(goaway.payload[4..8], [0; 4], "no error");
    while frames.next().await.is_some() {}
}
