//! Hook `upstream_request_filter`: the head that a worker sees.
//!
//! By now Pingora has taken out the hop-by-hop fields and whatever `Connection` nominates, so what
//! is set here stays (PROTOCOL.md 30). One `Cookie` line, since HTTP/2 may bring many and an
//! HTTP/1.1 worker reads only the first.

use http::header::COOKIE;
use pingora_core::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use crate::headers::Edits;
use crate::headers::identity::{self, Identity};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::fail_to_proxy::raise;
use crate::proxy::shared::Shared;
use crate::session::subject::Subject;

/// Rewrites the head.
pub fn run(
    shared: &Shared,
    session: &Session,
    request: &mut RequestHeader,
    ctx: &mut Context,
) -> Result<()> {
    if ctx.cut().is_some_and(|cut| cut.is_cut()) {
        return raise(ctx, RequestError::Cut);
    }
    let Some(target) = &ctx.target else { return raise(ctx, RequestError::Internal) };
    to_origin_form(request)?;
    let received = &session.req_header().headers;
    apply(target.client.edits(received), request)?;

    let held = ctx.exchange.as_ref().and_then(|exchange| exchange.bond.held());
    let identity = held.map(|held| Identity {
        id: held.key.hex_digits(),
        subject: held.record.whose().and_then(Subject::for_worker),
        created: held.record.created,
        authenticated: held.record.logged_in(),
    });
    apply(identity::edits(received, identity.as_ref(), shared.clock.now()), request)?;

    match &ctx.cookie {
        Some(cookie) => request.insert_header("Cookie", cookie)?,
        None => drop(request.remove_header(&COOKIE)),
    }
    // Another try sends the body from its beginning.
    ctx.body_bytes = 0;
    if let Some(exchange) = &mut ctx.exchange {
        exchange.is_forwarded = true;
        if let Some(copied) = &mut exchange.body {
            copied.begin_again();
        }
    }
    Ok(())
}

/// A server is asked for a path (RFC 9112, section 3.2.1), a proxy like us perhaps for a whole URI.
/// The path stays as it was spelled.
fn to_origin_form(request: &mut RequestHeader) -> Result<()> {
    let target = request.raw_path();
    if target.starts_with(b"/") || target == b"*" {
        return Ok(());
    }
    let Some(scheme) = target.windows(3).position(|three| three == b"://") else { return Ok(()) };
    let rest = &target[scheme + 3..];
    let path = match rest.iter().position(|byte| matches!(byte, b'/' | b'?')) {
        Some(begin) if rest[begin] == b'/' => rest[begin..].to_vec(),
        Some(begin) => [b"/", &rest[begin..]].concat(),
        None => b"/".to_vec(),
    };
    request.set_raw_path(&path)
}

fn apply(edits: Edits, request: &mut RequestHeader) -> Result<()> {
    for name in &edits.remove {
        request.remove_header(name);
    }
    for (name, value) in edits.set {
        request.insert_header(name, value)?;
    }
    Ok(())
}
