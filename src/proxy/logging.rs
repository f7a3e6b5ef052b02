//! Hook `logging`: settles what was aborted, then writes the one access line.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pingora_core::Error;
use pingora_proxy::Session;

use crate::listen::Info;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::settle::carry_out;
use crate::proxy::shared::Shared;
use crate::proxy::upstream_peer;
use crate::session::exchange::Bond;
use crate::session::settle::Settle;
use crate::telemetry::access::AccessLine;
use crate::telemetry::labels::RouteKind;
use crate::telemetry::metrics::Finished;

/// nginx's word for a client that left before its answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Ends a request.
pub async fn run(
    shared: &Arc<Shared>,
    session: &mut Session,
    error: Option<&Error>,
    ctx: &mut Context,
) {
    upstream_peer::finished(ctx);
    if error.is_none()
        && let (Some((_, upstream)), Some(&index)) =
            (upstream_peer::upstream(shared, ctx), ctx.attempts.tried.last())
    {
        upstream.group.succeeded(index);
    }
    settle_aborted(shared, session, ctx).await;
    log(shared, session, ctx);
    // Lets whoever waits for this exchange go on, now that all of it is written down.
    if let Some(exchange) = &mut ctx.exchange {
        exchange.pass = None;
        exchange.turn = None;
    }
}

/// PROTOCOL.md 26: an exchange that broke off before its final head.
async fn settle_aborted(shared: &Arc<Shared>, session: &Session, ctx: &mut Context) {
    let client = ctx.client_ip();
    let Some(exchange) = &mut ctx.exchange else { return };
    if exchange.is_settled {
        return;
    }
    exchange.is_settled = true;
    let policy = exchange.policy.clone();
    let bond = std::mem::replace(&mut exchange.bond, Bond::Free);
    let (is_logout, is_forwarded) = (exchange.is_logout, exchange.is_forwarded);
    let now = shared.clock.now();
    let settling = Settle::abort(&policy, bond, is_logout, is_forwarded, now);
    let effect = carry_out(shared, &policy, client, settling).await;
    for event in &effect.events {
        ctx.tell(shared, session, &policy, event);
    }
}

fn log(shared: &Shared, session: &Session, ctx: &Context) {
    let request = session.req_header();
    let status = session
        .response_written()
        .map(|written| written.status)
        .filter(|status| !status.is_informational() || *status == StatusCode::SWITCHING_PROTOCOLS)
        .map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16());
    let bytes_out = session.body_bytes_sent() as u64;
    let bytes_in = session.body_bytes_read() as u64;
    let duration = ctx.begun.elapsed();
    shared.metrics.request_finished(&Finished {
        route: ctx.kind,
        status,
        duration,
        bytes_in,
        bytes_out,
    });
    if !shared.access_log {
        return;
    }
    let target = ctx.target.as_ref();
    let upstream = upstream_peer::upstream(shared, ctx)
        .zip(ctx.attempts.tried.last())
        .map(|((_, upstream), &index)| upstream.group.address_text(index));
    AccessLine {
        client: ctx.client_ip(),
        method: request.method.as_str(),
        host: target.map_or("-", |target| target.host.as_str()),
        path: &String::from_utf8_lossy(request.raw_path()),
        protocol: protocol(request.version),
        status,
        bytes_out,
        bytes_in,
        duration,
        upstream,
        upstream_status: ctx.attempts.status,
        upstream_duration: ctx.attempts.duration,
        session: ctx.session(),
        tls: ctx.connection.as_ref().and_then(|info| info.tls()).map(|tls| tls.version),
        request_id: None,
        route: target.map_or("-", |target| target.route.path.as_str()),
        error: ctx.error.map(RequestError::name),
    }
    .write();
}

/// Counts and logs a request that was answered without any hook: its head made no sense, was too
/// large or took too long. Nothing else is known of it, so its fields are `-`.
pub fn refused(shared: &Shared, info: &Info, status: u16) {
    shared.metrics.request_finished(&Finished {
        route: RouteKind::Unrouted,
        status,
        duration: Duration::ZERO,
        bytes_in: 0,
        bytes_out: 0,
    });
    if !shared.access_log {
        return;
    }
    let error = match status {
        405 => "method_not_allowed",
        408 => RequestError::RequestTimeout.name(),
        431 => RequestError::HeadTooLarge.name(),
        _ => RequestError::BadRequest.name(),
    };
    AccessLine {
        client: info.peer().ip().to_canonical(),
        method: "-",
        host: "-",
        path: "-",
        protocol: "-",
        status,
        bytes_out: 0,
        bytes_in: 0,
        duration: Duration::ZERO,
        upstream: None,
        upstream_status: None,
        upstream_duration: None,
        session: None,
        tls: info.tls().map(|tls| tls.version),
        request_id: None,
        route: "-",
        error: Some(error),
    }
    .write();
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_2 => "HTTP/2.0",
        http::Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
