//! Which endpoint a request goes to, and what it is known for afterwards.

use std::borrow::Cow;
use std::time::Instant;

use crate::downstream::{Client, Request};
use crate::proxy::asking::Failed;
use crate::proxy::context::{Attempts, Context, Target};
use crate::proxy::returned::evaluated;
use crate::proxy::settings;
use crate::proxy::shared::{Shared, Upstream};
use crate::session::exchange::Bond;
use crate::session::matching::Attempt;
use crate::session::order::is_stream_wanted;
use crate::telemetry::labels::UpstreamFailure;
use crate::upstream::group::Hint;
use crate::upstream::verdict::{Blame, Failure, Phase, verdict};
use crate::upstream::{Address, NextUpstream, Protocol, Timeouts};

/// Chooses an endpoint that was not tried yet: its upstream's index and its own.
pub fn select(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    now: Instant,
) -> Option<(usize, usize)> {
    let index = upstream_index(ctx)?;
    let Attempts { before, endpoint, .. } = &mut ctx.attempts;
    before.extend(endpoint.take());
    let key = match &shared.upstreams.get(index)?.hash_key {
        Some(key) => evaluated(shared, request, client, ctx, key),
        None => Vec::new(),
    };
    let (target, upstream) = upstream(shared, ctx)?;
    let record = ctx.exchange.as_ref().and_then(|exchange| exchange.bond.record());
    let hint = Hint {
        client: target.client.ip,
        sticky: record.and_then(|record| record.endpoint.as_deref()),
        key: &key,
    };
    let pick = upstream.group.select(hint, &ctx.attempts.before, shared.clock.now())?;
    upstream.metrics.attempted();
    let active = upstream.group.started(pick.index);
    if ctx.attempts.before.is_empty() {
        mark_stream(shared, request, ctx);
    }
    ctx.attempts.active = Some(active);
    ctx.attempts.endpoint = Some(pick.index);
    ctx.attempts.begun = Some(now);
    ctx.tried.begin(index, pick.index, now);
    Some((index, pick.index))
}

/// The same endpoint once more.
pub fn again(
    shared: &Shared,
    ctx: &mut Context,
    endpoint: usize,
    now: Instant,
) -> Option<(usize, usize)> {
    let index = upstream_index(ctx)?;
    let (_, upstream) = upstream(shared, ctx)?;
    upstream.metrics.attempted();
    ctx.attempts.active = Some(upstream.group.started(endpoint));
    ctx.attempts.begun = Some(now);
    Some((index, endpoint))
}

/// Marks a WebSocket or an event stream: nobody waits for its end, and it ends with its session.
fn mark_stream(shared: &Shared, request: &Request, ctx: &mut Context) {
    let is_declared = is_declared_stream(ctx);
    let Some(exchange) = &mut ctx.exchange else { return };
    let Some(pass) = &exchange.pass else { return };
    if !is_declared && !is_stream_wanted(request.fields()) {
        return;
    }
    pass.mark_stream();
    if let Bond::Live(held, _) | Bond::Stale(held) = &exchange.bond {
        let idle = exchange.policy.stream_idle();
        exchange.watched = Some(shared.streams.watch(held.key, pass.cut(), idle));
    }
}

/// Whether the route says that it is a stream. Logins and logouts are none, wherever they are.
fn is_declared_stream(ctx: &Context) -> bool {
    ctx.target.as_ref().is_some_and(|target| target.route.stream)
        && ctx
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.attempt == Attempt::None && !exchange.is_logout)
}

/// The upstream of a request.
pub fn upstream<'a>(shared: &'a Shared, ctx: &'a Context) -> Option<(&'a Target, &'a Upstream)> {
    let target = ctx.target.as_ref()?;
    Some((target, shared.upstreams.get(upstream_index(ctx)?)?))
}

/// The endpoint's address, where no upstream has it.
pub fn direct(ctx: &Context) -> Option<&Address> {
    ctx.target.as_ref()?.passed.as_ref()?.address.as_ref()
}

/// What the log calls an endpoint.
pub fn address<'a>(ctx: &'a Context, upstream: &'a Upstream, index: usize) -> Cow<'a, str> {
    match direct(ctx) {
        Some(address) => Cow::Owned(address.to_string()),
        None => Cow::Borrowed(upstream.group.address_text(index)),
    }
}

/// How long its upstream may take.
pub fn timeouts(shared: &Shared, ctx: &Context) -> Timeouts {
    upstream(shared, ctx)
        .map(|(_, upstream)| upstream.group.settings().timeouts)
        .unwrap_or_default()
}

/// What sends its requests on to another endpoint.
pub fn next<'a>(shared: &'a Shared, ctx: &'a Context) -> Option<&'a NextUpstream> {
    upstream(shared, ctx).map(|(_, upstream)| &upstream.group.settings().next)
}

/// Whether another endpoint could be asked.
pub fn has_another(shared: &Shared, ctx: &Context) -> bool {
    let Some((_, upstream)) = upstream(shared, ctx) else { return false };
    let mut tried = ctx.attempts.before.clone();
    tried.extend(ctx.attempts.endpoint);
    upstream.group.has_another(&tried)
}

/// Whether its workers speak HTTP/2.
pub fn is_http2(shared: &Shared, ctx: &Context) -> bool {
    let upstream = upstream(shared, ctx);
    upstream.is_some_and(|(_, upstream)| upstream.group.settings().protocol == Protocol::Http2)
}

fn upstream_index(ctx: &Context) -> Option<usize> {
    let target = ctx.target.as_ref()?;
    match target.route.target {
        settings::Target::Upstream(index) => Some(index),
        settings::Target::Passed(_) => Some(target.passed.as_ref()?.upstream),
        settings::Target::Files(_) | settings::Target::OwnSessions | settings::Target::Nothing => {
            None
        }
    }
}

/// The endpoint in use has done its part.
pub fn finished(ctx: &mut Context) {
    ctx.attempts.active = None;
    if let Some(begun) = ctx.attempts.begun.take() {
        ctx.attempts.duration = Some(begun.elapsed());
        ctx.tried.end(None);
    }
}

/// The endpoint answered, to the end.
pub fn succeeded(shared: &Shared, ctx: &Context) {
    if let (Some((_, upstream)), Some(index)) = (upstream(shared, ctx), ctx.attempts.last()) {
        upstream.group.succeeded(index);
    }
}

/// Something went wrong, which may have been the endpoint's fault.
pub fn failed(shared: &Shared, ctx: &mut Context, failed: Failed) {
    let Failed { phase, failure } = failed;
    if let (Blame::Endpoint, Some((_, upstream)), Some(index)) =
        (verdict(phase, failure).blame, upstream(shared, ctx), ctx.attempts.last())
    {
        upstream.group.failed(index, shared.clock.now());
        upstream.metrics.failed(reason(phase, failure));
        let endpoint = address(ctx, upstream, index);
        tracing::warn!(%endpoint, ?phase, error = ?failure, "an endpoint failed");
    }
    ctx.tried.end(Some(if failure == Failure::TimedOut { 504 } else { 502 }));
    finished(ctx);
}

fn reason(phase: Phase, failure: Failure) -> UpstreamFailure {
    match (failure, phase) {
        (Failure::TimedOut, _) => UpstreamFailure::Timeout,
        (_, Phase::Connect) => UpstreamFailure::Connect,
        _ => UpstreamFailure::Broken,
    }
}
