//! The transport below a connection, of a client or to a worker: TCP or a unix socket, or TLS over
//! either.

mod accepted;
mod ahead;
mod hello;
pub mod private_key;
pub mod x509;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

pub use self::accepted::Accepted;
pub use self::ahead::Ahead;
pub use self::hello::Hello;

/// A connection.
#[derive(Debug)]
pub enum Io {
    Plain(Socket),
    /// Of a client.
    Accepted(Box<Accepted>),
    /// To a worker.
    Tls(Box<TlsStream<Ahead>>),
}

/// A socket of the system.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Io {
    /// TLS, whose handshake is done.
    pub fn tls(stream: impl Into<TlsStream<Ahead>>) -> Self {
        Self::Tls(Box::new(stream.into()))
    }

    /// The socket at the bottom.
    pub fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Accepted(stream) => stream.socket(),
            Self::Tls(stream) => stream.get_ref().0.socket(),
        }
    }

    /// Bytes that were read ahead of TLS, which has no need for them yet.
    pub fn held(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Accepted(stream) => stream.held(),
            Self::Tls(stream) => stream.get_ref().0.held(),
        }
    }

    /// Whether an idle connection is still good: nothing was closed and nothing was sent. While
    /// the runtime has seen nothing come, this costs no system call.
    pub fn is_quiet(&mut self) -> bool {
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
            Self::Accepted(_) | Self::Tls(_) => {
                let cx = &mut Context::from_waker(Waker::noop());
                let mut byte = ReadBuf::new(&mut byte);
                Pin::new(self).poll_read(cx, &mut byte).is_pending()
            }
        }
    }

    /// Waits for something to read, without a buffer. There may be nothing after all.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(Socket::Tcp(stream)) => stream.poll_read_ready(cx),
            Self::Plain(Socket::Unix(stream)) => stream.poll_read_ready(cx),
            Self::Accepted(stream) => stream.poll_open(cx, &mut ReadBuf::new(&mut [])),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_fill_buf(cx).map_ok(|_| ()),
        }
    }

    /// Whether TLS, if there is any, has agreed to HTTP/2 (RFC 9113 section 3.2).
    pub fn may_speak_http2(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Accepted(stream) => stream.agreed().alpn_protocol() == Some(b"h2"),
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Ends an idle connection in the way of its transport. A worker that does not take that at
    /// once goes without.
    pub fn say_goodbye(&mut self) {
        if !matches!(self, Self::Plain(_)) {
            let cx = &mut Context::from_waker(Waker::noop());
            let _ = Pin::new(self).poll_shutdown(cx);
        }
    }

    /// Whether TLS still holds records that the socket has not taken.
    pub fn has_unwritten(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Accepted(stream) => stream.has_unwritten(),
            Self::Tls(stream) => stream.get_ref().1.wants_write(),
        }
    }

    #[cfg(test)]
    pub fn is_resumed(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Accepted(_) => false,
            Self::Tls(stream) => {
                stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
            }
        }
    }
}

impl Socket {
    /// Its options.
    pub fn options(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(stream) => stream.into(),
            Self::Unix(stream) => stream.into(),
        }
    }
}

impl Socket {
    /// Copies what has come, without taking it.
    ///
    /// # Errors
    /// The system's.
    pub async fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(into).await,
            Self::Unix(stream) => loop {
                stream.readable().await?;
                let peeked = stream.try_io(Interest::READABLE, || {
                    Ok(rustix::net::recv(stream, &mut *into, RecvFlags::PEEK)?.0)
                });
                match peeked {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    peeked => return peeked,
                }
            },
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

/// Passes on to whatever the transport is.
macro_rules! delegate {
    ($kind:ident: $($one:ident),+) => {
        impl AsyncRead for $kind {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$one(stream) => Pin::new(stream).poll_read(cx, buf),)+
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
                    $(Self::$one(stream) => Pin::new(stream).poll_write(cx, bytes),)+
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                pieces: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$one(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),)+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $(Self::$one(stream) => stream.is_write_vectored(),)+
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$one(stream) => Pin::new(stream).poll_flush(cx),)+
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$one(stream) => Pin::new(stream).poll_shutdown(cx),)+
                }
            }
        }
    };
}

delegate!(Io: Plain, Accepted, Tls);
delegate!(Socket: Tcp, Unix);
