//! Asks a worker: chooses an endpoint, sends the request, waits for the final head of the answer.
//!
//! What follows from a failure is `upstream::verdict`'s to say. Nothing that a client does is an
//! endpoint's fault.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::downstream::{BodyLength, Client, Request};
use crate::proxy::answering::Answering;
use crate::proxy::asking::{Ask, Asking, Failed, accept};
use crate::proxy::complaint::About;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::peer::Worker;
use crate::proxy::reach::{Fresh, reach};
use crate::proxy::response::{Body, Response};
use crate::proxy::service::Proxy;
use crate::proxy::shared::Shared;
use crate::proxy::upload::Upload;
use crate::proxy::{endpoint, forward, request_headers};
use crate::upstream::verdict::{Phase, Retry, Status, goes_on, verdict};
use crate::wire::fields::Fields;
use crate::wire::flaw::RequestFlaw;
use crate::wire::framing::Framing;
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

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
    let asked = request_headers::asked(shared, request, client, ctx)?;
    let method = asked.method.as_ref().unwrap_or(&request.method);
    let is_repeatable = method.is_idempotent();
    // One that is made for another request has none of its own to leave.
    if asked.leaves_body && request.body != BodyLength::Empty && !ctx.has_whole_body {
        client.leave_body();
    }
    let may_grow = !shared.buffers.is_full();
    client.let_grow(may_grow);
    // Over HTTP/2 a worker may say that it has not begun with a request.
    let is_worth_it = is_repeatable
        || endpoint::is_http2(shared, ctx)
        || endpoint::next(shared, ctx).is_some_and(|next| next.non_idempotent);
    let mut upload = match asked.body {
        Some(body) => Upload::own(body),
        None if asked.leaves_body => Upload::new(BodyLength::Empty, bytes_max, true),
        None => match ctx.body.take().filter(|_| request.body != BodyLength::Empty) {
            Some(body) => Upload::whole(body),
            None => Upload::new(request.body, bytes_max, is_worth_it && may_grow),
        },
    };
    if upload.is_streamed() && shared.variables.speak_of_body() {
        upload.keep_copy();
    }
    let body = if upload.is_streamed() { request.body } else { upload.announced() };
    let ask = Ask { request, method, body };
    let asked = attempts(proxy, ask, &head, client, ctx, &mut upload).await;
    let Answered { worker, answer, framing } = match asked {
        Ok(answered) => answered,
        Err(error) => {
            ctx.body = upload.take_whole().or(ctx.body.take());
            return Err(error);
        }
    };
    let mut body = Answering::new(worker, proxy.pool.clone(), upload, framing);
    if let Some(bytes_max) = spool_max(ctx, &answer) {
        body.let_spool(bytes_max);
    }
    accept(request, answer, Box::new(body)).map_err(|failure| {
        let failed = Failed { phase: Phase::AwaitHead, failure };
        endpoint::failed(shared, request, ctx, failed);
        RequestError::BadGateway
    })
}

/// Takes a body back that another worker can have.
pub fn take_back(response: &mut Response, ctx: &mut Context) {
    if let Body::Worker(body) = &mut response.body {
        ctx.body = body.upload.take_whole().or(ctx.body.take());
    }
}

/// A worker, and the head of its answer.
struct Answered {
    worker: Worker,
    answer: ResponseHead,
    framing: Framing,
}

/// Asks one endpoint after the other.
async fn attempts(
    proxy: &Proxy,
    ask: Ask<'_>,
    head: &Fields,
    client: &mut Client<'_>,
    ctx: &mut Context,
    upload: &mut Upload,
) -> Result<Answered, RequestError> {
    let shared = &proxy.shared;
    let may_grow = !shared.buffers.is_full();
    let mut must_be_fresh = None;
    let tries = Tries::begin(shared, ask.method.is_idempotent(), ctx);
    // What the last attempt ended with; another one may do better.
    let mut last = RequestError::BadGateway;
    loop {
        let worker = match reach(proxy, ask.request, client, ctx, must_be_fresh.take()).await {
            Ok(worker) => worker,
            // Whoever was asked has said so itself.
            Err(None) if ctx.attempts.count() > 0 => return Err(last),
            Err(None) => {
                About { shared, request: ask.request, ctx }.nobody_lives();
                return Err(last);
            }
            Err(Some(failed)) => {
                let (retry, error) = note_failure(proxy, ask.request, ctx, failed);
                if retry != Retry::AnotherEndpoint || !tries.go_on(shared, ctx, retry, failed) {
                    return Err(error);
                }
                last = error;
                continue;
            }
        };
        ctx.tried.connected();
        let begun = ctx.attempts.begun;
        let mut asking = Asking::new(worker, upload, ask, head, client, ctx)?;
        asking.worker.peer.let_grow(may_grow);
        let answered = asking.run(client, ctx, proxy.patience(ctx)).await;
        let Asking { worker, answer, .. } = asking;
        ctx.tried.has_moved(worker.peer.moved());
        let answered = answered.and_then(|framing| {
            note_answer(shared, ctx, &answer, upload);
            tries.judge(shared, ctx, &answer, upload).map_or(Ok(framing), Err)
        });
        match answered {
            Ok(framing) => return Ok(Answered { worker, answer, framing }),
            Err(failed) => {
                let endpoint = worker.endpoint.clone();
                drop(worker);
                let (retry, error) = note_failure(proxy, ask.request, ctx, failed);
                if !tries.go_on(shared, ctx, retry, failed) || !upload.may_begin_again() {
                    return Err(error);
                }
                must_be_fresh = is_same_endpoint(retry).then_some(Fresh { endpoint, since: begun });
                last = error;
            }
        }
    }
}

/// Notes what variables say of an answer.
fn note_answer(shared: &Shared, ctx: &mut Context, answer: &ResponseHead, upload: &Upload) {
    ctx.tried.answered(answer.status.as_u16());
    endpoint::answered(shared, ctx);
    upload.note_copy(ctx);
    if shared.variables.speak_of_workers() {
        ctx.worker_fields = Some(answer.fields.clone());
    }
}

fn is_same_endpoint(retry: Retry) -> bool {
    matches!(retry, Retry::SameEndpointFresh | Retry::SameEndpointUnprocessed)
}

/// Bytes of an answer that may wait in a file while its client is slow; nothing where it is not kept.
fn spool_max(ctx: &Context, answer: &ResponseHead) -> Option<u64> {
    let route = &ctx.target.as_ref()?.route;
    let said = route.edits.heard(&answer.fields, Name::XAccelBuffering);
    let is_kept = match said {
        Some(said) if said.eq_ignore_ascii_case(b"no") => false,
        Some(said) if said.eq_ignore_ascii_case(b"yes") => true,
        _ => route.is_spooled,
    };
    let is_stream = answer.status == StatusCode::SWITCHING_PROTOCOLS
        || route.stream
        || answer
            .fields
            .get(Name::ContentType)
            .is_some_and(|it| it.starts_with(b"text/event-stream"));
    (is_kept && !is_stream).then_some(route.spool_max)
}

/// How often a request may be sent.
struct Tries {
    is_repeatable: bool,
    /// After which no other endpoint is tried.
    until: Option<Instant>,
}

impl Tries {
    fn begin(shared: &Shared, is_repeatable: bool, ctx: &Context) -> Self {
        let after = endpoint::next(shared, ctx).map_or(Duration::ZERO, |next| next.timeout_after);
        let until = (!after.is_zero()).then(|| Instant::now() + after);
        Self { is_repeatable, until }
    }

    /// Whether it may be sent again after this failure.
    fn go_on(&self, shared: &Shared, ctx: &Context, retry: Retry, failed: Failed) -> bool {
        let Some(next) = endpoint::next(shared, ctx) else { return false };
        // Codes that logins are made with are good for one use, whatever the method.
        let is_repeatable = self.is_repeatable && !(retry == Retry::Elsewhere && ctx.is_login());
        goes_on(retry, failed.failure, next, is_repeatable)
            && (next.tries == 0 || ctx.attempts.count() < next.tries as usize)
            && self.until.is_none_or(|until| Instant::now() < until)
    }

    /// What an answer counts as, where another endpoint is asked for a better one.
    fn judge(
        &self,
        shared: &Shared,
        ctx: &Context,
        answer: &ResponseHead,
        upload: &Upload,
    ) -> Option<Failed> {
        let failure = endpoint::next(shared, ctx)?.of_status(answer.status.as_u16())?;
        let failed = Failed { phase: Phase::AwaitHead, failure };
        let is_better = self.go_on(shared, ctx, Retry::Elsewhere, failed)
            && upload.may_begin_again()
            && endpoint::has_another(shared, ctx);
        is_better.then_some(failed)
    }
}

/// Notes a failure. What may be tried next, and what is answered otherwise.
pub fn note_failure(
    proxy: &Proxy,
    request: &Request,
    ctx: &mut Context,
    failed: Failed,
) -> (Retry, RequestError) {
    let verdict = verdict(failed.phase, failed.failure);
    endpoint::failed(&proxy.shared, request, ctx, failed);
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
