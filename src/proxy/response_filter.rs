//! Hook `response_filter`: the answer is held here until its session is settled.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, HOST, SET_COOKIE, UPGRADE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::clock::UnixMillis;
use crate::cookie::agent::{takes_same_site_none, without_none};
use crate::cookie::response::{Lifetime, SetCookie, is_clean, name_of};
use crate::cookie::worker_clock;
use crate::headers::{fetch, identity};
use crate::proxy::bridge::fields_of;
use crate::proxy::context::{Context, Exchange, Target};
use crate::proxy::error::RequestError;
use crate::proxy::fail_to_proxy::raise;
use crate::proxy::limit::network_text;
use crate::proxy::login_again;
use crate::proxy::mass_logout::Aside;
use crate::proxy::modes;
use crate::proxy::settings::Require;
use crate::proxy::settle::{carry_out, expiry_field, opened, since, ticket_field};
use crate::proxy::shared::Shared;
use crate::proxy::successions::is_ones_own;
use crate::proxy::upstream_peer;
use crate::session::command::{Command, Ignored, SessionChange};
use crate::session::event::Event;
use crate::session::exchange::{Bond, Silence};
use crate::session::jar::Edit;
use crate::session::matching::{Attempt, Head};
use crate::session::outage::WithoutStore;
use crate::session::policy::{Policy, SiteData};
use crate::session::settle::{Answer, Happened, Settle, TicketEffect};
use crate::session::subject::LoginClient;
use crate::upstream::Balance;
use crate::wire::fields::Fields;

/// PROTOCOL.md 12.
const NOT_KEPT: &str = "private, no-store";
/// W3C Clear Site Data, section 3.1.
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// Rewrites the head of an answer.
pub async fn run(
    shared: &Arc<Shared>,
    session: &Session,
    response: &mut ResponseHeader,
    ctx: &mut Context,
) -> Result<()> {
    let reports_only = ctx.guarded.as_ref().filter(|guarded| guarded.policy.only_reports());
    let reports_only = reports_only.map(|guarded| guarded.policy.clone());
    rewrite(shared, session, response, ctx).await?;
    spare_old_browsers(session, response, reports_only.as_deref())
}

async fn rewrite(
    shared: &Arc<Shared>,
    session: &Session,
    response: &mut ResponseHeader,
    ctx: &mut Context,
) -> Result<()> {
    let said = said(response, ctx);
    for name in reserved(&response.headers) {
        response.remove_header(&name);
    }
    if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
        // Only a final head settles a session; until then no cookie goes anywhere.
        response.remove_header(&SET_COOKIE);
        take_subjects(response, ctx);
        return Ok(());
    }
    ctx.attempts.status = Some(response.status.as_u16());
    if response.status == StatusCode::SWITCHING_PROTOCOLS
        && !session.req_header().headers.contains_key(UPGRADE)
    {
        // RFC 9110, section 15.2.2: an answer to nothing that was asked.
        return raise(ctx, RequestError::BadGateway);
    }
    if ctx.cut().is_some_and(|cut| cut.is_cut()) {
        return raise(ctx, RequestError::Cut);
    }
    let fields = take_cookies(response);
    if let Some(guarded) = ctx.guarded.take() {
        return modes::respond(shared, session, response, ctx, &guarded, &fields);
    }
    let is_https = ctx.target.as_ref().is_some_and(|target| target.client.https);
    let policy = ctx.exchange.as_ref().map(|exchange| exchange.policy.clone());
    for field in &fields {
        let name = name_of(field);
        let is_kept = policy.as_ref().is_none_or(|policy| !policy.owns(name));
        // A worker has no say about tickets.
        if is_kept && !shared.is_ticket(name) {
            response.append_header(SET_COOKIE, &*shared.cookies.rewrite(field, is_https))?;
        }
    }
    keep_private(response, ctx)?;
    match policy {
        None => Ok(()),
        Some(policy) => settle(shared, session, response, ctx, &policy, &fields, said).await,
    }
}

/// Leaves `SameSite=None` out of all that this browser would misunderstand: tickets, sealed and
/// hardened cookies, the application's others. Only where a policy reports, its cookies stay.
fn spare_old_browsers(
    session: &Session,
    response: &mut ResponseHeader,
    reports_only: Option<&Policy>,
) -> Result<()> {
    let fields = || response.headers.get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes);
    let is_spared = |field: &[u8]| {
        reports_only.is_none_or(|policy| !policy.owns(name_of(field)))
            && matches!(without_none(field), Cow::Owned(_))
    };
    if !fields().any(is_spared) {
        return Ok(());
    }
    let agent = session.req_header().headers.get(USER_AGENT);
    if agent.is_none_or(|agent| takes_same_site_none(agent.as_bytes())) {
        return Ok(());
    }
    let kept = |field| if is_spared(field) { without_none(field) } else { Cow::Borrowed(field) };
    let kept: Vec<_> = fields().map(|field| kept(field).into_owned()).collect();
    response.remove_header(&SET_COOKIE);
    for field in kept {
        response.append_header(SET_COOKIE, field)?;
    }
    Ok(())
}

/// What the application says of its session, where the route allows it to (PROTOCOL.md 30).
fn said(response: &ResponseHeader, ctx: &Context) -> std::result::Result<Command, Ignored> {
    let is_heard = ctx.target.as_ref().is_some_and(|target| target.route.session_header);
    let lines = response.headers.get_all(identity::COMMAND.as_str());
    Command::read(lines.iter().filter(|_| is_heard).map(HeaderValue::as_bytes))
}

/// Takes out the fields that tell us alone who logged in.
fn take_subjects(response: &mut ResponseHeader, ctx: &Context) {
    let policy = ctx.exchange.as_ref().map(|exchange| &exchange.policy);
    for name in policy.iter().flat_map(|policy| policy.subject_headers()) {
        response.remove_header(name);
    }
}

/// What requires a login is for its user alone, also when it is over: no cache keeps it and no back
/// button shows it, unless the application says something about caching itself.
fn keep_private(response: &mut ResponseHeader, ctx: &Context) -> Result<()> {
    let requires = ctx.target.as_ref().is_some_and(|target| target.route.require == Require::Login);
    let is_said =
        || [CACHE_CONTROL, EXPIRES].iter().any(|name| response.headers.contains_key(name));
    if requires && !is_said() && response.status != StatusCode::SWITCHING_PROTOCOLS {
        response.insert_header(CACHE_CONTROL, NOT_KEPT)?;
    }
    Ok(())
}

fn reserved(headers: &HeaderMap) -> Vec<http::HeaderName> {
    headers.keys().filter(|name| identity::is_reserved(name.as_str().as_bytes())).cloned().collect()
}

/// Takes the cookies out. One with a control character goes no further (RFC 6265bis, section 5.6): the
/// engine refuses such an answer as a whole, but what rewrites cookies relies on it.
fn take_cookies(response: &mut ResponseHeader) -> Vec<Vec<u8>> {
    let fields = response.headers.get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes);
    let fields = fields.filter(|field| is_clean(field)).map(<[u8]>::to_vec).collect();
    response.remove_header(&SET_COOKIE);
    fields
}

async fn settle(
    shared: &Arc<Shared>,
    session: &Session,
    response: &mut ResponseHeader,
    ctx: &mut Context,
    policy: &Policy,
    fields: &[Vec<u8>],
    said: std::result::Result<Command, Ignored>,
) -> Result<()> {
    if let Err(cause) = said {
        ctx.tell(shared, session, policy, &Event::CommandIgnored { cause });
    }
    let endpoint = sticky_endpoint(shared, ctx);
    let (Some(target), Some(exchange)) = (&ctx.target, &mut ctx.exchange) else {
        return raise(ctx, RequestError::Internal);
    };
    let now = shared.clock.now();
    let (mut answer, cleared) = answer(exchange, target, response, fields, endpoint, now);
    for name in answer.edits.iter().filter_map(Edit::foreign) {
        shared.tell_foreign_domain(policy, &target.host, name, now);
    }
    obey(&mut answer, said.unwrap_or_default(), exchange);
    answer.leaves_page = fetch::leaves_page(&ctx.head);
    if answer.subject.is_some() {
        let agent = session.req_header().headers.get(USER_AGENT).map(HeaderValue::as_bytes);
        let network = network_text(target.client.ip);
        answer.client = Some(LoginClient::new(agent.unwrap_or_default(), network));
    }
    if is_unasked(exchange, &answer) {
        let (guards, metrics) = (&shared.guards, &shared.metrics);
        answer.guarding = guards.judge(metrics, policy, &exchange.bond, &answer.edits, now);
    }
    let has_absorbed = !answer.edits.is_empty();
    if has_absorbed {
        answer.record = since(shared, &exchange.bond);
    }
    // It shows less than the visitor will see when the store is back.
    let is_makeshift = WithoutStore::of(&exchange.bond) == Some(WithoutStore::Anonymous);
    let is_cross_site = exchange.is_cross_site;
    let is_anonymous = exchange.bond.record().is_none_or(|record| record.authenticated.is_none());
    let is_left_behind = matches!(exchange.bond, Bond::Silent(Silence::Moved(_)))
        && answer.attempt != Attempt::None
        && !answer.logged_in();
    let bond = std::mem::replace(&mut exchange.bond, Bond::Free);
    let held = exchange.session;
    let settling = Settle::begin(policy, bond, exchange.may_make, answer, now);
    let effect = carry_out(shared, policy, target.client.ip, settling).await;
    exchange.is_settled = true;
    if is_left_behind && let Some(form) = login_form(session, &ctx.head, response.status) {
        login_again::lead_to(response, &form)?;
    }
    if effect.is_nothing() && !has_absorbed && !is_makeshift && cleared.is_empty() {
        take_subjects(response, ctx);
        end_turn_of_stream(response, ctx);
        return Ok(());
    }

    let field = match &effect.ticket {
        TicketEffect::Keep => None,
        TicketEffect::Expire => Some(expiry_field(policy)),
        TicketEffect::Set(issue) => match ticket_field(shared, policy, &target.host, *issue) {
            Ok(field) => Some(field),
            Err(error) => {
                tracing::error!(%error, "no randomness for a ticket");
                return raise(ctx, RequestError::Withheld);
            }
        },
    };
    if let Some(key) = effect.parks {
        let (client, policy) = (target.client.ip, exchange.policy.clone());
        shared.guards.keep_aside(Aside { key, at: now, client, policy, is_anonymous });
    }
    if let (Some(old), Some(pass)) = (held, &exchange.pass)
        && (effect.ticket.replaces(old) || effect.parks.is_some())
    {
        pass.cut_streams();
    }
    if let (TicketEffect::Set(issue), Some(old), Some(connection)) =
        (&effect.ticket, held, &ctx.connection)
        && exchange.attempt != Attempt::None
        && effect.ticket.replaces(old)
        && is_ones_own(connection, session.req_header().version, &ctx.head, &shared.trusted)
    {
        shared.successions.note(connection, old, opened(*issue, now), now);
    }
    if let (TicketEffect::Set(issue), Some(pass)) = (&effect.ticket, &exchange.pass)
        && pass.cut().is_stream()
        && held != Some(issue.key)
    {
        // From here on it belongs to the session that its own answer has made.
        exchange.watched = Some(shared.streams.watch(issue.key, pass.cut(), policy.stream_idle()));
    }
    if has_absorbed || field.is_some() || is_makeshift {
        response.insert_header(CACHE_CONTROL, NOT_KEPT)?;
        response.remove_header(&EXPIRES);
    }
    // Who was not logged in is asked as well, since pages of a session that has expired may be
    // there still; but no other site shall empty our visitors' storage.
    let has_ended = matches!(effect.ticket, TicketEffect::Expire | TicketEffect::Set(_));
    if !cleared.is_empty() && (has_ended || !is_cross_site) {
        let quoted: Vec<&str> = cleared.into_iter().map(SiteData::quoted).collect();
        response.append_header(CLEAR_SITE_DATA, quoted.join(", "))?;
    }
    if let Some(field) = field {
        response.append_header(SET_COOKIE, field)?;
    }
    for event in &effect.events {
        ctx.tell(shared, session, policy, event);
    }
    if let Some(left) = &effect.left {
        failed_over(shared, ctx, left);
    }
    end_turn_of_stream(response, ctx);
    if effect.withheld {
        return raise(ctx, RequestError::Withheld);
    }
    if effect.refused {
        return raise(ctx, RequestError::TooManySessions);
    }
    take_subjects(response, ctx);
    Ok(())
}

fn login_form(session: &Session, head: &Fields, status: StatusCode) -> Option<String> {
    let request = session.req_header();
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    let authority = authority.or_else(|| request.headers.get(HOST).map(HeaderValue::as_bytes));
    login_again::form(&request.method, head, authority, request.raw_path(), status)
}

/// A stream may never end (PROTOCOL.md 32).
fn end_turn_of_stream(response: &ResponseHeader, ctx: &mut Context) {
    let has_turn = ctx.exchange.as_ref().is_some_and(|exchange| exchange.turn.is_some());
    if has_turn && (is_stream(response) || ctx.cut().is_some_and(|cut| cut.is_stream())) {
        ctx.end_turn();
    }
}

fn is_stream(response: &ResponseHeader) -> bool {
    let media_type = response.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
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
    let (_, upstream) = upstream_peer::upstream(shared, ctx)?;
    let index = *ctx.attempts.tried.last()?;
    (upstream.group.settings().balance == Balance::Session)
        .then(|| upstream.group.address_text(index).to_owned())
}

/// Counts a session that left its endpoint, and says so once in a while.
fn failed_over(shared: &Shared, ctx: &Context, left: &str) {
    let Some((_, upstream)) = upstream_peer::upstream(shared, ctx) else { return };
    upstream.metrics.failed_over();
    if let (Some(others), Some(&index)) = (upstream.failovers.admit(), ctx.attempts.tried.last()) {
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

/// What settling has to know of an answer, and what the browser shall forget with it.
fn answer(
    exchange: &Exchange,
    target: &Target,
    response: &ResponseHeader,
    fields: &[Vec<u8>],
    endpoint: Option<String>,
    now: UnixMillis,
) -> (Answer, Vec<SiteData>) {
    let policy = &exchange.policy;
    // Whether a cookie is too large is the jar's to say.
    let head = fields_of(&response.headers);
    let parsed = worker_clock::cookies(fields.iter().map(Vec::as_slice), &head, now);
    let edits: Vec<Edit> = parsed
        .iter()
        .filter(|cookie| policy.owns(cookie.name()))
        .map(|cookie| Edit::read(cookie, &target.host, target.requested.path.as_bytes(), now))
        .collect();
    let (method, path) = (&exchange.method, &target.requested.path);
    let mut answer = Answer {
        attempt: exchange.attempt,
        edits,
        endpoint,
        bearer: exchange.bearer,
        ..Answer::default()
    };
    let is_login = exchange.attempt != Attempt::None;
    if !(is_login || exchange.is_logout || policy.has_login_by_answer()) {
        return (answer, Vec::new());
    }
    let set: Vec<&[u8]> = parsed
        .iter()
        .filter(|cookie| cookie.lifetime(now) != Lifetime::Expired)
        .map(SetCookie::name)
        .collect();
    let head = Head { status: response.status.as_u16(), fields: &head, cookies: &set };
    answer.happened = Happened::by_rules(policy, exchange.attempt, method, path, head);
    answer.subject = policy.subject_of(method, path, head, exchange.body.as_ref());
    (answer, policy.clears(method, path, head))
}
