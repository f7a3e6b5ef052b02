//! Asks a worker: chooses an endpoint, sends the request, waits for the final head of the answer.
//!
//! What follows from a failure is `upstream::verdict`'s to say. Nothing that a client does is an
//! endpoint's fault.

use crate::downstream::{Client, Request};
use crate::proxy::answering::Answering;
use crate::proxy::asking::{Asking, Failed, accept};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::exchange::Proxy;
use crate::proxy::reach::{Fresh, reach};
use crate::proxy::response::Response;
use crate::proxy::upload::Upload;
use crate::proxy::{endpoint, forward, request_headers};
use crate::upstream::verdict::{Phase, Retry, Status, verdict};
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
    let mut head = forward::fields(shared, request, ctx)?;
    request_headers::set(&mut head, shared, request, client, ctx)?;
    let bytes_max = ctx.target.as_ref().map_or(0, |target| target.route.body_bytes_max);
    let is_repeatable = request.method.is_idempotent();
    let may_grow = !shared.buffers.is_full();
    client.let_grow(may_grow);
    // Over HTTP/2 a worker may say that it has not begun with a request.
    let is_worth_it = is_repeatable || endpoint::is_http2(shared, ctx);
    let mut upload = Upload::new(request.body, bytes_max, is_worth_it && may_grow);
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
                (_, error) => return Err(error),
            },
        };
        let begun = ctx.attempts.begun;
        let mut asking = Asking::new(worker, &mut upload, request, &head, ctx)?;
        asking.worker.peer.let_grow(may_grow);
        let answered = asking.run(client, ctx, proxy.patience(ctx)).await;
        let Asking { worker, answer, .. } = asking;
        match answered {
            Ok(framing) => {
                let body = Answering::new(worker, proxy.pool.clone(), upload, framing);
                return accept(request, answer, Box::new(body)).map_err(|failure| {
                    let failed = Failed { phase: Phase::AwaitHead, failure };
                    endpoint::failed(shared, ctx, failed);
                    RequestError::BadGateway
                });
            }
            Err(failed) => {
                let endpoint = worker.endpoint;
                drop(worker);
                let (retry, error) = note_failure(proxy, ctx, failed);
                if !may_repeat(retry, is_repeatable, &upload) {
                    return Err(error);
                }
                let is_same = retry != Retry::AnotherEndpoint;
                must_be_fresh = is_same.then_some(Fresh { endpoint, since: begun });
                last = error;
            }
        }
    }
}

/// Whether a request that was sent may be sent again.
fn may_repeat(retry: Retry, is_repeatable: bool, upload: &Upload) -> bool {
    let is_harmless = match retry {
        Retry::No => false,
        Retry::SameEndpointFresh => is_repeatable,
        Retry::SameEndpointUnprocessed | Retry::AnotherEndpoint => true,
    };
    is_harmless && upload.may_begin_again()
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
