//! The answer's body of one exchange, on its way from a worker. The request's may still be on its way
//! there: either may end first.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::downstream::Incoming;
use crate::proxy::peer::{Broken, Peer, Worker};
use crate::proxy::upload::Upload;
use crate::upstream::way::Pool;
use crate::wire::fields::Fields;
use crate::wire::framing::Framing;

/// An answer whose head is there.
#[derive(Debug)]
pub struct Answering {
    /// Until it was given back.
    worker: Option<Worker>,
    pool: Arc<Pool>,
    pub upload: Upload,
    framing: Framing,
    /// The beginning of the body, where it was read before its time.
    put_back: Bytes,
}

impl Answering {
    pub fn new(worker: Worker, pool: Arc<Pool>, upload: Upload, framing: Framing) -> Self {
        Self { worker: Some(worker), pool, upload, framing, put_back: Bytes::new() }
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Who answers, and what goes there.
    pub fn way(&mut self) -> Option<(&mut Peer, &mut Upload)> {
        Some((&mut self.worker.as_mut()?.peer, &mut self.upload))
    }

    /// Whether the worker could go on for want of the request's body alone: it has all of it that came.
    pub fn waits_for_body(&self) -> bool {
        let worker = self.worker.as_ref();
        !self.upload.is_over() && worker.is_some_and(|worker| !worker.peer.is_behind())
    }

    /// Notes that the worker was waited for in vain.
    pub fn suspect(&self) {
        if let Some(worker) = &self.worker {
            worker.peer.suspect();
        }
    }

    /// Waits for a piece of the body. The same piece is there until it was consumed.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Broken>> {
        if !self.put_back.is_empty() {
            return Poll::Ready(Ok(Incoming::Data(self.put_back.len())));
        }
        match &mut self.worker {
            Some(worker) => worker.peer.poll_piece(cx),
            None => Poll::Ready(Ok(Incoming::End)),
        }
    }

    /// Takes in what has come while the client is slow.
    pub fn collect(&mut self, cx: &mut Context<'_>) {
        if let Some(worker) = &mut self.worker {
            worker.peer.collect(cx);
        }
    }

    pub fn piece(&self) -> &[u8] {
        if !self.put_back.is_empty() {
            return &self.put_back;
        }
        self.worker.as_ref().map_or(&[][..], |worker| worker.peer.piece())
    }

    pub fn consume(&mut self, bytes: usize) {
        if !self.put_back.is_empty() {
            // What is empty lets go of its memory.
            self.put_back = self.put_back.split_off(bytes.min(self.put_back.len()));
            return;
        }
        if let Some(worker) = &mut self.worker {
            worker.peer.consume(bytes);
        }
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
        self.worker.as_mut()?.peer.take_trailers()
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
        if let Some(worker) = self.worker.take() {
            worker.release(&self.pool, self.upload.is_taken());
        }
    }
}
