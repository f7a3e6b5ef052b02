//! The answer's body of one exchange, on its way from a worker. The request's may still be on its way
//! there: either may end first.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;

use crate::downstream::Incoming;
use crate::proxy::upload::Upload;
use crate::upstream::way::{Link, Pool};
use crate::wire::body::{BodyDecoder, Piece};
use crate::wire::fields::Fields;
use crate::wire::framing::Framing;

/// A connection to the endpoint that was chosen.
#[derive(Debug)]
pub struct Worker {
    pub link: Link,
    pub upstream: usize,
    pub endpoint: usize,
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

    /// Bytes that were put back.
    pub fn held(&self) -> usize {
        self.put_back.len()
    }

    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }

    /// Throws the body away. Where all of it is there, the connection is kept.
    pub async fn discard(mut self: Box<Self>) {
        poll_fn(|cx| {
            while let Poll::Ready(Ok(Incoming::Data(length))) = self.poll_piece(cx) {
                self.consume(length);
            }
            Poll::Ready(())
        })
        .await;
        self.release();
    }

    /// Gives the connection back, where another request may use it.
    pub fn release(&mut self) {
        let Some(Worker { link, upstream, endpoint }) = self.worker.take() else { return };
        if self.is_over && self.keeps && self.upload.is_taken() {
            self.pool.give_back(upstream, endpoint, link, Instant::now());
        }
    }
}
