//! The worker that answers: the far end of one request, to send it to and to read the answer from.
//!
//! All of it is polled, as the client is. Over HTTP/1 it is a connection; over HTTP/2 a stream of one
//! that others share.

pub mod http1;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::Method;

use crate::downstream::{BodyLength, Incoming};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::verdict::Failure;
use crate::upstream::way::http2::{Head, Stream, Unsendable};
use crate::upstream::way::{Link, Moved, Pool};
use crate::wire::fields::Fields;
use crate::wire::framing::Framing;
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;
use crate::wire::write::Announce;

pub use self::http1::Http1;

/// The endpoint that was chosen, and the way there.
#[derive(Debug)]
pub struct Worker {
    pub peer: Peer,
    pub upstream: usize,
    pub endpoint: Arc<Endpoint>,
    /// Others may have the connection afterwards.
    pub is_kept: bool,
}

/// Who answers.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all speak HTTP/1: a box would cost each request"
)]
pub enum Peer {
    Http1(Http1),
    Http2(Box<Stream>),
}

/// The worker takes no more of the request; it may have answered all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The body of an answer is not whole, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Worker {
    /// Gives the connection back, where another request may use it: `is_sent` says that the worker has
    /// taken all of this one.
    pub fn release(self, pool: &Pool, is_sent: bool) {
        match self.peer {
            Peer::Http1(http1) => {
                if let Some(link) = http1.into_reusable().filter(|_| is_sent && self.is_kept) {
                    pool.give_back(self.upstream, self.endpoint.id, link, Instant::now());
                }
            }
            // Its connection is shared: a stream that has not ended is reset.
            Peer::Http2(stream) => drop(stream),
        }
    }
}

impl Peer {
    /// Begins the request. Over HTTP/1 nothing is sent yet.
    ///
    /// # Errors
    /// What HTTP/2 cannot say.
    pub fn begin(
        &mut self,
        method: &Method,
        target: &[u8],
        fields: &Fields,
        body: BodyLength,
    ) -> Result<(), Unsendable> {
        let announce = match body {
            BodyLength::Empty => Announce::of_request(Framing::Empty, method),
            BodyLength::Known(length) => Announce::Length(length),
            BodyLength::Unknown => Announce::Chunked,
        };
        let head = Head { method, target, fields, announce };
        match self {
            Self::Http1(http1) => {
                http1.begin(&head);
                Ok(())
            }
            Self::Http2(stream) => {
                if fields.has(Name::Upgrade) {
                    // As nginx does; RFC 9110 section 7.8 allows it.
                    tracing::debug!("HTTP/2 to workers has no upgrade: the request goes without");
                }
                stream.begin(&head, body == BodyLength::Empty)
            }
        }
    }

    /// Whether others had the connection before.
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.link.is_reused(),
            Self::Http2(stream) => stream.is_reused(),
        }
    }

    /// Whether the worker keeps bytes of the request waiting.
    pub fn is_behind(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.link.pending_output() > 0,
            Self::Http2(stream) => stream.is_blocked(),
        }
    }

    /// Whether so much waits that nothing more may be put behind it.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.is_full(),
            Self::Http2(_) => false,
        }
    }

    /// Notes that the worker was waited for in vain.
    pub fn suspect(&self) {
        if let Self::Http2(stream) = self {
            stream.suspect();
        }
    }

    /// Hands over what was held of the body.
    pub fn put(&mut self, held: &[u8]) {
        match self {
            Self::Http1(http1) => http1.put(held),
            Self::Http2(stream) => stream.put(held),
        }
    }

    /// Takes bytes of the body; how many.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<Result<usize, Refused>> {
        match self {
            Self::Http1(http1) => http1.poll_take(cx, piece).map_err(|_| Refused),
            Self::Http2(stream) => stream.poll_send(cx, piece).map_err(|_| Refused),
        }
    }

    /// Ends the body, with its trailers where the way there has any.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn finish(&mut self, trailers: Option<&Fields>) -> Result<(), Refused> {
        match self {
            Self::Http1(http1) => {
                http1.finish(trailers);
                Ok(())
            }
            Self::Http2(stream) => stream.finish(trailers).map_err(|_| Refused),
        }
    }

    /// Waits until all that was taken has left.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        match self {
            Self::Http1(http1) => http1.link.poll_flush(cx).map_err(|_| Refused),
            // Frames leave with the connection's own task.
            Self::Http2(_) => Poll::Ready(Ok(())),
        }
    }

    /// Waits for a head of the answer: interim ones, then the final one.
    ///
    /// # Errors
    /// Why none came.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
        head: &mut ResponseHead,
    ) -> Poll<Result<Framing, Failure>> {
        match self {
            Self::Http1(http1) => http1.poll_head(cx, method, head),
            Self::Http2(stream) => stream.poll_head(cx, method, head),
        }
    }

    /// Waits for a piece of the answer's body. The same piece is there until it was consumed.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Broken>> {
        match self {
            Self::Http1(http1) => http1.poll_piece(cx),
            Self::Http2(stream) => stream.poll_piece(cx).map(|polled| match polled {
                Ok(Some(length)) => Ok(Incoming::Data(length)),
                Ok(None) => Ok(Incoming::End),
                Err(_) => Err(Broken),
            }),
        }
    }

    /// Takes in what has come while the client is slow.
    pub fn collect(&mut self, cx: &mut Context<'_>) {
        if let Self::Http2(stream) = self {
            stream.collect(cx);
        }
    }

    pub fn piece(&self) -> &[u8] {
        match self {
            Self::Http1(http1) => http1.piece(),
            Self::Http2(stream) => stream.piece(),
        }
    }

    pub fn consume(&mut self, bytes: usize) {
        match self {
            Self::Http1(http1) => http1.consume(bytes),
            Self::Http2(stream) => stream.consume(bytes),
        }
    }

    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        match self {
            Self::Http1(http1) => http1.take_trailers(),
            Self::Http2(stream) => stream.take_trailers(),
        }
    }

    /// What has gone both ways.
    pub fn moved(&self) -> Moved {
        match self {
            Self::Http1(http1) => http1.link.moved(),
            Self::Http2(stream) => stream.moved(),
        }
    }

    /// Bytes that its buffers take.
    pub fn held(&self) -> usize {
        match self {
            Self::Http1(http1) => http1.link.held(),
            Self::Http2(stream) => stream.held(),
        }
    }

    /// Whether reads of large answers may grow. Those of HTTP/2 have the window that they have.
    pub fn let_grow(&mut self, may_grow: bool) {
        if let Self::Http1(http1) = self {
            http1.link.let_grow(may_grow);
        }
    }

    /// The connection itself, for a tunnel.
    pub fn link(&mut self) -> Option<&mut Link> {
        match self {
            Self::Http1(http1) => Some(&mut http1.link),
            Self::Http2(_) => None,
        }
    }
}
