//! Finds out where a request goes, from nothing but what the client sent and the connection.
//!
//! Everything about a path is decided on its readings, before any worker sees the request.

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::downstream::{Client, Protocol, Request};
use crate::headers::forwarded::{self, Connection};
use crate::listen::info::Tls;
use crate::proxy::complaint::About;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::pages::Instead;
use crate::proxy::real_ip;
use crate::proxy::settings::{Replaced, Route};
use crate::proxy::shared::Shared;
use crate::proxy::target::Target;
use crate::proxy::turns::Turns;
use crate::proxy::{certificate, own_redirect, rewriting};
use crate::routing::host::Host;
use crate::routing::pattern::{GaveUp, watched};
use crate::routing::percent::{self, Part};
use crate::routing::table::{Ambiguous, Chosen, Outcome};
use crate::routing::target::RequestTarget;
use crate::telemetry::error_log::Severity;
use crate::telemetry::labels::RouteKind;

/// Finds the route of a request, by way of what is rewritten.
///
/// # Errors
/// What is answered where there is none.
pub fn find(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
) -> Result<(), Instead> {
    let asked = match request.refused {
        Some(status) => Err(Instead::Refused(status.get())),
        None => asked(shared, request, ctx),
    };
    if asked.is_err() && ctx.target.is_none() {
        nobody(shared, request, ctx);
    }
    asked?;
    rewriting::by_server(shared, request, client, ctx)?;
    replace(request, ctx);
    Ok(())
}

/// What asks for nothing that can be read is the server's own: it may have pages for that.
fn nobody(shared: &Shared, request: &Request, ctx: &mut Context) {
    let client = asking(shared, request, ctx);
    ctx.is_from(&client);
    let server = shared.server_of(&ctx.connection, request.authority());
    let own = server.and_then(|server| Some((server, shared.servers.get(server)?.own.clone())));
    if let (Some((server, route)), Ok(requested)) = (own, RequestTarget::read(b"/")) {
        ctx.server = Some(server);
        let (sent, passed, is_below, host) = (None, None, false, String::new());
        ctx.target =
            Some(Target { client, host, server, requested, sent, passed, is_below, route });
    }
}

/// Notes what is asked for, and of which server.
fn asked(shared: &Shared, request: &Request, ctx: &mut Context) -> Result<(), Instead> {
    let authority = request.authority();
    let client = asking(shared, request, ctx);
    // Known before anything is refused: the access line says who asked.
    ctx.is_from(&client);
    // They repeat what came to whoever asks, the session included; or ask for a way through.
    if matches!(request.method.as_str(), "TRACE" | "TRACK" | "CONNECT") {
        return Err(RequestError::MethodNotAllowed.into());
    }
    let host = Host::parse(authority.unwrap_or_default()).map_err(|_| {
        let text = "client sent invalid host header while reading client request headers";
        About { shared, request, ctx }.say(Severity::Info, text);
        RequestError::BadRequest
    })?;
    // RFC 9112, section 3.2: only HTTP/1.0 may leave the host out.
    if host.as_str().is_empty() && request.protocol != Protocol::Http10 {
        return Err(RequestError::BadRequest.into());
    }
    let came = request.target();
    // `*` asks about the server as a whole, which is OPTIONS' business alone (section 3.2.4).
    if came == b"*" && request.method != Method::OPTIONS {
        return Err(RequestError::BadRequest.into());
    }
    let requested = RequestTarget::read(came).map_err(|_| RequestError::BadRequest)?;
    let connection = &ctx.connection;
    if let Some(port) = connection.redirect_to_https() {
        ctx.kind = RouteKind::Redirect;
        // HTTP/1.0 may name no host: the server's own, then, as nginx's `$host`.
        let name = match host.as_str() {
            "" => shared.table.name_without_host(shared.listener(connection)).unwrap_or_default(),
            name => name,
        };
        return Err(to_https(&request.method, name, port, requested.forwarded(came)));
    }
    if connection.tls().is_some_and(|tls| is_misdirected(tls, &host)) {
        return Err(RequestError::Misdirected.into());
    }
    let chosen = watched(|| shared.table.server(shared.listener(connection), &host));
    let Chosen { server, pattern } = chosen.map_err(|GaveUp| RequestError::Internal)?;
    ctx.server = Some(server);
    let facts = shared.servers.get(server).ok_or(RequestError::Internal)?;
    let requested = match facts.keeps_slashes {
        true => RequestTarget::unmerged(came).map_err(|_| RequestError::BadRequest)?,
        false => requested,
    };
    let pattern = pattern.and_then(|pattern| facts.patterns.get(pattern)?.as_ref());
    if let Some(pattern) = pattern.filter(|it| it.names_groups() || shared.variables.uses_groups())
    {
        pattern.run(host.as_str().as_bytes(), &mut ctx.values);
    }
    let refused = certificate::check(shared, connection, server, &host).err();
    let (host, route) = (host.as_str().to_owned(), facts.own.clone());
    let real_ip = route.origins.real_ip.as_ref();
    let client = real_ip::find(real_ip, request, ctx).unwrap_or(client);
    let (sent, passed, is_below) = (None, None, false);
    ctx.target = Some(Target { client, host, server, requested, sent, passed, is_below, route });
    refused.map_or(Ok(()), |error| Err(error.into()))
}

/// Whether the connection's certificate is none of the host's (RFC 9110, section 7.4).
fn is_misdirected(tls: &Tls, host: &Host) -> bool {
    let names = tls.names.as_ref().filter(|_| tls.server_name.is_some());
    names.is_some_and(|names| !names.covers(host.as_str()))
}

/// Finds the route of a redirect inside, on the server that was asked.
///
/// # Errors
/// There is none, or its path cannot be read.
pub fn inside(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    turns: &Turns,
) -> Result<(), Instead> {
    let target = ctx.target.as_mut().ok_or(RequestError::Internal)?;
    target.sent = None;
    target.passed = None;
    target.is_below = false;
    match turns.named() {
        Some(name) => {
            target.route = shared.table.named(target.server, name).ok_or_else(|| {
                tracing::error!(name, "a redirect inside leads to a route that is not there");
                RequestError::Internal
            })?;
            rewriting::in_named(shared, request, client, ctx)?;
        }
        None => {
            let own = shared.servers.get(target.server).map(|server| server.own.clone());
            target.route = own.ok_or(RequestError::Internal)?;
            target.requested =
                RequestTarget::read(request.target()).map_err(|_| RequestError::NoRoute)?;
            rewriting::by_server(shared, request, client, ctx)?;
        }
    }
    replace(request, ctx);
    Ok(())
}

/// What workers are asked for in place of a path that the route replaces (nginx 6).
fn replace(request: &Request, ctx: &mut Context) {
    let Some(target) = &ctx.target else { return };
    let Some(Replaced { prefix, by }) = &target.route.replaced else { return };
    if ctx.uri.as_ref().is_some_and(|uri| uri.is_final) {
        return;
    }
    let path = ctx.path().unwrap_or_default();
    let Some(rest) = path.strip_prefix(&**prefix) else { return };
    let mut sent = by.to_vec();
    // What came without escapes goes on as it came.
    match ctx.is_internal || request.target().contains(&b'%') {
        true => percent::escape(rest, Part::Path, &mut sent),
        false => sent.extend_from_slice(rest),
    }
    let args = ctx.args(request);
    if !args.is_empty() {
        sent.push(b'?');
        sent.extend_from_slice(args);
    }
    if let Some(target) = &mut ctx.target {
        target.sent = Some(sent.into());
    }
}

/// Finds the route of the path on the server that was asked.
///
/// # Errors
/// It has none, or a slash is missing.
pub fn by_path(
    shared: &Shared,
    request: &Request,
    ctx: &mut Context,
) -> Result<Arc<Route>, Instead> {
    let Some(target) = &mut ctx.target else { return Err(RequestError::Internal.into()) };
    let found = watched(|| shared.table.route(target.server, &target.requested.path));
    let found = found.map_err(|GaveUp| RequestError::Internal)?;
    match found.map_err(|Ambiguous| RequestError::BadRequest)? {
        Outcome::Route(route) => Ok(route),
        Outcome::AddSlash(route) => {
            target.route = route;
            Err(with_slash(shared, request, ctx))
        }
        Outcome::Nothing => Err(RequestError::NoRoute.into()),
    }
}

/// A route answers for the path with a slash behind it (nginx 5).
fn with_slash(shared: &Shared, request: &Request, ctx: &Context) -> Instead {
    let Some(target) = &ctx.target else { return RequestError::Internal.into() };
    let form = target.route.own_texts.redirects;
    let path = [ctx.path().unwrap_or_default(), b"/"].concat();
    let args = Some(ctx.args(request)).filter(|args| !args.is_empty());
    let name = shared.server_name(target.server);
    let location = own_redirect::location(form, ctx, name, &path, args);
    Instead::Redirect(StatusCode::MOVED_PERMANENTLY, location)
}

/// The query of a target, without its `?`; an empty one is none, as in nginx.
pub fn query(target: &[u8]) -> Option<&[u8]> {
    let target = target.split(|byte| *byte == b'#').next().unwrap_or_default();
    let at = memchr::memchr(b'?', target)?;
    target.get(at + 1..).filter(|query| !query.is_empty())
}

fn asking(shared: &Shared, request: &Request, ctx: &Context) -> forwarded::Client {
    let connection = &ctx.connection;
    let connection = Connection {
        peer: connection.peer().ip(),
        tls: connection.is_secure(),
        port: connection.local().port(),
    };
    forwarded::Client::of(connection, &shared.trusted, request.fields())
}

/// `redirect_to_https`: the method and body survive a 308, which GET and HEAD do not need.
fn to_https(method: &Method, host: &str, port: u16, target: &[u8]) -> Instead {
    if host.is_empty() {
        return RequestError::BadRequest.into();
    }
    let target = if target == b"*" { b"/" } else { target };
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let status = match *method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    let origin = format!("https://{host}{port}");
    Instead::Redirect(status, [origin.as_bytes(), target].concat())
}
