//! `auth_request`: somebody else says whether a request is let in. That is asked for through the routes, as
//! a request of its own: by GET, without a body, and guards of sessions hold in it as everywhere.

use std::pin::Pin;

use http::{Method, StatusCode};

use super::{Asked, Outcome, Refusal};
use crate::cookie::response::name_of;
use crate::downstream::Client;
use crate::downstream::Request;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::response::Body;
use crate::proxy::returned::evaluated;
use crate::proxy::service::Proxy;
use crate::proxy::target::{Came, Target};
use crate::proxy::turns::Turns;
use crate::proxy::{exchange, finish, pages};
use crate::routing::target::RequestTarget;
use crate::variables::registry::Assignee;
use crate::variables::template::Template;
use crate::variables::values::Value;
use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// Who is asked.
#[derive(Clone, Debug)]
pub struct AuthRequest {
    /// A path on the same server, as a request target.
    pub target: Box<[u8]>,
    /// Variables that the answer gives a value to (`auth_request_set`).
    pub set: Vec<(Assignee, Template)>,
}

/// Asks, and sets the variables.
pub async fn check(asked: &mut Asked<'_, '_>, auth: &AuthRequest) -> Result<Outcome, RequestError> {
    let Asked { proxy, shared, request, client, ctx } = asked;
    let sub = request.on_behalf(Method::GET, &auth.target).map_err(|flaw| {
        tracing::error!(%flaw, "auth_request leads to no target");
        RequestError::Internal
    })?;
    let mut inner = within(proxy, request, ctx)?;
    let answer = ask(proxy, &sub, client, &mut inner, auth).await;
    ctx.values = std::mem::take(&mut inner.values);
    ctx.limited = std::mem::take(&mut inner.limited);
    let SubAnswer { status, fields } = answer?;
    for cookie in fields.all(Name::SetCookie).filter(|it| shared.is_ticket(name_of(it))) {
        // A session that was moved meanwhile is nobody's without its ticket.
        let _ = ctx.owed.get_or_insert_default().push(b"Set-Cookie", cookie);
    }
    match status {
        status if status.is_success() => Ok(Outcome::Pass),
        StatusCode::UNAUTHORIZED => {
            let mut challenges = Fields::new();
            for challenge in fields.all(Name::WwwAuthenticate) {
                let _ = challenges.push(b"WWW-Authenticate", challenge);
            }
            Ok(Outcome::Refuse(Refusal { status, challenges }))
        }
        StatusCode::FORBIDDEN => Ok(Outcome::Refuse(Refusal::plain(status))),
        status => {
            tracing::error!(client = %ctx.client_ip(), "auth request unexpected status: {}", status.as_u16());
            Err(RequestError::Internal)
        }
    }
}

/// What is known of a request that is made for this one.
fn within(proxy: &Proxy, request: &Request, ctx: &mut Context) -> Result<Context, RequestError> {
    let Some(outer) = &ctx.target else { return Err(RequestError::Internal) };
    let target = Target {
        client: outer.client.clone(),
        host: outer.host.clone(),
        server: outer.server,
        sent: None,
        passed: None,
        is_below: false,
        requested: RequestTarget::read(b"/").map_err(|_| RequestError::Internal)?,
        route: outer.route.clone(),
    };
    let mut inner = Context::new(&proxy.shared, ctx.connection.clone(), ctx.begun);
    inner.made_for = Some(ctx.made_for.clone().unwrap_or_else(|| request.method.clone()));
    inner.is_internal = true;
    inner.came = Some(ctx.came.clone().unwrap_or_else(|| {
        Box::new(Came { method: request.method.clone(), target: request.target().to_vec() })
    }));
    inner.is_from(&target.client);
    inner.server = ctx.server;
    inner.target = Some(target);
    inner.call(ctx.request_id());
    inner.values = std::mem::take(&mut ctx.values);
    inner.limited = std::mem::take(&mut ctx.limited);
    Ok(inner)
}

/// The type is written out: an exchange is made of itself here.
fn ask<'a>(
    proxy: &'a Proxy,
    request: &'a Request,
    client: &'a mut Client<'_>,
    ctx: &'a mut Context,
    auth: &'a AuthRequest,
) -> Pin<Box<dyn Future<Output = Result<SubAnswer, RequestError>> + Send + 'a>> {
    Box::pin(async move {
        let set = |request: &Request, client: &mut Client<'_>, ctx: &mut Context| {
            for (assignee, template) in &auth.set {
                let value = evaluated(&proxy.shared, request, client, ctx, template);
                if let Assignee::Slot(slot) = assignee {
                    ctx.values.set(*slot, Value::Found(value.into()));
                }
            }
        };
        subrequest(proxy, request, client, ctx, set).await
    })
}

/// What came of a request that was made for another one.
struct SubAnswer {
    status: StatusCode,
    fields: Fields,
}

/// The way of a request that is made for another one, and has no body; nor has its answer. What is to be
/// remembered of it is noted by `note` before its worker is forgotten.
async fn subrequest<'c>(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'c>,
    ctx: &mut Context,
    note: impl FnOnce(&Request, &mut Client<'c>, &mut Context),
) -> Result<SubAnswer, RequestError> {
    let mut turns = Turns::of_subrequest();
    let answered = match exchange::respond(proxy, request, client, ctx, &mut turns).await {
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
