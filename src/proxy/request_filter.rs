//! Hook `request_filter`: normalise, route, extract, open the ticket, look up, decide.
//!
//! Everything about a path is decided on its normalised form, before any worker sees the request.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora_core::Result;
use pingora_proxy::Session;

use crate::cookie::request::Field;
use crate::headers::fetch;
use crate::headers::forwarded::{Client, Connection};
use crate::proxy::admit::{self, Admitted};
use crate::proxy::bridge;
use crate::proxy::context::{Context, Exchange, Target};
use crate::proxy::error::RequestError;
use crate::proxy::modes;
use crate::proxy::own_sessions::{self, Json};
use crate::proxy::reply;
use crate::proxy::settings::{Denied, Require, Route, Target as Destination};
use crate::proxy::shared::Shared;
use crate::proxy::streams;
use crate::proxy::successions::is_ones_own;
use crate::proxy::ticket_cache::Opened;
use crate::routing::host::Host;
use crate::routing::table::Ambiguous;
use crate::routing::target::RequestTarget;
use crate::session::binding::Bearer;
use crate::session::carried::{Carried, CarriedTicket};
use crate::session::decide::{Refusal, may_make};
use crate::session::event::{Event, Reject};
use crate::session::exchange::{self, Bond, Silence};
use crate::session::facts::{Access, Facts, Intent, Origin, Turns};
use crate::session::matching::Attempt;
use crate::session::order::{Nature, Stream};
use crate::session::outage::WithoutStore;
use crate::session::outcome::RecordKey;
use crate::session::policy::{CrossSite, Policy};
use crate::session::subject::body::Copied;
use crate::telemetry::labels::RouteKind;
use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// How many sessions a login follows, each of which another login has just moved.
const FOLLOWS_MAX: u32 = 4;

/// Says whether the request was answered.
pub async fn run(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Context) -> Result<bool> {
    ctx.head = bridge::fields_of(&session.req_header().headers);
    match admit_request(shared, session, ctx).await {
        Ok(()) => Ok(false),
        // In a box: every request has to make room for what is awaited here.
        Err(answer) => Box::pin(reply(session, ctx, answer)).await.map(|()| true),
    }
}

async fn reply(session: &mut Session, ctx: &mut Context, answer: Answer) -> Result<()> {
    match answer {
        Answer::Error(error) => {
            ctx.error = Some(error);
            reply::error(session, error).await
        }
        Answer::Redirect(status, location) => reply::redirect(session, status, &location).await,
        Answer::Json(json) => reply::json(session, &json).await,
    }
}

/// What the proxy answers in a worker's place.
enum Answer {
    Error(RequestError),
    Redirect(StatusCode, String),
    Json(Json),
}

impl From<RequestError> for Answer {
    fn from(error: RequestError) -> Self {
        Self::Error(error)
    }
}

async fn admit_request(
    shared: &Arc<Shared>,
    session: &Session,
    ctx: &mut Context,
) -> std::result::Result<(), Answer> {
    let target = route(shared, session, ctx)?;
    let route = target.route.clone();
    ctx.target = Some(target);
    refuse_cross_site(shared, session, ctx, &route)?;
    if route.body_bytes_max > 0
        && content_length(session).is_some_and(|length| length > route.body_bytes_max)
    {
        return Err(RequestError::BodyTooLarge.into());
    }
    match (&route.target, &route.session) {
        (Destination::Files(_), _) => {
            ctx.kind = RouteKind::Files;
            Err(RequestError::NotBuilt.into())
        }
        (Destination::OwnSessions, None) => Err(RequestError::NoRoute.into()),
        (Destination::OwnSessions, Some(policy)) => {
            ctx.kind = RouteKind::Session;
            let asked = own_sessions::read(session, ctx).map_err(Answer::Json)?;
            join_session(shared, session, ctx, &route, policy).await?;
            Err(Answer::Json(own_sessions::answer(shared, ctx, policy, &asked).await))
        }
        (Destination::Upstream(_), None) => {
            ctx.kind = RouteKind::Plain;
            let carried = carried(shared, session, None);
            ctx.cookie = cookie_line(&carried, |_| {});
            Ok(())
        }
        (Destination::Upstream(_), Some(policy)) => {
            ctx.kind = RouteKind::Session;
            join_session(shared, session, ctx, &route, policy).await
        }
    }
}

/// Finds the route, from nothing but what the client sent and the connection.
fn route(
    shared: &Shared,
    session: &Session,
    ctx: &mut Context,
) -> std::result::Result<Target, Answer> {
    let request = session.req_header();
    let authority = request
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes())
        .or_else(|| request.headers.get(HOST).map(HeaderValue::as_bytes));
    let host = Host::parse(authority.unwrap_or_default()).map_err(|_| RequestError::BadRequest)?;
    // RFC 9112, section 3.2: only HTTP/1.0 may leave the host out.
    if host.as_str().is_empty() && request.version != Version::HTTP_10 {
        return Err(RequestError::BadRequest.into());
    }
    // `*` asks about the server as a whole, which is OPTIONS' business alone (section 3.2.4).
    if request.raw_path() == b"*" && request.method != Method::OPTIONS {
        return Err(RequestError::BadRequest.into());
    }
    // They repeat what came to whoever asks, the session included.
    if matches!(request.method.as_str(), "TRACE" | "TRACK") {
        return Err(RequestError::MethodNotAllowed.into());
    }
    let came = request.raw_path();
    let requested = RequestTarget::read(came).map_err(|_| RequestError::BadRequest)?;
    let connection = ctx.connection.as_deref();
    if let Some(port) = connection.and_then(crate::listen::Info::redirect_to_https) {
        ctx.kind = RouteKind::Redirect;
        return Err(to_https(
            request.method.clone(),
            host.as_str(),
            port,
            requested.forwarded(came),
        ));
    }
    let tls = connection.and_then(crate::listen::Info::tls);
    if tls.is_some_and(|tls| tls.server_name.is_some() && !tls.names.covers(host.as_str())) {
        return Err(RequestError::Misdirected.into());
    }
    let client = Client::of(
        Connection {
            peer: ctx.client_ip(),
            tls: connection.is_some_and(crate::listen::Info::is_secure),
            port: connection.map_or(0, |info| info.local().port()),
            host: authority,
        },
        &shared.trusted,
        &ctx.head,
    );
    let server = shared.table.server(&host);
    let route = shared.table.route(server, &requested.path);
    let route = route.map_err(|Ambiguous| RequestError::BadRequest)?;
    let route = route.ok_or(RequestError::NoRoute)?;
    Ok(Target { client, host: host.as_str().to_owned(), requested, route })
}

/// `redirect_to_https`: the method and body survive a 308, which GET and HEAD do not need.
fn to_https(method: Method, host: &str, port: u16, target: &[u8]) -> Answer {
    let target = match target {
        b"*" => "/".into(),
        target => String::from_utf8_lossy(target),
    };
    if host.is_empty() {
        return RequestError::BadRequest.into();
    }
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let status = match method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    Answer::Redirect(status, format!("https://{host}{port}{target}"))
}

fn content_length(session: &Session) -> Option<u64> {
    let value = session.req_header().headers.get(CONTENT_LENGTH)?;
    value.to_str().ok()?.trim().parse().ok()
}

fn carried<'a>(shared: &Shared, session: &'a Session, policy: Option<&Policy>) -> Carried<'a> {
    let fields = session.req_header().headers.get_all(COOKIE);
    Carried::sort(fields.iter().map(HeaderValue::as_bytes), policy, &shared.tickets)
}

/// One line for the worker, whatever number of fields came (RFC 9113, section 8.2.3).
fn cookie_line(carried: &Carried<'_>, add: impl FnOnce(&mut Field)) -> Option<HeaderValue> {
    let mut field = Field::default();
    carried.others.iter().for_each(|piece| field.push(piece));
    add(&mut field);
    let line = field.as_bytes();
    if line.is_empty() { None } else { HeaderValue::from_bytes(line).ok() }
}

/// Refuses what the route takes from our own site only. A login rule that allows other sites has
/// the last word about its requests (SAML, form_post).
fn refuse_cross_site(
    shared: &Shared,
    session: &Session,
    ctx: &Context,
    route: &Route,
) -> std::result::Result<(), Answer> {
    let Some(target) = &ctx.target else { return Err(RequestError::Internal.into()) };
    let request = session.req_header();
    let (method, path) = (&request.method, &target.requested.path);
    let policy = route.session.as_deref();
    let refuses =
        route.cross_site.refuses(method, &ctx.head, target.host.as_bytes(), path.readings());
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
    ctx.tell_of(shared, session, policy, &Event::CrossSiteRefused);
    Err(RequestError::CrossSite.into())
}

/// Ties the request to a session, or refuses it.
async fn join_session(
    shared: &Arc<Shared>,
    session: &Session,
    ctx: &mut Context,
    route: &Route,
    policy: &Arc<Policy>,
) -> std::result::Result<(), Answer> {
    let Some(target) = &ctx.target else { return Err(RequestError::Internal.into()) };
    if !target.client.https && !shared.insecure_cookies && !policy.only_reports() {
        return Err(RequestError::InsecureSession.into());
    }
    let carried = carried(shared, session, Some(policy));
    if !policy.has_tickets() {
        let pairs = modes::join(shared, session, ctx, policy, &carried).await;
        ctx.cookie = cookie_line(&carried, |field| pairs.iter().for_each(|pair| field.push(pair)));
        return Ok(());
    }
    let request = session.req_header();
    let (method, head) = (&request.method, &ctx.head);
    let opened = open_ticket(shared, session, ctx, policy, &carried).await;
    let attempt = policy.attempt(method, &target.requested.path);
    let is_login = attempt != Attempt::None;
    let is_logout = policy.is_logout(method, &target.requested.path);
    let is_preflight = fetch::is_preflight(method, head);
    let writes = !method.is_safe() || is_login || is_logout;
    let takes_turns = policy.serialize.requests.covers(|| Nature {
        writes,
        is_preflight,
        stream: match streams::is_wanted(&request.headers) {
            _ if route.stream && !is_login && !is_logout => Stream::Declared,
            true => Stream::Wanted,
            false => Stream::No,
        },
    });
    let matters = writes || opened.is_none();
    let is_cross_site = matters && fetch::is_cross_site(head, target.host.as_bytes());
    let facts = Facts {
        intent: match attempt {
            _ if is_preflight => Intent::Preflight,
            Attempt::Stays | Attempt::Moves => {
                Intent::Login(cross_site_login(policy, method, head, target))
            }
            Attempt::None if is_logout => Intent::Logout,
            Attempt::None => Intent::Use,
        },
        origin: if is_cross_site { Origin::CrossSite } else { Origin::Own },
        access: match route.require {
            Require::Login => Access::LoggedIn,
            Require::Nothing => Access::Anybody,
        },
        turns: if takes_turns { Turns::Takes } else { Turns::None },
        bearer: policy.knows_clients().then(|| bearer(ctx, target)),
        on_store_down: route.on_store_down,
        ..Facts::default()
    };
    if attempt == Attempt::Moves && is_out_of_attempts(shared, policy, target.client.ip) {
        ctx.tell(shared, session, policy, &Event::LoginLimited);
        return Err(RequestError::TooManyAttempts.into());
    }
    let (opened, admitted) =
        match admit_following(shared, session, ctx, policy, opened, facts).await {
            Ok(admitted) => admitted,
            Err(refusal) => {
                match refusal {
                    Refusal::CrossSiteLogin => {
                        ctx.tell(shared, session, policy, &Event::CrossSiteRefused);
                    }
                    Refusal::StoreDown => {
                        let event = Event::WithoutStore { id: None, action: WithoutStore::Reject };
                        ctx.tell(shared, session, policy, &event);
                    }
                    Refusal::BindingMismatch | Refusal::LoginRequired => {}
                }
                return Err(refused(refusal, route, method, head));
            }
        };
    if let Some(action) = WithoutStore::of(&admitted.bond) {
        let id = admitted.bond.held().map(|held| held.key);
        ctx.tell(shared, session, policy, &Event::WithoutStore { id, action });
    }
    let line = cookie_line(&carried, |field| {
        if let Some(record) = admitted.bond.record() {
            record.jar.write(field, &target.host, target.requested.path.as_bytes(), admitted.at);
        }
    });
    let may_make = match admitted.bond {
        Bond::Free if carried.ticket == CarriedTicket::None => {
            may_make(policy.cookie.same_site, method.is_safe(), facts)
        }
        _ => Ok(()),
    };
    let exchange = Exchange {
        policy: policy.clone(),
        session: admitted.bond.held().map(|held| held.key),
        bond: admitted.bond,
        ticket: opened.as_ref().map(|Opened { ticket, .. }| exchange::Presented {
            tag: ticket.tag,
            selector: ticket.selector,
            counter: ticket.counter,
        }),
        body: policy.wants_body(method, &target.requested.path, head).map(Copied::new),
        pass: admitted.pass,
        turn: admitted.turn,
        watched: None,
        may_make,
        method: method.clone(),
        attempt,
        is_logout,
        is_cross_site,
        bearer: facts.bearer,
        is_forwarded: false,
        is_settled: false,
    };
    ctx.cookie = line;
    ctx.exchange = Some(exchange);
    Ok(())
}

/// Whether other sites may send this login: where a rule says so, or they only lead a visitor to it.
fn cross_site_login(policy: &Policy, method: &Method, head: &Fields, target: &Target) -> CrossSite {
    let is_led = fetch::is_document_by_get(method, head);
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
    session: &Session,
    ctx: &Context,
    policy: &Arc<Policy>,
    mut opened: Option<Opened>,
    facts: Facts,
) -> std::result::Result<(Option<Opened>, Admitted), Refusal> {
    let mut follows = 0;
    loop {
        let heard = |event| ctx.tell(shared, session, policy, &event);
        let admitted = admit::admit(shared, policy, opened.as_ref(), facts, heard).await?;
        let next = match admitted.bond {
            Bond::Silent(Silence::Moved(old)) if facts.is_login() && follows < FOLLOWS_MAX => {
                successor(shared, session, ctx, old)
            }
            _ => None,
        };
        let Some(next) = next else { return Ok((opened, admitted)) };
        follows += 1;
        opened = Some(next);
    }
}

fn successor(shared: &Shared, session: &Session, ctx: &Context, old: RecordKey) -> Option<Opened> {
    let connection = ctx.connection.as_ref()?;
    if !is_ones_own(connection, session.req_header().version, &ctx.head, &shared.trusted) {
        return None;
    }
    shared.successions.of(connection, old, shared.clock.now())
}

fn is_out_of_attempts(shared: &Shared, policy: &Policy, client: IpAddr) -> bool {
    let (limit, now) = (policy.login_attempts_per_minute, shared.clock.now());
    shared.limiter.is_out_of_attempts(&policy.name, client, limit, now)
}

/// What a policy may bind a session to.
fn bearer(ctx: &Context, target: &Target) -> Bearer {
    let tls = ctx.connection.as_deref().and_then(crate::listen::Info::tls);
    Bearer::new(
        ctx.head.get(Name::UserAgent),
        target.client.ip,
        tls.and_then(|tls| tls.client_certificate),
    )
}

/// A ticket that does not open is "no session", counted by reason (PROTOCOL.md 5).
async fn open_ticket(
    shared: &Shared,
    session: &Session,
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
            ctx.tell(shared, session, policy, &Event::TicketRejected { reason: *reason });
        })
        .ok()
}

fn refused(refusal: Refusal, route: &Route, method: &Method, head: &Fields) -> Answer {
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
            Answer::Redirect(status, location.clone())
        }
        (Refusal::LoginRequired, Denied::Redirect(_) | Denied::Unauthorized) => {
            RequestError::LoginRequired.into()
        }
    }
}
