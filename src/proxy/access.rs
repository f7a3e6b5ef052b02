//! Who is kept out before any session is looked at.

use crate::downstream::Request;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::settings::Route;
use crate::proxy::shared::Shared;
use crate::session::event::Event;
use crate::session::matching::Attempt;

/// Refuses what the route does not take: requests of other sites, bodies for which there is no room.
///
/// # Errors
/// What is answered.
pub fn check(
    shared: &Shared,
    request: &Request,
    ctx: &Context,
    route: &Route,
) -> Result<(), RequestError> {
    refuse_cross_site(shared, request, ctx, route)?;
    match shared.buffers.refuses(request.body) {
        true => Err(RequestError::BuffersFull),
        false => Ok(()),
    }
}

/// Refuses bodies that say they are too long.
///
/// # Errors
/// [`RequestError::BodyTooLarge`].
pub fn length(request: &Request, route: &Route) -> Result<(), RequestError> {
    let is_too_long = |length: u64| route.body_bytes_max > 0 && length > route.body_bytes_max;
    match request.body.known() {
        Some(length) if is_too_long(length) => Err(RequestError::BodyTooLarge),
        _ => Ok(()),
    }
}

/// A login rule that allows other sites has the last word about its requests (SAML, form_post).
fn refuse_cross_site(
    shared: &Shared,
    request: &Request,
    ctx: &Context,
    route: &Route,
) -> Result<(), RequestError> {
    let Some(target) = &ctx.target else { return Err(RequestError::Internal) };
    let (method, path) = (&request.method, &target.requested.path);
    let policy = route.session.as_deref();
    let host = target.host.as_bytes();
    let refuses = route.cross_site.refuses(method, request.fields(), host, path.readings());
    let is_welcome = || {
        // What opens a route must do so for every worker.
        path.has_one_reading()
            && policy.is_some_and(|policy| {
                policy.attempt(method, path) != Attempt::None
                    && !policy.refuses_cross_site_login(method, path)
            })
    };
    if !refuses || is_welcome() {
        return Ok(());
    }
    ctx.tell_of(shared, request, policy, &Event::CrossSiteRefused);
    Err(RequestError::CrossSite)
}
