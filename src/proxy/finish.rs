//! Ends an exchange: settles what was broken off, then writes the one access line.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::downstream::refused::{Refusal, outside};
use crate::downstream::{Client, Refused, Reply, Request};
use crate::listen::Info;
use crate::proxy::asking::Failed;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::facts::{RefusedFacts, RequestFacts};
use crate::proxy::settle::carry_out;
use crate::proxy::shared::Shared;
use crate::proxy::worker::error_of;
use crate::proxy::{complaint, endpoint};
use crate::routing::host::Host;
use crate::routing::target::without_authority;
use crate::session::exchange::Bond;
use crate::session::settle::Settle;
use crate::telemetry::access::AccessLine;
use crate::telemetry::access_logs::{self, AccessLogs};
use crate::telemetry::labels::RouteKind;
use crate::telemetry::metrics::Finished;
use crate::upstream::verdict::{Status, verdict};
use crate::variables::evaluation::Evaluation;
use crate::variables::values::Values;
use crate::wire::flaw::RequestFlaw;

/// nginx's word for a client that left before its answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Ends a request.
pub async fn run(
    shared: &Arc<Shared>,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    delivered: Result<(), Failed>,
) {
    match delivered {
        Ok(()) if ctx.error.is_none() => endpoint::succeeded(shared, ctx),
        Ok(()) => {}
        Err(failed) => {
            endpoint::failed(shared, request, ctx, failed);
            match verdict(failed.phase, failed.failure).status {
                Status::Ended => {}
                status => {
                    ctx.error.get_or_insert(error_of(status));
                }
            }
        }
    }
    endpoint::finished(ctx);
    settle_aborted(shared, request, ctx).await;
    log(shared, request, client, ctx);
    // Lets whoever waits for this exchange go on, now that all of it is written down.
    if let Some(exchange) = &mut ctx.exchange {
        exchange.pass = None;
        exchange.turn = None;
    }
}

/// Ends a turn that another one follows: its session is settled, its worker done.
pub async fn end_turn(shared: &Arc<Shared>, request: &Request, ctx: &mut Context) {
    if ctx.error.is_none() {
        endpoint::succeeded(shared, ctx);
    }
    endpoint::finished(ctx);
    settle_aborted(shared, request, ctx).await;
    ctx.begin_again();
}

/// PROTOCOL.md 26: an exchange that broke off before its final head.
async fn settle_aborted(shared: &Arc<Shared>, request: &Request, ctx: &mut Context) {
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
        ctx.tell(shared, request, &policy, event);
    }
}

/// The status that was sent.
pub fn status(client: &Client<'_>) -> u16 {
    client.status().map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16())
}

fn log(shared: &Shared, request: &Request, client: &Client<'_>, ctx: &mut Context) {
    let status = status(client);
    let duration = ctx.begun.elapsed();
    ctx.is_over = true;
    note_session(shared, ctx);
    shared.metrics.request_finished(&Finished {
        route: ctx.kind,
        status,
        duration,
        bytes_in: client.received(),
        bytes_out: client.sent(),
    });
    let of_route = ctx.target.as_ref().map(|target| &target.route.access_log);
    let of_server = || shared.servers.get(ctx.server.unwrap_or_default());
    let logs = of_route.or_else(|| of_server().map(|server| &server.own.access_log));
    match logs.unwrap_or(&AccessLogs::Event) {
        AccessLogs::Off => {}
        AccessLogs::Event if shared.access_log => {
            event(request, client, ctx, status, duration);
        }
        AccessLogs::Event => {}
        AccessLogs::Lines(logs) => {
            let logs = logs.clone();
            let mut values = std::mem::take(&mut ctx.values);
            let facts = RequestFacts { shared, request, client, ctx };
            let (variables, values) = (&shared.variables, &mut values);
            let mut evaluation = Evaluation { variables, facts: &facts, values };
            access_logs::write(&logs, &shared.log_writer, &mut evaluation);
        }
    }
}

/// Counts its session as one that is in use, where operators may ask how many are.
fn note_session(shared: &Shared, ctx: &Context) {
    if shared.active.is_empty() {
        return;
    }
    if let (Some(exchange), Some(key)) = (&ctx.exchange, ctx.session()) {
        let policy = exchange.policy.name.as_str();
        let active = shared.active.iter().find(|active| active.policy() == policy);
        active.into_iter().for_each(|active| active.see(&key.id));
    }
}

/// The line of `log.access`.
fn event(request: &Request, client: &Client<'_>, ctx: &Context, status: u16, duration: Duration) {
    let target = ctx.target.as_ref();
    let came = request.target();
    let path = without_authority(came);
    AccessLine {
        client: ctx.client_ip(),
        method: request.method.as_str(),
        host: &target
            .filter(|target| !target.host.is_empty())
            .map_or_else(|| asked_host(request), |target| (&*target.host).into()),
        path: &String::from_utf8_lossy(&path),
        protocol: request.protocol.as_str(),
        status,
        bytes_out: client.sent(),
        bytes_in: client.received(),
        duration,
        upstream: ctx.attempts.last().map(|endpoint| endpoint.text.as_str()),
        upstream_status: ctx.attempts.status,
        upstream_duration: ctx.attempts.duration,
        session: ctx.session(),
        tls: ctx.connection.tls().map(|tls| tls.version),
        request_id: None,
        route: target.map_or("-", |target| target.route.name()),
        error: ctx.error.or(ctx.replaced).map(RequestError::name),
    }
    .write();
}

/// The host that somebody asked for who is sent nowhere: as it is logged of others, if it is one.
fn asked_host(request: &Request) -> Cow<'_, str> {
    let asked = request.authority().unwrap_or(b"-");
    let host = Host::parse(asked).map(|host| Cow::Owned(host.as_str().to_owned()));
    host.unwrap_or_else(|_| String::from_utf8_lossy(asked))
}

/// Counts and logs a head that makes no request: of its line, what can be read.
pub fn refused(shared: &Shared, info: &Info, refused: &Refused<'_>, reply: &Reply) {
    let server = shared.refusing(info, refused.host());
    complaint::refused(info, server, refused);
    let status = outside(refused.refusal.status());
    shared.metrics.request_finished(&Finished {
        route: RouteKind::Unrouted,
        status,
        duration: Duration::ZERO,
        bytes_in: 0,
        bytes_out: 0,
    });
    match server.map_or(&AccessLogs::Event, |server| &server.own.access_log) {
        AccessLogs::Event if shared.access_log => refused_event(info, refused, status),
        AccessLogs::Event | AccessLogs::Off => {}
        AccessLogs::Lines(logs) => {
            let facts = RefusedFacts { shared, server, info, refused, reply };
            let (variables, values) = (&shared.variables, &mut Values::default());
            let mut evaluation = Evaluation { variables, facts: &facts, values };
            access_logs::write(logs, &shared.log_writer, &mut evaluation);
        }
    }
}

/// The line of `log.access` for a head that makes no request.
fn refused_event(info: &Info, refused: &Refused<'_>, status: u16) {
    tracing::debug!(peer = %info.peer(), reason = %refused.refusal, "a request was refused");
    let error = match refused.refusal {
        Refusal::TimedOut => RequestError::RequestTimeout.name(),
        Refusal::BrokenOff => RequestError::ClientGone.name(),
        Refusal::Flaw(
            RequestFlaw::HeadTooLarge
            | RequestFlaw::TooManyFields
            | RequestFlaw::FieldsTooLarge
            | RequestFlaw::FieldsBeyondMax,
        ) => RequestError::HeadTooLarge.name(),
        Refusal::Flaw(_) => RequestError::BadRequest.name(),
    };
    let line = refused.line();
    let text = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "-".to_owned(),
    };
    AccessLine {
        client: info.peer().ip().to_canonical(),
        method: &text(line.as_ref().map(|line| line.method)),
        host: "-",
        path: &text(line.as_ref().map(|line| line.target)),
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
