//! One request over a connection of HTTP/1.

use std::io;
use std::task::{Context, Poll, ready};

use http::{Method, StatusCode};

use super::Broken;
use crate::downstream::Incoming;
use crate::upstream::verdict::Failure;
use crate::upstream::way::Link;
use crate::upstream::way::http2::Head;
use crate::wire::body::{BodyDecoder, Piece};
use crate::wire::connection::ConnectionOptions;
use crate::wire::fields::Fields;
use crate::wire::framing::Framing;
use crate::wire::response::ResponseHead;
use crate::wire::scan::HeadScan;
use crate::wire::write::{self, Announce};

/// Bytes that wait for a worker.
const OUTPUT_MAX: usize = 64 * 1024;
/// Smaller pieces are collected, so that a head and its body leave together.
const DIRECT_MIN: usize = 8 * 1024;
/// Bytes that the head of an answer may have.
const HEAD_MAX: usize = 128 * 1024;

/// A connection, and how far the message on it has been read.
#[derive(Debug)]
pub struct Http1 {
    pub link: Link,
    is_chunked: bool,
    scan: HeadScan,
    has_begun: bool,
    decoder: BodyDecoder,
    /// Bytes of the input that were decoded and not consumed.
    piece: usize,
    is_over: bool,
    trailers: Option<Box<Fields>>,
    /// The worker keeps the connection.
    keeps: bool,
}

impl Http1 {
    pub fn new(link: Link) -> Self {
        Self {
            link,
            is_chunked: false,
            scan: HeadScan::default(),
            has_begun: false,
            decoder: BodyDecoder::new(Framing::Empty),
            piece: 0,
            is_over: false,
            trailers: None,
            keeps: false,
        }
    }

    pub fn begin(&mut self, head: &Head<'_>) {
        let Head { method, target, fields, announce } = *head;
        self.is_chunked = announce == Announce::Chunked;
        write::request_head(self.link.output(), method, target, fields, announce);
    }

    pub fn is_full(&self) -> bool {
        self.link.pending_output() >= OUTPUT_MAX
    }

    pub fn put(&mut self, piece: &[u8]) {
        let output = self.link.output();
        if self.is_chunked {
            write::chunk_begin(output, piece.len());
            output.extend_from_slice(piece);
            output.extend_from_slice(write::CHUNK_END);
        } else {
            output.extend_from_slice(piece);
        }
    }

    pub fn poll_take(&mut self, cx: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        let is_large = piece.len() >= DIRECT_MIN && self.link.pending_output() == 0;
        if is_large && !self.is_chunked {
            return self.link.poll_write(cx, piece);
        }
        self.put(piece);
        Poll::Ready(Ok(piece.len()))
    }

    pub fn finish(&mut self, trailers: Option<&Fields>) {
        if self.is_chunked {
            write::last_chunk(self.link.output(), trailers);
        }
    }

    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
        answer: &mut ResponseHead,
    ) -> Poll<Result<Framing, Failure>> {
        let link = &mut self.link;
        loop {
            if let Some(range) = self.scan.advance(link.input()) {
                let head = link.input().get(range.clone()).unwrap_or_default();
                if head.len() > HEAD_MAX {
                    return Poll::Ready(Err(Failure::Flaw));
                }
                let read = answer.read(head);
                let framing = read.and_then(|()| Framing::of_response(answer, method));
                link.consume(range.end);
                self.scan = HeadScan::default();
                let framing = framing.map_err(|flaw| {
                    tracing::warn!(%flaw, "a worker's answer is none");
                    Failure::Flaw
                })?;
                self.decoder = BodyDecoder::new(framing);
                self.keeps = answer.status != StatusCode::SWITCHING_PROTOCOLS
                    && ConnectionOptions::of(&answer.fields).keeps(answer.version);
                return Poll::Ready(Ok(framing));
            }
            if link.input().len() > HEAD_MAX {
                return Poll::Ready(Err(Failure::Flaw));
            }
            match ready!(link.poll_fill(cx)) {
                Ok(1..) => self.has_begun = true,
                Ok(0) => return Poll::Ready(Err(link.closed(self.has_begun))),
                Err(error) => return Poll::Ready(Err(link.failure(&error, self.has_begun))),
            }
        }
    }

    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Broken>> {
        let link = &mut self.link;
        loop {
            if self.piece > 0 {
                return Poll::Ready(Ok(Incoming::Data(self.piece)));
            }
            if self.is_over {
                return Poll::Ready(Ok(Incoming::End));
            }
            match self.decoder.decode(link.input()) {
                Ok(Piece::Data { skip, length }) => {
                    link.consume(skip);
                    self.piece = length;
                }
                Ok(Piece::End { skip, trailers }) => {
                    link.consume(skip);
                    self.trailers = trailers;
                    self.is_over = true;
                }
                Ok(Piece::More) => {
                    link.consume(link.input().len());
                    match ready!(link.poll_fill(cx)) {
                        Ok(1..) => {}
                        Ok(0) if !link.is_truncated() && self.decoder.close().is_ok() => {
                            self.is_over = true;
                            self.keeps = false;
                        }
                        Ok(0) | Err(_) => return Poll::Ready(Err(Broken)),
                    }
                }
                Err(flaw) => {
                    tracing::debug!(%flaw, "a worker's answer has no body that can be read");
                    return Poll::Ready(Err(Broken));
                }
            }
        }
    }

    pub fn piece(&self) -> &[u8] {
        self.link.input().get(..self.piece).unwrap_or_default()
    }

    pub fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.piece);
        self.link.consume(bytes);
        self.piece -= bytes;
    }

    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }

    /// The connection, where the answer has ended and the worker keeps it.
    pub fn into_reusable(self) -> Option<Link> {
        (self.is_over && self.keeps).then_some(self.link)
    }
}
