//! What an answer does to its session: settled before any of it leaves.

use std::sync::Arc;

use http::StatusCode;

use crate::clock::UnixMillis;
use crate::downstream::Request;
use crate::proxy::answer_meaning::read;
use crate::proxy::context::{Context, Exchange};
use crate::proxy::error::RequestError;
use crate::proxy::mass_logout::Aside;
use crate::proxy::respond::{NOT_KEPT, take_subjects};
use crate::proxy::settle::{carry_out, expiry_field, opened, ticket_field};
use crate::proxy::shared::Shared;
use crate::proxy::successions::is_ones_own;
use crate::proxy::{endpoint, login_again};
use crate::session::command::{Command, Ignored};
use crate::session::event::Event;
use crate::session::exchange::{Bond, Silence};
use crate::session::matching::Attempt;
use crate::session::outage::WithoutStore;
use crate::session::outcome::RecordKey;
use crate::session::policy::{Policy, SiteData};
use crate::session::settle::{Answer, Begun, Effect, Settle, TicketEffect};
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// Settles the session of an answer, and writes the outcome into its head.
///
/// # Errors
/// Why the answer is withheld.
pub async fn run(
    shared: &Arc<Shared>,
    request: &Request,
    response: &mut ResponseHead,
    ctx: &mut Context,
    policy: &Policy,
    fields: &[Vec<u8>],
    said: Result<Command, Ignored>,
) -> Result<(), RequestError> {
    if let Err(cause) = said {
        ctx.tell(shared, request, policy, &Event::CommandIgnored { cause });
    }
    let (begun, before) = begin(shared, request, response, ctx, policy, fields, said)?;
    let effect = carry_out(shared, policy, ctx.client_ip(), begun).await;
    end(shared, request, response, ctx, before, &effect)
}

/// All that can be done at once, which nearly always is all: what the answer says is read, and settling
/// begins with it.
fn begin<'a>(
    shared: &Shared,
    request: &Request,
    response: &ResponseHead,
    ctx: &mut Context,
    policy: &'a Policy,
    fields: &[Vec<u8>],
    said: Result<Command, Ignored>,
) -> Result<(Begun<'a>, Before), RequestError> {
    let now = shared.clock.now();
    let (answer, cleared) = read(shared, request, response, ctx, fields, said, now)?;
    let exchange = ctx.exchange.as_mut().ok_or(RequestError::Internal)?;
    exchange.answer_begins = None;
    let before = Before::of(exchange, &answer, cleared, now);
    let bond = std::mem::replace(&mut exchange.bond, Bond::Free);
    Ok((Settle::begin(policy, bond, exchange.may_make, answer, now), before))
}

/// Writes the outcome into the head of the answer, and what follows from it elsewhere.
fn end(
    shared: &Shared,
    request: &Request,
    response: &mut ResponseHead,
    ctx: &mut Context,
    before: Before,
    effect: &Effect,
) -> Result<(), RequestError> {
    let (Some(target), Some(exchange)) = (&ctx.target, &mut ctx.exchange) else {
        return Err(RequestError::Internal);
    };
    exchange.is_settled = true;
    if before.is_left_behind
        && let Some(form) = login_form(request, response.status)
    {
        login_again::lead_to(response, &form)?;
    }
    if !(effect.is_nothing() && before.is_nothing()) {
        write(shared, response, &target.host, &exchange.policy, &before, effect)?;
        carry_on(shared, request, ctx, &before, effect);
    }
    end_turn_of_stream(response, ctx);
    if effect.withheld {
        return Err(RequestError::Withheld);
    }
    if effect.refused {
        return Err(RequestError::TooManySessions);
    }
    take_subjects(&mut response.fields, ctx);
    Ok(())
}

/// What matters afterwards of an exchange that is settled now.
struct Before {
    /// The session that it came with.
    held: Option<RecordKey>,
    is_anonymous: bool,
    is_cross_site: bool,
    /// The answer shows less than the visitor will see when the store is back.
    is_makeshift: bool,
    /// Cookies of the answer stay here.
    has_absorbed: bool,
    /// A login that came too late for its record.
    is_left_behind: bool,
    /// What the browser shall forget.
    cleared: Vec<SiteData>,
    now: UnixMillis,
}

impl Before {
    fn of(exchange: &Exchange, answer: &Answer, cleared: Vec<SiteData>, now: UnixMillis) -> Self {
        let record = exchange.bond.record();
        Self {
            held: exchange.session,
            is_anonymous: record.is_none_or(|record| record.authenticated.is_none()),
            is_cross_site: exchange.is_cross_site,
            is_makeshift: WithoutStore::of(&exchange.bond) == Some(WithoutStore::Anonymous),
            has_absorbed: !answer.edits.is_empty(),
            is_left_behind: matches!(exchange.bond, Bond::Silent(Silence::Moved(_)))
                && answer.attempt != Attempt::None
                && !answer.logged_in(),
            cleared,
            now,
        }
    }

    /// Whether it leaves no trace in the head.
    fn is_nothing(&self) -> bool {
        !self.has_absorbed && !self.is_makeshift && self.cleared.is_empty()
    }
}

/// Writes into the head what became of the session.
fn write(
    shared: &Shared,
    response: &mut ResponseHead,
    host: &str,
    policy: &Policy,
    before: &Before,
    effect: &Effect,
) -> Result<(), RequestError> {
    let field = match &effect.ticket {
        TicketEffect::Keep => None,
        TicketEffect::Expire => Some(expiry_field(policy)),
        TicketEffect::Set(issue) => match ticket_field(shared, policy, host, *issue) {
            Ok(field) => Some(field),
            Err(error) => {
                tracing::error!(%error, "no randomness for a ticket");
                return Err(RequestError::Withheld);
            }
        },
    };
    if before.has_absorbed || field.is_some() || before.is_makeshift {
        response.fields.set(b"Cache-Control", NOT_KEPT)?;
        response.fields.remove(Name::Expires);
    }
    // Who was not logged in is asked as well, since pages of a session that has expired may be
    // there still; but no other site shall empty our visitors' storage.
    if !before.cleared.is_empty() && (field.is_some() || !before.is_cross_site) {
        let quoted: Vec<&str> = before.cleared.iter().map(|data| data.quoted()).collect();
        response.fields.push(b"Clear-Site-Data", quoted.join(", ").as_bytes())?;
    }
    if let Some(field) = field {
        response.fields.push(b"Set-Cookie", field.as_bytes())?;
    }
    Ok(())
}

/// What follows here from what became of the session: streams end, or belong to another one.
fn carry_on(
    shared: &Shared,
    request: &Request,
    ctx: &mut Context,
    before: &Before,
    effect: &Effect,
) {
    let (Some(target), Some(exchange)) = (&ctx.target, &mut ctx.exchange) else { return };
    let policy = exchange.policy.clone();
    let (held, now) = (before.held, before.now);
    if let Some(key) = effect.parks {
        let (client, is_anonymous) = (target.client.ip, before.is_anonymous);
        let policy = policy.clone();
        shared.guards.keep_aside(Aside { key, at: now, client, policy, is_anonymous });
    }
    if let (Some(old), Some(pass)) = (held, &exchange.pass)
        && (effect.ticket.replaces(old) || effect.parks.is_some())
    {
        pass.cut_streams();
    }
    if let (TicketEffect::Set(issue), Some(old)) = (&effect.ticket, held)
        && exchange.attempt != Attempt::None
        && effect.ticket.replaces(old)
        && is_ones_own(&ctx.connection, request.protocol, request.fields(), &shared.trusted)
    {
        shared.successions.note(&ctx.connection, old, opened(*issue, now), now);
    }
    if let (TicketEffect::Set(issue), Some(pass)) = (&effect.ticket, &exchange.pass)
        && pass.cut().is_stream()
        && held != Some(issue.key)
    {
        // From here on it belongs to the session that its own answer has made.
        exchange.watched = Some(shared.streams.watch(issue.key, pass.cut(), policy.stream_idle()));
    }
    for event in &effect.events {
        ctx.tell(shared, request, &policy, event);
    }
    if let Some(left) = &effect.left {
        failed_over(shared, ctx, left);
    }
}

fn login_form(request: &Request, status: StatusCode) -> Option<String> {
    let (method, fields) = (&request.method, request.fields());
    login_again::form(method, fields, request.authority(), request.target(), status)
}

/// A stream may never end (PROTOCOL.md 32).
fn end_turn_of_stream(response: &ResponseHead, ctx: &mut Context) {
    let has_turn = ctx.exchange.as_ref().is_some_and(|exchange| exchange.turn.is_some());
    if has_turn && (is_stream(response) || ctx.cut().is_some_and(|cut| cut.is_stream())) {
        ctx.end_turn();
    }
}

fn is_stream(response: &ResponseHead) -> bool {
    let media_type = response.fields.get(Name::ContentType);
    response.status == StatusCode::SWITCHING_PROTOCOLS
        || media_type.is_some_and(|text| text.starts_with(b"text/event-stream"))
}

/// Counts a session that left its endpoint, and says so once in a while.
fn failed_over(shared: &Shared, ctx: &Context, left: &str) {
    let Some((_, upstream)) = endpoint::upstream(shared, ctx) else { return };
    upstream.metrics.failed_over();
    if let (Some(others), Some(endpoint)) = (upstream.failovers.admit(), ctx.attempts.last()) {
        tracing::warn!(
            upstream = upstream.group.settings().name,
            left,
            to = endpoint.text,
            others_before = others,
            "a session has left its endpoint"
        );
    }
}
