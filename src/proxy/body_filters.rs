//! Hooks `request_body_filter` and `response_body_filter`: the body limit, what a login says about who
//! it is, and the end of what was cut. No byte is held back or changed.

use bytes::Bytes;
use pingora_core::Result;
use pingora_proxy::Session;

use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::fail_to_proxy::raise;

/// Counts a piece of a request body (nginx `client_max_body_size`, for bodies of unknown length).
/// What a client sends after an upgrade is no body, and has no limit.
///
/// A body that a login rule looks for a name in is copied meanwhile.
pub fn request(
    session: &Session,
    body: Option<&Bytes>,
    is_last: bool,
    ctx: &mut Context,
) -> Result<()> {
    if session.was_upgraded() {
        return Ok(());
    }
    ctx.body_bytes += body.map_or(0, |body| body.len() as u64);
    let limit = ctx.target.as_ref().map_or(0, |target| target.route.body_bytes_max);
    if limit > 0 && ctx.body_bytes > limit {
        return raise(ctx, RequestError::BodyTooLarge);
    }
    if let Some(copied) = ctx.exchange.as_mut().and_then(|exchange| exchange.body.as_mut()) {
        copied.pass(body.map_or(&[][..], |body| body), is_last);
    }
    Ok(())
}

/// Lets a piece of an answer through, unless its exchange was cut. With the last piece the worker
/// has done what it does, its session saved (PROTOCOL.md 32).
pub fn response(ctx: &mut Context, is_last: bool) -> Result<()> {
    if is_last {
        ctx.end_turn();
    }
    if ctx.cut().is_some_and(|cut| cut.is_cut()) {
        return raise(ctx, RequestError::Cut);
    }
    Ok(())
}
