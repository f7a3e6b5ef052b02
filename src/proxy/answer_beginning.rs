//! Reads the beginning of an answer's body before its head goes on, where a login rule looks for a
//! text in it. It is delivered with the rest, as it came.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;

use crate::downstream::Request;
use crate::downstream::{Client, Incoming};
use crate::proxy::answering::Answering;
use crate::proxy::asking::{Failed, Patience};
use crate::proxy::buffers;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::relay::poll_upload;
use crate::proxy::response::{Body, Response};
use crate::proxy::service::Proxy;
use crate::proxy::worker::note_failure;
use crate::session::answer_body::{LOOKED_AT_MAX, Unreadable};
use crate::session::matching::Head;
use crate::upstream::verdict::{Failure, Phase};
use crate::wire::framing::Framing;

/// Reads it where what the answer is depends on it.
///
/// # Errors
/// Why there is no answer: what is held has not left yet.
pub async fn read(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    response: &mut Response,
    ctx: &mut Context,
) -> Result<(), RequestError> {
    let Body::Worker(body) = &mut response.body else { return Ok(()) };
    let (Some(target), Some(exchange)) = (&ctx.target, &mut ctx.exchange) else { return Ok(()) };
    let (method, path) = (&exchange.method, &target.requested.path);
    let (status, fields) = (response.head.status, &response.head.fields);
    let head = Head { status: status.as_u16(), fields, cookies: &[], body: None };
    if !exchange.policy.needs_body(method, path, head) {
        return Ok(());
    }
    if let Some(cause) = Unreadable::of(method, status, fields) {
        if let Some(others) = proxy.shared.unread_logins.admit() {
            let policy = exchange.policy.name.as_str();
            tracing::warn!(
                policy,
                path = %String::from_utf8_lossy(path.as_bytes()),
                %cause,
                others_before = others,
                "the answer to a login counts as a failed attempt: its body cannot be read"
            );
        }
        return Ok(());
    }
    let patience = proxy.patience(ctx);
    match hold(client, body, ctx, patience).await {
        Ok(beginning) => {
            if let Some(exchange) = &mut ctx.exchange {
                exchange.answer_begins = Some(beginning.clone());
            }
            body.put_back(beginning);
            Ok(())
        }
        Err(failure) => {
            let failed = Failed { phase: Phase::ReadBody, failure };
            Err(note_failure(proxy, request, ctx, failed).1)
        }
    }
}

/// Reads until there is enough, or the end. A body that trickles in may take as long as a head: its
/// session waits for it.
async fn hold(
    client: &mut Client<'_>,
    body: &mut Answering,
    ctx: &mut Context,
    patience: Patience<'_>,
) -> Result<Bytes, Failure> {
    // A login goes on without its client (PROTOCOL.md 20).
    let is_patient = ctx.is_login();
    let mut held = Vec::with_capacity(room(body.framing()));
    let mut waited_for = None;
    poll_fn(|cx| {
        if ctx.cut().is_some_and(|cut| cut.poll_cut(cx).is_ready()) {
            return Poll::Ready(Err(Failure::Cut));
        }
        poll_upload(cx, client, body, ctx)?;
        loop {
            match body.poll_piece(cx) {
                Poll::Ready(Ok(Incoming::Data(length))) => {
                    let taken = length.min(LOOKED_AT_MAX - held.len());
                    held.extend_from_slice(body.piece().get(..taken).unwrap_or_default());
                    body.consume(taken);
                    if held.len() == LOOKED_AT_MAX {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Ok(Incoming::End)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::Closed)),
                Poll::Pending => break,
            }
        }
        // An interim answer may still be on its way.
        let _ = client.poll_flush(cx);
        if body.upload.has_all() && !is_patient && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        let waits_for_body = body.waits_for_body();
        let now_waits_for = Some((waits_for_body, body.upload.steps()));
        if waited_for != now_waits_for {
            waited_for = now_waits_for;
            let Patience { worker, body, .. } = patience;
            // A worker may wait for all of the body before it goes on.
            let allowed = if waits_for_body { worker.read.max(body) } else { worker.read };
            client.alarm().set(Instant::now() + allowed);
        }
        if let Some((peer, upload)) = body.way() {
            buffers::note(patience.buffers, ctx, client, (peer, upload), held.capacity());
        }
        client
            .alarm()
            .poll(cx)
            .map(|()| Err(if waits_for_body { Failure::ClientStalled } else { Failure::TimedOut }))
    })
    .await?;
    Ok(held.into())
}

/// What a body of this framing may need; one that does not say how long it is is mostly short.
fn room(framing: Framing) -> usize {
    match framing {
        Framing::Length(length) => {
            usize::try_from(length).unwrap_or(LOOKED_AT_MAX).min(LOOKED_AT_MAX)
        }
        Framing::Empty | Framing::Chunked | Framing::UntilClose | Framing::Tunnel => 0,
    }
}
