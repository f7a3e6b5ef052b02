//! Fields of the operator's own in what workers get (nginx `proxy_set_header`).

use http::Method;

use crate::downstream::{Client, Request};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::returned::{self, evaluated};
use crate::proxy::shared::Shared;
use crate::variables::template::Template;
use crate::wire::fields::{Fields, Unwritable};

/// A field, and what it says; it is taken out where that is nothing.
#[derive(Clone, Debug)]
pub struct SetHeader {
    pub name: String,
    pub value: Template,
}

/// How a worker is asked in another way than the client does.
#[derive(Clone, Debug)]
pub struct WorkerRequest {
    /// nginx `proxy_method`.
    pub method: Option<Template>,
    /// In place of the client's body (nginx `proxy_set_body`).
    pub body: Option<Template>,
    /// With the client's fields, beside those that are set.
    pub with_headers: bool,
    /// With the client's body.
    pub with_body: bool,
}

/// What a worker is asked with.
#[derive(Debug, Default)]
pub struct Asked {
    /// Where it is not the client's.
    pub method: Option<Method>,
    /// In place of the client's body.
    pub body: Option<Vec<u8>>,
    /// Nobody reads the client's body.
    pub leaves_body: bool,
}

/// What a route asks its worker with in place of what came.
///
/// # Errors
/// What a variable holds is no method.
pub fn asked(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
) -> Result<Asked, RequestError> {
    let has_own = ctx.target.as_ref().filter(|target| target.route.asks.is_some());
    let Some(route) = has_own.map(|target| target.route.clone()) else {
        return Ok(Asked::default());
    };
    let Some(WorkerRequest { method, body, with_body, .. }) = route.asks.as_deref() else {
        return Ok(Asked::default());
    };
    let mut asked = Asked { leaves_body: !with_body || body.is_some(), ..Asked::default() };
    if let Some(method) = method {
        let method = returned::value(shared, request, client, ctx, method);
        let method = Method::from_bytes(&method).map_err(|_| RequestError::BadRequest)?;
        asked.method = Some(method);
    }
    if let Some(body) = body {
        asked.body = Some(evaluated(shared, request, client, ctx, body));
    }
    Ok(asked)
}

/// Sets a route's fields.
///
/// # Errors
/// What a variable holds cannot stand in a field: 400, for it came from the client.
pub fn set(
    fields: &mut Fields,
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
) -> Result<(), RequestError> {
    let Some(target) = &ctx.target else { return Ok(()) };
    if target.route.request_headers.is_empty() {
        return Ok(());
    }
    let route = target.route.clone();
    for SetHeader { name, value } in &route.request_headers {
        let value = evaluated(shared, request, client, ctx, value);
        if value.is_empty() {
            fields.remove_named(name.as_bytes());
        } else {
            let set = fields.set(name.as_bytes(), &value);
            set.map_err(|Unwritable| RequestError::BadRequest)?;
        }
    }
    Ok(())
}
