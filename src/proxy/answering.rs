//! The answer's body of one exchange, on its way from a worker. The request's may still be on its way
//! there: either may end first.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::downstream::Incoming;
use crate::proxy::peer::{Broken, Peer, Worker};
use crate::proxy::spool::{Disk, Spool};
use crate::proxy::upload::Upload;
use crate::upstream::way::{Moved, Pool};
use crate::wire::fields::Fields;
use crate::wire::framing::Framing;

/// Bytes of an answer that wait in memory (nginx `proxy_buffers`).
const MEMORY_MAX: usize = 16 * 1024;

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
    /// What has come while the client is slow.
    spool: Option<Box<Spool>>,
    /// Bytes that may go into a file; `None`: the worker waits for a slow client.
    spool_max: Option<u64>,
    /// How much of that the client has.
    taken: u64,
    has_ended: bool,
    trailers: Option<Box<Fields>>,
    received: u64,
    /// What had gone both ways when the worker was given back.
    moved: Moved,
}

impl Answering {
    pub fn new(worker: Worker, pool: Arc<Pool>, upload: Upload, framing: Framing) -> Self {
        Self {
            worker: Some(worker),
            pool,
            upload,
            framing,
            put_back: Bytes::new(),
            spool: None,
            spool_max: None,
            taken: 0,
            has_ended: false,
            trailers: None,
            received: 0,
            moved: Moved::default(),
        }
    }

    /// Lets the worker go on while the client is slow: so many bytes may go into a file.
    pub fn let_spool(&mut self, bytes_max: u64) {
        self.spool_max = Some(bytes_max);
    }

    /// Whether the worker has said all that it says.
    pub fn has_ended(&self) -> bool {
        self.has_ended
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
        let is_client_late =
            !self.upload.is_over() && !self.upload.has_all() && !self.upload.is_behind();
        is_client_late && worker.is_some_and(|worker| !worker.peer.is_behind())
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
        if let Some(spool) = self.spool.as_mut().filter(|spool| !spool.is_empty()) {
            let loaded = spool.load(self.taken);
            loaded.map_err(|error| {
                tracing::error!(%error, "an answer cannot be read back");
                Broken
            })?;
            return Poll::Ready(Ok(Incoming::Data(spool.piece(self.taken).len())));
        }
        if self.has_ended {
            return Poll::Ready(Ok(Incoming::End));
        }
        match &mut self.worker {
            Some(worker) => worker.peer.poll_piece(cx),
            None => Poll::Ready(Ok(Incoming::End)),
        }
    }

    /// Takes in what has come while the client is slow.
    ///
    /// # Errors
    /// [`Broken`]: what the client has is all that there is.
    pub fn collect(&mut self, cx: &mut Context<'_>, disk: &Arc<Disk>) -> Result<(), Broken> {
        let Some(worker) = self.worker.as_mut().filter(|_| !self.has_ended) else { return Ok(()) };
        let Some(bytes_max) = self.spool_max.filter(|_| self.put_back.is_empty()) else {
            worker.peer.collect(cx);
            return Ok(());
        };
        let new = || Box::new(Spool::new(MEMORY_MAX, bytes_max, disk.clone()));
        let spool = self.spool.get_or_insert_with(new);
        loop {
            match worker.peer.poll_piece(cx) {
                Poll::Ready(Ok(Incoming::Data(length))) => match spool.push(worker.peer.piece()) {
                    Ok(true) => worker.peer.consume(length),
                    Ok(false) => return Ok(()),
                    Err(error) => {
                        tracing::error!(%error, "an answer cannot be kept for a slow client");
                        return Ok(());
                    }
                },
                Poll::Ready(Ok(Incoming::End)) => break,
                Poll::Ready(Err(broken)) => return Err(broken),
                Poll::Pending => return Ok(()),
            }
        }
        self.has_ended = true;
        self.trailers = worker.peer.take_trailers();
        if self.upload.is_over() {
            self.release();
        }
        Ok(())
    }

    pub fn piece(&self) -> &[u8] {
        if !self.put_back.is_empty() {
            return &self.put_back;
        }
        if let Some(spool) = self.spool.as_ref().filter(|spool| !spool.is_empty()) {
            return spool.piece(self.taken);
        }
        self.worker.as_ref().map_or(&[][..], |worker| worker.peer.piece())
    }

    /// Bytes of the body that were consumed.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that went to the worker and came from it, heads included.
    pub fn moved(&self) -> Moved {
        self.worker.as_ref().map_or(self.moved, |worker| worker.peer.moved())
    }

    pub fn consume(&mut self, bytes: usize) {
        self.received += bytes as u64;
        if !self.put_back.is_empty() {
            // What is empty lets go of its memory.
            self.put_back = self.put_back.split_off(bytes.min(self.put_back.len()));
            return;
        }
        if let Some(spool) = self.spool.as_mut().filter(|spool| !spool.is_empty()) {
            self.taken += bytes as u64;
            if self.taken >= spool.len() {
                self.taken = 0;
                // What cannot be cut short is written over.
                let _ = spool.clear();
            }
            return;
        }
        if let Some(worker) = &mut self.worker {
            worker.peer.consume(bytes);
        }
    }

    /// Puts back the beginning of the body, all that was consumed so far: it comes once more.
    pub fn put_back(&mut self, beginning: Bytes) {
        self.received -= beginning.len() as u64;
        self.put_back = beginning;
    }

    /// Bytes that were put back, or wait in memory.
    pub fn held(&self) -> usize {
        self.put_back.len() + self.spool.as_ref().map_or(0, |spool| spool.held())
    }

    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        match self.has_ended {
            true => self.trailers.take(),
            false => self.worker.as_mut()?.peer.take_trailers(),
        }
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
            self.moved = worker.peer.moved();
            worker.release(&self.pool, self.upload.is_taken());
        }
    }
}
