//! HTTP/2 frame by frame, for what no client library would send (RFC 9113, RFC 7541 without Huffman).

use std::collections::BTreeMap;

use super::client::{Connection, Dial};
use super::within;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this status and body.
    Answered(u16, Vec<u8>),
    Reset,
}

/// A connection.
pub struct Frames {
    wire: Connection,
    buffer: Vec<u8>,
    next: u32,
    streams: BTreeMap<u32, (Option<u16>, Vec<u8>)>,
}

impl Frames {
    pub async fn connect(dial: &Dial) -> Self {
        let mut wire = dial.clone().alpn(&["h2"]).connect().await;
        wire.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, b"")[..]].concat())
            .await;
        Self { wire, buffer: Vec::new(), next: 1, streams: BTreeMap::new() }
    }

    /// Opens a stream with these fields, pseudo-fields too, as they are.
    pub async fn open<T: AsRef<[u8]>>(&mut self, fields: &[(T, T)], is_last: bool) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.headers(stream, fields, is_last).await;
        stream
    }

    /// Sends fields on a stream: a head, or trailers.
    pub async fn headers<T: AsRef<[u8]>>(&mut self, stream: u32, fields: &[(T, T)], is_last: bool) {
        let block: Vec<u8> = fields
            .iter()
            .flat_map(|(name, value)| [vec![0], text(name.as_ref()), text(value.as_ref())].concat())
            .collect();
        let flags = END_HEADERS | if is_last { END_STREAM } else { 0 };
        // The server may have closed.
        let _ = self.wire.try_send(frame(HEADERS, flags, stream, &block)).await;
    }

    pub async fn data(&mut self, stream: u32, bytes: &[u8], is_last: bool) {
        let flags = if is_last { END_STREAM } else { 0 };
        let _ = self.wire.try_send(frame(DATA, flags, stream, bytes)).await;
    }

    /// Waits for the end of a stream.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let Some((kind, flags, of, payload)) = self.next_frame().await else {
                return Outcome::Reset;
            };
            match kind {
                SETTINGS if flags & ACK == 0 => {
                    let _ = self.wire.try_send(frame(SETTINGS, ACK, 0, b"")).await;
                }
                GOAWAY => return Outcome::Reset,
                RST_STREAM if of == stream => return Outcome::Reset,
                HEADERS => {
                    let entry = self.streams.entry(of).or_default();
                    // Interim answers come before the final one, trailers behind it.
                    if entry.0.is_none_or(|status| status < 200) {
                        entry.0 = Some(status(&payload));
                    }
                }
                DATA => self.streams.entry(of).or_default().1.extend(payload),
                _ => continue,
            }
            if of == stream && flags & END_STREAM != 0 && matches!(kind, HEADERS | DATA) {
                let (status, body) = self.streams.remove(&stream).unwrap_or_default();
                return Outcome::Answered(status.unwrap_or_default(), body);
            }
        }
    }

    /// The next frame: type, flags, stream, payload; nothing at the end of the connection.
    async fn next_frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            if let Some((head, rest)) = self.buffer.split_first_chunk::<9>() {
                let length =
                    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if let Some(payload) = rest.get(..length) {
                    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
                    let found = (head[3], head[4], stream, payload.to_vec());
                    self.buffer.drain(..9 + length);
                    return Some(found);
                }
            }
            let bytes = within("a frame", self.wire.bytes()).await.ok()?;
            if bytes.is_empty() {
                return None;
            }
            self.buffer.extend(bytes);
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], payload].concat()
}

/// A string of RFC 7541 section 5.2.
fn text(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short text");
    if length < 127 { [&[length], bytes].concat() } else { [&[127, length - 127], bytes].concat() }
}

/// The status that a block of fields begins with, of the static table or in Huffman's digits.
fn status(block: &[u8]) -> u16 {
    // Changes of the table's size come first.
    let begin = block.iter().position(|byte| byte >> 5 != 1).unwrap_or_default();
    let block = &block[begin..];
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        // A literal whose name is `:status`.
        _ => {
            let length = usize::from(block[1] & 0x7f);
            let value = &block[2..2 + length];
            if block[1] & 0x80 == 0 {
                return String::from_utf8_lossy(value).parse().unwrap_or_default();
            }
            let bits: Vec<u8> =
                value.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
            let number =
                |bits: &[u8]| bits.iter().fold(0_u16, |all, bit| all << 1 | u16::from(*bit));
            let (mut at, mut found) = (0, 0);
            for _ in 0..3 {
                // `0`, `1` and `2` have five bits, the other digits six.
                let short = number(&bits[at..at + 5]);
                let (digit, length) = match short {
                    0..=2 => (short, 5),
                    _ => (number(&bits[at..at + 6]) - 0x19 + 3, 6),
                };
                (at, found) = (at + length, found * 10 + digit);
            }
            found
        }
    }
}
