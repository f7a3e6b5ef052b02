//! Hook `upstream_request_filter`: the head that a worker sees.
//!
//! By now Pingora has taken out the hop-by-hop fields and whatever `Connection` nominates, so what
//! is set here stays (PROTOCOL.md 30). One `Cookie` line, since HTTP/2 may bring many and an
//! HTTP/1.1 worker reads only the first.

use http::header::COOKIE;
use pingora_core::Result;
use pingora_http::RequestHeader;

use crate::headers::identity::{self, Identity};
use crate::proxy::bridge;
use crate::proxy::context::{Context, Exchange};
use crate::proxy::error::RequestError;
use crate::proxy::fail_to_proxy::raise;
use crate::proxy::shared::Shared;
use crate::session::subject::Subject;

/// Rewrites the head.
pub fn run(shared: &Shared, request: &mut RequestHeader, ctx: &mut Context) -> Result<()> {
    if ctx.cut().is_some_and(|cut| cut.is_cut()) {
        return raise(ctx, RequestError::Cut);
    }
    let Some(target) = &ctx.target else { return raise(ctx, RequestError::Internal) };
    let came = request.raw_path();
    if target.requested.forwarded(came) != came {
        let forwarded = target.requested.forwarded(came).to_vec();
        request.set_raw_path(&forwarded)?;
    }
    let identity = ctx.exchange.as_ref().and_then(|exchange| identity(shared, exchange));
    let mut fields = bridge::fields_of(&request.headers);
    let written = target.client.write(&mut fields);
    let written =
        written.and_then(|()| identity::write(&identity.unwrap_or_default(), &mut fields));
    if written.is_err() {
        return raise(ctx, RequestError::Internal);
    }
    bridge::write_back(&fields, request)?;

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

/// What the policy tells of the record that the request belongs to.
fn identity<'a>(shared: &Shared, exchange: &'a Exchange) -> Option<Identity<'a>> {
    let held = exchange.bond.held()?;
    let (told, record) = (exchange.policy.identity, &held.record);
    Some(Identity {
        id: told.id.then(|| held.key.hex_digits()),
        subject: record.whose().filter(|_| told.subject).and_then(Subject::for_worker),
        age: told.age.then(|| shared.clock.now().since(record.created)),
        created: told.created.then_some(record.created),
        authenticated: record.logged_in().filter(|_| told.authenticated),
    })
}
