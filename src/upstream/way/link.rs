//! One connection to a worker, with what was read and not consumed, and what is still to be written.
//!
//! Poll functions, so that one task can read and write at once. Nothing here waits or has a
//! deadline.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::transport::Io;
use crate::upstream::verdict::Failure;

/// Most answers fit.
const INPUT_FIRST: usize = 8 * 1024;
/// Reads of large answers grow up to this.
pub(super) const INPUT_MAX: usize = 64 * 1024;

/// A connection to a worker.
pub struct Link {
    io: Io,
    input: Vec<u8>,
    /// So many bytes of `input` are consumed.
    consumed: usize,
    /// The last read took all that there was room for.
    is_eager: bool,
    may_grow: bool,
    output: Vec<u8>,
    /// So many bytes of `output` are written.
    written: usize,
    reading: Reading,
    writing: Writing,
    age: Age,
    moved: Moved,
}

/// Bytes of one request and its answer, heads included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub received: u64,
    pub sent: u64,
}

/// How long a connection has been there, and how much it has served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    pub(super) begun: Instant,
    /// Requests before the one under way.
    pub(super) served: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    Ended,
    /// TLS that ended without a word: whoever cut it could be anybody (RFC 8446 section 6.1).
    Truncated,
    Broken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    Shut,
    Broken,
}

impl Link {
    pub(super) fn new(io: Io, input: Vec<u8>, output: Vec<u8>, age: Age) -> Self {
        Self {
            io,
            input,
            consumed: 0,
            is_eager: false,
            may_grow: true,
            output,
            written: 0,
            reading: Reading::Open,
            writing: Writing::Open,
            age,
            moved: Moved::default(),
        }
    }

    /// What has gone both ways since it was taken.
    pub fn moved(&self) -> Moved {
        self.moved
    }

    /// Whether it comes from the pool: the worker may have closed it meanwhile.
    pub fn is_reused(&self) -> bool {
        self.age.served > 0
    }

    /// What is still to be written, to append to. Whoever appends bounds it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        if self.written > 0 {
            self.output.drain(..self.written);
            self.written = 0;
        }
        &mut self.output
    }

    /// How much of `output` is still to be written.
    pub fn pending_output(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes all of `output`, and what TLS still holds of earlier pieces.
    ///
    /// # Errors
    /// The connection broke. What was sent is unknown.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pending_output() > 0 {
            let rest = &self.output[self.written..];
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, rest));
            self.written += self.progress(written)?;
        }
        self.output.clear();
        self.written = 0;
        let flushed = ready!(Pin::new(&mut self.io).poll_flush(cx));
        Poll::Ready(flushed.inspect_err(|_| self.writing = Writing::Broken))
    }

    /// Writes a piece behind `output` without a copy, both at once where both are there. Says how
    /// much of the piece was taken. Over TLS, `poll_flush` has to follow the last piece.
    ///
    /// # Errors
    /// The connection broke. What was sent is unknown.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let pending = self.pending_output();
            if bytes.is_empty() {
                ready!(self.poll_flush(cx))?;
                return Poll::Ready(Ok(0));
            }
            let io = Pin::new(&mut self.io);
            let written = if pending == 0 {
                io.poll_write(cx, bytes)
            } else {
                let rest = IoSlice::new(&self.output[self.written..]);
                io.poll_write_vectored(cx, &[rest, IoSlice::new(bytes)])
            };
            let written = ready!(written);
            let written = self.progress(written)?;
            if written < pending {
                self.written += written;
                continue;
            }
            self.output.clear();
            self.written = 0;
            if written > pending {
                return Poll::Ready(Ok(written - pending));
            }
        }
    }

    /// Ends our side, once all is written: the worker reads an end of file, and may go on to send.
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        self.writing = Writing::Shut;
        match ready!(Pin::new(&mut self.io).poll_shutdown(cx)) {
            // The worker was first.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }

    /// Reads more into `input`; 0 says that the worker has ended its side.
    ///
    /// # Errors
    /// The connection broke, or 64 KiB lie in `input` that nobody consumes.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if matches!(self.reading, Reading::Ended | Reading::Truncated) {
            return Poll::Ready(Ok(0));
        }
        if self.input.capacity() == 0 {
            let readable = ready!(self.io.poll_readable(cx));
            if readable.is_err() {
                return Poll::Ready(self.note_end(readable.map(|()| 0)));
            }
        }
        self.make_room()?;
        let room = self.input.capacity() - self.input.len();
        // This future holds nothing between two polls.
        let read = ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx));
        self.is_eager = matches!(read, Ok(read) if read == room);
        Poll::Ready(self.note_end(read))
    }

    /// What was read and is not consumed yet.
    pub fn input(&self) -> &[u8] {
        &self.input[self.consumed..]
    }

    /// Takes bytes off the front of `input`.
    ///
    /// # Panics
    /// Where `input` has fewer.
    pub fn consume(&mut self, bytes: usize) {
        assert!(bytes <= self.input().len(), "what was not read cannot be consumed");
        self.consumed += bytes;
        if self.consumed == self.input.len() {
            self.input.clear();
            self.consumed = 0;
        }
    }

    /// Whether the end came over TLS without its closing word: a body that lasts until the end may
    /// have been cut.
    pub fn is_truncated(&self) -> bool {
        self.reading == Reading::Truncated
    }

    /// Bytes that its buffers take.
    pub fn held(&self) -> usize {
        self.input.capacity() + self.output.capacity() + self.io.held()
    }

    /// Whether reads of large answers may grow.
    pub fn let_grow(&mut self, may_grow: bool) {
        self.may_grow = may_grow;
    }

    /// Gives up buffers that hold nothing, as a tunnel or a stream should where nothing moves. The
    /// next bytes bring new ones.
    pub fn release_buffers(&mut self) {
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        if self.pending_output() == 0 {
            self.output = Vec::new();
            self.written = 0;
        }
    }

    /// What an error of this connection means.
    pub fn failure(&self, error: &io::Error, has_answered: bool) -> Failure {
        match error.kind() {
            // The system has asked in vain whether the worker is still there.
            io::ErrorKind::TimedOut => Failure::TimedOut,
            // Bytes that TLS does not believe.
            io::ErrorKind::InvalidData => Failure::Tls,
            // More than `input` holds, and still nothing that could be consumed.
            io::ErrorKind::QuotaExceeded => Failure::Flaw,
            _ => self.closed(has_answered),
        }
    }

    /// What the end of this connection means, where more was to come.
    pub fn closed(&self, has_answered: bool) -> Failure {
        if self.is_reused() && !has_answered { Failure::ClosedReused } else { Failure::Closed }
    }

    pub(super) fn age(&self) -> Age {
        self.age
    }

    /// The transport and both buffers, where another exchange may use the connection.
    pub(super) fn into_idle(self) -> Option<(Io, [Vec<u8>; 2])> {
        let is_fit = self.reading == Reading::Open
            && self.writing == Writing::Open
            && self.input().is_empty()
            && self.pending_output() == 0
            && !self.io.has_unwritten();
        is_fit.then_some((self.io, [self.input, self.output]))
    }

    /// Makes room for a read. A buffer that was filled at once is doubled.
    fn make_room(&mut self) -> io::Result<()> {
        let capacity = self.input.capacity();
        if self.input.is_empty() {
            if capacity == 0 {
                self.input = Vec::with_capacity(INPUT_FIRST);
            } else if self.is_eager && self.may_grow && capacity < INPUT_MAX {
                self.input = Vec::with_capacity((capacity * 2).min(INPUT_MAX));
            }
            return Ok(());
        }
        if capacity - self.input.len() >= capacity / 2 {
            return Ok(());
        }
        self.input.drain(..self.consumed);
        self.consumed = 0;
        if self.input.len() >= INPUT_MAX {
            let kind = io::ErrorKind::QuotaExceeded;
            return Err(io::Error::new(kind, "64 KiB were read that nobody consumes"));
        }
        if self.input.len() > capacity / 2 && capacity < INPUT_MAX {
            self.input.reserve_exact((capacity * 2).min(INPUT_MAX) - self.input.len());
        }
        Ok(())
    }

    /// Notes an end or an error.
    fn note_end(&mut self, read: io::Result<usize>) -> io::Result<usize> {
        match &read {
            Ok(0) => self.reading = Reading::Ended,
            Ok(bytes) => self.moved.received += *bytes as u64,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.reading = Reading::Truncated;
                return Ok(0);
            }
            Err(_) => self.reading = Reading::Broken,
        }
        read
    }

    fn progress(&mut self, written: io::Result<usize>) -> io::Result<usize> {
        let written = match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            other => other,
        };
        match &written {
            Ok(bytes) => self.moved.sent += *bytes as u64,
            Err(_) => self.writing = Writing::Broken,
        }
        written
    }

    #[cfg(test)]
    pub(super) fn io(&self) -> &Io {
        &self.io
    }

    #[cfg(test)]
    pub(super) fn socket(&self) -> socket2::SockRef<'_> {
        self.io.socket().options()
    }

    #[cfg(test)]
    pub(super) fn local_port(&self) -> u16 {
        let address = self.socket().local_addr().expect("bound");
        address.as_socket().expect("TCP").port()
    }

    #[cfg(test)]
    pub(super) fn input_capacity(&self) -> usize {
        self.input.capacity()
    }
}

/// Sizes only: the bytes are somebody's request.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("is_reused", &self.is_reused())
            .field("input", &self.input().len())
            .field("output", &self.pending_output())
            .finish_non_exhaustive()
    }
}
