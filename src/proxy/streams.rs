//! Upstream sockets of WebSockets and event streams, which can be ended from outside.
//!
//! An idle stream passes through no hook, and an HTTP/2 stream has no socket of its own to close.
//! So the upstream side of a stream is a socket of ours that fails as soon as its exchange is cut
//! (PROTOCOL.md 18, 26). Such a socket has no descriptor, so Pingora never pools it: right for
//! streams, wrong for everything else, which is why only these have one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use http::HeaderMap;
use http::header::{ACCEPT, UPGRADE};
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::proxy::gate::Cut;

/// Whether a request asks for a stream: an upgrade, or what `EventSource` sends.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        || headers
            .get_all(ACCEPT)
            .iter()
            .any(|accept| accept.as_bytes().starts_with(b"text/event-stream"))
}

/// Connects to an endpoint for one stream.
#[derive(Debug)]
pub struct Connector {
    cut: Arc<Cut>,
}

impl Connector {
    /// Connects for the exchange that `cut` ends.
    pub fn new(cut: Arc<Cut>) -> Arc<Self> {
        Arc::new(Self { cut })
    }
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let cut = self.cut.clone();
        let explain = || format!("connecting a stream to {address:?}");
        let socket: Box<dyn VirtualSocket> = match address {
            SocketAddr::Inet(address) => {
                let inner = TcpStream::connect(address)
                    .await
                    .or_err_with(ErrorType::ConnectError, explain)?;
                Box::new(Cuttable { inner, cut })
            }
            SocketAddr::Unix(address) => {
                let Some(path) = address.as_pathname() else {
                    return Error::e_explain(ErrorType::ConnectError, "an unnamed unix socket");
                };
                let inner = UnixStream::connect(path)
                    .await
                    .or_err_with(ErrorType::ConnectError, explain)?;
                Box::new(Cuttable { inner, cut })
            }
        };
        Ok(Stream::from(VirtualSocketStream::new(socket)))
    }
}

#[derive(Debug)]
struct Cuttable<S> {
    inner: S,
    cut: Arc<Cut>,
}

trait Options {
    fn set_nodelay(&self) -> io::Result<()>;
}

impl Options for TcpStream {
    fn set_nodelay(&self) -> io::Result<()> {
        TcpStream::set_nodelay(self, true)
    }
}

impl Options for UnixStream {
    fn set_nodelay(&self) -> io::Result<()> {
        Ok(())
    }
}

impl<S> VirtualSocket for Cuttable<S>
where
    S: AsyncRead + AsyncWrite + Options + Unpin + Send + Sync + std::fmt::Debug,
{
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.inner.set_nodelay(),
            // A stream's own traffic tells whether the endpoint is there.
            _ => Ok(()),
        }
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the session has ended")
}

impl<S: AsyncRead + Unpin> AsyncRead for Cuttable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.poll_cut(cx).is_ready() {
            return Poll::Ready(Err(ended()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.cut.note_traffic();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cuttable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut.is_cut() {
            return Poll::Ready(Err(ended()));
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.cut.note_traffic();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
