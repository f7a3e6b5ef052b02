//! The life of streams: RFC 9113 section 5; windows: section 6.9.

use super::*;

#[tokio::test]
async fn frames_come_in_the_states_of_a_stream() {
    let more = |stream| frame(CONTINUATION, END_HEADERS, stream, GET);
    let priority = |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 7]);
    check(vec![
        ("5.1 idle: DATA", sends(&[data(1, END_STREAM, b"x")]), Err(PROTOCOL_ERROR)),
        ("5.1 idle: RST_STREAM", sends(&[reset(1)]), Err(PROTOCOL_ERROR)),
        ("5.1 idle: WINDOW_UPDATE", sends(&[update(1, 100)]), Err(PROTOCOL_ERROR)),
        ("5.1 idle: CONTINUATION", sends(&[more(1)]), Err(PROTOCOL_ERROR)),
        ("5.1 idle: PRIORITY", sends(&[priority(5)]), answered(&[])),
        (
            "5.1 half-closed: DATA",
            sends(&[get_held(), data(1, END_STREAM, b"x")]),
            Err(CLOSED_UNSAID),
        ),
        ("5.1 half-closed: HEADERS", sends(&[get_held(), get(1)]), Err(CLOSED_UNSAID)),
        ("5.1 half-closed: CONTINUATION", sends(&[get_held(), more(1)]), Err(PROTOCOL_ERROR)),
        ("5.1 half-closed: the rest", sends(&[get(1), priority(1), update(1, 1)]), answered(&[1])),
        ("5.1 half-closed: RST_STREAM", sends(&[get_held(), reset(1)]), answered(&[])),
        ("5.1 reset: DATA", sends(&[post(1), reset(1), data(1, 0, b"x")]), is_reset(STREAM_CLOSED)),
        ("5.1 reset: HEADERS", sends(&[post(1), reset(1), get(1)]), Err(CLOSED_UNSAID)),
        ("5.1 reset: CONTINUATION", sends(&[post(1), reset(1), more(1)]), Err(PROTOCOL_ERROR)),
        ("5.1 closed: DATA", after_answer(&[data(1, 0, b"x")]), is_reset(STREAM_CLOSED)),
        ("5.1 closed: HEADERS", after_answer(&[get(1)]), Err(CLOSED_UNSAID)),
        ("5.1 closed: CONTINUATION", after_answer(&[more(1)]), Err(PROTOCOL_ERROR)),
        (
            "5.1 closed: the rest",
            after_answer(&[priority(1), update(1, 1), reset(1)]),
            answered(&[1]),
        ),
        ("5.1.1 an even number", sends(&[get(2)]), Err(PROTOCOL_ERROR)),
        ("5.1.1 a smaller number", sends(&[get(5), get(3)]), Err(PROTOCOL_ERROR)),
    ])
    .await;
}

/// A request that is not answered.
fn get_held() -> Vec<u8> {
    head(1, END_STREAM, b"\x82\x04\x05/held\x87\x01\x0cshop.example")
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let (last, mut frames) = (2 * STREAMS + 1, Vec::new());
    let mut ends: BTreeMap<u32, End> = BTreeMap::from([(last, End::Reset(REFUSED_STREAM))]);
    for number in (1..last).step_by(2) {
        frames.push(post(number));
        ends.insert(number, End::Status(200));
    }
    frames.push(get(last));
    frames.extend((1..last).step_by(2).map(|number| data(number, END_STREAM, b"")));
    let steps = vec![Step::Sends(frames.concat()), Step::Hears(1)];
    check(vec![("5.1.2 one more", steps, Ok(ends))]).await;
}

const STREAMS: u32 = crate::downstream::http2::STREAMS_MAX;

#[tokio::test]
async fn bodies_beyond_their_windows_are_refused() {
    let asleep = head(1, 0, b"\x83\x04\x07/asleep\x87\x01\x0cshop.example");
    let mut frames = vec![asleep];
    frames.extend((0..17).map(|_| data(1, 0, &[b'x'; 1 << 14])));
    check(vec![("6.9 more than the window", sends(&frames), Err(FLOW_CONTROL_ERROR))]).await;
}

#[tokio::test]
async fn answers_keep_to_the_windows_that_clients_set() {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let mut frames = Frames::open(&proxy, &[]).await;
    // The last of two values counts.
    let both = [&[0, 4, 0, 0, 0, 100], &[0, 4, 0, 0, 0, 3][..]].concat();
    frames.send(SETTINGS, 0, 0, &both).await;
    frames.get(1, "/a").await;
    assert_eq!(frames.of_kind(&[DATA]).await.payload, b"GET");
    frames.send_raw(&update(1, 1)).await;
    assert_eq!(frames.of_kind(&[DATA]).await.payload, b" ");
    // A smaller one takes back what was used: three below zero, and then none.
    frames.send_raw(&[setting(INITIAL_WINDOW_SIZE, 0), update(1, 3)].concat()).await;
    let soon = tokio::time::timeout(SHORT, frames.of_kind(&[DATA])).await;
    assert!(soon.is_err(), "{soon:?}");
    frames.send_raw(&setting(INITIAL_WINDOW_SIZE, 100)).await;
    let rest = frames.of_kind(&[DATA]).await;
    assert_eq!((&rest.payload[..], rest.ends_stream()), (&b"/a "[..], true));
}

#[tokio::test]
async fn pings_are_answered_with_what_they_hold() {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let mut frames = Frames::open(&proxy, &[]).await;
    frames.send(PING, 0, 0, b"anything").await;
    let answer = frames.of_kind(&[PING]).await;
    assert_eq!((answer.flags, answer.stream, &answer.payload[..]), (ACK, 0, &b"anything"[..]));
}

/// RFC 9113 section 3.4.
#[tokio::test]
async fn connection_without_its_preface_ends() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    for begin in [&b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n"[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n.."]
    {
        let mut stream = proxy.connect_tls(b"h2").await;
        stream.write_all(begin).await.expect("taken");
        let mut all = Vec::new();
        let _ = within("the end", stream.read_to_end(&mut all)).await;
    }
    assert!(proxy.paths().is_empty());
}
