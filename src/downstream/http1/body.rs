//! The body of a request, as it is taken.

use std::task::{Context, Poll, ready};

use super::{BODY_READ_MAX, Http1};
use crate::downstream::client::{ClientFailure, Incoming};
use crate::wire::body::{BodyDecoder, Piece};
use crate::wire::fields::Fields;
use crate::wire::flaw::RequestFlaw;
use crate::wire::framing::Framing;

/// What is known of the body.
#[derive(Debug)]
pub(super) struct Receiving {
    decoder: BodyDecoder,
    /// Bytes of the input that were decoded and not consumed.
    piece: usize,
    is_over: bool,
    trailers: Option<Box<Fields>>,
    /// The client waits for `100 Continue` (RFC 9110 section 10.1.1).
    expects: bool,
    received: u64,
    /// Bytes of what frames it.
    framing_bytes: u32,
}

impl Default for Receiving {
    fn default() -> Self {
        Self::new(Framing::Empty, false)
    }
}

impl Receiving {
    /// As many as there may be: for a log.
    fn note_framing(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.framing_bytes = self.framing_bytes.saturating_add(bytes);
    }

    pub fn new(framing: Framing, expects: bool) -> Self {
        Self {
            decoder: BodyDecoder::new(framing),
            piece: 0,
            is_over: framing == Framing::Empty,
            trailers: None,
            expects,
            received: 0,
            framing_bytes: 0,
        }
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the client still waits for word that it may send the body. One that gets a final answer
    /// in its place may send it or not.
    pub fn waits(&self) -> bool {
        self.expects && !self.is_over
    }

    /// How long a body is of which nothing was taken, where its head says that.
    fn untouched(&self) -> Option<usize> {
        match self.decoder {
            BodyDecoder::Length(length)
                if !self.is_over && self.piece == 0 && self.received == 0 =>
            {
                usize::try_from(length).ok()
            }
            _ => None,
        }
    }

    /// The client was told to send the body.
    pub fn told_to_continue(&mut self) -> bool {
        std::mem::take(&mut self.expects)
    }

    /// From here on everything is data, up to the end of the file.
    pub fn be_tunnel(&mut self) {
        *self = Self { received: self.received, ..Self::new(Framing::Tunnel, false) };
    }
}

impl Http1 {
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, ClientFailure>> {
        loop {
            if let Some(incoming) = self.decode().transpose() {
                return Poll::Ready(incoming);
            }
            // Interim answers: the client may send nothing before it has them.
            if !self.sending.has_begun() && !self.conn.out().is_empty() {
                ready!(self.poll_flush(cx))?;
            }
            match ready!(self.conn.poll_fill(cx, self.body_read as usize)) {
                Ok(read @ 1..) => {
                    if read >= self.body_read as usize && self.may_grow {
                        self.body_read = (2 * self.body_read).min(BODY_READ_MAX);
                    }
                }
                Ok(0) if self.receiving.decoder.close().is_ok() => self.receiving.is_over = true,
                Ok(0) | Err(_) => {
                    self.keeps = false;
                    return Poll::Ready(Err(ClientFailure::Gone));
                }
            }
        }
    }

    pub fn poll_whole(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<bool, ClientFailure>> {
        let Some(length) = self.receiving.untouched().filter(|length| *length <= bytes_max) else {
            return Poll::Ready(Ok(false));
        };
        loop {
            let missing = length.saturating_sub(self.conn.input().len());
            if missing == 0 {
                return Poll::Ready(Ok(true));
            }
            if !self.sending.has_begun() && !self.conn.out().is_empty() {
                ready!(self.poll_flush(cx))?;
            }
            match ready!(self.conn.poll_fill(cx, missing.min(self.body_read as usize))) {
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    self.keeps = false;
                    return Poll::Ready(Err(ClientFailure::Gone));
                }
            }
        }
    }

    pub fn whole_body(&self) -> Option<&[u8]> {
        self.conn.input().get(..self.receiving.untouched()?)
    }

    pub fn in_hand(&self) -> usize {
        self.conn.input().len()
    }

    /// What the input has of the body; `None` where more must come.
    fn decode(&mut self) -> Result<Option<Incoming>, ClientFailure> {
        let receiving = &mut self.receiving;
        if receiving.is_over {
            return Ok(Some(Incoming::End));
        }
        if receiving.piece == 0 {
            match receiving.decoder.decode(self.conn.input()) {
                Ok(Piece::Data { skip, length }) => {
                    receiving.note_framing(skip);
                    self.conn.consume(skip);
                    receiving.piece = length;
                }
                Ok(Piece::End { skip, trailers }) => {
                    receiving.note_framing(skip);
                    self.conn.consume(skip);
                    receiving.trailers = trailers;
                    receiving.is_over = true;
                    return Ok(Some(Incoming::End));
                }
                Ok(Piece::More) => {
                    receiving.note_framing(self.conn.input().len());
                    self.conn.consume(usize::MAX);
                    return Ok(None);
                }
                Err(flaw) => {
                    self.keeps = false;
                    return Err(ClientFailure::Flaw(RequestFlaw::Chunk(flaw)));
                }
            }
        }
        Ok(Some(Incoming::Data(receiving.piece)))
    }

    /// Says that nobody will take the rest of the body. Where it has not come yet, the connection ends
    /// with the answer: it would be read as the next request.
    pub fn leave_body(&mut self) {
        self.keeps &= self.skip_body();
    }

    /// Skips what has come of the body. Whether it is over then.
    pub(super) fn skip_body(&mut self) -> bool {
        loop {
            match self.decode() {
                Ok(Some(Incoming::Data(length))) => self.consume(length),
                Ok(Some(Incoming::End)) => return true,
                Ok(None) | Err(_) => return false,
            }
        }
    }

    pub fn piece(&self) -> &[u8] {
        self.conn.input().get(..self.receiving.piece).unwrap_or_default()
    }

    pub fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.receiving.piece);
        self.conn.consume(bytes);
        self.receiving.piece -= bytes;
        self.receiving.received += bytes as u64;
    }

    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        self.receiving.trailers.take()
    }

    pub fn received_on_wire(&self) -> u64 {
        self.receiving.received + u64::from(self.receiving.framing_bytes)
    }

    pub fn received(&self) -> u64 {
        self.receiving.received
    }
}
