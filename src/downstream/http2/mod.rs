//! One HTTP/2 connection (RFC 9113), by the `h2` crate: a task for each stream, one for all frames.
//!
//! What the crate refuses by itself (frames that break the protocol, heads far beyond the limit, floods
//! of resets) never becomes a request. A path that is not UTF-8 ends the connection inside the crate.

mod head;
mod stream;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use tokio::sync::Notify;

use super::client::Client;
use super::refused::{Refusal, Refused};
use super::{Reply, Service, Services};
use crate::listen::{self, Conn, Info};
use crate::wire::response::ResponseHead;
use crate::wire::write::Announce;

pub use self::stream::Http2;

/// Streams that one client may have open at a time (nginx `http2_max_concurrent_streams`).
const STREAMS_MAX: u32 = 128;
/// Bytes of one body that may be on the way here: 4 MiB take sixteen round trips.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all bodies of one connection together: what it may cost at most.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of one answer that wait for the connection.
const SEND_BUFFER_MAX: usize = 64 * 1024;
/// What small frames may cost until somebody has taken them: a slow typist's, a burst's.
const SMALL_FRAMES_MAX: usize = 1024 * 1024;
/// Heads are read up to this many times their limit, so that the refusal is ours and is noted.
const HEAD_FACTOR: usize = 4;
/// How long a peer may take to hear that the connection ends.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves a connection until it ends.
pub async fn serve<S: Service>(
    conn: Box<Conn>,
    context: &listen::Context,
    (service, services): (Arc<S>, &Services<S>),
) {
    let info = conn.info().clone();
    let mut limits = **context.limits.load();
    if let Some(buffers) = service.head_limits(&info, None).buffers {
        limits.header_bytes = buffers.size.saturating_mul(buffers.number);
    }
    let head_max = limits.header_bytes.saturating_mul(HEAD_FACTOR);
    let handshake = Builder::new()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER_MAX)
        .max_header_list_size(u32::try_from(head_max).unwrap_or(u32::MAX))
        .data_frame_budget(SMALL_FRAMES_MAX)
        .handshake::<_, Bytes>(conn);
    let connection = match handshake.await {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%error, "no HTTP/2 connection"),
    };
    let mut serving = Serving {
        connection,
        info,
        service,
        open: Arc::default(),
        limits,
        finishing_since: None,
        idle_since: None,
    };
    if let Err(error) = serving.run(services).await {
        tracing::debug!(%error, "an HTTP/2 connection ended badly");
    }
}

/// A connection at work.
struct Serving<S> {
    connection: Connection<Box<Conn>, Bytes>,
    info: Arc<Info>,
    /// What served its last request.
    service: Arc<S>,
    open: Arc<Open>,
    limits: listen::Limits,
    finishing_since: Option<Instant>,
    /// Since when no request is being served; absent before the first one, which the sweeper waits for.
    idle_since: Option<Instant>,
}

/// Requests that are being served.
#[derive(Debug, Default)]
struct Open {
    number: AtomicUsize,
    none: Notify,
}

/// One of them.
struct Place(Arc<Open>);

impl Place {
    fn take(open: &Arc<Open>) -> Self {
        open.number.fetch_add(1, Relaxed);
        Self(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.number.fetch_sub(1, Relaxed) == 1 {
            self.0.none.notify_one();
        }
    }
}

impl<S: Service> Serving<S> {
    async fn run(&mut self, services: &Services<S>) -> Result<(), h2::Error> {
        let mut finishing = self.info.finishing();
        if self.info.ends_soon() {
            self.finish();
        }
        loop {
            let due = self.due();
            let overdue = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                accepted = self.connection.accept() => match accepted {
                    Some(accepted) => self.begin(accepted?, services),
                    None => return Ok(()),
                },
                () = self.open.none.notified() => {
                    if self.open.number.load(Relaxed) == 0 {
                        self.idle_since = Some(Instant::now());
                    }
                }
                Ok(()) = finishing.changed(), if self.finishing_since.is_none() => self.finish(),
                () = overdue => match self.finishing_since {
                    None => self.finish(),
                    // It was told, and does not go.
                    Some(_) => {
                        self.connection.abrupt_shutdown(Reason::NO_ERROR);
                        return Ok(());
                    }
                },
            }
        }
    }

    /// When a connection that serves nothing is told to go, and when it is no longer waited for.
    fn due(&self) -> Option<Instant> {
        if self.open.number.load(Relaxed) > 0 {
            return None;
        }
        match self.finishing_since {
            Some(since) => Some(since.max(self.idle_since.unwrap_or(since)) + GOODBYE),
            None => Some(self.idle_since? + self.limits.keepalive_timeout),
        }
    }

    fn finish(&mut self) {
        self.finishing_since = Some(Instant::now());
        self.connection.graceful_shutdown();
    }

    fn begin(
        &mut self,
        (request, respond): (http::Request<RecvStream>, SendResponse<Bytes>),
        services: &Services<S>,
    ) {
        let now = Instant::now();
        if self.finishing_since.is_some_and(|since| now - since > GOODBYE) {
            let mut respond = respond;
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        self.idle_since = None;
        self.info.request_head_complete(now);
        services.renew(&mut self.service, &self.info);
        let place = Place::take(&self.open);
        let (service, info) = (self.service.clone(), self.info.clone());
        let (head, body) = request.into_parts();
        let mut stream = Http2::new(info, body, respond);
        match head::read(head, stream.body_is_over(), self.limits.header_bytes, now) {
            Ok(request) => {
                stream.expects(&request);
                tokio::spawn(async move {
                    service.serve(request, Client::Http2(&mut stream)).await;
                    stream.end().await;
                    drop(place);
                });
            }
            Err((flaw, line)) => {
                let refused = Refused { refusal: Refusal::Flaw(flaw), head: &line };
                let reply = service.refuse(stream.info(), &refused);
                tokio::spawn(async move {
                    let _ = send(&mut stream, reply).await;
                    stream.end().await;
                    drop(place);
                });
            }
        }
    }
}

async fn send(stream: &mut Http2, reply: Reply) -> Result<(), super::ClientFailure> {
    let Reply { status, fields, body, .. } = reply;
    let head = ResponseHead::compose(status, fields);
    stream.begin(&head, Announce::Length(body.len() as u64), true)?;
    let mut rest = &body[..];
    while !rest.is_empty() {
        let taken = std::future::poll_fn(|cx| stream.poll_send(cx, rest)).await?;
        rest = &rest[taken..];
    }
    stream.finish(None)
}
