//! Bytes in and out of a connection, under the orders of the sweeper.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::{Conn, FIRST_READ, OUT_MAX};
use crate::listen::Protocol;
use crate::listen::info::Order;
use crate::listen::registry::Registration;
use crate::transport::{Io, Socket};

impl Conn {
    pub(super) fn poll_read_io(
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

    /// Sends bytes of a file that do not pass through here; how many, 0 where the file has no more.
    /// Nothing where that cannot be: they are to be encrypted.
    ///
    /// # Errors
    /// Nothing can be sent any more.
    pub fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Poll<io::Result<Option<usize>>> {
        if !matches!(self.io, Io::Plain(Socket::Tcp(_))) {
            return Poll::Ready(Ok(None));
        }
        ready!(self.poll_drain(cx))?;
        if self.place.order() == Order::Abort {
            return Poll::Ready(Err(self.cut()));
        }
        let Io::Plain(Socket::Tcp(tcp)) = &self.io else { return Poll::Ready(Ok(None)) };
        let sent = poll_sendfile(tcp, cx, file, offset, length);
        self.place.write_waits(sent.is_pending());
        match &sent {
            Poll::Pending => self.place.wait_for_order(cx),
            Poll::Ready(outcome) => self.broken |= outcome.is_err(),
        }
        sent.map_ok(Some)
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

    pub(super) fn cut(&mut self) -> io::Error {
        self.broken = true;
        cut()
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut")
}

fn poll_sendfile(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    file: &File,
    mut offset: u64,
    length: usize,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        let sent = tcp.try_io(Interest::WRITABLE, || {
            Ok(rustix::fs::sendfile(tcp, file, Some(&mut offset), length)?)
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
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
        if me.place.order() == Order::Close {
            return Poll::Ready(Ok(()));
        }
        if !me.input.is_empty() {
            let count = me.input.len().min(buf.remaining());
            buf.put_slice(&me.input[..count]);
            me.input.advance(count);
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
        // HTTP/2 never rests: there what is large is given back at once.
        if me.protocol == Protocol::Http2 && me.out.capacity() > FIRST_READ {
            me.out = Vec::new();
        }
        match me.io {
            // A socket keeps nothing back.
            Io::Plain(_) => Poll::Ready(Ok(())),
            Io::Accepted(_) | Io::Tls(_) => me.poll_io(cx, |io, cx| io.poll_flush(cx)),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        ready!(me.poll_drain(cx))?;
        me.poll_io(cx, |io, cx| io.poll_shutdown(cx))
    }
}
