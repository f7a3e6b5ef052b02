//! Finds out where a request goes, from nothing but what the client sent and the connection.
//!
//! Everything about a path is decided on its readings, before any worker sees the request.

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::downstream::{Protocol, Request};
use crate::headers::forwarded::{Client, Connection};
use crate::proxy::context::{Context, Target};
use crate::proxy::error::RequestError;
use crate::proxy::pages::Instead;
use crate::proxy::settings::{Replaced, Route};
use crate::proxy::shared::Shared;
use crate::proxy::turns::Turns;
use crate::routing::host::Host;
use crate::routing::percent::{self, Origin, Part};
use crate::routing::table::{Ambiguous, Outcome};
use crate::routing::target::RequestTarget;
use crate::telemetry::labels::RouteKind;

/// Finds the route.
///
/// # Errors
/// What is answered where there is none.
pub fn find(shared: &Shared, request: &Request, ctx: &mut Context) -> Result<Target, Instead> {
    let authority = request.authority();
    let client = client(shared, request, ctx);
    // Known before anything is refused: the access line says who asked.
    ctx.is_from(&client);
    // They repeat what came to whoever asks, the session included; or ask for a way through.
    if matches!(request.method.as_str(), "TRACE" | "TRACK" | "CONNECT") {
        return Err(RequestError::MethodNotAllowed.into());
    }
    let host = Host::parse(authority.unwrap_or_default()).map_err(|_| RequestError::BadRequest)?;
    // RFC 9112, section 3.2: only HTTP/1.0 may leave the host out.
    if host.as_str().is_empty() && request.protocol != Protocol::Http10 {
        return Err(RequestError::BadRequest.into());
    }
    let came = request.target();
    // `*` asks about the server as a whole, which is OPTIONS' business alone (section 3.2.4).
    if came == b"*" && request.method != Method::OPTIONS {
        return Err(RequestError::BadRequest.into());
    }
    let mut requested = RequestTarget::read(came).map_err(|_| RequestError::BadRequest)?;
    let connection = &ctx.connection;
    if let Some(port) = connection.redirect_to_https() {
        ctx.kind = RouteKind::Redirect;
        // HTTP/1.0 may name no host: the server's own, then, as nginx's `$host`.
        let name = match host.as_str() {
            "" => shared.table.name_without_host(connection.listener()).unwrap_or_default(),
            name => name,
        };
        return Err(to_https(&request.method, name, port, requested.forwarded(came)));
    }
    let tls = connection.tls();
    if tls.is_some_and(|tls| tls.server_name.is_some() && !tls.names.covers(host.as_str())) {
        return Err(RequestError::Misdirected.into());
    }
    let server = shared.table.server(connection.listener(), &host).server;
    ctx.server = Some(server);
    let route = by_path(shared, server, &client, host.as_str(), &requested, came)?;
    replace(&mut requested, &route, came);
    Ok(Target { client, host: host.as_str().to_owned(), server, requested, route })
}

/// Finds the route of a redirect inside, on the server that was asked.
///
/// # Errors
/// There is none, or its path cannot be read.
pub fn inside(
    shared: &Shared,
    request: &Request,
    ctx: &mut Context,
    turns: &Turns,
) -> Result<Target, Instead> {
    let Target { client, host, server, .. } = ctx.target.take().ok_or(RequestError::Internal)?;
    let came = request.target();
    let mut requested = RequestTarget::read(came).map_err(|_| RequestError::NoRoute)?;
    let route = match turns.named() {
        Some(name) => shared.table.named(server, name).ok_or_else(|| {
            tracing::error!(name, "a redirect inside leads to a route that is not there");
            RequestError::Internal
        })?,
        None => by_path(shared, server, &client, &host, &requested, came)?,
    };
    replace(&mut requested, &route, came);
    Ok(Target { client, host, server, requested, route })
}

fn replace(requested: &mut RequestTarget, route: &Route, came: &[u8]) {
    if let Some(Replaced { prefix, by }) = &route.replaced {
        requested.replace(prefix, by, came);
    }
}

/// Finds the route of a path on a server.
fn by_path(
    shared: &Shared,
    server: usize,
    client: &Client,
    host: &str,
    requested: &RequestTarget,
    came: &[u8],
) -> Result<Arc<Route>, Instead> {
    let found = shared.table.route(server, &requested.path);
    match found.map_err(|Ambiguous| RequestError::BadRequest)? {
        Outcome::Route(route) => Ok(route),
        Outcome::AddSlash => Err(with_slash(client, host, requested, came)),
        Outcome::Nothing => Err(RequestError::NoRoute.into()),
    }
}

/// A route answers for the path with a slash behind it (nginx 5).
fn with_slash(client: &Client, host: &str, requested: &RequestTarget, came: &[u8]) -> Instead {
    let mut path = Vec::new();
    percent::escape(requested.path.as_bytes(), Part::Path, &mut path);
    path.push(b'/');
    path.extend_from_slice(query(requested.forwarded(came)));
    let origin = Origin { https: client.https, host, port: client.port };
    Instead::Redirect(StatusCode::MOVED_PERMANENTLY, origin.url(&path))
}

/// The query of a target, with its `?`.
fn query(target: &[u8]) -> &[u8] {
    target.iter().position(|byte| *byte == b'?').map_or(b"", |at| &target[at..])
}

fn client(shared: &Shared, request: &Request, ctx: &Context) -> Client {
    let connection = &ctx.connection;
    let connection = Connection {
        peer: connection.peer().ip(),
        tls: connection.is_secure(),
        port: connection.local().port(),
    };
    Client::of(connection, &shared.trusted, request.fields())
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
