//! One exchange with a worker, over one connection: the request's body on its way there, the answer's
//! on its way back. Either may end first.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;

use crate::downstream::{BodyLength, Client, ClientFailure, Incoming};
use crate::proxy::forward;
use crate::session::subject::body::Copied;
use crate::upstream::way::{Link, Pool};
use crate::wire::body::{BodyDecoder, Piece};
use crate::wire::fields::Fields;
use crate::wire::framing::Framing;
use crate::wire::write;

/// Bytes that wait for a worker.
const OUTPUT_MAX: usize = 64 * 1024;
/// Smaller pieces are collected, so that a head and its body leave together.
const DIRECT_MIN: usize = 8 * 1024;
/// Bytes of a body that are held for another try.
const HELD_MAX: usize = 64 * 1024;

/// A connection to the endpoint that was chosen.
#[derive(Debug)]
pub struct Worker {
    pub link: Link,
    pub upstream: usize,
    pub endpoint: usize,
}

/// A request's body on its way to a worker.
#[derive(Debug)]
pub struct Upload {
    state: State,
    is_chunked: bool,
    /// 0 for no limit.
    bytes_max: u64,
    sent: u64,
    /// What was sent so far, where it may have to be sent again.
    held: Option<Vec<u8>>,
    /// Counts what happened, so that whoever watches sees that something did.
    steps: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Body,
    Flushing,
    Over,
    /// The worker takes no more; it may have answered all the same.
    Refused,
}

/// Why an upload ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadFailure {
    Client(ClientFailure),
    TooLarge,
}

impl Upload {
    /// An upload that has not begun. With `may_repeat`, its beginning is held.
    pub fn new(body: BodyLength, bytes_max: u64, may_repeat: bool) -> Self {
        Self {
            state: State::Body,
            is_chunked: body == BodyLength::Unknown,
            bytes_max,
            sent: 0,
            held: may_repeat.then(Vec::new),
            steps: 0,
        }
    }

    /// Whether the worker has all that it will get.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over | State::Refused)
    }

    /// Whether all of the body came, so that nobody waits for the client.
    pub fn has_all(&self) -> bool {
        matches!(self.state, State::Over | State::Flushing)
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether all that was sent so far can be sent again.
    pub fn may_begin_again(&self) -> bool {
        self.sent == 0 || self.held.is_some()
    }

    /// Begins again over another connection, with what was sent so far.
    pub fn begin_again(&mut self, link: &mut Link, copied: Option<&mut Copied>) {
        self.state = State::Body;
        let held = self.held.as_deref().unwrap_or_default();
        if !held.is_empty() {
            put(link.output(), held, self.is_chunked);
        }
        if let Some(copied) = copied {
            copied.begin_again();
            copied.pass(held, false);
        }
    }

    /// Moves what there is to be moved. Ready when the worker has all that it will get.
    ///
    /// # Errors
    /// The client's, or a body beyond the limit. What a worker does not take is no error: it may have
    /// answered.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<'_>,
        link: &mut Link,
        mut copied: Option<&mut Copied>,
    ) -> Poll<Result<(), UploadFailure>> {
        loop {
            match self.state {
                State::Over | State::Refused => return Poll::Ready(Ok(())),
                State::Flushing => match ready!(link.poll_flush(cx)) {
                    Ok(()) => self.enter(State::Over),
                    Err(_) => self.enter(State::Refused),
                },
                State::Body if link.pending_output() >= OUTPUT_MAX => {
                    if ready!(link.poll_flush(cx)).is_err() {
                        self.enter(State::Refused);
                    }
                    self.steps += 1;
                }
                State::Body => match client.poll_body(cx) {
                    Poll::Ready(Ok(Incoming::Data(_))) => {
                        let taken = ready!(self.poll_take(cx, client, link, copied.as_deref_mut()));
                        self.steps += 1;
                        self.sent += taken as u64;
                        if self.bytes_max > 0 && self.sent > self.bytes_max {
                            return Poll::Ready(Err(UploadFailure::TooLarge));
                        }
                    }
                    Poll::Ready(Ok(Incoming::End)) => {
                        if let Some(copied) = copied.as_deref_mut() {
                            copied.pass(&[], true);
                        }
                        if self.is_chunked {
                            let mut trailers = client.take_trailers();
                            trailers.as_deref_mut().into_iter().for_each(forward::clean_trailers);
                            write::last_chunk(link.output(), trailers.as_deref());
                        }
                        self.enter(State::Flushing);
                    }
                    Poll::Ready(Err(failure)) => {
                        return Poll::Ready(Err(UploadFailure::Client(failure)));
                    }
                    Poll::Pending => {
                        if let Poll::Ready(Err(_)) = link.poll_flush(cx) {
                            self.enter(State::Refused);
                            continue;
                        }
                        return Poll::Pending;
                    }
                },
            }
        }
    }

    /// Takes the client's piece, or a part of it; how much.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<'_>,
        link: &mut Link,
        copied: Option<&mut Copied>,
    ) -> Poll<usize> {
        let piece = client.piece();
        let is_direct = !self.is_chunked && piece.len() >= DIRECT_MIN && link.pending_output() == 0;
        let taken = if is_direct {
            match ready!(link.poll_write(cx, piece)) {
                Ok(taken) => taken,
                Err(_) => {
                    self.state = State::Refused;
                    return Poll::Ready(0);
                }
            }
        } else {
            put(link.output(), piece, self.is_chunked);
            piece.len()
        };
        let piece = piece.get(..taken).unwrap_or_default();
        if let Some(copied) = copied {
            copied.pass(piece, false);
        }
        match &mut self.held {
            Some(held) if held.len() + taken <= HELD_MAX => held.extend_from_slice(piece),
            held => *held = None,
        }
        client.consume(taken);
        Poll::Ready(taken)
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.steps += 1;
    }
}

fn put(output: &mut Vec<u8>, piece: &[u8], is_chunked: bool) {
    if is_chunked {
        write::chunk_begin(output, piece.len());
        output.extend_from_slice(piece);
        output.extend_from_slice(write::CHUNK_END);
    } else {
        output.extend_from_slice(piece);
    }
}

/// The body of an answer is not whole, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// An answer whose head is there.
#[derive(Debug)]
pub struct Answering {
    /// Until it was given back.
    worker: Option<Worker>,
    pool: Arc<Pool>,
    pub upload: Upload,
    framing: Framing,
    decoder: BodyDecoder,
    /// Bytes of the input that were decoded and not consumed.
    piece: usize,
    /// The beginning of the body, where it was read before its time.
    put_back: Bytes,
    is_over: bool,
    trailers: Option<Box<Fields>>,
    /// The worker keeps the connection.
    keeps: bool,
}

impl Answering {
    pub fn new(
        worker: Worker,
        pool: Arc<Pool>,
        upload: Upload,
        framing: Framing,
        keeps: bool,
    ) -> Self {
        Self {
            worker: Some(worker),
            pool,
            upload,
            framing,
            decoder: BodyDecoder::new(framing),
            piece: 0,
            put_back: Bytes::new(),
            is_over: false,
            trailers: None,
            keeps,
        }
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The connection, and what goes over it.
    pub fn way(&mut self) -> Option<(&mut Link, &mut Upload)> {
        Some((&mut self.worker.as_mut()?.link, &mut self.upload))
    }

    /// Whether the worker could go on for want of the request's body alone: it has all of it that came.
    pub fn waits_for_body(&self) -> bool {
        let worker = self.worker.as_ref();
        !self.upload.is_over() && worker.is_some_and(|worker| worker.link.pending_output() == 0)
    }

    /// Waits for a piece of the body. The same piece is there until it was consumed.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Broken>> {
        if !self.put_back.is_empty() {
            return Poll::Ready(Ok(Incoming::Data(self.put_back.len())));
        }
        loop {
            if self.piece > 0 {
                return Poll::Ready(Ok(Incoming::Data(self.piece)));
            }
            let Some(Worker { link, .. }) = self.worker.as_mut().filter(|_| !self.is_over) else {
                return Poll::Ready(Ok(Incoming::End));
            };
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
        if !self.put_back.is_empty() {
            return &self.put_back;
        }
        let input = self.worker.as_ref().map_or(&[][..], |worker| worker.link.input());
        input.get(..self.piece).unwrap_or_default()
    }

    pub fn consume(&mut self, bytes: usize) {
        if !self.put_back.is_empty() {
            // What is empty lets go of its memory.
            self.put_back = self.put_back.split_off(bytes.min(self.put_back.len()));
            return;
        }
        let bytes = bytes.min(self.piece);
        if let Some(worker) = &mut self.worker {
            worker.link.consume(bytes);
        }
        self.piece -= bytes;
    }

    /// Puts back the beginning of the body, all that was consumed so far: it comes once more.
    pub fn put_back(&mut self, beginning: Bytes) {
        self.put_back = beginning;
    }

    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }

    /// Gives the connection back, where another request may use it.
    pub fn release(&mut self) {
        let Some(Worker { link, upstream, endpoint }) = self.worker.take() else { return };
        if self.is_over && self.keeps && self.upload.state == State::Over {
            self.pool.give_back(upstream, endpoint, link, Instant::now());
        }
    }
}
