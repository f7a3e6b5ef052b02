//! The transport below a connection: TCP or a unix socket, or TLS over either.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

pub(super) enum Io {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Io {
    /// Whether an idle connection is still good: nothing was closed and nothing was sent. While
    /// the runtime has seen nothing come, this costs no system call.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        match self {
            Self::Plain(socket) => {
                let read = match socket {
                    Socket::Tcp(stream) => stream.try_read(&mut byte),
                    Socket::Unix(stream) => stream.try_read(&mut byte),
                };
                read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            // Session tickets may come at any time, and are taken in here. Nobody waits for this
            // connection, so no waker is lost.
            Self::Tls(stream) => {
                let cx = &mut Context::from_waker(Waker::noop());
                let mut byte = ReadBuf::new(&mut byte);
                Pin::new(&mut **stream).poll_read(cx, &mut byte).is_pending()
            }
        }
    }

    /// Waits for something to read, without a buffer. There may be nothing after all.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(Socket::Tcp(stream)) => stream.poll_read_ready(cx),
            Self::Plain(Socket::Unix(stream)) => stream.poll_read_ready(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_fill_buf(cx).map_ok(|_| ()),
        }
    }

    /// Ends an idle connection in the way of its transport. A worker that does not take that at
    /// once goes without.
    pub(super) fn say_goodbye(&mut self) {
        if let Self::Tls(stream) = self {
            let cx = &mut Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut **stream).poll_shutdown(cx);
        }
    }

    /// Whether TLS still holds records that the socket has not taken.
    pub(super) fn has_unwritten(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.wants_write(),
        }
    }

    #[cfg(test)]
    pub(super) fn is_resumed(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => {
                stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
            }
        }
    }
}

#[cfg(test)]
impl Socket {
    pub(super) fn as_socket(&self) -> socket2::SockRef<'_> {
        match self {
            Self::Tcp(stream) => stream.into(),
            Self::Unix(stream) => stream.into(),
        }
    }
}

/// Passes on to whatever the transport is.
macro_rules! delegate {
    ($kind:ident: $one:ident, $other:ident) => {
        impl AsyncRead for $kind {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$one(stream) => Pin::new(stream).poll_read(cx, buf),
                    Self::$other(stream) => Pin::new(stream).poll_read(cx, buf),
                }
            }
        }

        impl AsyncWrite for $kind {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::$one(stream) => Pin::new(stream).poll_write(cx, bytes),
                    Self::$other(stream) => Pin::new(stream).poll_write(cx, bytes),
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                pieces: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::$one(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
                    Self::$other(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    Self::$one(stream) => stream.is_write_vectored(),
                    Self::$other(stream) => stream.is_write_vectored(),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$one(stream) => Pin::new(stream).poll_flush(cx),
                    Self::$other(stream) => Pin::new(stream).poll_flush(cx),
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$one(stream) => Pin::new(stream).poll_shutdown(cx),
                    Self::$other(stream) => Pin::new(stream).poll_shutdown(cx),
                }
            }
        }
    };
}

delegate!(Io: Plain, Tls);
delegate!(Socket: Tcp, Unix);
