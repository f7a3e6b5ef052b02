//! Fields of the operator's own in what workers get (nginx `proxy_set_header`).

use crate::downstream::{Client, Request};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::returned::evaluated;
use crate::proxy::shared::Shared;
use crate::variables::template::Template;
use crate::wire::fields::{Fields, Unwritable};

/// A field, and what it says; it is taken out where that is nothing.
#[derive(Clone, Debug)]
pub struct SetHeader {
    pub name: String,
    pub value: Template,
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
