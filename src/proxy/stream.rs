//! Lends a connection to Pingora: the transport traits that it asks of a stream.
//!
//! Pingora owns the stream while it serves and drops it when the connection shall end. Closing well
//! takes longer than a drop may, so a dropped [`Downstream`] leaves the connection in its [`Home`],
//! where the loop that lent it finds it again.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use async_trait::async_trait;
use http::StatusCode;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::listen::info::{State, Tls};
use crate::listen::{Conn, Info, Protocol};
use crate::proxy::reply::refusal;

/// Where a lent connection comes back to.
#[derive(Clone, Debug, Default)]
pub struct Home(Arc<Mutex<Option<Conn>>>);

impl Home {
    /// The connection, once the stream was dropped.
    pub fn take(&self) -> Option<Conn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A connection while it is lent.
#[derive(Debug)]
pub struct Downstream {
    /// `None` only while it is dropped.
    conn: Option<Conn>,
    home: Home,
    info: Arc<Info>,
    since: SystemTime,
    socket: Arc<SocketDigest>,
    tls: Option<Arc<SslDigest>>,
    /// What is left of the answer that stands in for Pingora's own.
    refusal: Vec<u8>,
}

impl Downstream {
    /// Makes a connection ready to be lent.
    pub fn new(conn: Conn, home: Home) -> Self {
        let info = conn.info().clone();
        let socket = SocketDigest::from_raw_fd(conn.as_raw_fd());
        // Known already: neither getpeername(2) nor getsockname(2) is ever needed.
        let _ = socket.peer_addr.set(Some(SocketAddr::Inet(info.peer())));
        let _ = socket.local_addr.set(Some(SocketAddr::Inet(info.local())));
        let tls = info
            .tls()
            .map(|tls| Arc::new(SslDigest::new(tls.cipher, tls.version, None, None, Vec::new())));
        Self {
            conn: Some(conn),
            home,
            info,
            since: SystemTime::now(),
            socket: Arc::new(socket),
            tls,
            refusal: Vec::new(),
        }
    }

    /// The connection, for the loop that waits between two requests.
    pub fn conn(&mut self) -> Option<&mut Conn> {
        self.conn.as_mut()
    }

    /// The status of an answer that Pingora makes by itself: no hook has run, so the head of a request
    /// is all that the connection waits for. It comes in one write.
    fn refused_with(&self, bytes: &[u8]) -> Option<StatusCode> {
        if self.info.state() != State::Header || self.info.tls().is_some_and(speaks_http2) {
            return None;
        }
        let status = bytes.strip_prefix(b"HTTP/1.1 ").or(bytes.strip_prefix(b"HTTP/1.0 "))?;
        StatusCode::from_bytes(status.get(..3)?).ok()
    }

    fn pinned(self: Pin<&mut Self>) -> io::Result<Pin<&mut Conn>> {
        match &mut self.get_mut().conn {
            Some(conn) => Ok(Pin::new(conn)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        let conn = self.conn.take();
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = conn;
    }
}

fn speaks_http2(tls: &Tls) -> bool {
    tls.protocol == Protocol::Http2
}

/// What is known of the connection that a request came on, HTTP/1 and HTTP/2 alike. `None` for a
/// request that came on no connection of ours.
pub fn conn_info(session: &Session) -> Option<&Arc<Info>> {
    let downstream = session.as_downstream();
    match downstream.stream() {
        Some(stream) => stream.as_any().downcast_ref::<Downstream>().map(|stream| &stream.info),
        // HTTP/2 shows its streams no transport, only the digests that were taken of it.
        None => downstream.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref(),
    }
}

impl AsyncRead for Downstream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pinned()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        if me.refusal.is_empty()
            && let Some(status) = me.refused_with(bytes)
        {
            me.refusal = refusal(status, SystemTime::now());
        }
        if me.refusal.is_empty() {
            return Pin::new(me).pinned()?.poll_write(cx, bytes);
        }
        while !me.refusal.is_empty() {
            let conn = me.conn.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let count = ready!(Pin::new(conn).poll_write(cx, &me.refusal))?;
            me.refusal.drain(..count);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned()?.poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Downstream {
    async fn shutdown(&mut self) {
        // The peer may be gone, which is what is wanted.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Downstream {
    fn id(&self) -> UniqueIDType {
        self.conn.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

impl Ssl for Downstream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.info.tls()?.protocol {
            Protocol::Http2 => Some(ALPN::H2),
            Protocol::Http1 => Some(ALPN::H1),
        }
    }
}

impl GetTimingDigest for Downstream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest { established_ts: self.since, ..TimingDigest::default() })]
    }
}

impl GetProxyDigest for Downstream {
    /// Carries the [`Info`] to the streams of an HTTP/2 connection. HTTP/1 finds it without.
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        if self.info.tls()?.protocol != Protocol::Http2 {
            return None;
        }
        // There was no CONNECT; the type wants its answer all the same.
        let no_answer = ResponseHeader::build(StatusCode::OK, Some(0)).ok()?;
        let carried: Arc<Info> = self.info.clone();
        Some(Arc::new(ProxyDigest::new(Box::new(no_answer), Some(Box::new(carried)))))
    }
}

impl GetSocketDigest for Downstream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket.clone())
    }
}

impl Peek for Downstream {}
