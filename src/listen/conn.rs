//! The transport of one connection, TCP or TLS, that an HTTP engine reads from and writes to.
//!
//! - Reading obeys the [`Order`]s of the sweeper, counts the bytes of a request head, and answers
//!   408 and 431 itself: the engine never gets to see such a request.
//! - Writing collects up to one TLS record, so that a head and the beginning of its body leave in one
//!   record and one packet. Whatever is collected leaves when it is flushed, or when the engine turns
//!   to reading, which it does before it waits.
//! - While the connection is idle it holds no buffers.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Protocol;
use super::info::{Info, Order, State};
use super::registry::Registration;
use super::transport::Io;

/// Bytes read ahead, at most, while a request head is awaited.
const AHEAD_MAX: usize = 4096;
/// Bytes collected before they are written: the plaintext of one TLS record (RFC 8446 section 5.1).
const OUT_MAX: usize = 16 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Conn {
    io: Io,
    place: Registration,
    protocol: Protocol,
    /// Plaintext that was read and not handed on yet.
    ahead: Vec<u8>,
    ahead_taken: usize,
    /// Plaintext that was taken and not written yet.
    out: Vec<u8>,
    out_written: usize,
    /// Bytes that a request head may have.
    head_max: usize,
    /// Bytes that the present head may still have.
    head_left: usize,
    /// An answer of our own is being sent; nothing more is read.
    refusing: bool,
    /// The peer has closed its side.
    ended: bool,
    /// A read or write failed; nothing can be sent any more.
    broken: bool,
}

/// The answers that never reach the HTTP engine.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    HeaderTimeout,
    HeaderTooLarge,
}

impl Conn {
    pub(super) fn plain(tcp: TcpStream, place: Registration, head_max: usize) -> Self {
        Self::new(Io::Tcp(tcp), place, Protocol::Http1, head_max)
    }

    pub(super) fn tls(
        stream: TlsStream<TcpStream>,
        place: Registration,
        protocol: Protocol,
        head_max: usize,
    ) -> Self {
        Self::new(Io::Tls(Box::new(stream)), place, protocol, head_max)
    }

    fn new(io: Io, place: Registration, protocol: Protocol, head_max: usize) -> Self {
        place.enter(State::New, Instant::now());
        Self {
            io,
            place,
            protocol,
            ahead: Vec::new(),
            ahead_taken: 0,
            out: Vec::new(),
            out_written: 0,
            head_max,
            head_left: head_max,
            refusing: false,
            ended: false,
            broken: false,
        }
    }

    /// What is known of the connection; outlives it.
    pub fn info(&self) -> &Arc<Info> {
        self.place.shared()
    }

    /// What ALPN chose.
    pub fn protocol(&self) -> Protocol {
        self.protocol
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
        if self.ahead_taken < self.ahead.len() {
            return Poll::Ready(true);
        }
        self.poll_fill(cx).map(|filled| filled.is_ok_and(|bytes| bytes > 0))
    }

    /// A request head begins: arms its deadline and its limit.
    pub fn begin_head(&mut self) {
        self.place.enter(State::Header, Instant::now());
        self.head_left = self.head_max;
    }

    /// The request is over and the next one is awaited: gives memory back.
    pub fn rest(&mut self) {
        self.place.enter(State::Idle, Instant::now());
        if self.out_written == self.out.len() {
            (self.out, self.out_written) = (Vec::new(), 0);
        }
    }

    /// Says goodbye and closes: what is written leaves, TLS gets its close_notify.
    pub async fn close(mut self) {
        self.say_goodbye().await;
    }

    /// Closes as [`close`](Self::close) does and then waits, some seconds at most, until the peer
    /// has closed its side. What it still sends is thrown away: a socket closed with unread bytes
    /// makes the system send a reset, and a reset may overtake the last answer (RFC 9112 section 9.6).
    /// A connection that was told to close has no answer worth waiting for.
    pub async fn linger(mut self) {
        let told = self.place.order() == Order::Close;
        if !self.say_goodbye().await || told {
            return;
        }
        while !self.ended {
            self.ahead = Vec::new();
            if std::future::poll_fn(|cx| self.poll_fill(cx)).await.is_err() {
                return;
            }
        }
    }

    /// `false` where there was nobody to say it to.
    async fn say_goodbye(&mut self) -> bool {
        if self.broken {
            return false;
        }
        self.place.enter(State::Closing, Instant::now());
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_shutdown(cx)).await.is_ok()
    }

    /// Reads what there is into the empty read-ahead; 0 at the end of the file.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); AHEAD_MAX];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(self.poll_read_io(cx, &mut space))?;
        self.ahead = space.filled().to_vec();
        self.ahead_taken = 0;
        Poll::Ready(Ok(self.ahead.len()))
    }

    fn poll_read_io(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.place.order() == Order::Abort {
            return Poll::Ready(Err(self.cut()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending => {
                self.place.wait_for_order(cx);
                Poll::Pending
            }
            Poll::Ready(Ok(())) => {
                self.ended |= buf.filled().len() == before && buf.remaining() > 0;
                Poll::Ready(Ok(()))
            }
            // A peer that closes without close_notify has closed all the same.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.ended = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.broken = true;
                Poll::Ready(Err(error))
            }
        }
    }

    /// Hands on a part of the head, never more than it may have.
    fn poll_read_head(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head_left == 0 {
            return self.poll_refuse(cx, Refusal::HeaderTooLarge);
        }
        if self.ahead_taken == self.ahead.len() && ready!(self.poll_fill(cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        self.head_left -= self.hand_on(buf, self.head_left);
        Poll::Ready(Ok(()))
    }

    /// Moves read-ahead into the buffer, up to so many bytes.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>, limit: usize) -> usize {
        let waiting = &self.ahead[self.ahead_taken..];
        let count = waiting.len().min(buf.remaining()).min(limit);
        buf.put_slice(&waiting[..count]);
        self.ahead_taken += count;
        if self.ahead_taken == self.ahead.len() {
            (self.ahead, self.ahead_taken) = (Vec::new(), 0);
        }
        count
    }

    /// Answers in the engine's place. Reading fails once the answer is on its way.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, refusal: Refusal) -> Poll<io::Result<()>> {
        if !self.refusing {
            self.refusing = true;
            self.place.refused_with(refusal.status());
            match refusal {
                Refusal::HeaderTimeout => self.place.gate().header_timeout(),
                Refusal::HeaderTooLarge => self.place.gate().header_too_large(),
            }
            self.out.extend_from_slice(refusal.answer(SystemTime::now()).as_bytes());
        }
        // Whether the peer got it or not, there is nothing more to read.
        let _ = ready!(Pin::new(&mut *self).poll_flush(cx));
        Poll::Ready(Err(io::Error::other(refusal.reason())))
    }

    /// Writes what was collected.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out_written < self.out.len() {
            let written = ready!(poll_write_io(
                &mut self.io,
                &self.place,
                &mut self.broken,
                cx,
                &self.out[self.out_written..]
            ))?;
            self.out_written += written;
        }
        self.out.clear();
        self.out_written = 0;
        Poll::Ready(Ok(()))
    }

    /// Flushing and shutting down wait for the peer as writing does.
    fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Io>, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if self.place.order() == Order::Abort {
            return Poll::Ready(Err(self.cut()));
        }
        let done = poll(Pin::new(&mut self.io), cx);
        self.place.write_waits(done.is_pending());
        match &done {
            Poll::Pending => self.place.wait_for_order(cx),
            Poll::Ready(outcome) => self.broken |= outcome.is_err(),
        }
        done
    }

    fn cut(&mut self) -> io::Error {
        self.broken = true;
        cut()
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut")
}

/// Stands apart from [`Conn`] so that the bytes may be its own.
fn poll_write_io(
    io: &mut Io,
    place: &Registration,
    broken: &mut bool,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    let written = if place.order() == Order::Abort {
        Poll::Ready(Err(cut()))
    } else {
        Pin::new(io).poll_write(cx, bytes)
    };
    place.write_waits(written.is_pending());
    match written {
        Poll::Pending => {
            place.wait_for_order(cx);
            Poll::Pending
        }
        Poll::Ready(Ok(0)) => {
            *broken = true;
            Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
        }
        Poll::Ready(Err(error)) => {
            *broken = true;
            Poll::Ready(Err(error))
        }
        written => written,
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let head = me.place.state() == State::Header;
        match me.place.order() {
            Order::Proceed => {}
            Order::Close => return Poll::Ready(Ok(())),
            Order::Abort => return Poll::Ready(Err(me.cut())),
            // Not a byte of a head: it would be an answer to no request.
            Order::Expire if !me.refusing && me.head_left == me.head_max => {
                return Poll::Ready(Ok(()));
            }
            Order::Expire => return me.poll_refuse(cx, Refusal::HeaderTimeout),
        }
        if me.refusing {
            return me.poll_refuse(cx, Refusal::HeaderTooLarge);
        }
        if head {
            return me.poll_read_head(cx, buf);
        }
        if me.out_written < me.out.len() {
            // The engine is about to wait. An error shows when it writes again.
            let _ = Pin::new(&mut *me).poll_flush(cx);
        }
        if me.ahead_taken < me.ahead.len() {
            me.hand_on(buf, usize::MAX);
            return Poll::Ready(Ok(()));
        }
        me.poll_read_io(cx, buf)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        if me.place.order() == Order::Abort {
            return Poll::Ready(Err(me.cut()));
        }
        if me.place.state() == State::Header
            && !me.place.has_refused()
            && let Some(status) = status_of(bytes)
        {
            // An answer to a request that never got as far as its hooks.
            me.place.refused_with(status);
        }
        if me.out.len() >= OUT_MAX {
            ready!(me.poll_drain(cx))?;
        }
        if me.out.is_empty() && bytes.len() >= OUT_MAX {
            return poll_write_io(&mut me.io, &me.place, &mut me.broken, cx, bytes);
        }
        let count = bytes.len().min(OUT_MAX - me.out.len());
        me.out.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        ready!(me.poll_drain(cx))?;
        match me.io {
            // A socket keeps nothing back.
            Io::Tcp(_) => Poll::Ready(Ok(())),
            Io::Tls(_) => me.poll_io(cx, |io, cx| io.poll_flush(cx)),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        ready!(me.poll_drain(cx))?;
        me.poll_io(cx, |io, cx| io.poll_shutdown(cx))
    }
}

impl AsRawFd for Conn {
    fn as_raw_fd(&self) -> RawFd {
        match &self.io {
            Io::Tcp(stream) => stream.as_raw_fd(),
            Io::Tls(stream) => stream.get_ref().0.as_raw_fd(),
        }
    }
}

impl Refusal {
    fn status(self) -> u16 {
        match self {
            Self::HeaderTimeout => 408,
            Self::HeaderTooLarge => 431,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::HeaderTimeout => "the request head took too long",
            Self::HeaderTooLarge => "the request head is too large",
        }
    }

    fn answer(self, now: SystemTime) -> String {
        let line = match self {
            Self::HeaderTimeout => "408 Request Timeout",
            Self::HeaderTooLarge => "431 Request Header Fields Too Large",
        };
        let date = httpdate::fmt_http_date(now);
        format!("HTTP/1.1 {line}\r\nDate: {date}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }
}

/// The status of an HTTP/1 answer that begins with these bytes.
fn status_of(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_from_the_status_line() {
        let check = |bytes: &[u8], expected: Option<u16>| {
            assert_eq!(status_of(bytes), expected, "{}", bytes.escape_ascii());
        };
        check(b"HTTP/1.1 400 Bad Request\r\n", Some(400));
        check(b"HTTP/1.0 405 x", Some(405));
        check(b"HTTP/1.1 40", None);
        check(b"HTTP/1.1 4x0 ", None);
        check(b"", None);
        check(b"<html>HTTP/1.1 200", None);
    }

    #[test]
    fn refusals_are_whole_answers_that_close() {
        let text = Refusal::HeaderTimeout.answer(SystemTime::UNIX_EPOCH);
        assert_eq!(
            text,
            "HTTP/1.1 408 Request Timeout\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let text = Refusal::HeaderTooLarge.answer(SystemTime::UNIX_EPOCH);
        assert!(text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
    }
}
