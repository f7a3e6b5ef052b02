//! What an answer means to its session: by the cookies it sets, by rules, by what the application says.

use crate::clock::UnixMillis;
use crate::cookie::response::{Lifetime, SetCookie};
use crate::cookie::worker_clock;
use crate::downstream::Request;
use crate::headers::fetch;
use crate::proxy::context::{Context, Exchange};
use crate::proxy::endpoint;
use crate::proxy::error::RequestError;
use crate::proxy::limit::network_text;
use crate::proxy::settle::since;
use crate::proxy::shared::Shared;
use crate::proxy::target::Target;
use crate::session::command::{Command, Ignored, SessionChange};
use crate::session::jar::Edit;
use crate::session::matching::{Attempt, Head};
use crate::session::policy::SiteData;
use crate::session::settle::{Answer, Happened};
use crate::session::subject::LoginClient;
use crate::upstream::Balance;
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// What settling has to know of an answer, and what the browser shall forget with it.
///
/// # Errors
/// There is no session to mean anything to.
pub fn read(
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
    let endpoint = ctx.attempts.last()?;
    (upstream.group.settings().balance == Balance::Session).then(|| endpoint.text.clone())
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
