//! Rewrites the head of an answer: what the worker may not say goes, cookies get their attributes, and
//! the answer waits until its session is settled.

use std::borrow::Cow;
use std::sync::Arc;

use http::StatusCode;

use crate::cookie::agent::{takes_same_site_none, without_none};
use crate::cookie::response::{is_clean, name_of};
use crate::downstream::Request;
use crate::headers::identity;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::settings::Require;
use crate::proxy::shared::Shared;
use crate::proxy::{modes, settled};
use crate::session::command::{Command, Ignored};
use crate::session::policy::Policy;
use crate::wire::fields::{Fields, Unwritable};
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// PROTOCOL.md 12.
pub const NOT_KEPT: &[u8] = b"private, no-store";

impl From<Unwritable> for RequestError {
    /// What is written here was read before, or is ours.
    fn from(_: Unwritable) -> Self {
        Self::Internal
    }
}

/// Rewrites the head of an interim answer. Only a final one settles a session; until then no cookie
/// goes anywhere.
pub fn interim(head: &mut ResponseHead, ctx: &Context) {
    head.fields
        .retain(|field| field.known != Name::SetCookie && !identity::is_reserved(field.name));
    take_subjects(&mut head.fields, ctx);
}

/// Takes out of an answer's trailers what a head would not let pass either.
pub fn trailers(fields: &mut Fields, ctx: &Context) {
    fields.retain(|field| !identity::is_reserved(field.name));
    take_subjects(fields, ctx);
}

/// Rewrites the head of an answer.
///
/// # Errors
/// Why it is withheld.
pub async fn filter(
    shared: &Arc<Shared>,
    request: &Request,
    head: &mut ResponseHead,
    ctx: &mut Context,
) -> Result<(), RequestError> {
    let reports_only = ctx.guarded.as_ref().filter(|guarded| guarded.policy.only_reports());
    let reports_only = reports_only.map(|guarded| guarded.policy.clone());
    rewrite(shared, request, head, ctx).await?;
    spare_old_browsers(request, head, reports_only.as_deref())
}

async fn rewrite(
    shared: &Arc<Shared>,
    request: &Request,
    head: &mut ResponseHead,
    ctx: &mut Context,
) -> Result<(), RequestError> {
    let said = said(head, ctx);
    head.fields.retain(|field| !identity::is_reserved(field.name));
    if ctx.attempts.last().is_some() {
        ctx.attempts.status = Some(head.status.as_u16());
    }
    if ctx.is_cut() {
        return Err(RequestError::Cut);
    }
    let cookies = take_cookies(&mut head.fields);
    if let Some(guarded) = ctx.guarded.take() {
        return modes::respond(shared, request, head, ctx, &guarded, &cookies);
    }
    let is_https = ctx.target.as_ref().is_some_and(|target| target.client.https);
    let policy = ctx.exchange.as_ref().map(|exchange| exchange.policy.clone());
    for cookie in &cookies {
        let name = name_of(cookie);
        let is_kept = policy.as_ref().is_none_or(|policy| !policy.owns(name));
        // A worker has no say about tickets.
        if is_kept && !shared.is_ticket(name) {
            head.fields.push(b"Set-Cookie", &shared.cookies.rewrite(cookie, is_https))?;
        }
    }
    keep_private(head, ctx)?;
    match policy {
        None => Ok(()),
        Some(policy) => settled::run(shared, request, head, ctx, &policy, &cookies, said).await,
    }
}

/// Leaves `SameSite=None` out of all that this browser would misunderstand: tickets, sealed and
/// hardened cookies, the application's others. Only where a policy reports, its cookies stay.
fn spare_old_browsers(
    request: &Request,
    head: &mut ResponseHead,
    reports_only: Option<&Policy>,
) -> Result<(), RequestError> {
    let fields = || head.fields.all(Name::SetCookie);
    let is_spared = |field: &[u8]| {
        reports_only.is_none_or(|policy| !policy.owns(name_of(field)))
            && matches!(without_none(field), Cow::Owned(_))
    };
    if !fields().any(is_spared) {
        return Ok(());
    }
    let agent = request.fields().get(Name::UserAgent);
    if agent.is_none_or(takes_same_site_none) {
        return Ok(());
    }
    let kept = |field| if is_spared(field) { without_none(field) } else { Cow::Borrowed(field) };
    let kept: Vec<_> = fields().map(|field| kept(field).into_owned()).collect();
    head.fields.remove(Name::SetCookie);
    for field in kept {
        head.fields.push(b"Set-Cookie", &field)?;
    }
    Ok(())
}

/// What the application says of its session, where the route allows it to (PROTOCOL.md 30).
fn said(head: &ResponseHead, ctx: &Context) -> Result<Command, Ignored> {
    let is_heard = ctx.target.as_ref().is_some_and(|target| target.route.session_header);
    Command::read(head.fields.all(identity::COMMAND).filter(|_| is_heard))
}

/// Takes out the fields that tell us alone who logged in.
pub fn take_subjects(fields: &mut Fields, ctx: &Context) {
    let policy = ctx.exchange.as_ref().map(|exchange| &exchange.policy);
    for name in policy.iter().flat_map(|policy| policy.subject_headers()) {
        fields.remove_named(name.as_str().as_bytes());
    }
}

/// What requires a login is for its user alone, also when it is over: no cache keeps it and no back
/// button shows it, unless the application says something about caching itself.
fn keep_private(head: &mut ResponseHead, ctx: &Context) -> Result<(), RequestError> {
    let requires = ctx.target.as_ref().is_some_and(|target| target.route.require == Require::Login);
    let is_said = || [Name::CacheControl, Name::Expires].iter().any(|name| head.fields.has(*name));
    if requires && !is_said() && head.status != StatusCode::SWITCHING_PROTOCOLS {
        head.fields.set(b"Cache-Control", NOT_KEPT)?;
    }
    Ok(())
}

/// Takes the cookies out. One with a control character goes no further (RFC 6265bis, section 5.6).
fn take_cookies(fields: &mut Fields) -> Vec<Vec<u8>> {
    let cookies = fields.all(Name::SetCookie).filter(|cookie| is_clean(cookie));
    let cookies = cookies.map(<[u8]>::to_vec).collect();
    fields.remove(Name::SetCookie);
    cookies
}
