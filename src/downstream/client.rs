//! Who asks: the far end of one request, to read its body from and to write its answer to.
//!
//! All of it is polled. Nothing moves on its own: a body that nobody takes stays with the client, an
//! answer that the client does not take stays with the worker.

use std::fs::File;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::StatusCode;
use thiserror::Error;

use super::alarm::Alarm;
use super::delivery::Delivery;
use super::http1::Http1;
use super::http2::Http2;
use super::keepalive::KeepAlive;
use crate::listen::Info;
use crate::wire::fields::Fields;
use crate::wire::flaw::RequestFlaw;
use crate::wire::response::ResponseHead;
use crate::wire::write::Announce;

/// Who asks.
#[derive(Debug)]
pub enum Client<'a> {
    Http1(&'a mut Http1),
    Http2(&'a mut Http2),
}

/// What there is of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// So many bytes: [`Client::piece`].
    Data(usize),
    /// It is over; it may have had trailers.
    End,
}

/// What goes wrong with a client.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ClientFailure {
    /// It closed, or was cut. A body that broke off is one of these.
    #[error("the client is gone")]
    Gone,
    /// Its body is none.
    #[error("the request's body: {0}")]
    Flaw(RequestFlaw),
}

macro_rules! both {
    ($client:expr, $inner:ident => $do:expr) => {
        match $client {
            Client::Http1($inner) => $do,
            Client::Http2($inner) => $do,
        }
    };
}

impl Client<'_> {
    /// What is known of the connection.
    pub fn info(&self) -> &Arc<Info> {
        both!(self, inner => inner.info())
    }

    /// The deadline of whoever waits for this client, or for somebody on its behalf.
    pub fn alarm(&mut self) -> &mut Alarm {
        both!(self, inner => inner.alarm())
    }

    /// Waits for a piece of the request's body. The same piece is there until it was consumed.
    ///
    /// # Errors
    /// The client is gone, or what it sends is no body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, ClientFailure>> {
        both!(self, inner => inner.poll_body(cx))
    }

    /// Waits until a short body is there, all of it, where it was read: [`whole_body`](Self::whole_body).
    /// `false`: it is too long for that, or nobody knows how long it is.
    ///
    /// # Errors
    /// The client is gone.
    pub fn poll_whole(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<bool, ClientFailure>> {
        both!(self, inner => inner.poll_whole(cx, bytes_max))
    }

    /// A body that is there and of which nothing was taken. It stays until it is taken or left.
    pub fn whole_body(&mut self) -> Option<&[u8]> {
        both!(self, inner => inner.whole_body())
    }

    /// Bytes that have come and that nobody has taken.
    pub fn in_hand(&self) -> usize {
        both!(self, inner => inner.in_hand())
    }

    /// The piece that [`poll_body`](Self::poll_body) spoke of.
    pub fn piece(&self) -> &[u8] {
        both!(self, inner => inner.piece())
    }

    /// Forgets so many bytes of the piece: the client may send as many more.
    pub fn consume(&mut self, bytes: usize) {
        both!(self, inner => inner.consume(bytes));
    }

    /// Says that nobody will take the rest of the body; before the answer begins.
    pub fn leave_body(&mut self) {
        both!(self, inner => inner.leave_body());
    }

    /// The trailers of a body that is over.
    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        both!(self, inner => inner.take_trailers())
    }

    /// Bytes of the request's body that were consumed.
    pub fn received(&self) -> u64 {
        both!(self, inner => inner.received())
    }

    /// Bytes of both bodies that are held here, or may be while nobody takes them.
    pub fn held(&mut self) -> usize {
        both!(self, inner => inner.held())
    }

    /// Whether more than before may be read at a time.
    pub fn let_grow(&mut self, may_grow: bool) {
        both!(self, inner => inner.let_grow(may_grow));
    }

    /// Ready when the client has left; to be asked once its body is over.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        both!(self, inner => inner.poll_gone(cx))
    }

    /// Sends an interim answer (RFC 9110 section 15.2), where the client understands one.
    pub fn interim(&mut self, status: StatusCode, fields: &Fields) {
        both!(self, inner => inner.interim(status, fields));
    }

    /// Says how the connection goes on behind the answer, before that begins.
    pub fn keep(&mut self, keepalive: &KeepAlive, keeps: bool) {
        match self {
            Client::Http1(http1) => http1.keep(keepalive, keeps),
            Client::Http2(_) if keeps => {}
            Client::Http2(http2) => http2.info().finish(),
        }
    }

    /// Says how the answer is carried, before it begins.
    pub fn deliver_by(&mut self, delivery: &Arc<Delivery>) {
        self.info().send_within(delivery.send_timeout);
        if let Client::Http1(http1) = self {
            http1.deliver_by(delivery);
        }
    }

    /// Begins the final answer. Of its fields those that frame it are written by `announce`; what
    /// concerns the connection is added. `has_body` says whether anything will be sent.
    ///
    /// # Errors
    /// The client is gone.
    pub fn begin(
        &mut self,
        head: &mut ResponseHead,
        announce: Announce,
        has_body: bool,
    ) -> Result<(), ClientFailure> {
        both!(self, inner => inner.begin(head, announce, has_body))
    }

    /// Begins a 101: from here on both bodies are another protocol's bytes.
    ///
    /// # Errors
    /// The client is gone, or its protocol knows no such thing.
    pub fn upgrade(&mut self, fields: &mut Fields) -> Result<(), ClientFailure> {
        both!(self, inner => inner.upgrade(fields))
    }

    /// Has the connection end with this answer; to be said before it begins.
    pub fn keep_no_longer(&mut self) {
        both!(self, inner => inner.keep_no_longer());
    }

    /// Takes bytes of the answer's body; how many.
    ///
    /// # Errors
    /// The client is gone.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, ClientFailure>> {
        both!(self, inner => inner.poll_send(cx, bytes))
    }

    /// Takes bytes of a file, as a part of the answer's body, that do not pass through here; how many, 0
    /// where the file has no more. Nothing where that cannot be.
    ///
    /// # Errors
    /// The client is gone.
    pub fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Poll<Result<Option<usize>, ClientFailure>> {
        match self {
            Self::Http1(inner) => inner.poll_send_file(cx, file, offset, length),
            Self::Http2(_) => Poll::Ready(Ok(None)),
        }
    }

    /// Ends the answer's body.
    ///
    /// # Errors
    /// The client is gone, or fewer bytes were sent than announced.
    pub fn finish(&mut self, trailers: Option<&Fields>) -> Result<(), ClientFailure> {
        both!(self, inner => inner.finish(trailers))
    }

    /// Breaks the answer off, so that the client notices that it is not whole.
    pub fn abort(&mut self) {
        both!(self, inner => inner.abort());
    }

    /// Waits until all that was taken has left.
    ///
    /// # Errors
    /// The client is gone.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        both!(self, inner => inner.poll_flush(cx))
    }

    /// Ends our side of what an upgraded connection became.
    ///
    /// # Errors
    /// The client is gone.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        both!(self, inner => inner.poll_shutdown(cx))
    }

    /// Bytes of the answer's body that were taken.
    pub fn sent(&self) -> u64 {
        both!(self, inner => inner.sent())
    }

    /// Bytes of the answer's head.
    pub fn head_sent(&self) -> u64 {
        both!(self, inner => inner.head_sent())
    }

    /// Bytes of the answer's body as it was written, chunks and all.
    pub fn sent_on_wire(&self) -> u64 {
        both!(self, inner => inner.sent_on_wire())
    }

    /// Bytes of the request's body as it came.
    pub fn received_on_wire(&self) -> u64 {
        both!(self, inner => inner.received_on_wire())
    }

    /// Whether all of the answer was taken.
    pub fn has_finished(&self) -> bool {
        both!(self, inner => inner.has_finished())
    }

    /// Whether the request came before its predecessor was answered.
    pub fn is_pipelined(&self) -> bool {
        both!(self, inner => inner.is_pipelined())
    }

    /// The status of the final answer, once it has begun.
    pub fn status(&self) -> Option<StatusCode> {
        both!(self, inner => inner.status())
    }
}
