//! What an answer does to its session: settled before any of it leaves.

use std::sync::Arc;

use http::StatusCode;

use crate::clock::UnixMillis;
use crate::cookie::response::{Lifetime, SetCookie};
use crate::cookie::worker_clock;
use crate::downstream::Request;
use crate::headers::fetch;
use crate::proxy::context::{Context, Exchange, Target};
use crate::proxy::error::RequestError;
use crate::proxy::limit::network_text;
use crate::proxy::mass_logout::Aside;
use crate::proxy::respond::{NOT_KEPT, take_subjects};
use crate::proxy::settle::{carry_out, expiry_field, opened, since, ticket_field};
use crate::proxy::shared::Shared;
use crate::proxy::successions::is_ones_own;
use crate::proxy::{endpoint, login_again};
use crate::session::command::{Command, Ignored, SessionChange};
use crate::session::event::Event;
use crate::session::exchange::{Bond, Silence};
use crate::session::jar::Edit;
use crate::session::matching::{Attempt, Head};
use crate::session::outage::WithoutStore;
use crate::session::outcome::RecordKey;
use crate::session::policy::{Policy, SiteData};
use crate::session::settle::{Answer, Effect, Happened, Settle, TicketEffect};
use crate::session::subject::LoginClient;
use crate::upstream::Balance;
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
    let now = shared.clock.now();
    let (answer, cleared) = read(shared, request, response, ctx, fields, said, now)?;
    let (Some(target), Some(exchange)) = (&ctx.target, &mut ctx.exchange) else {
        return Err(RequestError::Internal);
    };
    exchange.answer_begins = None;
    let before = Before::of(exchange, &answer, cleared);
    let is_left_behind = matches!(exchange.bond, Bond::Silent(Silence::Moved(_)))
        && answer.attempt != Attempt::None
        && !answer.logged_in();
    let bond = std::mem::replace(&mut exchange.bond, Bond::Free);
    let settling = Settle::begin(policy, bond, exchange.may_make, answer, now);
    let effect = carry_out(shared, policy, target.client.ip, settling).await;
    exchange.is_settled = true;
    if is_left_behind && let Some(form) = login_form(request, response.status) {
        login_again::lead_to(response, &form)?;
    }
    if !(effect.is_nothing() && before.is_nothing()) {
        write(shared, response, &target.host, policy, &before, &effect)?;
        carry_on(shared, request, ctx, &before, &effect, now);
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
    /// What the browser shall forget.
    cleared: Vec<SiteData>,
}

impl Before {
    fn of(exchange: &Exchange, answer: &Answer, cleared: Vec<SiteData>) -> Self {
        let record = exchange.bond.record();
        Self {
            held: exchange.session,
            is_anonymous: record.is_none_or(|record| record.authenticated.is_none()),
            is_cross_site: exchange.is_cross_site,
            is_makeshift: WithoutStore::of(&exchange.bond) == Some(WithoutStore::Anonymous),
            has_absorbed: !answer.edits.is_empty(),
            cleared,
        }
    }

    /// Whether it leaves no trace in the head.
    fn is_nothing(&self) -> bool {
        !self.has_absorbed && !self.is_makeshift && self.cleared.is_empty()
    }
}

/// What settling has to know of an answer, and what the browser shall forget with it.
fn read(
    shared: &Shared,
    request: &Request,
    response: &ResponseHead,
    ctx: &Context,
    fields: &[Vec<u8>],
    said: Result<Command, Ignored>,
    now: UnixMillis,
) -> Result<(Answer, Vec<SiteData>), RequestError> {
    let (Some(target), Some(exchange)) = (&ctx.target, &ctx.exchange) else {
        return Err(RequestError::Internal);
    };
    let policy = &*exchange.policy;
    let (mut answer, cleared) = answer(exchange, target, response, fields, now);
    answer.endpoint = sticky_endpoint(shared, ctx);
    for name in answer.edits.iter().filter_map(Edit::foreign) {
        shared.tell_foreign_domain(policy, &target.host, name, now);
    }
    obey(&mut answer, said.unwrap_or_default(), exchange);
    answer.leaves_page = fetch::leaves_page(request.fields());
    if answer.subject.is_some() {
        let agent = request.fields().get(Name::UserAgent);
        let network = network_text(target.client.ip);
        answer.client = Some(LoginClient::new(agent.unwrap_or_default(), network));
    }
    if is_unasked(exchange, &answer) {
        let (guards, metrics) = (&shared.guards, &shared.metrics);
        answer.guarding = guards.judge(metrics, policy, &exchange.bond, &answer.edits, now);
    }
    if !answer.edits.is_empty() {
        answer.record = since(shared, &exchange.bond);
    }
    Ok((answer, cleared))
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
    now: UnixMillis,
) {
    let (Some(target), Some(exchange)) = (&ctx.target, &mut ctx.exchange) else { return };
    let policy = exchange.policy.clone();
    let held = before.held;
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

/// What the application says goes before what rules say.
fn obey(answer: &mut Answer, said: Command, exchange: &Exchange) {
    answer.revoke_subject = said.revoke_subject;
    match said.turn {
        None => {}
        Some(SessionChange::Login(subject)) => {
            answer.happened = Happened::LoggedIn;
            answer.subject = subject.or(answer.subject.take());
        }
        Some(SessionChange::Logout) => answer.happened = Happened::LoggedOut,
        // A login has a new ticket anyhow, a logout none.
        Some(SessionChange::Renew) if answer.happened == Happened::Nothing => {
            answer.happened = exchange.ticket.map_or(Happened::Nothing, Happened::Renewed);
        }
        Some(SessionChange::Renew) => {}
    }
}

/// Whether nobody asked for what the answer takes away of the session (rule 29).
fn is_unasked(exchange: &Exchange, answer: &Answer) -> bool {
    let happened = match answer.happened {
        Happened::Nothing | Happened::Renewed(_) => false,
        Happened::LoggedIn | Happened::LoggedOut => true,
    };
    let is_about_it = exchange.attempt != Attempt::None || exchange.is_logout;
    exchange.method.is_safe() && !(is_about_it || happened || answer.revoke_subject)
}

/// The endpoint that a session stays with.
fn sticky_endpoint(shared: &Shared, ctx: &Context) -> Option<String> {
    let (_, upstream) = endpoint::upstream(shared, ctx)?;
    let index = ctx.attempts.last()?;
    (upstream.group.settings().balance == Balance::Session)
        .then(|| upstream.group.address_text(index).to_owned())
}

/// Counts a session that left its endpoint, and says so once in a while.
fn failed_over(shared: &Shared, ctx: &Context, left: &str) {
    let Some((_, upstream)) = endpoint::upstream(shared, ctx) else { return };
    upstream.metrics.failed_over();
    if let (Some(others), Some(index)) = (upstream.failovers.admit(), ctx.attempts.last()) {
        let (name, to) = (&upstream.group.settings().name, upstream.group.address_text(index));
        tracing::warn!(
            upstream = name,
            left,
            to,
            others_before = others,
            "a session has left its endpoint"
        );
    }
}

/// What an answer says by itself, and what the browser shall forget with it.
fn answer(
    exchange: &Exchange,
    target: &Target,
    response: &ResponseHead,
    fields: &[Vec<u8>],
    now: UnixMillis,
) -> (Answer, Vec<SiteData>) {
    let policy = &exchange.policy;
    // Whether a cookie is too large is the jar's to say.
    let parsed = worker_clock::cookies(fields.iter().map(Vec::as_slice), &response.fields, now);
    let edits: Vec<Edit> = parsed
        .iter()
        .filter(|cookie| policy.owns(cookie.name()))
        .map(|cookie| Edit::read(cookie, &target.host, target.requested.path.as_bytes(), now))
        .collect();
    let (method, path) = (&exchange.method, &target.requested.path);
    let mut answer =
        Answer { attempt: exchange.attempt, edits, bearer: exchange.bearer, ..Answer::default() };
    let is_login = exchange.attempt != Attempt::None;
    if !(is_login || exchange.is_logout || policy.has_login_by_answer()) {
        return (answer, Vec::new());
    }
    let set: Vec<&[u8]> = parsed
        .iter()
        .filter(|cookie| cookie.lifetime(now) != Lifetime::Expired)
        .map(SetCookie::name)
        .collect();
    let status = response.status.as_u16();
    let body = exchange.answer_begins.as_deref();
    let head = Head { status, fields: &response.fields, cookies: &set, body };
    answer.happened = Happened::by_rules(policy, exchange.attempt, method, path, head);
    answer.subject = policy.subject_of(method, path, head, exchange.body.as_ref());
    (answer, policy.clears(method, path, head))
}
