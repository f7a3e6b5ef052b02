//! The way of a request to its answer, one turn after the other.

use std::sync::Arc;

use crate::downstream::{Client, Request};
use crate::proxy::complaint::About;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::file_settings::FileSettings;
use crate::proxy::guards::limits::{self, Phase};
use crate::proxy::guards::{self, Asked};
use crate::proxy::inside::Inside;
use crate::proxy::pages::Instead;
use crate::proxy::response::{Body, Response};
use crate::proxy::service::Proxy;
use crate::proxy::settings::{Require, Route, Target as Destination};
use crate::proxy::shared::Shared;
use crate::proxy::turns::{Follow, TURNS_MAX, Turns};
use crate::proxy::{
    access, answer_beginning, challenge, files, finish, forward, join, own_sessions, pacing,
    passed, real_ip, request_body, respond, route, sticky, try_files, worker, worker_answer,
};
use crate::session::policy::Policy;
use crate::telemetry::error_log::Severity;
use crate::telemetry::labels::RouteKind;

/// The way of a request, one turn after the other.
///
/// # Errors
/// What is answered in a worker's place.
pub async fn respond(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    turns: &mut Turns,
) -> Result<Response, Instead> {
    if let Some((challenges, token)) = challenge::token(&proxy.shared, request)
        && let Some(answer) = Box::pin(challenge::answer(challenges, token)).await
    {
        return Ok(answer);
    }
    let mut inside: Option<Box<Request>> = None;
    loop {
        let asked = inside.as_deref().unwrap_or(request);
        let outcome = turn(proxy, asked, client, ctx, turns).await;
        let redirect = match turns.follow(&proxy.shared, outcome, asked, client, ctx) {
            Follow::Answer(answer) => return answer,
            Follow::Inside(redirect) => redirect,
        };
        // The error is the turn's; the access line tells it.
        Box::pin(finish::end_turn(&proxy.shared, asked, ctx)).await;
        if ctx.redirects >= TURNS_MAX {
            let about = About { shared: &proxy.shared, request: asked, ctx };
            let leads = redirect.leads();
            let text = format_args!("rewrite or internal redirection cycle while {leads}");
            about.say(Severity::Error, text);
        }
        inside = Some(Box::new(turns.begin(*redirect, asked, client, ctx)?));
    }
}

/// One turn: ARCHITECTURE.md has the picture.
async fn turn(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    turns: &Turns,
) -> Result<Response, Instead> {
    let shared = &proxy.shared;
    match turns.is_first() {
        true => route::find(shared, request, client, ctx)?,
        false => route::inside(shared, request, client, ctx, turns)?,
    }
    let route = ctx.target.as_ref().ok_or(RequestError::Internal)?.route.clone();
    let_in(proxy, request, client, ctx, &route, turns).await?;
    if forward::ends_here(request)? {
        return Err(Instead::Options);
    }
    // Whoever has no login learns nothing of files; others' sessions wait until it is known who answers.
    let tries_later =
        route.require != Require::Nothing || route.limits.as_ref().is_some_and(|it| it.by_session);
    if !tries_later {
        try_files::run(shared, request, client, ctx, &route)?;
    }
    // Of what kept nobody out, a part may have been decided by a pattern that took too long.
    if ctx.values.take_given_up() {
        return Err(RequestError::Internal.into());
    }
    if route.target.has_workers() && request_body::is_awaited(shared, request, client, ctx) {
        Box::pin(request_body::read(proxy, request, client, ctx)).await?;
    }
    match (&route.target, &route.session) {
        (Destination::Nothing, _) | (Destination::OwnSessions, None) => {
            return Err(RequestError::NoRoute.into());
        }
        (Destination::OwnSessions, Some(policy)) => {
            return Err(from_own_sessions(proxy, request, ctx, &route, policy).await?);
        }
        (Destination::Files(_), _) => ctx.kind = RouteKind::Files,
        (_, None) => {
            ctx.kind = RouteKind::Plain;
            join::without_session(shared, request, ctx);
        }
        (_, Some(_)) => ctx.kind = RouteKind::Session,
    }
    if let Some(policy) = &route.session {
        join::run(shared, request, ctx, &route, policy).await?;
        by_session(proxy, request, client, ctx, &route).await?;
    }
    if tries_later {
        try_files::run(shared, request, client, ctx, &route)?;
    }
    match &route.target {
        Destination::Files(settings) => {
            // In a box: every request has to make room for what is awaited here.
            Box::pin(from_files(shared, request, client, ctx, (&route, settings), turns)).await
        }
        _ => from_worker(proxy, request, client, ctx, &route, turns).await,
    }
}

/// Asks whoever may keep a request out before anything of its session is known.
async fn let_in(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    route: &Route,
    turns: &Turns,
) -> Result<(), Instead> {
    let shared = &proxy.shared;
    access::check(shared, request, ctx, route)?;
    if let Some(client) = real_ip::find(route.origins.real_ip.as_ref(), request, ctx)
        && let Some(target) = &mut ctx.target
    {
        target.client = client;
    }
    if let Some(limits) = &route.limits {
        let mut asked = Asked { proxy, shared, request, client, ctx };
        Box::pin(limits::check(&mut asked, limits, Phase::BeforeSession)).await?;
    }
    if !route.guards.is_empty() && !turns.is_subrequest() {
        let mut asked = Asked { proxy, shared, request, client, ctx };
        Box::pin(guards::check(&mut asked, route)).await?;
    }
    Ok(())
}

/// Asks the limits that go by the session.
async fn by_session(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    route: &Route,
) -> Result<(), Instead> {
    let Some(limits) = route.limits.as_ref().filter(|limits| limits.by_session) else {
        return Ok(());
    };
    let mut asked = Asked { proxy, shared: &proxy.shared, request, client, ctx };
    Box::pin(limits::check(&mut asked, limits, Phase::BySession)).await
}

/// What users are told of their own sessions.
async fn from_own_sessions(
    proxy: &Proxy,
    request: &Request,
    ctx: &mut Context,
    route: &Route,
    policy: &Arc<Policy>,
) -> Result<Instead, Instead> {
    ctx.kind = RouteKind::Session;
    let asked = own_sessions::read(request, ctx).map_err(Instead::Json)?;
    join::run(&proxy.shared, request, ctx, route, policy).await?;
    Ok(Instead::Json(own_sessions::answer(&proxy.shared, ctx, policy, &asked).await))
}

/// A file.
async fn from_files(
    shared: &Arc<Shared>,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    of: (&Route, &Arc<FileSettings>),
    turns: &Turns,
) -> Result<Response, Instead> {
    let mut response =
        files::answer(shared, request, client, ctx, of, turns.is_for_error()).await?;
    respond::filter(shared, request, &mut response.head, ctx).await?;
    // Its session is settled; how long the file takes holds nobody up.
    ctx.end_turn();
    Ok(response)
}

/// The answer of a worker, or what it says that shall be answered.
async fn from_worker(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    route: &Route,
    turns: &Turns,
) -> Result<Response, Instead> {
    let shared = &proxy.shared;
    if let Destination::Passed(url) = &route.target {
        // In a box: few requests are passed on so.
        Box::pin(passed::resolve(shared, request, client, ctx, url)).await?;
    }
    let mut response = worker::ask(proxy, request, client, ctx).await?;
    if ctx.exchange.as_ref().is_some_and(|exchange| exchange.looks_at_answer) {
        Box::pin(answer_beginning::read(proxy, request, client, &mut response, ctx)).await?;
    }
    pacing::note(&mut response.head.fields, ctx);
    let leads = turns.after_worker(shared, &response, request, client, ctx);
    worker_answer::before_session(shared, request, client, ctx, &mut response.head)?;
    respond::filter(shared, request, &mut response.head, ctx).await?;
    match leads {
        None => {
            worker_answer::after_session(shared, request, client, ctx, &mut response.head)?;
            sticky::after_worker(shared, request, client, ctx, &mut response.head.fields)?;
            Ok(response)
        }
        Some(leads) => {
            worker::take_back(&mut response, ctx);
            Err(instead_of_worker(shared, response, leads?).await)
        }
    }
}

/// Another route answers in a worker's place: its own answer ends here.
async fn instead_of_worker(shared: &Shared, response: Response, mut inside: Inside) -> Instead {
    inside.keep(shared, &response.head.fields);
    if let Body::Worker(body) = response.body {
        body.discard().await;
    }
    Instead::Inside(Box::new(inside))
}
