//! The way to an endpoint: a kept connection, a new one, or a stream of a shared one.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use crate::downstream::{BodyLength, Client, Request};
use crate::proxy::asking::Failed;
use crate::proxy::context::Context;
use crate::proxy::endpoint;
use crate::proxy::peer::{Http1, Peer, Worker};
use crate::proxy::service::Proxy;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::group::Group;
use crate::upstream::verdict::{Failure, Phase};
use crate::upstream::way::http2::Stream;

/// How often a connection may have no place for a request that waited for it.
const CROWDED_MAX: u32 = 4;

/// The same endpoint over a connection that is not the one before.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub endpoint: Arc<Endpoint>,
    /// When the attempt before began: what was made since is fresh.
    pub since: Option<Instant>,
}

/// The way to an endpoint: `again`, or one that was not tried yet.
///
/// # Errors
/// What went wrong; nothing where no endpoint is left.
pub async fn reach(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    again: Option<Fresh>,
) -> Result<Worker, Option<Failed>> {
    let (shared, pool, now) = (&proxy.shared, &proxy.pool, Instant::now());
    let (upstream, endpoint) = match &again {
        Some(Fresh { endpoint, .. }) => endpoint::again(shared, ctx, endpoint.clone(), now),
        None => match endpoint::queue(shared, ctx) {
            None => endpoint::select(shared, request, client, ctx, now),
            Some(group) => Box::pin(queued(proxy, request, client, ctx, &group)).await?,
        },
    }
    .ok_or(None)?;
    let is_kept = !endpoint::is_direct(ctx);
    let peer = if !is_kept {
        let address = endpoint.address().clone();
        let limit = endpoint::timeouts(shared, ctx).connect;
        let connecting = async {
            pool.connect_to(address, limit).await.map_err(|error| {
                tracing::debug!(%error, "no connection to an endpoint");
                error.failure()
            })
        };
        let connected = Box::pin(wait(connecting, request, client, ctx)).await;
        connected.map(|link| Peer::Http1(Http1::new(link)))
    } else if pool.speaks_http2(upstream) {
        // Without an attempt before, any connection is fresh enough.
        let since = again.as_ref().map(|fresh| fresh.since.unwrap_or(now));
        let open = || pool.stream(upstream, &endpoint, since, Instant::now());
        let stream = open();
        match stream.is_ready() {
            true => Ok(stream),
            false => Box::pin(ready(open, stream, request, client, ctx)).await,
        }
        .map(|stream| Peer::Http2(Box::new(stream)))
    } else if again.is_none()
        && let Some(link) = pool.take(upstream, endpoint.id, now)
    {
        Ok(Peer::Http1(Http1::new(link)))
    } else {
        let connecting = async {
            pool.connect(upstream, &endpoint).await.map_err(|error| {
                tracing::debug!(%error, "no connection to an endpoint");
                error.failure()
            })
        };
        let connected = Box::pin(wait(connecting, request, client, ctx)).await;
        connected.map(|link| Peer::Http1(Http1::new(link)))
    };
    let failed = |failure| Some(Failed { phase: Phase::Connect, failure });
    Ok(Worker { peer: peer.map_err(failed)?, upstream, endpoint, is_kept })
}

/// An endpoint that has room, once there is one and whoever came before has had his turn.
///
/// # Errors
/// Nobody waits any more.
async fn queued(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    group: &Group,
) -> Result<Option<(usize, Arc<Endpoint>)>, Option<Failed>> {
    let shared = &proxy.shared;
    let Some(queue) = group.queue() else { return Ok(None) };
    if !queue.is_waited_for()
        && let Some(found) = endpoint::select(shared, request, client, ctx, Instant::now())
    {
        return Ok(Some(found));
    }
    let Some(_place) = queue.enter() else {
        tracing::error!(upstream = group.settings().name, "the queue of an upstream is full");
        return Ok(None);
    };
    let begun = Instant::now();
    let mut is_over = pin!(tokio::time::sleep(queue.settings.timeout));
    loop {
        let freed = async {
            tokio::select! {
                () = queue.freed() => Ok(true),
                () = &mut is_over => Ok(false),
            }
        };
        let failed = |failure| Some(Failed { phase: Phase::Connect, failure });
        if !wait(freed, request, client, ctx).await.map_err(failed)? {
            tracing::error!(upstream = group.settings().name, "no endpoint had room in time");
            return Ok(None);
        }
        let now = Instant::now();
        if let Some(found) = endpoint::select(shared, request, client, ctx, now) {
            ctx.tried.has_waited(now.saturating_duration_since(begun));
            return Ok(Some(found));
        }
    }
}

/// Waits for the connection that a stream will be on.
async fn ready(
    open: impl Fn() -> Stream,
    mut stream: Stream,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &Context,
) -> Result<Stream, Failure> {
    for _ in 0..CROWDED_MAX {
        if wait(stream.ready(), request, client, ctx).await? {
            return Ok(stream);
        }
        // It goes before it asks again: others are counted after it.
        drop(stream);
        stream = open();
    }
    Err(Failure::Refused(0))
}

/// Waits for a connection, the client and what may cut the exchange.
pub async fn wait<T>(
    connecting: impl Future<Output = Result<T, Failure>>,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &Context,
) -> Result<T, Failure> {
    let mut connecting = pin!(connecting);
    // A login goes on without its client (PROTOCOL.md 20).
    let is_there = request.body == BodyLength::Empty || ctx.has_whole_body;
    let watches = is_there && !ctx.is_login();
    poll_fn(|cx| {
        if ctx.cut().is_some_and(|cut| cut.poll_cut(cx).is_ready()) {
            return Poll::Ready(Err(Failure::Cut));
        }
        if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
            return Poll::Ready(connected);
        }
        if watches && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        Poll::Pending
    })
    .await
}
