//! A new connection: transport, TLS with ALPN, then both sides' settings.
//!
//! The worker's settings are waited for, which costs one round trip for some thousand requests: they
//! say how many of those it takes at a time, and that it speaks HTTP/2 at all. Until then nothing of
//! a request was sent, so any request can go elsewhere.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time;

use super::{CONNECTION_WINDOW, HEAD_MAX, SEND_BUFFER_MAX, STREAM_WINDOW};
use crate::transport::Io;
use crate::upstream::way::connect::{self, ConnectError};
use crate::upstream::way::ways::Target;

/// Both ends of our side: what begins requests, and what moves frames while it is polled.
pub(super) type Dialed = (SendRequest<Bytes>, Connection<Listening, Bytes>);

/// A connection whose worker has sent its settings.
pub(super) async fn dial(
    target: &Target,
    limit: Duration,
    heard: Arc<AtomicU64>,
) -> Result<Dialed, ConnectError> {
    let io = connect::connect(target, limit).await?;
    if !io.may_speak_http2() {
        return Err(ConnectError::NoHttp2("its TLS has not agreed to `h2` (ALPN)".to_owned()));
    }
    let greeting = greet(Listening { io, heard });
    time::timeout(limit, greeting).await.map_err(|_elapsed| ConnectError::GreetingTimedOut)?
}

async fn greet(io: Listening) -> Result<Dialed, ConnectError> {
    let failed = |error: h2::Error| match error.is_io() {
        true => ConnectError::Unreachable(io::Error::other(error)),
        false => ConnectError::NoHttp2(error.to_string()),
    };
    let handshake = Builder::new()
        // No request may leave before the worker has said how many.
        .initial_max_send_streams(0)
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER_MAX)
        .max_header_list_size(HEAD_MAX)
        .handshake::<_, Bytes>(io);
    let (sender, mut connection) = handshake.await.map_err(failed)?;
    poll_fn(|cx| {
        let moved = Pin::new(&mut connection).poll(cx);
        if sender.current_max_send_streams() > 0 {
            return Poll::Ready(Ok(()));
        }
        moved.map(|ended| match ended {
            Ok(()) => Err(ConnectError::Unreachable(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(failed(error)),
        })
    })
    .await?;
    Ok((sender, connection))
}

/// A transport that counts how often something came.
pub(super) struct Listening {
    io: Io,
    heard: Arc<AtomicU64>,
}

impl AsyncRead for Listening {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.heard.fetch_add(1, Relaxed);
        }
        read
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
