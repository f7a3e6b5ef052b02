//! A client that sends and reads frames as it likes (RFC 9113 section 4.1).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::*;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

/// One frame that came.
#[derive(Debug)]
pub(super) struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub(super) fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// The number that a RST_STREAM or WINDOW_UPDATE has.
    pub(super) fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().expect("four bytes"))
    }

    /// The status of a head, which comes first in it (RFC 7541 appendices A and B).
    pub(super) fn status(&self) -> u16 {
        assert_eq!(self.kind, HEADERS, "{self:?}");
        match self.payload[..] {
            [first @ 0x88..=0x8e, ..] => {
                [200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)]
            }
            [0x48 | 0x08, 0x82 | 0x83, ref text @ ..] => digits(text),
            ref other => panic!("no status: {}", other.escape_ascii()),
        }
    }
}

/// Three digits in HPACK's Huffman code: five bits up to `2`, six above.
fn digits(text: &[u8]) -> u16 {
    let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut digit = || {
        let mut take =
            |count| (0..count).fold(0, |n, _| n << 1 | u16::from(bits.next().expect("more")));
        match take(5) {
            digit @ 0..=2 => digit,
            begin => (begin << 1 | take(1)) - 0x19 + 3,
        }
    };
    digit() * 100 + digit() * 10 + digit()
}

/// A connection.
pub(super) struct Frames {
    stream: TlsStream<TcpStream>,
    /// The settings that the server sent.
    pub settings: Vec<(u16, u32)>,
    acknowledges: bool,
}

impl Frames {
    pub(super) async fn open(proxy: &Proxy, settings: &[(u16, u32)]) -> Self {
        let mut stream = proxy.connect_tls(b"h2").await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("taken");
        let mut frames = Self { stream, settings: Vec::new(), acknowledges: true };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        frames.send(SETTINGS, 0, 0, &payload).await;
        let first = frames.next().await.expect("settings");
        assert_eq!((first.kind, first.flags), (SETTINGS, 0));
        let numbers = |entry: &[u8]| {
            let value = entry[2..].try_into().expect("four bytes");
            (u16::from_be_bytes([entry[0], entry[1]]), u32::from_be_bytes(value))
        };
        frames.settings = first.payload.chunks(6).map(numbers).collect();
        frames.send(SETTINGS, ACK, 0, b"").await;
        frames
    }

    /// From now on pings are not answered.
    pub(super) fn stay_silent(&mut self) {
        self.acknowledges = false;
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        assert!(self.try_send(kind, flags, stream, payload).await, "the connection has ended");
    }

    pub(super) async fn try_send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> bool {
        let bytes = frame(kind, flags, stream, payload);
        self.stream.write_all(&bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    pub(super) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("taken");
        self.stream.flush().await.expect("taken");
    }

    /// A head, or trailers.
    pub(super) async fn head(&mut self, stream: u32, fields: &[(&str, &str)], flags: u8) {
        self.send(HEADERS, END_HEADERS | flags, stream, &block(fields)).await;
    }

    pub(super) async fn get(&mut self, stream: u32, path: &str) {
        self.head(stream, &request("GET", path), END_STREAM).await;
    }

    pub(super) async fn post(&mut self, stream: u32, path: &str) {
        self.head(stream, &request("POST", path), 0).await;
    }

    /// The next frame, `None` at the end. Pings are answered and not shown.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            within("a frame", self.stream.read_exact(&mut head)).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes(head[5..].try_into().expect("four bytes"));
            let frame = Frame { kind: head[3], flags: head[4], stream, payload };
            if frame.kind == PING && frame.flags & ACK == 0 {
                if self.acknowledges {
                    self.try_send(PING, ACK, 0, &frame.payload).await;
                }
                continue;
            }
            return Some(frame);
        }
    }

    /// The next frame of these kinds; others are passed over.
    pub(super) async fn of_kind(&mut self, kinds: &[u8]) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection is open");
            assert!(frame.kind != GOAWAY || kinds.contains(&GOAWAY), "{frame:?}");
            if kinds.contains(&frame.kind) {
                return frame;
            }
        }
    }

    /// A whole answer in text: its status and its body.
    pub(super) async fn answer(&mut self, stream: u32) -> (u16, String) {
        let head = self.of_kind(&[HEADERS, RST_STREAM]).await;
        assert_eq!(head.stream, stream, "{head:?}");
        let (status, mut body) = (head.status(), Vec::new());
        let mut has_ended = head.ends_stream();
        while !has_ended {
            let data = self.of_kind(&[DATA, RST_STREAM]).await;
            assert_eq!((data.kind, data.stream), (DATA, stream), "{data:?}");
            has_ended = data.ends_stream();
            body.extend_from_slice(&data.payload);
        }
        (status, String::from_utf8(body).expect("text"))
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub(super) fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "https"), (":authority", "shop.example"), (":path", path)]
}

/// Literals that nobody remembers (RFC 7541 section 6.2.2), not compressed.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block
                .push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
