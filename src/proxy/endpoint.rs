//! Which endpoint a request goes to, and what it is known for afterwards.

use std::sync::Arc;
use std::time::Instant;

use crate::downstream::{Client, Request};
use crate::proxy::asking::Failed;
use crate::proxy::complaint::About;
use crate::proxy::context::{Attempts, Context};
use crate::proxy::returned::evaluated;
use crate::proxy::settings;
use crate::proxy::shared::{Shared, Upstream};
use crate::proxy::sticky::Sticky;
use crate::proxy::target::Target;
use crate::session::exchange::Bond;
use crate::session::matching::Attempt;
use crate::session::order::is_stream_wanted;
use crate::telemetry::labels::UpstreamFailure;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::group::{Group, Hint, Pick};
use crate::upstream::pace::Until;
use crate::upstream::verdict::{Blame, Failure, Phase, verdict};
use crate::upstream::{NextUpstream, Protocol, Timeouts};

/// Chooses an endpoint that was not tried yet; with its upstream's index.
pub fn select(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    now: Instant,
) -> Option<(usize, Arc<Endpoint>)> {
    let index = upstream_index(ctx)?;
    let Attempts { before, endpoint, .. } = &mut ctx.attempts;
    before.extend(endpoint.take());
    let key = match &shared.upstreams.get(index)?.hash_key {
        Some(key) => evaluated(shared, request, client, ctx, key),
        None => Vec::new(),
    };
    let sticky = sticky(shared, ctx);
    let route = sticky.and_then(|sticky| sticky.wanted(shared, request, client, ctx));
    let (target, upstream) = upstream(shared, ctx)?;
    let record = ctx.exchange.as_ref().and_then(|exchange| exchange.bond.record());
    let hint = Hint {
        client: target.client.ip,
        sticky: record.and_then(|record| record.endpoint.as_deref()),
        route: route.as_deref(),
        key: &key,
    };
    let group = group_of(target, upstream);
    let Pick { endpoint, .. } = group.select(hint, &ctx.attempts.before, shared.clock.now())?;
    upstream.metrics.attempted();
    let active = group.started(&endpoint, shared.clock.now());
    if ctx.attempts.before.is_empty() {
        mark_stream(shared, request, ctx);
    }
    ctx.attempts.active = Some(active);
    ctx.attempts.endpoint = Some(endpoint.clone());
    ctx.attempts.begun = Some(now);
    ctx.tried.begin(endpoint.clone(), now);
    Some((index, endpoint))
}

/// The same endpoint once more.
pub fn again(
    shared: &Shared,
    ctx: &mut Context,
    endpoint: Arc<Endpoint>,
    now: Instant,
) -> Option<(usize, Arc<Endpoint>)> {
    let index = upstream_index(ctx)?;
    let (target, upstream) = upstream(shared, ctx)?;
    upstream.metrics.attempted();
    let active = group_of(target, upstream).started(&endpoint, shared.clock.now());
    ctx.attempts.active = Some(active);
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

/// What its clients stay with their endpoints by.
pub fn sticky(shared: &Shared, ctx: &Context) -> Option<Arc<Sticky>> {
    upstream(shared, ctx)?.1.sticky.clone()
}

/// Whether the request has endpoints of its own, which no upstream has.
pub fn is_direct(ctx: &Context) -> bool {
    let passed = ctx.target.as_ref().and_then(|target| target.passed.as_ref());
    passed.is_some_and(|passed| passed.direct.is_some())
}

/// The endpoints that a request may go to.
fn group_of<'a>(target: &'a Target, upstream: &'a Upstream) -> &'a Arc<Group> {
    let direct = target.passed.as_ref().and_then(|passed| passed.direct.as_ref());
    direct.unwrap_or(&upstream.group)
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
    let Some((target, upstream)) = upstream(shared, ctx) else { return false };
    let mut tried = ctx.attempts.before.clone();
    tried.extend(ctx.attempts.endpoint.clone());
    group_of(target, upstream).has_another(&tried)
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

/// The head of the answer is there.
pub fn answered(shared: &Shared, ctx: &Context) {
    took(shared, ctx, Until::Head);
}

/// The endpoint answered, to the end.
pub fn succeeded(shared: &Shared, ctx: &Context) {
    if let (Some((target, upstream)), Some(endpoint)) = (upstream(shared, ctx), ctx.attempts.last())
    {
        group_of(target, upstream).succeeded(endpoint, shared.clock.now());
        took(shared, ctx, Until::LastByte);
    }
}

fn took(shared: &Shared, ctx: &Context, until: Until) {
    if let (Some((_, upstream)), Some(endpoint), Some(begun)) =
        (upstream(shared, ctx), ctx.attempts.last(), ctx.attempts.begun)
    {
        upstream.group.took(endpoint, until, begun.elapsed());
    }
}

/// The queue that a request goes into where no endpoint has room, as long as none was asked.
pub fn queue(shared: &Shared, ctx: &Context) -> Option<Arc<Group>> {
    if ctx.attempts.count() > 0 {
        return None;
    }
    let (target, upstream) = upstream(shared, ctx)?;
    let group = group_of(target, upstream);
    group.queue().is_some().then(|| group.clone())
}

/// Something went wrong, which may have been the endpoint's fault.
pub fn failed(shared: &Shared, request: &Request, ctx: &mut Context, failed: Failed) {
    let Failed { phase, failure } = failed;
    About { shared, request, ctx }.failed(failed);
    if let (Blame::Endpoint, Some((target, upstream)), Some(endpoint)) =
        (verdict(phase, failure).blame, upstream(shared, ctx), ctx.attempts.last())
    {
        group_of(target, upstream).failed(endpoint, shared.clock.now());
        upstream.metrics.failed(reason(phase, failure));
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
