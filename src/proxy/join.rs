//! Ties a request to a session, or refuses it: extract, open the ticket, look up, decide.

use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, StatusCode};

use crate::cookie::request::Field;
use crate::downstream::Request;
use crate::headers::fetch;
use crate::proxy::admit::{self, Admitted};
use crate::proxy::context::{Context, Exchange};
use crate::proxy::error::RequestError;
use crate::proxy::modes;
use crate::proxy::pages::Instead;
use crate::proxy::settings::{Denied, Require, Route};
use crate::proxy::shared::Shared;
use crate::proxy::successions::is_ones_own;
use crate::proxy::target::Target;
use crate::proxy::ticket_cache::Opened;
use crate::session::binding::Bearer;
use crate::session::carried::{Carried, CarriedTicket};
use crate::session::decide::{Refusal, may_make};
use crate::session::event::{Event, Reject};
use crate::session::exchange::{self, Bond, Silence};
use crate::session::facts::{Access, Facts, Intent, Origin, Turns};
use crate::session::matching::Attempt;
use crate::session::order::{Nature, Stream, is_stream_wanted};
use crate::session::outage::WithoutStore;
use crate::session::outcome::RecordKey;
use crate::session::policy::{CrossSite, Policy};
use crate::session::subject::body::Copied;
use crate::wire::connection::nominates;
use crate::wire::name::Name;

/// How many sessions a login follows, each of which another login has just moved.
const FOLLOWS_MAX: u32 = 4;

/// A request of a route without a policy: tickets stay here all the same.
pub fn without_session(shared: &Shared, request: &Request, ctx: &mut Context) {
    ctx.cookie = cookie_line(&carried(shared, request, None), |_| {});
}

fn carried<'a>(shared: &Shared, request: &'a Request, policy: Option<&Policy>) -> Carried<'a> {
    let fields = request.fields();
    let mut carried = Carried::sort(fields.all(Name::Cookie), policy, &shared.tickets);
    if nominates(fields, Name::Cookie) {
        // For this connection alone (RFC 9110 section 7.6.1): we read them, a worker does not.
        carried.others.clear();
    }
    carried
}

/// One line for the worker, whatever number of fields came (RFC 9113, section 8.2.3).
fn cookie_line(carried: &Carried<'_>, add: impl FnOnce(&mut Field)) -> Vec<u8> {
    let mut field = Field::default();
    carried.others.iter().for_each(|piece| field.push(piece));
    add(&mut field);
    field.into_bytes()
}

/// Ties the request to a session, or refuses it.
///
/// # Errors
/// What is answered.
pub async fn run(
    shared: &Arc<Shared>,
    request: &Request,
    ctx: &mut Context,
    route: &Route,
    policy: &Arc<Policy>,
) -> Result<(), Instead> {
    let Some(target) = &ctx.target else { return Err(RequestError::Internal.into()) };
    if !target.client.https && !shared.insecure_cookies && !policy.only_reports() {
        return Err(RequestError::InsecureSession.into());
    }
    let carried = carried(shared, request, Some(policy));
    if !policy.has_tickets() {
        let pairs = modes::join(shared, request, ctx, policy, &carried).await;
        ctx.cookie = cookie_line(&carried, |field| pairs.iter().for_each(|pair| field.push(pair)));
        return Ok(());
    }
    let mut opened = open_ticket(shared, request, ctx, policy, &carried).await;
    let bearer = policy.knows_clients().then(|| bearer(request, ctx, target));
    let has_ticket = opened.is_some();
    let asked = Asked::read(request, ctx, route, policy, target, has_ticket, bearer.as_ref());
    if asked.attempt == Attempt::Moves && is_out_of_attempts(shared, policy, target.client.ip) {
        ctx.tell(shared, request, policy, &Event::LoginLimited);
        return Err(RequestError::TooManyAttempts.into());
    }
    let admitting = admit_following(shared, request, ctx, policy, &mut opened, asked.facts);
    let admitted = match admitting.await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            tell_refusal(shared, request, ctx, policy, refusal);
            return Err(refused(refusal, route, request));
        }
    };
    if let Some(action) = WithoutStore::of(&admitted.bond) {
        let id = admitted.bond.held().map(|held| held.key);
        ctx.tell(shared, request, policy, &Event::WithoutStore { id, action });
    }
    let line = cookie_line(&carried, |field| {
        if let Some(record) = admitted.bond.record() {
            record.jar.write(field, &target.host, target.requested.path.as_bytes(), admitted.at);
        }
    });
    let may_make = match admitted.bond {
        Bond::Free if carried.ticket == CarriedTicket::None => {
            may_make(policy.cookie.same_site, request.method.is_safe(), asked.facts)
        }
        _ => Ok(()),
    };
    ctx.exchange = Some(exchange(request, policy, target, &asked, opened, admitted));
    ctx.exchange.iter_mut().for_each(|exchange| exchange.may_make = may_make);
    ctx.cookie = line;
    Ok(())
}

/// What a request asks of its session.
struct Asked<'a> {
    attempt: Attempt,
    is_logout: bool,
    facts: Facts<'a>,
}

impl<'a> Asked<'a> {
    fn read(
        request: &Request,
        ctx: &Context,
        route: &Route,
        policy: &Policy,
        target: &Target,
        has_ticket: bool,
        bearer: Option<&'a Bearer>,
    ) -> Self {
        let (method, head) = (&request.method, request.fields());
        let attempt = policy.attempt(method, &target.requested.path);
        let is_login = attempt != Attempt::None;
        let is_logout = policy.is_logout(method, &target.requested.path);
        let is_preflight = fetch::is_preflight(method, head);
        let writes = !method.is_safe() || is_login || is_logout;
        let takes_turns = policy.serialize.requests.covers(|| Nature {
            writes,
            is_preflight,
            stream: match is_stream_wanted(head) {
                _ if route.stream && !is_login && !is_logout => Stream::Declared,
                true => Stream::Wanted,
                false => Stream::No,
            },
        });
        let matters = writes || !has_ticket;
        let is_cross_site = matters && fetch::is_cross_site(head, target.host.as_bytes());
        let facts = Facts {
            intent: match attempt {
                _ if is_preflight => Intent::Preflight,
                Attempt::Stays | Attempt::Moves => {
                    Intent::Login(cross_site_login(policy, request, target))
                }
                Attempt::None if is_logout => Intent::Logout,
                Attempt::None => Intent::Use,
            },
            origin: if is_cross_site { Origin::CrossSite } else { Origin::Own },
            access: match route.require {
                Require::Login if !ctx.is_vouched => Access::LoggedIn,
                Require::Login | Require::Nothing => Access::Anybody,
            },
            turns: if takes_turns { Turns::Takes } else { Turns::None },
            bearer,
            on_store_down: route.on_store_down,
            ..Facts::default()
        };
        Self { attempt, is_logout, facts }
    }
}

/// A request that was admitted.
fn exchange(
    request: &Request,
    policy: &Arc<Policy>,
    target: &Target,
    asked: &Asked<'_>,
    opened: Option<Opened>,
    admitted: Admitted,
) -> Exchange {
    let (method, path) = (&request.method, &target.requested.path);
    let is_login = asked.attempt != Attempt::None;
    Exchange {
        policy: policy.clone(),
        session: admitted.bond.held().map(|held| held.key),
        admitted: admitted.bond.held().map(|held| held.record.clone()),
        bond: admitted.bond,
        ticket: opened.map(|Opened { ticket, .. }| exchange::Presented {
            tag: ticket.tag,
            selector: ticket.selector,
            counter: ticket.counter,
        }),
        body: policy.wants_body(method, path, request.fields()).map(Copied::new),
        pass: admitted.pass,
        turn: admitted.turn,
        watched: None,
        may_make: Ok(()),
        method: method.clone(),
        attempt: asked.attempt,
        looks_at_answer: is_login && policy.looks_at_body(method, path),
        answer_begins: None,
        is_logout: asked.is_logout,
        is_cross_site: asked.facts.origin == Origin::CrossSite,
        bearer: asked.facts.bearer.copied(),
        is_forwarded: false,
        is_settled: false,
    }
}

fn tell_refusal(
    shared: &Shared,
    request: &Request,
    ctx: &Context,
    policy: &Policy,
    refusal: Refusal,
) {
    let event = match refusal {
        Refusal::CrossSiteLogin => Event::CrossSiteRefused,
        Refusal::StoreDown => Event::WithoutStore { id: None, action: WithoutStore::Reject },
        Refusal::BindingMismatch | Refusal::LoginRequired => return,
    };
    ctx.tell(shared, request, policy, &event);
}

/// Whether other sites may send this login: where a rule says so, or they only lead a visitor to it.
fn cross_site_login(policy: &Policy, request: &Request, target: &Target) -> CrossSite {
    let method = &request.method;
    let is_led = fetch::is_document_by_get(method, request.fields());
    if !is_led && policy.refuses_cross_site_login(method, &target.requested.path) {
        CrossSite::Deny
    } else {
        CrossSite::Allow
    }
}

/// Admits a request. One to log in that comes too late for its record, on the connection that the next
/// ticket was sent on, is taken for one with that ticket.
async fn admit_following(
    shared: &Arc<Shared>,
    request: &Request,
    ctx: &Context,
    policy: &Arc<Policy>,
    opened: &mut Option<Opened>,
    facts: Facts<'_>,
) -> Result<Admitted, Refusal> {
    let mut follows = 0;
    loop {
        let heard = |event| ctx.tell(shared, request, policy, &event);
        let admitted = admit::admit(shared, policy, opened.as_ref(), facts, heard).await?;
        let next = match admitted.bond {
            Bond::Silent(Silence::Moved(old)) if facts.is_login() && follows < FOLLOWS_MAX => {
                successor(shared, request, ctx, old)
            }
            _ => None,
        };
        let Some(next) = next else { return Ok(admitted) };
        follows += 1;
        *opened = Some(next);
    }
}

fn successor(shared: &Shared, request: &Request, ctx: &Context, old: RecordKey) -> Option<Opened> {
    let connection = &ctx.connection;
    if !is_ones_own(connection, request.protocol, request.fields(), &shared.trusted) {
        return None;
    }
    shared.successions.of(connection, old, shared.clock.now())
}

fn is_out_of_attempts(shared: &Shared, policy: &Policy, client: IpAddr) -> bool {
    let (limit, now) = (policy.login_attempts_per_minute, shared.clock.now());
    shared.limiter.is_out_of_attempts(&policy.name, client, limit, now)
}

/// What a policy may bind a session to.
fn bearer(request: &Request, ctx: &Context, target: &Target) -> Bearer {
    let tls = ctx.connection.tls();
    Bearer::new(
        request.fields().get(Name::UserAgent),
        target.client.ip,
        tls.and_then(|tls| tls.client_certificate),
    )
}

/// A ticket that does not open is "no session", counted by reason (PROTOCOL.md 5).
async fn open_ticket(
    shared: &Shared,
    request: &Request,
    ctx: &Context,
    policy: &Arc<Policy>,
    carried: &Carried<'_>,
) -> Option<Opened> {
    let host = ctx.target.as_ref().map_or("", |target| target.host.as_str());
    let opened = match carried.ticket {
        CarriedTicket::None => return None,
        CarriedTicket::One(value) => shared.open(value, policy, host).await,
        CarriedTicket::Duplicate => Err(Reject::Duplicate),
    };
    opened
        .inspect_err(|reason| {
            ctx.tell(shared, request, policy, &Event::TicketRejected { reason: *reason });
        })
        .ok()
}

fn refused(refusal: Refusal, route: &Route, request: &Request) -> Instead {
    let (method, head) = (&request.method, request.fields());
    match (refusal, &route.denied) {
        (Refusal::StoreDown, _) => RequestError::StoreDown.into(),
        (Refusal::CrossSiteLogin, _) => RequestError::CrossSiteLogin.into(),
        (Refusal::BindingMismatch, _) => RequestError::BindingMismatch.into(),
        (Refusal::LoginRequired, Denied::Redirect(location))
            if fetch::is_navigation(method, head) =>
        {
            // 303: a form that was sent without a session is not sent again to the login page.
            let status = match *method {
                Method::GET | Method::HEAD => StatusCode::FOUND,
                _ => StatusCode::SEE_OTHER,
            };
            Instead::Redirect(status, location.clone().into_bytes())
        }
        (Refusal::LoginRequired, Denied::Redirect(_) | Denied::Unauthorized) => {
            RequestError::LoginRequired.into()
        }
    }
}
