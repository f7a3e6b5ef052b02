//! One exchange: from a request to its answer, and to the line that says what became of it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::downstream::refused::Refusal;
use crate::downstream::{Client, HeadLimits, Refused, Reply, Request, Service};
use crate::listen::Info;
use crate::proxy::asking::Patience;
use crate::proxy::complaint::About;
use crate::proxy::context::Context;
use crate::proxy::deliver::deliver;
use crate::proxy::error::RequestError;
use crate::proxy::guards::limits::{self, Phase};
use crate::proxy::guards::{self, Asked};
use crate::proxy::inside::Inside;
use crate::proxy::nginx_pages::PageStyle;
use crate::proxy::pages::{self, Instead};
use crate::proxy::response::{Body, Response};
use crate::proxy::settings::{FieldNames, Require, Route, Target as Destination};
use crate::proxy::shared::{ServerFacts, Shared};
use crate::proxy::turns::{Follow, TURNS_MAX, Turns};
use crate::proxy::{
    access, added, answer_beginning, compressed, endpoint, files, finish, forward, join,
    nginx_pages, own_sessions, pacing, passed, real_ip, request_body, respond, route, sticky,
    try_files, worker, worker_answer,
};
use crate::telemetry::error_log::Severity;
use crate::telemetry::labels::RouteKind;
use crate::upstream::way::Pool;
use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// What one worker runtime serves requests with.
#[derive(Clone)]
pub struct Proxy {
    pub shared: Arc<Shared>,
    pub pool: Arc<Pool>,
    /// Without a byte of an answer taken by the client (nginx `send_timeout`).
    pub send_timeout: Duration,
    /// Without a byte of a request's body (nginx `client_body_timeout`).
    pub body_timeout: Duration,
}

impl Service for Proxy {
    async fn serve(&self, mut request: Request, mut client: Client<'_>) {
        believed_fields(&self.shared, &mut request, client.info());
        let mut ctx = Context::new(&self.shared, client.info().clone(), request.begun);
        let mut turns = Turns::default();
        let mut response = match respond(self, &request, &mut client, &mut ctx, &mut turns).await {
            Ok(response) => Some(response),
            Err(instead) => self.instead(instead, &mut client, &mut ctx),
        };
        if let Some(response) = &mut response {
            turns.finish(response);
            ctx.pay(&mut response.head.fields);
            added::run(&self.shared, &request, &client, &mut ctx, response);
            let route = ctx.target.as_ref().map(|target| &target.route);
            if let Some(keepalive) = route.and_then(|route| route.keepalive.as_deref()) {
                client.keep(keepalive, keepalive.keeps(&ctx.connection, &request));
            }
            if let Some(delivery) = route.and_then(|route| route.delivery.as_ref()) {
                client.deliver_by(delivery);
            }
            if let Some(style) = self.page_style(&ctx) {
                nginx_pages::dress(style, &request, response, &ctx);
            }
        }
        let delivered = match response {
            Some(mut response) => {
                let mut outlet = compressed::outlet(&self.shared, &request, &mut response, &ctx);
                pacing::begin(&self.shared, &request, &client, &mut ctx);
                let patience = self.patience(&ctx);
                let outlet = &mut outlet;
                deliver(&self.shared, &request, &mut client, outlet, response, &mut ctx, patience)
                    .await
            }
            None => {
                client.abort();
                Ok(())
            }
        };
        finish::run(&self.shared, &request, &client, &mut ctx, delivered).await;
    }

    fn refuse(&self, info: &Info, refused: &Refused<'_>) -> Reply {
        let status = refused.refusal.status();
        let mut reply = pages::refusal(status);
        let server = self.shared.refusing(info, refused.host());
        if let Some(style) = server.and_then(|server| server.own.answers.pages) {
            nginx_pages::refusal(style, status, &mut reply);
        }
        finish::refused(&self.shared, info, refused, &reply);
        reply
    }

    fn has_page_for(&self, info: &Info, refused: &Refused<'_>) -> bool {
        let server = self.shared.refusing(info, refused.host());
        let page =
            |server: &ServerFacts| server.own.error_pages.find(refused.refusal.status()).is_some();
        matches!(refused.refusal, Refusal::Flaw(_)) && server.is_some_and(page)
    }

    fn head_limits(&self, info: &Info, host: Option<&[u8]>) -> HeadLimits {
        let first =
            self.shared.servers.first().map_or_else(HeadLimits::default, |it| it.head_limits);
        if !first.varies {
            return first;
        }
        self.shared.refusing(info, host).map_or(first, |server| server.head_limits)
    }
}

/// Drops the fields whose names the server does not believe. Up to the host's own, that is the
/// listener's server, as in nginx.
fn believed_fields(shared: &Shared, request: &mut Request, info: &Info) {
    let before = shared.refusing(info, None).map(|server| server.field_names).unwrap_or_default();
    if !shared.field_names_vary {
        if before != FieldNames::Tokens {
            request.keep_fields(|field| before.takes(field.name));
        }
        return;
    }
    let named = shared.refusing(info, request.authority());
    let behind = named.map_or(before, |server| server.field_names);
    let mut names = before;
    request.keep_fields(|field| {
        if field.known == Name::Host {
            names = behind;
        }
        names.takes(field.name)
    });
}

impl Proxy {
    /// How long whom is waited for, and what is held meanwhile.
    pub fn patience(&self, ctx: &Context) -> Patience<'_> {
        let route = ctx.target.as_ref().map(|target| &target.route);
        let delivery = route.and_then(|route| route.delivery.as_deref());
        Patience {
            worker: endpoint::timeouts(&self.shared, ctx),
            send: delivery.and_then(|delivery| delivery.send_timeout).unwrap_or(self.send_timeout),
            body: self.body_timeout,
            buffers: &self.shared.buffers,
        }
    }

    /// As whom answers are given.
    fn page_style(&self, ctx: &Context) -> Option<PageStyle> {
        match &ctx.target {
            Some(target) => target.route.answers.pages,
            None => {
                let named = ctx.server.and_then(|server| self.shared.servers.get(server));
                let default = || self.shared.default_server(ctx.connection.listener());
                named.or_else(default)?.own.answers.pages
            }
        }
    }

    /// What is answered in a worker's place; nothing where nobody is there to read it.
    fn instead(
        &self,
        instead: Instead,
        client: &mut Client<'_>,
        ctx: &mut Context,
    ) -> Option<Response> {
        endpoint::finished(ctx);
        if let Instead::Error(error) = instead {
            ctx.error = Some(error);
        }
        let reply = instead.reply().unwrap_or_else(|_| pages::error(RequestError::Internal))?;
        if ends_connection(reply.status) {
            client.keep_no_longer();
        }
        Some(reply.into())
    }
}

/// After which errors no connection is kept: what follows on it may not be what it seems.
fn ends_connection(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 408 | 413 | 414 | 431 | 494 | 500 | 501 | 502 | 504)
}

/// The way of a request, one turn after the other.
async fn respond(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    turns: &mut Turns,
) -> Result<Response, Instead> {
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

/// What came of a request that was made for another one.
pub struct SubAnswer {
    pub status: StatusCode,
    pub fields: Fields,
}

/// The way of a request that is made for another one, and has no body; nor has its answer. What is to be
/// remembered of it is noted by `note` before its worker is forgotten.
///
/// # Errors
/// There is no answer.
pub async fn subrequest<'c>(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'c>,
    ctx: &mut Context,
    note: impl FnOnce(&Request, &mut Client<'c>, &mut Context),
) -> Result<SubAnswer, RequestError> {
    let mut turns = Turns::of_subrequest();
    let answered = match respond(proxy, request, client, ctx, &mut turns).await {
        Ok(mut response) => {
            turns.finish(&mut response);
            let answer = SubAnswer { status: response.head.status, fields: response.head.fields };
            if let Body::Worker(body) = response.body {
                body.discard().await;
            }
            Some(answer)
        }
        Err(instead) => {
            let reply = instead.reply().unwrap_or_else(|_| pages::error(RequestError::Internal));
            reply.map(|reply| SubAnswer { status: reply.status, fields: reply.fields })
        }
    };
    note(request, client, ctx);
    finish::end_turn(&proxy.shared, request, ctx).await;
    answered.ok_or(RequestError::Internal)
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
    access::check(shared, request, ctx, &route)?;
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
        Box::pin(guards::check(&mut asked, &route)).await?;
    }
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
        (Destination::Files(settings), policy) => {
            ctx.kind = RouteKind::Files;
            if let Some(policy) = policy {
                join::run(shared, request, ctx, &route, policy).await?;
                by_session(proxy, request, client, ctx, &route).await?;
            }
            // In a box: every request has to make room for what is awaited here.
            if tries_later {
                try_files::run(shared, request, client, ctx, &route)?;
            }
            let for_error = turns.is_for_error();
            let answer = files::answer(shared, request, client, ctx, (&route, settings), for_error);
            let mut response = Box::pin(answer).await?;
            respond::filter(shared, request, &mut response.head, ctx).await?;
            // Its session is settled; how long the file takes holds nobody up.
            ctx.end_turn();
            return Ok(response);
        }
        (Destination::OwnSessions, None) | (Destination::Nothing, _) => {
            return Err(RequestError::NoRoute.into());
        }
        (Destination::OwnSessions, Some(policy)) => {
            ctx.kind = RouteKind::Session;
            let asked = own_sessions::read(request, ctx).map_err(Instead::Json)?;
            join::run(shared, request, ctx, &route, policy).await?;
            return Err(Instead::Json(own_sessions::answer(shared, ctx, policy, &asked).await));
        }
        (Destination::Upstream(_) | Destination::Passed(_), None) => {
            ctx.kind = RouteKind::Plain;
            join::without_session(shared, request, ctx);
        }
        (Destination::Upstream(_) | Destination::Passed(_), Some(policy)) => {
            ctx.kind = RouteKind::Session;
            join::run(shared, request, ctx, &route, policy).await?;
            by_session(proxy, request, client, ctx, &route).await?;
            if tries_later {
                try_files::run(shared, request, client, ctx, &route)?;
            }
        }
    }
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

/// Another route answers in a worker's place: its own answer ends here.
async fn instead_of_worker(shared: &Shared, response: Response, mut inside: Inside) -> Instead {
    inside.keep(shared, &response.head.fields);
    if let Body::Worker(body) = response.body {
        body.discard().await;
    }
    Instead::Inside(Box::new(inside))
}
