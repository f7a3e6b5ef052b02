//! What frames lead to, section by section of RFC 9113 and RFC 7541. A case is what a client sends; a
//! request behind it shows whether the connection lives on. Where the h2 crate ends the connection for
//! an error of a stream, which section 5.4 lets it, that is what is expected here.

mod frames;
mod headers;
mod hpack;
mod streams;

use std::collections::BTreeMap;

use super::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame,
};
use super::*;

const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;
const PRIORITIZED: u8 = 0x20;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
/// In place of a more exact code the crate says PROTOCOL_ERROR: of a frame's size, of compression, of a
/// window, of a closed stream.
const SIZE_UNSAID: u32 = PROTOCOL_ERROR;
const COMPRESSION_UNSAID: u32 = PROTOCOL_ERROR;
const WINDOW_UNSAID: u32 = PROTOCOL_ERROR;
const CLOSED_UNSAID: u32 = PROTOCOL_ERROR;

/// `GET / HTTP/2` of `https://shop.example`, and `POST`.
const GET: &[u8] = b"\x82\x84\x87\x01\x0cshop.example";
const POST: &[u8] = b"\x83\x84\x87\x01\x0cshop.example";

/// What a client does.
enum Step {
    Sends(Vec<u8>),
    /// Waits for the end of the answer, or the reset, of this stream.
    Hears(u32),
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Status(u16),
    Reset(u32),
}

/// Streams with their ends, or the error that ends the connection.
type Outcome = Result<BTreeMap<u32, End>, u32>;

/// Streams that are answered with 200.
fn answered(streams: &[u32]) -> Outcome {
    Ok(streams.iter().map(|stream| (*stream, End::Status(200))).collect())
}

/// The first stream is reset.
fn is_reset(code: u32) -> Outcome {
    Ok(BTreeMap::from([(1, End::Reset(code))]))
}

fn sends(frames: &[Vec<u8>]) -> Vec<Step> {
    vec![Step::Sends(frames.concat())]
}

/// A request, its answer, and then these.
fn after_answer(frames: &[Vec<u8>]) -> Vec<Step> {
    vec![Step::Sends(head(1, END_STREAM, GET)), Step::Hears(1), Step::Sends(frames.concat())]
}

fn head(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, block)
}

fn get(stream: u32) -> Vec<u8> {
    head(stream, END_STREAM, GET)
}

/// A request whose body has not ended.
fn post(stream: u32) -> Vec<u8> {
    head(stream, 0, POST)
}

fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, payload)
}

fn update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    let payload = [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// `GET` with these fields in place of some, or behind them.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    head(1, END_STREAM, &super::frames::block(fields))
}

/// Each case is another connection.
async fn check(cases: Vec<(&str, Vec<Step>, Outcome)>) {
    let proxy = Proxy::start_over(Transport::Tls, Limits::default()).await;
    let mut wrong = Vec::new();
    for (what, steps, expected) in cases {
        let wanted = expected.as_ref().map_or(0, BTreeMap::len);
        let outcome = play(&proxy, steps, wanted).await;
        if outcome != expected {
            wrong.push(format!("{what}: {outcome:?} for {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The stream of the request behind a case.
const LAST: u32 = 1001;

async fn play(proxy: &Proxy, steps: Vec<Step>, wanted: usize) -> Outcome {
    let mut frames = Frames::open(proxy, &[]).await;
    let mut heard = Heard::default();
    for step in steps {
        match step {
            Step::Sends(bytes) => frames.send_raw(&bytes).await,
            Step::Hears(stream) => {
                while !heard.ends.contains_key(&stream) {
                    heard.next(&mut frames).await?;
                }
            }
        }
    }
    // Whoever has closed takes nothing.
    frames.try_send(HEADERS, END_HEADERS | END_STREAM, LAST, GET).await;
    while !heard.ends.contains_key(&LAST) || heard.ends.len() <= wanted {
        heard.next(&mut frames).await?;
    }
    assert_eq!(heard.ends.remove(&LAST), Some(End::Status(200)));
    Ok(heard.ends)
}

#[derive(Default)]
struct Heard {
    statuses: BTreeMap<u32, u16>,
    ends: BTreeMap<u32, End>,
}

impl Heard {
    async fn next(&mut self, frames: &mut Frames) -> Result<(), u32> {
        let frame = frames.next().await.expect("an error is told before the end");
        match frame.kind {
            GOAWAY => {
                while frames.next().await.is_some() {}
                return Err(u32::from_be_bytes(frame.payload[4..8].try_into().expect("four")));
            }
            RST_STREAM => {
                self.ends.insert(frame.stream, End::Reset(frame.number()));
            }
            HEADERS => {
                self.statuses.insert(frame.stream, frame.status());
            }
            _ => {}
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.ends_stream() {
            let status = self.statuses[&frame.stream];
            self.ends.entry(frame.stream).or_insert(End::Status(status));
        }
        Ok(())
    }
}
