//! Frames by themselves: RFC 9113 sections 4 and 6.

use super::*;

#[tokio::test]
async fn frames_are_cut_as_their_heads_say() {
    let unfinished = || frame(HEADERS, END_STREAM, 1, GET);
    let mut large = GET.to_vec();
    while large.len() <= 16 << 10 {
        large.extend_from_slice(b"\x00\x01x\x7e");
        large.extend_from_slice(&[b'y'; 126]);
    }
    check(vec![
        ("4.1 an unknown type", sends(&[frame(0x16, 0xff, 0, b"anything")]), answered(&[])),
        ("4.1 an unknown type on a stream", sends(&[frame(0x16, 0, 7, b"")]), answered(&[])),
        ("4.1 unknown flags", sends(&[frame(PING, 0xfe, 0, b"12345678")]), answered(&[])),
        ("4.1 a reserved bit", sends(&[frame(PING, 0, 1 << 31, b"12345678")]), answered(&[])),
        (
            "4.2 as large as may be",
            sends(&[post(1), data(1, END_STREAM, &[b'x'; 1 << 14])]),
            answered(&[1]),
        ),
        (
            "4.2 DATA too large",
            sends(&[post(1), data(1, END_STREAM, &[b'x'; (1 << 14) + 1])]),
            Err(FRAME_SIZE_ERROR),
        ),
        ("4.2 HEADERS too large", sends(&[head(1, END_STREAM, &large)]), Err(FRAME_SIZE_ERROR)),
        ("4.3 a block that is none", sends(&[head(1, END_STREAM, b"@")]), Err(COMPRESSION_UNSAID)),
        (
            "4.3 PRIORITY within a block",
            sends(&[unfinished(), frame(PRIORITY, 0, 1, &[0; 5])]),
            Err(PROTOCOL_ERROR),
        ),
        ("4.3 another stream within a block", sends(&[unfinished(), get(3)]), Err(PROTOCOL_ERROR)),
        ("4.3 DATA within a block", sends(&[unfinished(), data(1, 0, b"")]), Err(PROTOCOL_ERROR)),
        (
            "5.5 an unknown type within a block",
            sends(&[unfinished(), frame(0x16, 0, 1, b"")]),
            Err(PROTOCOL_ERROR),
        ),
    ])
    .await;
}

#[tokio::test]
async fn data_headers_and_priority_are_what_they_must_be() {
    let padded = |kind, flags, block: &[u8]| {
        let payload = [&[4][..], block, &[0; 4]].concat();
        frame(kind, flags | PADDED, 1, &payload)
    };
    let weighed = [b"\x00\x00\x00\x00\xff", GET].concat();
    let by_itself = [b"\x00\x00\x00\x01\xff", GET].concat();
    check(vec![
        ("6.1 DATA of no stream", sends(&[data(0, 0, b"x")]), Err(PROTOCOL_ERROR)),
        (
            "6.1 DATA with padding",
            sends(&[post(1), padded(DATA, END_STREAM, b"body")]),
            answered(&[1]),
        ),
        (
            "6.1 padding beyond the frame",
            sends(&[post(1), frame(DATA, PADDED | END_STREAM, 1, b"\x05abc")]),
            Err(PROTOCOL_ERROR),
        ),
        (
            "6.1 padding without a length",
            sends(&[post(1), frame(DATA, PADDED | END_STREAM, 1, b"")]),
            Err(SIZE_UNSAID),
        ),
        ("6.2 HEADERS of no stream", sends(&[get(0)]), Err(PROTOCOL_ERROR)),
        (
            "6.2 HEADERS with padding",
            sends(&[padded(HEADERS, END_HEADERS | END_STREAM, GET)]),
            answered(&[1]),
        ),
        (
            "6.2 HEADERS with a priority",
            sends(&[head(1, END_STREAM | PRIORITIZED, &weighed)]),
            answered(&[1]),
        ),
        (
            "6.2 padding beyond the frame",
            sends(&[head(1, END_STREAM | PADDED, &[&[200], GET].concat())]),
            Err(PROTOCOL_ERROR),
        ),
        (
            "5.3.1 HEADERS that depend on themselves",
            sends(&[head(1, END_STREAM | PRIORITIZED, &by_itself)]),
            is_reset(PROTOCOL_ERROR),
        ),
        (
            "6.3 PRIORITY of no stream",
            sends(&[frame(PRIORITY, 0, 0, &[0; 5])]),
            Err(PROTOCOL_ERROR),
        ),
        ("6.3 PRIORITY", sends(&[frame(PRIORITY, 0, 1, &[0, 0, 0, 9, 1]), get(1)]), answered(&[1])),
        (
            "6.3 PRIORITY of another length",
            sends(&[post(1), frame(PRIORITY, 0, 1, &[0; 4])]),
            Err(SIZE_UNSAID),
        ),
        (
            "5.3.1 PRIORITY that depends on itself",
            sends(&[post(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0])]),
            is_reset(PROTOCOL_ERROR),
        ),
    ])
    .await;
}

#[tokio::test]
async fn control_frames_are_what_they_must_be() {
    let goaway = |stream| frame(GOAWAY, 0, stream, &[0; 8]);
    let large = 0x8000_0000;
    check(vec![
        ("6.4 RST_STREAM of no stream", sends(&[reset(0)]), Err(PROTOCOL_ERROR)),
        (
            "6.4 RST_STREAM of another length",
            sends(&[post(1), frame(RST_STREAM, 0, 1, &[0; 3])]),
            Err(SIZE_UNSAID),
        ),
        (
            "7 RST_STREAM for an unknown reason",
            sends(&[post(1), frame(RST_STREAM, 0, 1, &[0xff; 4])]),
            answered(&[]),
        ),
        (
            "6.5 an acknowledgement with more",
            sends(&[frame(SETTINGS, ACK, 0, &[0; 6])]),
            Err(SIZE_UNSAID),
        ),
        ("6.5 SETTINGS of a stream", sends(&[frame(SETTINGS, 0, 1, b"")]), Err(PROTOCOL_ERROR)),
        (
            "6.5 SETTINGS of another length",
            sends(&[frame(SETTINGS, 0, 0, &[0; 3])]),
            Err(SIZE_UNSAID),
        ),
        ("6.5.2 ENABLE_PUSH 2", sends(&[setting(2, 2)]), Err(PROTOCOL_ERROR)),
        ("6.5.2 a window too large", sends(&[setting(4, large)]), Err(WINDOW_UNSAID)),
        ("6.5.2 a frame too small", sends(&[setting(5, (1 << 14) - 1)]), Err(PROTOCOL_ERROR)),
        ("6.5.2 a frame too large", sends(&[setting(5, 1 << 24)]), Err(PROTOCOL_ERROR)),
        ("6.5.2 an unknown setting", sends(&[setting(0xff, 1)]), answered(&[])),
        ("6.7 PING of a stream", sends(&[frame(PING, 0, 1, &[0; 8])]), Err(PROTOCOL_ERROR)),
        ("6.7 PING of another length", sends(&[frame(PING, 0, 0, &[0; 6])]), Err(SIZE_UNSAID)),
        ("6.7 an answer to no PING", sends(&[frame(PING, ACK, 0, &[0; 8])]), answered(&[])),
        ("6.8 GOAWAY of a stream", sends(&[goaway(1)]), Err(PROTOCOL_ERROR)),
        (
            "8.4 PUSH_PROMISE",
            sends(&[post(1), frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], GET].concat())]),
            Err(PROTOCOL_ERROR),
        ),
        ("6.9 no increment", sends(&[update(0, 0)]), Err(PROTOCOL_ERROR)),
        ("6.9 no increment of a stream", sends(&[post(1), update(1, 0)]), Err(PROTOCOL_ERROR)),
        (
            "6.9 WINDOW_UPDATE of another length",
            sends(&[frame(WINDOW_UPDATE, 0, 0, &[0; 3])]),
            Err(SIZE_UNSAID),
        ),
        (
            "6.9.1 a window beyond",
            sends(&[update(0, large - 1), update(0, large - 1)]),
            Err(FLOW_CONTROL_ERROR),
        ),
        (
            "6.9.1 a stream's window beyond",
            sends(&[post(1), update(1, large - 1), update(1, large - 1)]),
            is_reset(FLOW_CONTROL_ERROR),
        ),
        (
            "6.9.2 a setting that moves it beyond",
            sends(&[post(1), update(1, large - 65_536), setting(4, 65_536)]),
            Err(FLOW_CONTROL_ERROR),
        ),
    ])
    .await;
}

#[tokio::test]
async fn blocks_are_continued_by_their_own_frames_only() {
    let parts = |ends: bool| {
        let last = if ends { END_HEADERS } else { 0 };
        let (begin, rest) = GET.split_at(3);
        let (middle, end) = rest.split_at(4);
        [
            frame(HEADERS, END_STREAM, 1, begin),
            frame(CONTINUATION, 0, 1, middle),
            frame(CONTINUATION, last, 1, end),
        ]
        .concat()
    };
    let more = |stream| frame(CONTINUATION, END_HEADERS, stream, b"");
    check(vec![
        ("6.10 three frames", sends(&[parts(true)]), answered(&[1])),
        ("6.10 DATA behind", sends(&[parts(false), data(1, 0, b"")]), Err(PROTOCOL_ERROR)),
        ("6.10 of no stream", sends(&[frame(HEADERS, 0, 1, GET), more(0)]), Err(PROTOCOL_ERROR)),
        (
            "6.10 of another stream",
            sends(&[frame(HEADERS, 0, 1, GET), more(3)]),
            Err(PROTOCOL_ERROR),
        ),
        ("6.10 behind HEADERS that are whole", sends(&[post(1), more(1)]), Err(PROTOCOL_ERROR)),
        ("6.10 behind one that ends", sends(&[parts(true), more(1)]), Err(PROTOCOL_ERROR)),
        ("6.10 behind DATA", sends(&[post(1), data(1, 0, b"x"), more(1)]), Err(PROTOCOL_ERROR)),
    ])
    .await;
}
