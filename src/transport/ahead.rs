//! Reading ahead of TLS.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::Socket;

/// Bytes that are read at once where many come.
const AHEAD: usize = 64 * 1024;
/// A read of fewer bytes says that no more come for the moment.
const FEW: usize = 4096;

/// A socket below TLS, which asks for some 4 KiB at a time. Where it was given all that it asked for, more
/// is read at once, so that a body costs few system calls. While nothing comes there is no buffer.
#[derive(Debug)]
pub struct Ahead {
    socket: Socket,
    buffer: Vec<u8>,
    /// So many bytes of the buffer are taken.
    taken: usize,
    is_eager: bool,
}

impl Ahead {
    pub fn new(socket: Socket) -> Self {
        Self { socket, buffer: Vec::new(), taken: 0, is_eager: false }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn held(&self) -> usize {
        self.buffer.capacity()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.taken = 0;
        self.buffer.clear();
        self.buffer.reserve_exact(AHEAD);
        // This future holds nothing between two polls.
        let read = pin!(self.socket.read_buf(&mut self.buffer)).poll(cx);
        let more = matches!(read, Poll::Ready(Ok(read)) if read >= FEW);
        if !more {
            self.is_eager = false;
        }
        if read.is_pending() {
            self.buffer = Vec::new();
        }
        read.map_ok(|_| ())
    }
}

impl AsyncRead for Ahead {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.taken == me.buffer.len() {
            if !me.is_eager {
                me.buffer = Vec::new();
                me.taken = 0;
                let (before, room) = (buf.filled().len(), buf.remaining());
                ready!(Pin::new(&mut me.socket).poll_read(cx, buf))?;
                me.is_eager = room >= FEW && buf.filled().len() - before == room;
                return Poll::Ready(Ok(()));
            }
            ready!(me.poll_fill(cx))?;
        }
        let rest = &me.buffer[me.taken..];
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        me.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;

    /// Reads as TLS does, 4 KiB at a time, until nothing comes; the most that was held meanwhile.
    async fn read(ahead: &mut Ahead, expected: &[u8]) -> usize {
        let (mut read, mut held) = (Vec::new(), 0);
        while read.len() < expected.len() {
            let mut piece = [0; FEW];
            let length = ahead.read(&mut piece).await.expect("it is open");
            assert!(length > 0, "it has not ended");
            read.extend_from_slice(&piece[..length]);
            held = held.max(ahead.held());
        }
        assert!(read == expected, "the bytes arrive as they were sent");
        let mut rest = [0; FEW];
        let more = std::future::poll_fn(|cx| {
            Poll::Ready(Pin::new(&mut *ahead).poll_read(cx, &mut ReadBuf::new(&mut rest)))
        });
        assert!(more.await.is_pending(), "there is no more");
        held
    }

    #[tokio::test]
    async fn much_is_read_at_once_and_nothing_is_held_while_nothing_comes() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let mut ahead = Ahead::new(Socket::Unix(ours));
        for (length, expected) in [(9, 0), (FEW, 0), (FEW + 1, AHEAD), (40_000, AHEAD), (9, 0)] {
            let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            theirs.write_all(&sent).await.expect("there is room");
            assert_eq!(read(&mut ahead, &sent).await, expected, "{length} bytes");
            assert_eq!(ahead.held(), 0);
        }
        drop(theirs);
        assert_eq!(ahead.read(&mut [0; FEW]).await.expect("an end"), 0);
    }
}
