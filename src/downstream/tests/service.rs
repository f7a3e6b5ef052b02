//! A service that says what it got, and does other things where the path says so.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::Semaphore;

use crate::downstream::{Client, Incoming, Refused, Reply, Request, Service};
use crate::listen::{Info, info::Tls};
use crate::wire::fields::Fields;
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;
use crate::wire::write::Announce;

/// Bytes of the answer to `/big`.
const BIG: usize = 32 << 20;

/// What the service saw of a request.
#[derive(Clone, Debug)]
pub(in crate::downstream) struct Seen {
    pub(in crate::downstream) path: String,
    pub(in crate::downstream) connection: u64,
    pub(in crate::downstream) redirect_to_https: Option<u16>,
    pub(in crate::downstream) tls: Option<Tls>,
    pub(in crate::downstream) cookies: Vec<String>,
    pub(in crate::downstream) host: String,
}

/// What tests see of it.
#[derive(Debug)]
pub(in crate::downstream) struct Notes {
    /// Without a byte that the client takes or sends.
    pub(in crate::downstream) patience: Duration,
    pub(in crate::downstream) seen: Mutex<Vec<Seen>>,
    pub(in crate::downstream) refused: Mutex<Vec<u16>>,
    /// Paths whose body has come.
    pub(in crate::downstream) arrived: Mutex<Vec<String>>,
    pub(in crate::downstream) permits: Semaphore,
    /// Requests that are being served.
    pub(in crate::downstream) serving: AtomicUsize,
}

/// `/held…` waits for a permit before it answers, `/asleep` before it reads; `/trickle` sends half of
/// its answer before it waits; `/pieces` sends chunks; `/big` sends much; `/early/413` answers before
/// the body has come; `/hints` sends a 103; `/trailers` answers with the request's; `/upgrade` echoes;
/// `/cut` ends its connection.
pub(in crate::downstream) struct Origin(pub(super) Arc<Notes>);

impl Service for Origin {
    async fn serve(&self, request: Request, mut client: Client<'_>) {
        self.0.serving.fetch_add(1, Relaxed);
        if self.answer(&request, &mut client).await.is_none() {
            client.abort();
        }
        self.0.serving.fetch_sub(1, Relaxed);
    }

    fn refuse(&self, info: &Info, refused: &Refused<'_>) -> Reply {
        assert!(info.peer().ip().is_loopback());
        let status = refused.refusal.status();
        self.0.refused.lock().expect("no panic").push(status);
        let status = StatusCode::from_u16(status).expect("a status");
        Reply { status, body: Bytes::from_static(b"refused"), ..Reply::default() }
    }
}

impl Origin {
    async fn answer(&self, request: &Request, client: &mut Client<'_>) -> Option<()> {
        let path = String::from_utf8(request.target().to_vec()).expect("text");
        self.note(&path, request, client);
        if let Some(status) = path.strip_prefix("/early/") {
            client.keep_no_longer();
            client.leave_body();
            let status = StatusCode::from_bytes(status.as_bytes()).expect("a status");
            return self.whole(client, status, b"too early").await;
        }
        match path.as_str() {
            "/cut" => client.info().close(),
            "/asleep" => self.0.permits.acquire().await.expect("open").forget(),
            "/hints" => {
                let hints = Fields::of(&[("Link", "</a.css>; rel=preload")]);
                client.interim(StatusCode::EARLY_HINTS, &hints);
            }
            _ => {}
        }
        if request.expects_continue() {
            client.interim(StatusCode::CONTINUE, &Fields::new());
        }
        if path == "/upgrade" {
            client.upgrade(&mut Fields::of(&[("Upgrade", "websocket")])).ok()?;
            self.flush(client).await?;
            return self.echo(client).await;
        }
        let Some(body) = self.body(client).await? else {
            return self.whole(client, StatusCode::REQUEST_TIMEOUT, b"late").await;
        };
        self.0.arrived.lock().expect("no panic").push(path.clone());
        if path.starts_with("/held") {
            self.permit(client).await?;
        }
        self.say(&path, request, client, &body).await
    }

    async fn say(
        &self,
        path: &str,
        request: &Request,
        client: &mut Client<'_>,
        body: &[u8],
    ) -> Option<()> {
        let method = request.method.as_str();
        let text = format!("{method} {path} {}", String::from_utf8_lossy(body));
        match path {
            "/trickle" => {
                self.begin(client, StatusCode::OK, Announce::Length(10))?;
                self.send(client, b"first").await?;
                self.flush(client).await?;
                self.permit(client).await?;
                self.send(client, b"-last").await?;
            }
            "/pieces" => {
                self.begin(client, StatusCode::OK, Announce::Chunked)?;
                for piece in [&b"one"[..], b"two", b"three"] {
                    self.send(client, piece).await?;
                    self.flush(client).await?;
                }
            }
            "/big" => {
                self.begin(client, StatusCode::OK, Announce::Length(BIG as u64))?;
                let piece = [b'x'; 64 << 10];
                for _ in 0..BIG / piece.len() {
                    self.send(client, &piece).await?;
                }
            }
            "/trailers" => {
                let trailers = client.take_trailers();
                self.begin(client, StatusCode::OK, Announce::Chunked)?;
                self.send(client, text.as_bytes()).await?;
                client.finish(trailers.as_deref()).ok()?;
                return self.flush(client).await;
            }
            _ => return self.whole(client, StatusCode::OK, text.as_bytes()).await,
        }
        client.finish(None).ok()?;
        self.flush(client).await
    }

    fn note(&self, path: &str, request: &Request, client: &Client<'_>) {
        let info = client.info();
        assert!(info.peer().ip().is_loopback() && info.local().ip().is_loopback());
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let seen = Seen {
            path: path.to_owned(),
            connection: info.id(),
            redirect_to_https: info.redirect_to_https(),
            tls: info.tls().cloned(),
            cookies: request.fields().all(Name::Cookie).map(text).collect(),
            host: request.authority().map(text).unwrap_or_default(),
        };
        self.0.seen.lock().expect("no panic").push(seen);
    }

    /// Waits until a test says so, or the client is gone.
    async fn permit(&self, client: &mut Client<'_>) -> Option<()> {
        let mut permit = std::pin::pin!(self.0.permits.acquire());
        poll_fn(|cx| match permit.as_mut().poll(cx) {
            Poll::Ready(permit) => {
                permit.expect("open").forget();
                Poll::Ready(Some(()))
            }
            Poll::Pending => client.poll_gone(cx).map(|()| None),
        })
        .await
    }

    /// The whole body; nothing where it takes too long.
    async fn body(&self, client: &mut Client<'_>) -> Option<Option<Vec<u8>>> {
        let mut body = Vec::new();
        loop {
            client.alarm().set(Instant::now() + self.0.patience);
            let next = poll_fn(|cx| match client.poll_body(cx) {
                Poll::Ready(next) => Poll::Ready(Some(next)),
                Poll::Pending => client.alarm().poll(cx).map(|()| None),
            });
            match next.await {
                Some(Ok(Incoming::Data(length))) => {
                    body.extend_from_slice(client.piece());
                    client.consume(length);
                }
                Some(Ok(Incoming::End)) => return Some(Some(body)),
                Some(Err(_)) => return None,
                None => return Some(None),
            }
        }
    }

    async fn echo(&self, client: &mut Client<'_>) -> Option<()> {
        loop {
            match poll_fn(|cx| client.poll_body(cx)).await.ok()? {
                Incoming::End => break,
                Incoming::Data(length) => {
                    let piece = client.piece().to_vec();
                    client.consume(length);
                    self.send(client, &piece).await?;
                    self.flush(client).await?;
                }
            }
        }
        client.finish(None).ok()?;
        poll_fn(|cx| client.poll_shutdown(cx)).await.ok()
    }

    async fn whole(&self, client: &mut Client<'_>, status: StatusCode, body: &[u8]) -> Option<()> {
        self.begin(client, status, Announce::Length(body.len() as u64))?;
        self.send(client, body).await?;
        client.finish(None).ok()?;
        self.flush(client).await
    }

    fn begin(&self, client: &mut Client<'_>, status: StatusCode, announce: Announce) -> Option<()> {
        client.begin(&mut ResponseHead::compose(status, Fields::new()), announce, true).ok()
    }

    async fn send(&self, client: &mut Client<'_>, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            client.alarm().set(Instant::now() + self.0.patience);
            let taken = poll_fn(|cx| match client.poll_send(cx, bytes) {
                Poll::Ready(taken) => Poll::Ready(taken.ok()),
                Poll::Pending => client.alarm().poll(cx).map(|()| None),
            });
            bytes = &bytes[taken.await?..];
        }
        Some(())
    }

    async fn flush(&self, client: &mut Client<'_>) -> Option<()> {
        poll_fn(|cx| client.poll_flush(cx)).await.ok()
    }
}
