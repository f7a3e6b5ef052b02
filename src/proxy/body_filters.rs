//! Hooks `request_body_filter` and `response_body_filter`: the body limit, and the end of what
//! was cut.

use bytes::Bytes;
use pingora_core::Result;
use pingora_proxy::Session;

use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::fail_to_proxy::raise;

/// Counts a piece of a request body (nginx `client_max_body_size`, for bodies of unknown length).
/// What a client sends after an upgrade is no body, and has no limit.
pub fn request(session: &Session, body: Option<&Bytes>, ctx: &mut Context) -> Result<()> {
    if session.was_upgraded() {
        return Ok(());
    }
    ctx.body_bytes += body.map_or(0, |body| body.len() as u64);
    let limit = ctx.target.as_ref().map_or(0, |target| target.route.body_bytes_max);
    if limit > 0 && ctx.body_bytes > limit {
        return raise(ctx, RequestError::BodyTooLarge);
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
