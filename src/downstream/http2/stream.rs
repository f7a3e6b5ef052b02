//! One stream: a request's body, and its answer.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Response, StatusCode};

use super::{SEND_BUFFER_MAX, STREAM_WINDOW};
use crate::downstream::alarm::Alarm;
use crate::downstream::client::{ClientFailure, Incoming};
use crate::downstream::request::Request;
use crate::listen::Info;
use crate::wire::fields::{Fields, Unwritable};
use crate::wire::flaw::RequestFlaw;
use crate::wire::map::{map_of, trailers_of};
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;
use crate::wire::write::Announce;

/// Bytes of a body that nobody wanted which are thrown away, and for how long: some clients take a
/// reset for a failure although they have the answer.
const DRAINED_MAX: u64 = 1024 * 1024;
const DRAIN: Duration = Duration::from_secs(2);
/// Bytes handed to the connection at a time.
const SEND_MAX: usize = 16 * 1024;

/// A stream.
#[derive(Debug)]
pub struct Http2 {
    info: Arc<Info>,
    alarm: Alarm,
    body: RecvStream,
    piece: Bytes,
    is_over: bool,
    trailers: Option<Box<Fields>>,
    expects: bool,
    received: u64,
    respond: SendResponse<Bytes>,
    sending: Option<SendStream<Bytes>>,
    status: Option<StatusCode>,
    /// Bytes that were announced and not sent yet.
    left: Option<u64>,
    sent: u64,
    /// The client takes no more at the moment.
    is_full: bool,
    has_ended: bool,
}

impl Http2 {
    pub(super) fn new(info: Arc<Info>, body: RecvStream, respond: SendResponse<Bytes>) -> Self {
        Self {
            info,
            alarm: Alarm::default(),
            is_over: body.is_end_stream(),
            body,
            piece: Bytes::new(),
            trailers: None,
            expects: false,
            received: 0,
            respond,
            sending: None,
            status: None,
            left: None,
            sent: 0,
            is_full: false,
            has_ended: false,
        }
    }

    pub(super) fn body_is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn expects(&mut self, request: &Request) {
        self.expects = request.expects_continue();
    }

    pub fn info(&self) -> &Arc<Info> {
        &self.info
    }

    pub fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    pub fn keep_no_longer(&mut self) {}

    /// What has come needs no window any more.
    pub fn leave_body(&mut self) {
        self.consume(self.piece.len());
    }

    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, ClientFailure>> {
        while self.piece.is_empty() && !self.is_over {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(_)) => return Poll::Ready(Err(ClientFailure::Gone)),
                None => {
                    let trailers = ready!(self.body.poll_trailers(cx));
                    let trailers = trailers.map_err(|_| ClientFailure::Gone)?;
                    let flaw = |Unwritable| ClientFailure::Flaw(RequestFlaw::FieldLine);
                    let trailers = trailers.as_ref().map(trailers_of).transpose();
                    self.trailers = trailers.map_err(flaw)?.flatten();
                    self.is_over = true;
                }
            }
        }
        Poll::Ready(Ok(match self.piece.len() {
            0 => Incoming::End,
            length => Incoming::Data(length),
        }))
    }

    /// Where it came in one piece, and nothing follows.
    pub fn poll_whole(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<bool, ClientFailure>> {
        ready!(self.poll_body(cx))?;
        let is_short = self.piece.len() <= bytes_max;
        Poll::Ready(Ok(is_short && self.whole_body().is_some()))
    }

    pub fn whole_body(&mut self) -> Option<&[u8]> {
        if self.piece.is_empty() {
            // Whoever waits for more says so afterwards.
            let _ = self.poll_body(&mut Context::from_waker(Waker::noop()));
        }
        let is_whole = self.received == 0 && !self.piece.is_empty() && self.body.is_end_stream();
        is_whole.then_some(&self.piece)
    }

    pub fn in_hand(&self) -> usize {
        self.piece.len()
    }

    pub fn piece(&self) -> &[u8] {
        &self.piece
    }

    pub fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.piece.len());
        self.piece.advance(bytes);
        self.received += bytes as u64;
        // Whoever closed the stream needs no window.
        let _ = self.body.flow_control().release_capacity(bytes);
    }

    /// What the window allows may come as long as nobody takes it, and of the answer some lies in the
    /// connection's own buffer.
    pub fn held(&mut self) -> usize {
        let is_untaken = !self.is_over && self.body.flow_control().used_capacity() > 0;
        let received = if is_untaken { STREAM_WINDOW as usize } else { 0 };
        let sent = usize::try_from(self.sent).unwrap_or(usize::MAX);
        let unsent = if self.is_full { sent.min(SEND_BUFFER_MAX) } else { 0 };
        received + unsent
    }

    pub fn let_grow(&mut self, _may_grow: bool) {}

    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = match &mut self.sending {
            Some(sending) => sending.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        polled.map(|_| ())
    }

    pub fn interim(&mut self, status: StatusCode, fields: &Fields) {
        let is_awaited = status != StatusCode::CONTINUE || std::mem::take(&mut self.expects);
        if is_awaited && self.status.is_none() {
            let mut head = Response::new(());
            *head.status_mut() = status;
            *head.headers_mut() = map_of(fields);
            let _ = self.respond.send_informational(head);
        }
    }

    pub fn begin(
        &mut self,
        answer: &ResponseHead,
        announce: Announce,
        has_body: bool,
    ) -> Result<(), ClientFailure> {
        let mut head = Response::new(());
        *head.status_mut() = answer.status;
        let mut map = map_of(&answer.fields);
        if let Announce::Length(length) = announce {
            map.insert(CONTENT_LENGTH, HeaderValue::from(length));
            self.left = has_body.then_some(length);
        }
        if !answer.fields.has(Name::Date) {
            let date = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()));
            map.extend(date.ok().map(|date| (http::header::DATE, date)));
        }
        *head.headers_mut() = map;
        let is_last = !has_body || self.left == Some(0);
        let sending = self.respond.send_response(head, is_last).map_err(|_| ClientFailure::Gone)?;
        self.status = Some(answer.status);
        self.has_ended = is_last;
        self.sending = Some(sending);
        Ok(())
    }

    /// RFC 9113 section 8.6: there is no 101.
    pub fn upgrade(&mut self, _fields: &mut Fields) -> Result<(), ClientFailure> {
        Err(ClientFailure::Gone)
    }

    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, ClientFailure>> {
        let gone = ClientFailure::Gone;
        let Some(sending) = self.sending.as_mut().filter(|_| !self.has_ended) else {
            return Poll::Ready(Err(gone));
        };
        let wanted = match self.left {
            Some(left) => bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => bytes.len(),
        };
        if wanted == 0 {
            return Poll::Ready(Err(gone));
        }
        sending.reserve_capacity(wanted.min(SEND_MAX));
        while sending.capacity() == 0 {
            let polled = sending.poll_capacity(cx);
            self.is_full = polled.is_pending();
            match ready!(polled) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(gone)),
            }
        }
        let taken = wanted.min(sending.capacity());
        let left = self.left.map(|left| left - taken as u64);
        let piece = Bytes::copy_from_slice(bytes.get(..taken).unwrap_or_default());
        sending.send_data(piece, left == Some(0)).map_err(|_| gone)?;
        self.left = left;
        self.has_ended = left == Some(0);
        self.sent += taken as u64;
        Poll::Ready(Ok(taken))
    }

    pub fn finish(&mut self, trailers: Option<&Fields>) -> Result<(), ClientFailure> {
        if self.has_ended {
            return Ok(());
        }
        let gone = ClientFailure::Gone;
        if self.left.is_some() {
            self.abort();
            return Err(gone);
        }
        let sending = self.sending.as_mut().ok_or(gone)?;
        let sent = match trailers.map(map_of).filter(|map| !map.is_empty()) {
            Some(map) => sending.send_trailers(map),
            None => sending.send_data(Bytes::new(), true),
        };
        self.has_ended = true;
        sent.map_err(|_| gone)
    }

    pub fn abort(&mut self) {
        match &mut self.sending {
            Some(sending) if !self.has_ended => sending.send_reset(Reason::INTERNAL_ERROR),
            Some(_) => {}
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
        self.has_ended = true;
    }

    /// Frames leave with the connection's own task.
    pub fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        Poll::Ready(Ok(()))
    }

    pub fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        Poll::Ready(Ok(()))
    }

    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn head_sent(&self) -> u64 {
        0
    }

    pub fn sent_on_wire(&self) -> u64 {
        self.sent
    }

    pub fn received_on_wire(&self) -> u64 {
        self.received
    }

    pub fn has_finished(&self) -> bool {
        self.status.is_some() && self.has_ended
    }

    pub fn is_pipelined(&self) -> bool {
        false
    }

    /// The request is over. Takes the rest of a body for a while, so that the client sees the answer
    /// before it sees a reset.
    pub(super) async fn end(mut self) {
        if !self.has_ended {
            return self.abort();
        }
        let until = self.received + DRAINED_MAX;
        self.alarm.set(Instant::now() + DRAIN);
        while self.received < until {
            let next = poll_fn(|cx| match self.alarm.poll(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => self.poll_body(cx).map(Some),
            });
            match next.await {
                Some(Ok(Incoming::Data(length))) => self.consume(length),
                Some(Ok(Incoming::End) | Err(_)) | None => break,
            }
        }
    }
}
