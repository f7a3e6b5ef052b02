//! Keeps a login going when its client leaves (PROTOCOL.md 20): the worker's answer is read, and
//! settled, before anybody hears that nobody is there any more.
//!
//! The engine gives a request up as soon as its client is gone, and the worker's connection with it.
//! Then nobody would know whether the worker has logged the session in, and a second click on "log in"
//! would cost the session. So while a login is at the worker the engine is lent a downstream session
//! that waits in place of saying that the client has left. A body that breaks off is still an error:
//! the worker has not been asked then. From the head of the answer on the engine has its own again.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

/// Where the engine's own session waits while it is not lent.
#[derive(Default)]
pub struct Lent(Option<Home>);

type Home = Arc<Mutex<Option<Box<ServerSession>>>>;

impl Lent {
    /// Has the engine wait for the worker, whatever becomes of the client.
    pub fn wait(&mut self, session: &mut Session) {
        if self.0.is_none() {
            let home = Home::default();
            let inner = std::mem::replace(&mut session.downstream_session, nobody());
            let patient = Patient { inner: Some(inner), home: home.clone(), is_gone: false };
            *session.downstream_session = ServerSession::new_custom(Box::new(patient));
            self.0 = Some(home);
        }
    }

    /// Gives the engine its own session back.
    pub fn end(&mut self, session: &mut Session) {
        let Some(home) = self.0.take() else { return };
        // Dropped, it leaves what it was lent at home.
        *session.downstream_session = *nobody();
        let inner = home.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(inner) = inner {
            session.downstream_session = inner;
        }
    }
}

/// A session for the moment between two.
fn nobody() -> Box<ServerSession> {
    Box::new(ServerSession::new_custom(Box::new(())))
}

struct Patient {
    /// `None` only while it is dropped.
    inner: Option<Box<ServerSession>>,
    home: Home,
    is_gone: bool,
}

impl Patient {
    fn inner(&self) -> &ServerSession {
        self.inner.as_deref().expect("it is there until it is dropped")
    }

    fn inner_mut(&mut self) -> &mut ServerSession {
        self.inner.as_deref_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.inner.take();
    }
}

/// All is the lent session's own, but that it does not tell when the client leaves.
#[async_trait]
impl CustomSession for Patient {
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if self.is_gone {
            return pending().await;
        }
        let is_idle = no_body_expected || self.inner_mut().is_body_done();
        match self.inner_mut().read_body_or_idle(no_body_expected).await {
            Err(error) if is_idle => {
                tracing::debug!(%error, "the client left during its login");
                self.is_gone = true;
                pending().await
            }
            read => read,
        }
    }

    /// An interim head, which a client that is gone may miss.
    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        if self.is_gone { Ok(false) } else { self.inner_mut().response_duplex_vec(tasks).await }
    }

    fn req_header(&self) -> &RequestHeader {
        self.inner().req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner_mut().req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.inner_mut().read_request_body().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.inner_mut().drain_request_body().await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.inner_mut().write_response_header(head).await
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, _end: bool) -> Result<()> {
        self.inner_mut().write_response_header_ref(head).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.inner_mut().write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.inner_mut().write_response_trailers(trailers).await
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.inner().get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner().get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner().get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.inner().request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner().response_written()
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.inner_mut().shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        self.inner_mut().is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.inner_mut().finish_body().await
    }

    fn is_body_empty(&mut self) -> bool {
        self.inner_mut().is_body_empty()
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner().body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.inner().body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner().digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner_mut().digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner().client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner().server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner().to_h1_raw()
    }

    fn enable_retry_buffering(&mut self) {
        self.inner_mut().enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.inner().retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.inner().get_retry_buffer()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_upgrade_req(&self) -> bool {
        self.inner().is_upgrade_req()
    }

    fn was_upgraded(&self) -> bool {
        self.inner().was_upgraded()
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Error::e_explain(ErrorType::InternalError, "none was taken")
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Error::e_explain(ErrorType::InternalError, "none was taken")
    }
}
