//! One worker: takes the connections that `listen` accepts through Pingora, request by request.
//!
//! HTTP/1 has a keep-alive loop of our own around Pingora's handling of one request, so that nothing
//! of a request exists while the connection is idle, and so that deadlines are the sweeper's.
//! Requests may be pipelined (RFC 9112 section 9.3.2): what was read beyond a request travels to the
//! next one inside Pingora's settings. HTTP/2 is Pingora's from the preface to the GOAWAY.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use http::header::TRANSFER_ENCODING;
use pingora_core::apps::{
    HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp,
};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::default_h2_options;
use pingora_core::server::configuration::ServerConf;
use pingora_core::{Error, ErrorType};
use pingora_proxy::{HttpProxy, ProxyHttp, Session, http_proxy};
use tokio::sync::watch;

use super::stream::{Downstream, Home, conn_info};
use crate::listen::{self, Conn, Context, Info, Limits, Listener, Protocol, Shutdown};

/// Told of every request that was answered without any hook: Pingora's 400 and 405, and 408 and 431
/// of the connection itself. The second value is the status. HTTP/1 only; HTTP/2 answers or resets
/// such streams out of sight.
pub type OnRefused = Arc<dyn Fn(&Info, u16) + Send + Sync>;

/// One worker's way from connections to the service's hooks, with upstream connections of its own.
pub struct Worker<SV> {
    app: Arc<HttpProxy<SV>>,
    context: Context,
    on_refused: OnRefused,
}

/// How a worker reaches upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPool {
    /// Idle connections kept, over all upstreams.
    pub keepalive: usize,
    /// Certificates that upstreams are verified with, as PEM; the system's where `None`.
    pub ca_file: Option<std::path::PathBuf>,
}

impl Default for UpstreamPool {
    fn default() -> Self {
        Self { keepalive: 512, ca_file: None }
    }
}

impl<SV> Worker<SV>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
{
    /// A worker for this service. `tls::install_provider` must have run before.
    pub fn new(service: SV, pool: &UpstreamPool, context: Context) -> Self {
        let limits = context.limits;
        let conf = ServerConf {
            threads: 1,
            upstream_keepalive_pool_size: pool.keepalive,
            ca_file: pool.ca_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
            ..ServerConf::default()
        };
        let mut app = http_proxy(&Arc::new(conf), service);
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(limits.keepalive_timeout);
        app.server_options = Some(options);
        let mut h2 = default_h2_options();
        h2.max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
        app.h2_options = Some(h2);
        Self { app: Arc::new(app), context, on_refused: Arc::new(|_, _| {}) }
    }

    /// Has refused requests reported, for the access log.
    pub fn on_refused(mut self, report: OnRefused) -> Self {
        self.on_refused = report;
        self
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
        shutdown: watch::Receiver<Shutdown>,
    ) -> io::Result<()> {
        let context = self.context.clone();
        let worker = Arc::new(self);
        let serve = move |conn: Conn| {
            let worker = worker.clone();
            async move {
                match conn.protocol() {
                    Protocol::Http1 => worker.serve_http1(conn).await,
                    Protocol::Http2 => Box::pin(worker.serve_http2(conn)).await,
                }
            }
        };
        listen::run(listeners, context, serve, shutdown).await
    }

    async fn serve_http2(&self, conn: Conn) {
        // One for each connection: it also ends after its share of requests. Pingora must be given
        // a receiver that has seen no change, or a GOAWAY asked for early would be missed.
        let finishing = conn.info().finishing();
        let home = Home::default();
        let stream: Stream = Box::new(Downstream::new(conn, home.clone()));
        ServerApp::process_new(&self.app, stream, &finishing).await;
        if let Some(conn) = home.take() {
            conn.linger().await;
        }
    }

    async fn serve_http1(&self, conn: Conn) {
        let info = conn.info().clone();
        let home = Home::default();
        let draining = self.context.registry.draining();
        let mut lent = Box::new(Downstream::new(conn, home.clone()));
        let mut settings: Option<HttpPersistentSettings> = None;
        loop {
            let Some(conn) = lent.conn() else { return };
            // Bytes of the next request may be inside the settings already; nobody would wake us
            // for them.
            let waiting = settings.as_ref().is_some_and(holds_pipelined_bytes);
            if settings.is_some() && *draining.borrow() && !waiting {
                break;
            }
            if !waiting {
                if settings.is_some() {
                    conn.rest();
                }
                if !conn.readable().await {
                    break;
                }
            }
            conn.begin_head();

            let before = info.requests();
            let served = self.serve_request(lent, settings.take(), &draining).await;
            if info.requests() == before
                && let Some(status) = info.take_refusal()
            {
                (self.on_refused)(&info, status);
            }
            let Some((stream, kept)) = served.map(ReusedHttpStream::consume) else {
                if let Some(conn) = home.take() {
                    conn.linger().await;
                }
                return;
            };
            let Ok(stream) = stream.into_any().downcast::<Downstream>() else { return };
            (lent, settings) = (stream, kept);
        }
        drop(lent);
        if let Some(conn) = home.take() {
            conn.close().await;
        }
    }

    /// Begins with the next request. This is no `async fn`, so that the session lives in Pingora's
    /// future alone, which is gone while the connection is idle.
    fn serve_request<'a>(
        &'a self,
        lent: Box<Downstream>,
        settings: Option<HttpPersistentSettings>,
        draining: &'a watch::Receiver<bool>,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'a>> {
        let mut session = ServerSession::new_http1(lent);
        match settings {
            Some(settings) => settings.apply_to_session(&mut session),
            None => {
                // No timeout: that would be a timer for each request, and the sweeper has it.
                session.set_keepalive(Some(0));
                let further = self.context.limits.keepalive_requests.saturating_sub(1);
                session.set_keepalive_reuses_remaining(Some(further));
                session.set_pipelining_enabled(true);
            }
        }
        self.app.process_new_http(session, draining)
    }
}

/// To be called in the first hook of every request, HTTP/1 and HTTP/2: the head is complete, its
/// deadline no longer holds.
///
/// # Errors
/// 431 for a head that is too large although the connection did not notice: one that was pipelined
/// arrives together with what was before it. 400 for one with both `Transfer-Encoding` and
/// `Content-Length`, which somebody before us may have read the other way (RFC 9112 section 6.1).
pub fn request_head_complete(session: &Session, limits: &Limits) -> Result<(), Box<Error>> {
    if let Some(info) = conn_info(session) {
        info.request_head_complete();
    }
    match session.as_downstream() {
        ServerSession::H1(http1) if http1.get_headers_raw_bytes().len() > limits.header_bytes => {
            Error::e_explain(ErrorType::HTTPStatus(431), "the request head is too large")
        }
        ServerSession::H1(http1)
            if http1.req_header().headers.contains_key(TRANSFER_ENCODING)
                && names_content_length(&http1.get_headers_raw_bytes()) =>
        {
            Error::e_explain(ErrorType::HTTPStatus(400), "a body with two lengths")
        }
        _ => Ok(()),
    }
}

/// Whether a head as it came has a `Content-Length`. Pingora takes it out of the parsed one where
/// there is a `Transfer-Encoding` too.
fn names_content_length(head: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    head.split(|byte| *byte == b'\n')
        .any(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))
}

/// Whether bytes of the next request were read with the last one.
///
/// Pingora gives no access to them, so this looks at what it prints of its settings. Should that
/// ever read otherwise, the answer is yes: the loop then hands the settings on without waiting in
/// between, which is always right and only costs memory while idle.
fn holds_pipelined_bytes(settings: &HttpPersistentSettings) -> bool {
    /// Reads along until the field has been seen.
    struct Reader {
        in_field: bool,
        empty: bool,
    }
    impl fmt::Write for Reader {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            match text {
                "pipelined_prefix" => self.in_field = true,
                ": " => {}
                value if self.in_field => {
                    self.empty = value == "None";
                    // Seen enough: the bytes themselves are not printed.
                    return Err(fmt::Error);
                }
                _ => {}
            }
            Ok(())
        }
    }
    let mut reader = Reader { in_field: false, empty: false };
    let _ = fmt::Write::write_fmt(&mut reader, format_args!("{settings:?}"));
    !reader.empty
}

#[cfg(test)]
mod tests;
