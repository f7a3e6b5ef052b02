//! Connections at work: HTTP/1 and HTTP/2 from clients, each request handed to a [`Service`].
//!
//! The service gets the [`Request`] as a value and the [`Client`] to read its body from and to write
//! the answer to. Everything is polled by the one task that serves the request: there is no channel
//! in between, and a body moves only when somebody takes it.
//!
//! | file | holds |
//! | --- | --- |
//! | `request` | a request's head, whatever carried it |
//! | `client` | who asks: one of the two below |
//! | `http1` | the loop over one HTTP/1 connection |
//! | `http2` | streams of one HTTP/2 connection |
//! | `delivery` | how answers are carried, and how connections end |
//! | `head_limits` | what heads may have |
//! | `keepalive` | how long connections are kept |
//! | `preface` | tells HTTP/2 from HTTP/1 where no TLS does |
//! | `alarm` | deadlines that arm a timer once in a while, not once a request |
//! | `refused` | heads that make no request |
//! | `services` | which service it is, while it may be replaced |

pub mod alarm;
pub mod client;
pub mod delivery;
pub mod head_limits;
pub mod http1;
pub mod http2;
pub mod keepalive;
mod preface;
pub mod refused;
pub mod request;
mod services;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::{mpsc, watch};

use crate::listen::{self, Change, Conn, Context, Info, Listener, Shutdown};
use crate::wire::fields::Fields;

pub use self::client::{Client, ClientFailure, Incoming};
pub use self::head_limits::HeadLimits;
pub use self::refused::Refused;
pub use self::request::{BodyLength, Protocol, Request};
pub use self::services::Services;

/// What is done with requests.
pub trait Service: Send + Sync + 'static {
    /// Answers a request. What it leaves unanswered ends the connection, or the stream.
    fn serve<'a>(
        &'a self,
        request: Request,
        client: Client<'a>,
    ) -> impl Future<Output = ()> + Send + 'a;

    /// Says what is answered to a head that makes no request, and notes it.
    fn refuse(&self, info: &Info, refused: &Refused<'_>) -> Reply;

    /// Whether a page may stand for such an answer: then the head is served, as a request that is refused.
    fn has_page_for(&self, _: &Info, _: &Refused<'_>) -> bool {
        false
    }

    /// What heads may have on a connection: those for a host, or those whose host is not known yet.
    fn head_limits(&self, _: &Info, _host: Option<&[u8]>) -> HeadLimits {
        HeadLimits::default()
    }

    /// Whether a connection that began under another service may go on with this one.
    fn takes_over(&self, _: &Info) -> bool {
        true
    }
}

/// A whole answer that is not a worker's.
#[derive(Debug, Default)]
pub struct Reply {
    pub status: StatusCode,
    pub fields: Fields,
    pub body: Bytes,
    /// The body tells of the status and nothing else.
    pub is_page: bool,
}

/// One worker runtime's way from connections to the service.
#[derive(Debug)]
pub struct Worker<S> {
    services: Arc<Services<S>>,
    context: Context,
}

impl<S: Service> Worker<S> {
    pub fn new(service: S, context: Context) -> Self {
        Self { services: Arc::new(Services::new(service)), context }
    }

    /// Where its service is replaced.
    pub fn services(&self) -> Arc<Services<S>> {
        self.services.clone()
    }

    /// Serves until told otherwise; to be called on the worker's own runtime.
    ///
    /// Draining returns when the last request has been answered, stopping at once: what is left
    /// then ends with the runtime.
    ///
    /// # Errors
    /// A listener that the runtime cannot take. Nothing is served then.
    pub async fn run(
        self,
        listeners: Vec<Listener>,
        changes: mpsc::UnboundedReceiver<Change>,
        shutdown: watch::Receiver<Shutdown>,
    ) -> io::Result<()> {
        let context = self.context.clone();
        let worker = Arc::new(self);
        let begin = move || {
            let (worker, service) = (worker.clone(), worker.services.begin());
            move |conn| Self::serve(worker.clone(), service.clone(), conn)
        };
        listen::run(listeners, context, begin, (changes, shutdown)).await
    }

    /// Serves a connection that begins with this service.
    async fn serve(worker: Arc<Self>, service: Arc<S>, conn: Box<Conn>) {
        let Self { services, context } = &*worker;
        let conn = match conn.info().may_speak_http2() {
            // Boxed, so that its state is given back when it is clear.
            true => Box::pin(preface::look(conn)).await,
            false => conn,
        };
        let services = (service, &**services);
        match conn.protocol() {
            listen::Protocol::Http1 => http1::serve(conn, context, services).await,
            listen::Protocol::Http2 => Box::pin(http2::serve(conn, context, services)).await,
        }
    }
}
