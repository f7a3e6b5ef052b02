//! Asks a worker: chooses an endpoint, sends the request, waits for the final head of the answer.
//!
//! What follows from a failure is `upstream::verdict`'s to say. Nothing that a client does is an
//! endpoint's fault.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use crate::downstream::{BodyLength, Client, Request};
use crate::proxy::answering::{Answering, Worker};
use crate::proxy::asking::{Asking, Failed, accept};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::exchange::Proxy;
use crate::proxy::response::Response;
use crate::proxy::upload::Upload;
use crate::proxy::{endpoint, forward};
use crate::upstream::verdict::{Failure, Phase, Retry, Status, verdict};
use crate::upstream::way::Link;
use crate::wire::connection::ConnectionOptions;
use crate::wire::flaw::RequestFlaw;

/// Sends the request to an endpoint, to another one where that may be, and waits for the answer.
///
/// # Errors
/// Why there is none.
pub async fn ask(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
) -> Result<Response, RequestError> {
    let shared = &proxy.shared;
    if ctx.is_cut() {
        return Err(RequestError::Cut);
    }
    let head = forward::fields(shared, request, ctx)?;
    let bytes_max = ctx.target.as_ref().map_or(0, |target| target.route.body_bytes_max);
    let is_repeatable = request.method.is_idempotent();
    let may_grow = !shared.buffers.is_full();
    client.let_grow(may_grow);
    let mut upload = Upload::new(request.body, bytes_max, is_repeatable && may_grow);
    let mut must_be_fresh = None;
    // What the last attempt ended with; another one may do better.
    let mut last = RequestError::BadGateway;
    loop {
        let worker = match reach(proxy, request, client, ctx, must_be_fresh.take()).await {
            Ok(worker) => worker,
            Err(None) => return Err(last),
            Err(Some(failed)) => match note_failure(proxy, ctx, failed) {
                (Retry::AnotherEndpoint, error) => {
                    last = error;
                    continue;
                }
                (Retry::SameEndpointFresh | Retry::No, error) => return Err(error),
            },
        };
        let mut asking = Asking::new(worker, &mut upload, request, &head, ctx);
        asking.worker.link.let_grow(may_grow);
        let answered = asking.run(client, ctx, proxy.patience(ctx)).await;
        let Asking { worker, answer, .. } = asking;
        match answered {
            Ok(framing) => {
                let keeps = ConnectionOptions::of(&answer.fields).keeps(answer.version);
                let body = Answering::new(worker, proxy.pool.clone(), upload, framing, keeps);
                return accept(request, answer, Box::new(body)).map_err(|failure| {
                    let failed = Failed { phase: Phase::AwaitHead, failure };
                    endpoint::failed(shared, ctx, failed);
                    RequestError::BadGateway
                });
            }
            Err(failed) => {
                let endpoint = worker.endpoint;
                drop(worker);
                match note_failure(proxy, ctx, failed) {
                    (Retry::SameEndpointFresh, error)
                        if is_repeatable && upload.may_begin_again() =>
                    {
                        (must_be_fresh, last) = (Some(endpoint), error);
                    }
                    (_, error) => return Err(error),
                }
            }
        }
    }
}

/// Notes a failure. What may be tried next, and what is answered otherwise.
pub fn note_failure(proxy: &Proxy, ctx: &mut Context, failed: Failed) -> (Retry, RequestError) {
    let verdict = verdict(failed.phase, failed.failure);
    endpoint::failed(&proxy.shared, ctx, failed);
    let error = match ctx.flaw.map(RequestFlaw::status) {
        Some(431) => RequestError::HeadTooLarge,
        Some(_) => RequestError::BadRequest,
        None => error_of(verdict.status),
    };
    (verdict.retry, error)
}

/// What a failure's status is called here.
pub fn error_of(status: Status) -> RequestError {
    match status {
        Status::BadGateway => RequestError::BadGateway,
        Status::UpstreamTimeout => RequestError::UpstreamTimeout,
        Status::RequestTimeout => RequestError::RequestTimeout,
        Status::BodyTooLarge => RequestError::BodyTooLarge,
        Status::Cut => RequestError::Cut,
        Status::Internal => RequestError::Internal,
        Status::ClientGone | Status::Ended => RequestError::ClientGone,
    }
}

/// A connection to an endpoint: `again`, or one that was not tried yet.
///
/// # Errors
/// What went wrong; nothing where no endpoint is left.
async fn reach(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    again: Option<usize>,
) -> Result<Worker, Option<Failed>> {
    let (shared, now) = (&proxy.shared, Instant::now());
    let (upstream, endpoint) = match again {
        Some(endpoint) => endpoint::again(shared, ctx, endpoint, now),
        None => endpoint::select(shared, request, ctx, now),
    }
    .ok_or(None)?;
    if again.is_none()
        && let Some(link) = proxy.pool.take(upstream, endpoint, now)
    {
        return Ok(Worker { link, upstream, endpoint });
    }
    let link = Box::pin(connect(proxy, request, client, ctx, (upstream, endpoint))).await;
    let failed = |failure| Some(Failed { phase: Phase::Connect, failure });
    Ok(Worker { link: link.map_err(failed)?, upstream, endpoint })
}

async fn connect(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &Context,
    (upstream, endpoint): (usize, usize),
) -> Result<Link, Failure> {
    let mut connecting = pin!(proxy.pool.connect(upstream, endpoint));
    // A login goes on without its client (PROTOCOL.md 20).
    let watches = request.body == BodyLength::Empty && !ctx.is_login();
    poll_fn(|cx| {
        if ctx.cut().is_some_and(|cut| cut.poll_cut(cx).is_ready()) {
            return Poll::Ready(Err(Failure::Cut));
        }
        if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
            return Poll::Ready(connected.map_err(|error| {
                tracing::debug!(%error, "no connection to an endpoint");
                error.failure()
            }));
        }
        if watches && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        Poll::Pending
    })
    .await
}
