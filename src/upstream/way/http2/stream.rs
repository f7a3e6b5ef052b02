//! One request and its answer. Whoever lets go of it before its end resets the stream.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::uri::Scheme;
use http::{HeaderMap, Method, StatusCode};

use super::SEND_MAX;
use super::connection::Place;
use super::head::{Head, Unsendable};
use crate::upstream::verdict::Failure;
use crate::upstream::way::link::Moved;
use crate::wire::fields::Fields;
use crate::wire::flaw::ResponseFlaw;
use crate::wire::framing::Framing;
use crate::wire::map::{fields_of, map_of, trailers_of};
use crate::wire::request::FIELDS_MAX;
use crate::wire::response::ResponseHead;

/// One request at a worker.
#[derive(Debug)]
pub struct Stream {
    place: Place,
    is_https: bool,
    /// Why there is nothing to send on.
    failed: Option<Failure>,
    sending: Option<SendStream<Bytes>>,
    /// The worker's window is full.
    is_blocked: bool,
    awaited: Option<ResponseFuture>,
    /// Some of the answer has come.
    has_begun: bool,
    receiving: Option<RecvStream>,
    piece: Bytes,
    /// What came behind the piece.
    collected: Vec<u8>,
    is_over: bool,
    trailers: Option<Box<Fields>>,
    moved: Moved,
}

/// The worker takes no more of a request; it may have answered all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The body of an answer is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incomplete;

impl Stream {
    pub(in crate::upstream::way) fn new(place: Place, is_https: bool) -> Self {
        Self {
            place,
            is_https,
            failed: None,
            sending: None,
            is_blocked: false,
            awaited: None,
            has_begun: false,
            receiving: None,
            piece: Bytes::new(),
            collected: Vec::new(),
            is_over: false,
            trailers: None,
            moved: Moved::default(),
        }
    }

    /// Sends the head. That the connection takes no more requests shows where the answer is awaited.
    ///
    /// # Errors
    /// [`Unsendable`].
    pub fn begin(&mut self, head: &Head<'_>, is_last: bool) -> Result<(), Unsendable> {
        let scheme = if self.is_https { Scheme::HTTPS } else { Scheme::HTTP };
        let request = head.compose(scheme)?;
        let sender = self.place.sender();
        match sender.map(|mut sender| sender.send_request(request, is_last)) {
            Some(Ok((awaited, sending))) => {
                self.awaited = Some(awaited);
                self.sending = (!is_last).then_some(sending);
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a connection to a worker takes no more requests");
                self.failed = Some(self.unprocessed());
            }
            None => self.failed = Some(self.unprocessed()),
        }
        Ok(())
    }

    /// Whether its connection is there.
    pub fn is_ready(&self) -> bool {
        self.place.is_ready()
    }

    /// Waits for the connection. `false`: it has fewer places than there are requests, and this one
    /// has none.
    ///
    /// # Errors
    /// No connection came about. Nothing was sent.
    pub async fn ready(&self) -> Result<bool, Failure> {
        self.place.ready().await
    }

    /// Whether others had the connection before: the worker may have given it up meanwhile.
    pub fn is_reused(&self) -> bool {
        self.place.is_reused()
    }

    /// Whether the worker keeps bytes waiting.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Notes that the worker was waited for in vain: until something comes from it, its connection
    /// gets no new requests.
    pub fn suspect(&self) {
        self.place.suspect();
    }

    /// Hands over a piece of the body, whatever the worker's window: what was held of it.
    pub fn put(&mut self, bytes: &[u8]) {
        if let Some(sending) = &mut self.sending {
            self.moved.sent += bytes.len() as u64;
            // Whoever waits for the answer hears of it.
            let _ = sending.send_data(Bytes::copy_from_slice(bytes), false);
        }
    }

    /// Takes bytes of the body; how many.
    ///
    /// # Errors
    /// `Refused`.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Refused>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Err(Refused)) };
        sending.reserve_capacity(bytes.len().min(SEND_MAX));
        while sending.capacity() == 0 {
            let capacity = sending.poll_capacity(cx);
            self.is_blocked = capacity.is_pending();
            match ready!(capacity) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Refused)),
            }
        }
        let taken = bytes.len().min(sending.capacity());
        self.moved.sent += taken as u64;
        let piece = Bytes::copy_from_slice(bytes.get(..taken).unwrap_or_default());
        Poll::Ready(sending.send_data(piece, false).map(|()| taken).map_err(|_| Refused))
    }

    /// Ends the body.
    ///
    /// # Errors
    /// `Refused`.
    pub fn finish(&mut self, trailers: Option<&Fields>) -> Result<(), Refused> {
        let Some(mut sending) = self.sending.take() else { return Ok(()) };
        let sent = match trailers.map(map_of).filter(|map| !map.is_empty()) {
            Some(map) => sending.send_trailers(map),
            None => sending.send_data(Bytes::new(), true),
        };
        sent.map_err(|_| Refused)
    }

    /// Waits for a head: interim ones, then the final one.
    ///
    /// # Errors
    /// Why none came.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
        head: &mut ResponseHead,
    ) -> Poll<Result<Framing, Failure>> {
        if let Some(failure) = self.failed {
            return Poll::Ready(Err(failure));
        }
        let Some(awaited) = &mut self.awaited else { return Poll::Ready(Err(Failure::Closed)) };
        let (parts, body) = match ready!(awaited.poll_informational(cx)) {
            Some(Ok(interim)) => (interim.into_parts().0, None),
            Some(Err(error)) => return Poll::Ready(Err(self.failure(&error))),
            None => match ready!(std::pin::Pin::new(awaited).poll(cx)) {
                Ok(answer) => {
                    let (parts, body) = answer.into_parts();
                    (parts, Some(body))
                }
                Err(error) => return Poll::Ready(Err(self.failure(&error))),
            },
        };
        self.has_begun = true;
        let is_over = body.as_ref().is_some_and(RecvStream::is_end_stream);
        let read = read_head(parts.status, &parts.headers, head)
            .and_then(|()| Framing::of_stream(head, method, is_over));
        if body.is_some() {
            self.awaited = None;
            self.receiving = body;
        }
        Poll::Ready(read.map_err(|flaw| {
            tracing::warn!(%flaw, "a worker's answer is none");
            Failure::Flaw
        }))
    }

    /// Waits for a piece of the answer's body; `None` at its end. The same piece is there until it was
    /// consumed.
    ///
    /// # Errors
    /// `Incomplete`.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<usize>, Incomplete>> {
        loop {
            if self.piece.is_empty() && !self.collected.is_empty() {
                self.piece = std::mem::take(&mut self.collected).into();
            }
            if !self.piece.is_empty() {
                return Poll::Ready(Ok(Some(self.piece.len())));
            }
            let Some(receiving) = self.receiving.as_mut().filter(|_| !self.is_over) else {
                return Poll::Ready(Ok(None));
            };
            match ready!(receiving.poll_data(cx)) {
                Some(Ok(piece)) => {
                    self.moved.received += piece.len() as u64;
                    self.piece = piece;
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "a worker's answer broke off");
                    return Poll::Ready(Err(Incomplete));
                }
                None => {
                    let trailers = ready!(receiving.poll_trailers(cx)).map_err(|_| Incomplete)?;
                    let trailers = trailers.as_ref().map(trailers_of).transpose();
                    self.trailers = trailers.map_err(|_| Incomplete)?.flatten();
                    self.is_over = true;
                }
            }
        }
    }

    /// Takes in what has come while the client is slow. A frame costs more memory than its bytes, and a
    /// worker may send one for each byte; bytes are bounded by the stream's window.
    pub fn collect(&mut self, cx: &mut Context<'_>) {
        let Some(receiving) = self.receiving.as_mut().filter(|_| !self.is_over) else { return };
        while let Poll::Ready(Some(Ok(piece))) = receiving.poll_data(cx) {
            self.moved.received += piece.len() as u64;
            self.collected.extend_from_slice(&piece);
        }
    }

    /// Bytes of both bodies: the size of heads is the connection's business.
    pub fn moved(&self) -> Moved {
        self.moved
    }

    /// Bytes of the answer that wait for their client.
    pub fn held(&self) -> usize {
        self.piece.len() + self.collected.capacity()
    }

    #[cfg(test)]
    pub(super) fn collected(&self) -> usize {
        self.collected.len()
    }

    pub fn piece(&self) -> &[u8] {
        &self.piece
    }

    /// Forgets so many bytes of the piece: the worker may send as many more.
    pub fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.piece.len());
        self.piece.advance(bytes);
        if let Some(receiving) = &mut self.receiving {
            // Whoever closed the stream needs no window.
            let _ = receiving.flow_control().release_capacity(bytes);
        }
    }

    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }

    /// What an error before the final head means (RFC 9113 sections 6.8 and 8.7). The crate fails
    /// streams with the worker's GOAWAY that it said it would not process, and no others.
    fn failure(&self, error: &h2::Error) -> Failure {
        let reason = error.reason();
        if error.is_remote() {
            if error.is_go_away() || reason == Some(Reason::REFUSED_STREAM) {
                return self.unprocessed();
            }
            if reason == Some(Reason::HTTP_1_1_REQUIRED) {
                tracing::warn!(
                    "a worker wants HTTP/1.1: its upstream should not say `protocol: h2`"
                );
            }
            return Failure::Closed;
        }
        match error.is_io() {
            true if self.is_reused() && !self.has_begun => Failure::ClosedReused,
            true => Failure::Closed,
            false => Failure::Flaw,
        }
    }

    fn unprocessed(&self) -> Failure {
        if self.is_reused() { Failure::UnprocessedReused } else { Failure::Unprocessed }
    }
}

fn read_head(
    status: StatusCode,
    map: &HeaderMap,
    head: &mut ResponseHead,
) -> Result<(), ResponseFlaw> {
    // RFC 9113 section 8.6: there is no 101.
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ResponseFlaw::StatusLine);
    }
    if map.len() > FIELDS_MAX {
        return Err(ResponseFlaw::TooManyFields);
    }
    let fields = fields_of(map).map_err(|_| ResponseFlaw::FieldLine)?;
    *head = ResponseHead::compose(status, fields);
    Ok(())
}
