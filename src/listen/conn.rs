//! The transport of one connection, TCP or TLS, that an HTTP engine reads from and writes to.
//!
//! - Reading obeys the [`Order`]s of the sweeper. What was read and not consumed is [`Conn::input`].
//! - Writing collects up to one TLS record, so that a head and the beginning of its body leave in one
//!   record and one packet. What is collected leaves when it is flushed.
//! - While the connection is idle it holds no buffers.

mod traffic;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, ReadBuf};

use super::Protocol;
use super::gate::Gate;
use super::info::{Info, Order, State};
use super::registry::{LINGER, Registration};
use crate::transport::{Accepted, Io, Socket};

/// Bytes read at first, before there is a buffer.
const FIRST_READ: usize = 4096;
/// Bytes collected before they are written: the plaintext of one TLS record (RFC 8446 section 5.1).
const OUT_MAX: usize = 16 * 1024;

/// How long a connection waits for its peer to close its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    pub when: Lingers,
    /// Altogether.
    pub time: Duration,
    /// Without a byte.
    pub timeout: Duration,
}

/// Whether it waits at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lingers {
    Never,
    /// Where the peer may still be sending.
    Unread,
    Always,
}

impl Default for Linger {
    fn default() -> Self {
        Self { when: Lingers::Unread, time: LINGER, timeout: LINGER }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    io: Io,
    place: Registration,
    protocol: Protocol,
    /// Plaintext that was read and not consumed yet.
    input: BytesMut,
    /// Plaintext that was taken and not written yet.
    out: Vec<u8>,
    out_written: usize,
    /// The peer has closed its side.
    ended: bool,
    /// A read or write failed; nothing can be sent any more.
    broken: bool,
}

impl Conn {
    pub(super) fn plain(socket: Socket, place: Registration) -> Box<Self> {
        Self::new(Io::Plain(socket), place, Protocol::Http1)
    }

    pub(super) fn tls(stream: Accepted, place: Registration, protocol: Protocol) -> Box<Self> {
        Self::new(Io::Accepted(Box::new(stream)), place, protocol)
    }

    /// In a box: it is handed on from one to the next, each of whom makes room for it.
    fn new(io: Io, place: Registration, protocol: Protocol) -> Box<Self> {
        place.enter(State::New, Instant::now());
        if protocol == Protocol::Http2 {
            place.shared().set_http2();
        }
        Box::new(Self {
            io,
            place,
            protocol,
            input: BytesMut::new(),
            out: Vec::new(),
            out_written: 0,
            ended: false,
            broken: false,
        })
    }

    /// What is known of the connection; outlives it.
    pub fn info(&self) -> &Arc<Info> {
        self.place.shared()
    }

    /// Whether the worker drains, or this connection ends: the answer that is on its way is the last one.
    pub fn is_draining(&self) -> bool {
        self.place.is_draining() || self.place.ends_soon()
    }

    /// What ALPN chose.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// It has begun as HTTP/2 begins.
    pub fn become_http2(&mut self) {
        self.protocol = Protocol::Http2;
        self.info().set_http2();
    }

    /// Where requests that were refused are counted.
    pub fn gate(&self) -> &Gate {
        self.place.gate()
    }

    /// Waits for the first bytes of a request, without any buffer. `false`: there will be none, the
    /// peer is gone or the connection was told to close.
    pub async fn readable(&mut self) -> bool {
        std::future::poll_fn(|cx| self.poll_readable(cx)).await
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.place.order() != Order::Proceed {
            return Poll::Ready(false);
        }
        if !self.input.is_empty() {
            return Poll::Ready(true);
        }
        let mut space = [MaybeUninit::uninit(); FIRST_READ];
        let mut space = ReadBuf::uninit(&mut space);
        let read = ready!(self.poll_read_io(cx, &mut space));
        self.input.extend_from_slice(space.filled());
        Poll::Ready(read.is_ok() && !self.input.is_empty())
    }

    /// What was read and not consumed yet.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Forgets so many bytes of the input.
    pub fn consume(&mut self, bytes: usize) {
        self.input.advance(bytes.min(self.input.len()));
    }

    /// Reads more, up to `room` bytes behind the input; how many, 0 at the end of the file. Who waits for
    /// the first of them holds no buffer meanwhile.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] where the head took too long; others where nothing can be read.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if let Some(over) = self.over() {
            return Poll::Ready(over);
        }
        self.input.reserve(room);
        let polled = pin!(self.io.read_buf(&mut self.input)).poll(cx);
        match polled {
            Poll::Pending => {
                if self.input.is_empty() {
                    self.input = BytesMut::new();
                }
                self.place.wait_for_order(cx);
            }
            Poll::Ready(Ok(read)) => self.ended = read == 0,
            // A peer that closes without close_notify has closed all the same.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.ended = true;
                return Poll::Ready(Ok(0));
            }
            Poll::Ready(Err(_)) => self.broken = true,
        }
        polled
    }

    /// The same, without a buffer as long as nothing comes.
    ///
    /// # Errors
    /// As [`poll_fill`](Self::poll_fill).
    pub fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(over) = self.over() {
            return Poll::Ready(over);
        }
        let mut space = [MaybeUninit::uninit(); FIRST_READ];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(self.poll_read_io(cx, &mut space))?;
        self.input.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }

    /// What reading says where nothing more is read: the connection was told to end, or has ended.
    fn over(&mut self) -> Option<io::Result<usize>> {
        match self.place.order() {
            Order::Proceed => self.ended.then_some(Ok(0)),
            Order::Close => Some(Ok(0)),
            Order::Expire => Some(Err(io::ErrorKind::TimedOut.into())),
            Order::Abort => Some(Err(self.cut())),
        }
    }

    /// A request head begins: arms its deadline.
    pub fn begin_head(&mut self) {
        self.place.enter(State::Header, Instant::now());
    }

    /// The request is over and the next one is awaited: gives memory back.
    pub fn rest(&mut self) {
        self.place.enter(State::Idle, Instant::now());
        if self.out_written == self.out.len() {
            (self.out, self.out_written) = (Vec::new(), 0);
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// Bytes that its buffers take.
    pub fn held(&self) -> usize {
        self.input.capacity() + self.out.capacity() + self.io.held()
    }

    /// Bytes that leave with the next flush, for whoever appends to them.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Says goodbye and closes: what is written leaves, TLS gets its close_notify.
    pub async fn close(mut self: Box<Self>) {
        self.say_goodbye().await;
    }

    /// Closes as [`close`](Self::close) does and then waits, for a bounded time, until the peer
    /// has closed its side. What it still sends is thrown away: a socket closed with unread bytes
    /// makes the system send a reset, and a reset may overtake the last answer (RFC 9112 section 9.6).
    /// A connection that was told to close has no answer worth waiting for.
    pub async fn linger(mut self: Box<Self>, linger: Linger) {
        let told = self.place.order() == Order::Close;
        if !self.say_goodbye().await || told {
            return;
        }
        let begun = Instant::now();
        while !self.ended && begun.elapsed() < linger.time {
            self.place.linger(linger.timeout.min(linger.time), Instant::now());
            // On the stack: what stood in the future would be each connection's all the time.
            let read = std::future::poll_fn(|cx| {
                let mut space = [MaybeUninit::uninit(); FIRST_READ];
                self.poll_read_io(cx, &mut ReadBuf::uninit(&mut space))
            });
            if read.await.is_err() {
                return;
            }
        }
    }

    /// Whether it was told that it is cut.
    pub fn is_cut(&self) -> bool {
        self.place.order() == Order::Abort
    }

    /// Closes without a goodbye: the peer notices that something is missing.
    pub fn reset(self) {
        // Where it cannot be had the close is an ordinary one.
        let _ = self.io.socket().options().set_linger(Some(Duration::ZERO));
    }

    /// `false` where there was nobody to say it to.
    async fn say_goodbye(&mut self) -> bool {
        self.input = BytesMut::new();
        if self.broken {
            return false;
        }
        self.place.enter(State::Closing, Instant::now());
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_shutdown(cx)).await.is_ok()
    }
}

impl AsRawFd for Conn {
    fn as_raw_fd(&self) -> RawFd {
        self.io.socket().as_raw_fd()
    }
}
